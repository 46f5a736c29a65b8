#include "history.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <map>
#include <utility>

namespace mbsync::checker {
namespace {

using mbsync::test::Rng;

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kYear = 365LL * 24 * 3600 * kSecond;
// 2010-01-01. With no clock off by 13 to 19 years, generated times are told from those of the real clock.
constexpr std::int64_t kStart = 1'262'304'000 * kSecond;

std::int64_t any_skew(Rng& rng) {
  const auto some = static_cast<std::int64_t>(rng.below(1000));
  switch (rng.below(6)) {
    case 0:
    case 1:
      return 0;
    case 2:
      return (some - 500) * 10'000;
    case 3:
      return (some - 500) * 3600 * kSecond;
    case 4:
      return -(some % 9) * kYear;
    default:
      return (some % 2 == 0 ? some % 10 : 25 + some % 10) * kYear;
  }
}

StepKind any_kind(Rng& rng) {
  constexpr std::pair<StepKind, std::uint64_t> kShares[] = {
      {StepKind::kWrite, 43},  {StepKind::kPublish, 4}, {StepKind::kPull, 24}, {StepKind::kAsk, 5},
      {StepKind::kDeliver, 4}, {StepKind::kSeal, 2},    {StepKind::kCut, 1},   {StepKind::kForget, 5},
      {StepKind::kCrash, 1},   {StepKind::kClock, 2},   {StepKind::kHold, 2},  {StepKind::kRelease, 2},
      {StepKind::kRefuse, 2},  {StepKind::kAccept, 1},  {StepKind::kSettle, 2}};
  auto digit = rng.below(100);
  for (const auto& [kind, share] : kShares) {
    if (digit < share) {
      return kind;
    }
    digit -= share;
  }
  return StepKind::kWrite;
}

}  // namespace

std::uint64_t schema_seed(std::uint64_t seed) {
  return Rng(seed / kHistoriesPerSchema).next();
}

History make_history(std::uint64_t seed, const Schema& schema) {
  Rng rng(seed);
  History history;
  history.seed = seed;
  constexpr std::size_t kNodes[] = {2, 2, 2, 3, 3, 3, 3, 4, 4, 5};
  history.nodes = kNodes[rng.below(std::size(kNodes))];
  if (rng.below(4) != 0) {
    history.first_rows = schema.first_rows(rng);
  }
  if (rng.below(5) == 0) {
    history.newcomer = true;
    history.own_rows = schema.first_rows(rng);
  }
  // Where times collide, all clocks are right and tick rarely.
  const bool collide = rng.below(5) == 0;
  for (std::size_t node = 0; node < history.nodes; ++node) {
    history.skews.push_back(collide ? 0 : any_skew(rng));
  }
  std::map<std::pair<std::size_t, std::int64_t>, std::int64_t> steps_of_tick;
  const auto steps = 16 + rng.below(18);
  for (std::size_t number = 0; number < steps; ++number) {
    Step step;
    step.number = number;
    step.kind = any_kind(rng);
    step.node = rng.below(history.nodes);
    step.other = (step.node + 1 + rng.below(history.nodes - 1)) % history.nodes;
    const auto tick = static_cast<std::int64_t>(collide ? number / 8 : number);
    step.at = kStart + tick * kSecond;
    // Never the same time twice, whatever the clocks say: the last digits are the step's own. Where times collide, they
    // are its place among the node's steps of this tick, so that a node at least never meets its own.
    step.at += (collide ? steps_of_tick[{step.node, tick}]++ : static_cast<std::int64_t>(number)) * 100;
    if (step.kind == StepKind::kClock) {
      step.skew = collide ? 0 : any_skew(rng);
    }
    if (step.kind == StepKind::kPublish) {
      step.policy = 1 + rng.below(kPolicies.size() - 1);
    }
    if (step.kind == StepKind::kCut) {
      step.delay = static_cast<std::int64_t>(rng.below(8000));
    }
    if (step.kind == StepKind::kHold) {
      step.statements = schema.row_statements(rng, fmt::format("s{}", number));
    }
    if (step.kind == StepKind::kRelease) {
      step.commit = rng.below(5) != 0;
    }
    if (step.kind == StepKind::kRefuse) {
      for (int i = 0; i < 3; ++i) {
        step.digits += static_cast<char>('0' + rng.below(10));
      }
    }
    if (step.kind == StepKind::kWrite) {
      const auto count = 1 + (rng.below(2) == 0 ? rng.below(4) : 0);
      for (std::uint64_t i = 0; i < count; ++i) {
        for (auto& sql : schema.statements(rng, fmt::format("s{}", number))) {
          step.statements.push_back(std::move(sql));
        }
      }
    }
    history.steps.push_back(std::move(step));
  }
  return history;
}

std::string node_name(std::size_t node) {
  return std::string(1, static_cast<char>('a' + node));
}

std::string describe(const Step& step) {
  const auto node = node_name(step.node);
  const auto other = node_name(step.other);
  switch (step.kind) {
    case StepKind::kWrite:
      return fmt::format("write on {}: {}", node, fmt::join(step.statements, "; "));
    case StepKind::kPull:
      return fmt::format("pull {} <- {}", node, other);
    case StepKind::kAsk:
      return fmt::format("ask {} <- {}, the answer stays on its way", node, other);
    case StepKind::kDeliver:
      return fmt::format("deliver to {} what {} has answered", node, other);
    case StepKind::kCut:
      return fmt::format("pull {} <- {}, its connection is cut after {} us of applying", node, other, step.delay);
    case StepKind::kSeal:
      return fmt::format("seal on {}", node);
    case StepKind::kForget:
      return fmt::format("forget on {}", node);
    case StepKind::kCrash:
      return fmt::format("crash of {}", node);
    case StepKind::kPublish:
      return fmt::format("policy {} is published on {}", step.policy, node);
    case StepKind::kHold:
      return fmt::format("open transaction on {}: {}", node, fmt::join(step.statements, "; "));
    case StepKind::kRelease:
      return fmt::format("{} of the open transaction on {}", step.commit ? "COMMIT" : "ROLLBACK", node);
    case StepKind::kRefuse:
      return fmt::format("{} refuses rows whose marker ends with one of {}", node, step.digits);
    case StepKind::kAccept:
      return fmt::format("{} takes all rows again", node);
    case StepKind::kSettle:
      return fmt::format("what waits on {} is tried again", node);
    case StepKind::kClock:
      return fmt::format("the clock of {} is now off by {} s", node, static_cast<double>(step.skew) / kSecond);
  }
  return "";
}

std::string describe(const History& history) {
  std::string text = fmt::format("{} nodes", history.nodes);
  for (std::size_t node = 0; node < history.nodes; ++node) {
    text += fmt::format(", the clock of {} off by {} s", node_name(node),
                        static_cast<double>(history.skews[node]) / kSecond);
  }
  text += "\n";
  for (const auto& sql : history.first_rows) {
    text += fmt::format("      {} at first: {}\n",
                        !history.newcomer    ? "everywhere"
                        : history.nodes == 2 ? "on a"
                                             : "everywhere but on the newcomer",
                        sql);
  }
  for (const auto& sql : history.own_rows) {
    text += fmt::format("      on {}, which has not met the others, at first: {}\n", node_name(history.nodes - 1), sql);
  }
  for (const auto& step : history.steps) {
    text += fmt::format("  {:2}  {}\n", step.number, describe(step));
  }
  return text;
}

}  // namespace mbsync::checker
