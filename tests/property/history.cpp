#include "history.h"

#include <algorithm>
#include <exception>
#include <ostream>
#include <stdexcept>
#include <utility>

namespace mbsync::sim {

namespace {

constexpr ColumnNumber kColumns = 3;
constexpr Key kKeys = 3;
constexpr std::size_t kRoundsMax = 50;

/// Takes a number apart, lowest digits first. The order of the calls is the encoding.
class Digits {
 public:
  explicit Digits(std::uint32_t bits) : rest_(bits) {}
  std::uint32_t next(std::uint32_t base) {
    const std::uint32_t digit = rest_ % base;
    rest_ /= base;
    return digit;
  }

 private:
  std::uint32_t rest_;
};

Value value_from(std::uint32_t digit) {
  return digit == 0 ? Value{} : Value{std::to_string(digit)};
}

StepKind kind_from(std::uint32_t digit) {
  // How many of 32 steps are of which kind.
  constexpr std::pair<StepKind, std::uint32_t> kShares[] = {
      {StepKind::kWrite, 7},     {StepKind::kPull, 5},     {StepKind::kDelete, 3},  {StepKind::kForget, 2},
      {StepKind::kPullTwice, 1}, {StepKind::kAsk, 2},      {StepKind::kDeliver, 2}, {StepKind::kSeal, 1},
      {StepKind::kPartition, 1}, {StepKind::kJoin, 1},     {StepKind::kHold, 2},    {StepKind::kRelease, 1},
      {StepKind::kPublish, 1},   {StepKind::kIncrease, 2}, {StepKind::kAway, 1}};
  for (const auto& [kind, share] : kShares) {
    if (digit < share) {
      return kind;
    }
    digit -= share;
  }
  return StepKind::kPull;
}

struct Setup {
  std::size_t nodes;
  std::size_t late;        ///< how many of the nodes join later
  bool chain;              ///< heals along a chain, so that everything is relayed
  std::uint32_t old_rows;  ///< bit i: node i has rows from before mbsync
  std::uint32_t skews;
};

// kLateJoiners is the second digit, whose place is worth 4.
Setup decode_setup(std::uint32_t bits) {
  Digits digits(bits);
  Setup setup{};
  setup.nodes = 2 + digits.next(4);
  setup.late = digits.next(2) == 0 ? 0 : digits.next(static_cast<std::uint32_t>(setup.nodes));
  setup.chain = digits.next(2) == 1;
  setup.old_rows = digits.next(2) == 0 ? 0 : digits.next(32);
  setup.skews = digits.next(1U << 20U);
  return setup;
}

const char* name_of(StepKind kind) {
  switch (kind) {
    case StepKind::kWrite:
      return "write";
    case StepKind::kDelete:
      return "delete";
    case StepKind::kSeal:
      return "seal";
    case StepKind::kPull:
      return "pull";
    case StepKind::kPullTwice:
      return "pull twice";
    case StepKind::kAsk:
      return "ask";
    case StepKind::kDeliver:
      return "deliver";
    case StepKind::kForget:
      return "forget";
    case StepKind::kPartition:
      return "partition";
    case StepKind::kJoin:
      return "join";
    case StepKind::kHold:
      return "hold";
    case StepKind::kRelease:
      return "release";
    case StepKind::kPublish:
      return "publish";
    case StepKind::kIncrease:
      return "increase";
    case StepKind::kAway:
      return "away";
  }
  return "";
}

}  // namespace

std::size_t node_count(const History& history) {
  return decode_setup(history.setup).nodes;
}

Step decode_step(const History& history, std::uint32_t bits) {
  const auto nodes = static_cast<std::uint32_t>(node_count(history));
  Digits digits(bits);
  Step step{};
  step.kind = kind_from(digits.next(32));
  step.node = digits.next(nodes);
  step.other = (step.node + 1 + digits.next(nodes - 1)) % nodes;
  step.key = static_cast<Key>(digits.next(static_cast<std::uint32_t>(kKeys)));
  Digits payload = digits;
  const std::uint32_t columns = 1 + payload.next((1U << kColumns) - 1);
  for (ColumnNumber column = 1; column <= kColumns; ++column) {
    if ((columns & (1U << (column - 1))) != 0) {
      step.values[column] = value_from(payload.next(4));
    }
  }
  step.jitter = payload.next(8);
  step.groups = digits.next(2) == 0 ? 0 : digits.next(32);
  return step;
}

std::ostream& operator<<(std::ostream& out, const History& history) {
  const Setup setup = decode_setup(history.setup);
  out << "setup " << history.setup << ": " << setup.nodes << " nodes, the last " << setup.late
      << " join late, old rows " << setup.old_rows << ", chain " << setup.chain << "\n";
  for (const std::uint32_t bits : history.steps) {
    const Step step = decode_step(history, bits);
    out << "  " << bits << ": " << name_of(step.kind) << " node " << step.node << " other " << step.other << " key "
        << step.key << " groups " << step.groups << " values";
    for (const auto& [column, value] : step.values) {
      out << " " << column << "=" << value.value_or("NULL");
    }
    out << " jitter " << step.jitter << "\n";
  }
  return out;
}

Fleet::Fleet(const History& history, Fault fault) : history_(history), fault_(fault) {
  const Setup setup = decode_setup(history.setup);
  std::vector<ColumnNumber> columns;
  for (ColumnNumber column = 1; column <= kColumns; ++column) {
    columns.push_back(column);
  }
  const std::size_t founders = setup.nodes - setup.late;
  std::set<NodeId> fleet;
  for (std::size_t i = 0; i < founders; ++i) {
    fleet.insert(NodeId{static_cast<std::int64_t>(i) + 1});
  }
  Digits skews(setup.skews);
  for (std::size_t i = 0; i < setup.nodes; ++i) {
    const bool founder = i < founders;
    nodes_.emplace_back(NodeId{static_cast<std::int64_t>(i) + 1}, columns, founder ? fleet : std::set<NodeId>{}, fault);
    joined_.push_back(founder);
    skew_.push_back(static_cast<std::int64_t>(skews.next(16)) - 8);
    if ((setup.old_rows >> i & 1U) != 0) {
      for (Key key = 0; key < kKeys; key += 1 + static_cast<Key>(i % 2)) {
        const Value value{"old" + std::to_string(i)};
        nodes_[i].write(key, {{1, value}, {2, value}, {3, Value{"old"}}}, kTimeUnknown);
      }
      nodes_[i].seal();
    }
  }
  delayed_.resize(setup.nodes);
}

void Fleet::run_steps() {
  for (const std::uint32_t bits : history_.steps) {
    run(decode_step(history_, bits));
  }
}

// Left out of histories (C22): whoever is away takes nobody in, and does not say of others that they are away.
bool Fleet::is_out(std::size_t node) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& each) { return each.is_away(nodes_[node].id()); });
}

bool Fleet::connected(std::size_t a, std::size_t b) const {
  return (groups_ >> a & 1U) == (groups_ >> b & 1U);
}

WriteTime Fleet::time_at(std::size_t node, std::int64_t jitter) const {
  return WriteTime{(now_ + skew_[node] + jitter) / 4};
}

void Fleet::run(const Step& step) {
  ++now_;
  Node& node = nodes_[step.node];
  const WriteTime at = time_at(step.node, step.jitter);
  const bool can_pull = joined_[step.node] && joined_[step.other] && connected(step.node, step.other);
  switch (step.kind) {
    case StepKind::kWrite:
      node.write(step.key, step.values, at);
      break;
    case StepKind::kDelete:
      node.erase(step.key, at);
      break;
    case StepKind::kSeal:
      node.seal();
      break;
    case StepKind::kPull:
      if (can_pull) {
        pull(step.node, step.other);
      }
      break;
    case StepKind::kPullTwice:
      if (can_pull) {
        pull(step.node, step.other);
        pull(step.node, step.other);
      }
      break;
    case StepKind::kAsk:
      if (can_pull) {
        delayed_[step.node].push_back(nodes_[step.other].answer(node.request(), time_at(step.other, 0)));
      }
      break;
    case StepKind::kDeliver:
      deliver(step.node);
      break;
    case StepKind::kForget:
      node.settle_unseen();
      node.forget();
      break;
    case StepKind::kPartition:
      groups_ = step.groups;
      break;
    case StepKind::kJoin:
      if (connected(step.node, step.other)) {
        join_fleet(step.node, step.other);
      }
      break;
    case StepKind::kHold:
      node.hold(step.key, step.values, at);
      break;
    case StepKind::kRelease:
      node.release(step.key);
      break;
    case StepKind::kPublish:
      node.publish(static_cast<PolicyVersion>(step.groups) % kPolicies);
      break;
    case StepKind::kIncrease:
      node.increase(step.key, 2, *Decimal::parse(std::to_string(step.jitter - 3)), at);
      break;
    case StepKind::kAway:
      if (joined_[step.node] && !is_out(step.node)) {
        node.declare_away(nodes_[step.other].id(), at);
        away_ = true;
      }
      break;
  }
}

/// An answer that comes late, after other pulls, writes and forgetting; then once more, as if sent twice.
void Fleet::deliver(std::size_t node) {
  for (const PullAnswer& answer : std::exchange(delayed_[node], {})) {
    const bool applied = nodes_[node].apply(answer) && nodes_[node].apply(answer);
    if (applied && fault_ == Fault::kNone) {
      nodes_[node].check();
    }
  }
}

bool Fleet::pull(std::size_t node, std::size_t other) {
  const VersionVector before = nodes_[node].seen();
  const NodeId was = nodes_[node].id();
  const NodeId next{was.value + static_cast<std::int64_t>(nodes_.size())};
  const bool pulled = nodes_[node].pull(nodes_[other], time_at(other, 0), next);
  if (pulled && fault_ == Fault::kNone) {
    nodes_[node].check();
    if ((nodes_[node].id() == was && !nodes_[node].seen().covers(before)) ||
        !nodes_[node].seen().covers(nodes_[other].seen())) {
      throw std::logic_error("a vector went back or does not hold what was pulled");
    }
  }
  return pulled;
}

void Fleet::join_fleet(std::size_t node, std::size_t other) {
  if (!joined_[node] && joined_[other] && !is_out(other)) {
    joined_[node] = pull(node, other);
  }
}

bool Fleet::pull_round() {
  bool all = true;
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (std::size_t other = 0; other < nodes_.size(); ++other) {
      const bool neighbours = node + 1 == other || other + 1 == node;
      if (node != other && (neighbours || away_ || !decode_setup(history_.setup).chain)) {
        join_fleet(node, other);
        all = joined_[node] && joined_[other] && pull(node, other) && all;
      }
    }
  }
  return all;
}

void Fleet::heal() {
  groups_ = 0;
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    deliver(node);
    nodes_[node].release_all();
    nodes_[node].settle_unseen();
  }
  // A chain carries a write by one node a round, if the round runs against it.
  for (std::size_t round = 0; round < nodes_.size(); ++round) {
    pull_round();
  }
  // Who was away comes back once all others have heard that it was.
  std::size_t rounds = 0;
  while (!pull_round()) {
    if (++rounds > kRoundsMax) {
      throw std::logic_error("a node cannot come back");
    }
  }
  for (std::size_t round = 0; round < nodes_.size(); ++round) {
    pull_round();
  }
}

void Fleet::forget_all() {
  for (std::size_t round = 0; round < nodes_.size() + 1; ++round) {
    pull_round();
    for (Node& node : nodes_) {
      node.forget();
    }
  }
}

std::string failure_of(const History& history, Fault fault) {
  Fleet fleet(history, fault);
  try {
    fleet.run_steps();
    fleet.heal();
    const auto rows = fleet.nodes().front().rows();
    for (const Node& node : fleet.nodes()) {
      if (node.rows() != rows) {
        return "nodes differ after all pulled from each other: node 1\n" + to_string(rows) + "and node " +
               std::to_string(node.id().value) + "\n" + to_string(node.rows());
      }
    }
    fleet.forget_all();
    for (const Node& node : fleet.nodes()) {
      if (node.live_writes() != 0) {
        return "node " + std::to_string(node.id().value) + " has writes left that all nodes have";
      }
      if (node.rows() != rows) {
        return "forgetting changed rows of node " + std::to_string(node.id().value) + ": before\n" + to_string(rows) +
               "after\n" + to_string(node.rows());
      }
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace mbsync::sim
