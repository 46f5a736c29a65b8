#include "runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>

#include "audit.h"

namespace mbsync::checker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRoundsMax = 12;
// Behind all times of a history, by a right clock: 2010-02.
constexpr std::int64_t kDecidedAt = 1'265'000'000'000'000;
constexpr std::size_t kUnionsMax = 100;
constexpr int kShrinkTriesMax = 400;
constexpr std::chrono::seconds kShrinkMax{60};

std::set<RowId> rows_of(const Waiting& waiting) {
  std::set<RowId> rows;
  for (const auto& [row, reason] : waiting) {
    rows.insert(row);
  }
  return rows;
}

bool publishes_keep_both(const History& history) {
  return std::any_of(history.steps.begin(), history.steps.end(), [](const Step& step) {
    return step.kind == StepKind::kPublish && kPolicies[step.policy].keep_both;
  });
}

class Run {
 public:
  Run(Lab& lab, const Schema& schema, const History& history, const Faults& faults)
      : lab_(lab),
        schema_(schema),
        history_(history),
        may_mend_(schema.has_constraints() || publishes_keep_both(history)),
        sabotage_(faults.sabotage),
        skew_(history.skews),
        nodes_(history.nodes) {
    lab_.reset(history.nodes, history.first_rows, history.newcomer, history.own_rows);
    const bool strangers = history.newcomer && history.nodes == 2;
    const auto rows = strangers ? Rows{} : lab_.rows(0);
    std::vector<Shape> shapes;
    for (const auto& table : schema.tables()) {
      shapes.push_back(table.shape());
    }
    model_.emplace(history.nodes, rows, faults.rules, std::move(shapes));
    const auto last = history.nodes - 1;
    if (strangers) {
      model_->begin_alone(0, lab_.rows(0), false);
    }
    if (history.newcomer) {
      model_->begin_alone(last, lab_.rows(last), !strangers);
    }
    audit_.emplace(schema, *model_);
    for (std::size_t node = 1; node < history.nodes; ++node) {
      compare(schema, node, lab_.rows(node), model_->rows(node), "the first rows differ");
    }
  }

  void steps() {
    for (const auto& step : history_.steps) {
      with_state([&] { run(step); }, fmt::format("in step {}, {}:\n", step.number, describe(step)));
    }
  }

  void heal() {
    with_state([&] { heal_all(); }, "");
  }

  /// Once all know that all have everything, nothing may be left but the rows.
  void forget() {
    with_state([&] { forget_all(); }, "");
  }

 private:
  /// What goes wrong says what all nodes show at that moment.
  template <typename Action>
  void with_state(Action action, const std::string& where) {
    try {
      action();
    } catch (const Failure& failure) {
      throw Failure(fmt::format("{}{}\n{}", where, failure.what(), state()));
    }
  }

  void heal_all() {
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      release(node, true);
      accept(node);
      for (std::size_t other = 0; other < history_.nodes; ++other) {
        if (node != other && lab_.has_answer(node, other)) {
          deliver(node, other);
        }
      }
    }
    for (int round = 0; !all_is_everywhere(); ++round) {
      if (round == kRoundsMax) {
        throw Failure("the nodes do not come to an end");
      }
      // What mbsync leaves to a person, once it has had its turn.
      for (std::size_t node = 0; round > 1 && node < history_.nodes; ++node) {
        decide(node);
      }
      exchange();
    }
    check_equal();
    lab_.count_conflicts(0);
  }

  // One of two rows that cannot stand together gets another value. It stands; the other one waits.
  void decide(std::size_t node) {
    std::set<std::size_t> tables;
    for (const auto& [row, reason] : lab_.waiting(node)) {
      if (reason.find("unique key") != std::string::npos) {
        tables.insert(row.table);
      }
    }
    for (const auto& [row, values] : tables.empty() ? Rows{} : lab_.rows(node)) {
      for (const auto& way :
           tables.contains(row.table) ? schema_.ways_out(row, values, 1000 + decisions_) : std::vector<std::string>{}) {
        Step step;
        step.node = node;
        step.at = kDecidedAt + 1000 * decisions_++;
        step.statements = {way};
        if (write(step)) {
          break;
        }
      }
    }
  }

  void forget_all() {
    const auto rows = lab_.rows(0);
    exchange();
    exchange();
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      lab_.forget(node);
      if (lab_.live_writes(node) != 0) {
        throw Failure(fmt::format("{} has writes left that everybody has", node_name(node)));
      }
      compare(schema_, node, lab_.rows(node), rows, "forgetting changed rows");
    }
  }

  void run(const Step& step) {
    switch (step.kind) {
      case StepKind::kWrite:
        write(step);
        break;
      case StepKind::kPull:
        ask(step.node, step.other);
        deliver(step.node, step.other);
        break;
      case StepKind::kAsk:
        ask(step.node, step.other);
        break;
      case StepKind::kDeliver:
        if (lab_.has_answer(step.node, step.other)) {
          deliver(step.node, step.other);
        }
        break;
      case StepKind::kCut:
        ask(step.node, step.other);
        deliver(step.node, step.other,
                [&] { return lab_.deliver_and_cut(step.node, step.other, std::chrono::microseconds{step.delay}); });
        break;
      case StepKind::kSeal:
        lab_.seal(step.node);
        model_->seal(step.node);
        break;
      case StepKind::kForget:
        lab_.forget(step.node);
        break;
      case StepKind::kCrash:
        lab_.crash(step.node);
        break;
      case StepKind::kPublish:
        lab_.publish(step.node, step.policy);
        model_->publish(step.node, step.policy);
        renew_capture(step.node);
        break;
      case StepKind::kClock:
        skew_[step.node] = step.skew;
        break;
      case StepKind::kHold:
        hold(step);
        break;
      case StepKind::kRelease:
        release(step.node, step.commit);
        break;
      case StepKind::kRefuse:
        // A newcomer that the database refuses rows to does not join before it takes them.
        if (!model_->joins(step.node)) {
          lab_.refuse(step.node, step.digits);
          nodes_[step.node].refused = step.digits;
        }
        break;
      case StepKind::kAccept:
        accept(step.node);
        break;
      case StepKind::kSettle:
        settle(step.node);
        break;
    }
  }

  using Differences = std::vector<std::vector<Model::Difference>>;  ///< by statement

  /// What a transaction does, from the rows after each of its statements.
  [[nodiscard]] Differences differences(std::size_t node, const std::vector<Rows>& after) const {
    Differences all;
    for (std::size_t i = 0; i < after.size(); ++i) {
      all.push_back(model_->differences(node, i == 0 ? model_->rows(node) : after[i - 1], after[i]));
    }
    return all;
  }

  void change(std::size_t node, std::int64_t at, const Differences& differences) {
    for (const auto& one : differences) {
      model_->change(node, at++, one);
    }
  }

  bool write(const Step& step) {
    std::vector<Rows> after;
    const auto at = step.at + skew_[step.node];
    const bool taken = lab_.write(step.node, step.statements, at, after);
    if (taken) {
      change(step.node, at, differences(step.node, after));
    }
    return taken;
  }

  void hold(const Step& step) {
    auto& held = nodes_[step.node].held;
    std::vector<Rows> after;
    const auto at = step.at + skew_[step.node];
    // A table's captures say of a column what it was taken for when it was written.
    if (!held && lab_.hold(step.node, step.statements, at, after)) {
      held = Held{at, differences(step.node, after)};
    }
  }

  void release(std::size_t node, bool commit) {
    if (const auto held = std::exchange(nodes_[node].held, std::nullopt); held && lab_.release(node, commit)) {
      change(node, held->at, held->differences);
    }
  }

  void accept(std::size_t node) {
    if (!std::exchange(nodes_[node].refused, "").empty()) {
      lab_.refuse(node, "");
    }
  }

  void settle(std::size_t node) {
    if (nodes_[node].waiting.empty()) {
      return;
    }
    const auto before = mark(node);
    lab_.settle(node);
    const auto waiting = lab_.waiting(node);
    const auto left = rows_of(waiting);
    if (std::exchange(nodes_[node].waiting, left) == left) {
      check_unchanged(node);  // nothing is sealed then either
      check_waiting({node, model_->rows(node), {}, waiting}, left);
      return;
    }
    model_->settle_waiting(node, left);
    check_shown(node, waiting, left, before, false, "what waited was tried again");
  }

  void renew_capture(std::size_t node) {
    const auto policy = model_->policy(node);
    if (std::exchange(nodes_[node].captured_by, policy) == policy) {
      return;
    }
    const auto waiting = lab_.renew_capture(node, kPolicies[policy].count);
    for (std::size_t table = 0; table < schema_.tables().size(); ++table) {
      if (waiting.contains(table)) {
        nodes_[node].captured_by.reset();  // once more, next time
      } else {
        model_->count(node, table, kPolicies[policy].count);
      }
    }
  }

  void ask(std::size_t node, std::size_t other) {
    lab_.ask(node, other);
    model_->seal(other);
    answers_[{node, other}] = {model_->knows(other), model_->policy(other), model_->joins(other)};
  }

  void deliver(std::size_t node, std::size_t other) {
    deliver(node, other, [&] { return lab_.deliver(node, other); });
  }

  template <typename Apply>
  void deliver(std::size_t node, std::size_t other, Apply apply) {
    const auto before = mark(node);
    if (apply()) {
      delivered(node, other, before);
    } else {
      check_unchanged(node);  // out of date, or cut off
    }
    renew_capture(node);
  }

  Lab::Mark mark(std::size_t node) { return may_mend_ ? lab_.mark(node) : Lab::Mark{}; }

  void check_unchanged(std::size_t node) {
    compare(schema_, node, lab_.rows(node), model_->rows(node), "nothing was applied");
  }

  void delivered(std::size_t node, std::size_t other, const Lab::Mark& before) {
    const auto& answer = answers_.at({node, other});
    if (answer.of_newcomer) {
      throw Failure("it was pulled from a node that has not joined yet");
    }
    if (!sabotage_.empty() && !nodes_[node].held) {
      lab_.sabotage(node, sabotage_);
    }
    auto& own = nodes_[node];
    const bool may_wait = may_mend_ || own.held || !own.refused.empty() || !own.waiting.empty();
    const auto waiting = may_wait ? lab_.waiting(node) : Waiting{};
    auto fresh = rows_of(waiting);
    std::erase_if(fresh, [&](const RowId& row) { return own.waiting.contains(row); });
    own.waiting = rows_of(waiting);
    const bool joins = model_->joins(node);
    model_->learn(node, answer.writes, answer.policy, own.waiting);
    check_shown(node, waiting, fresh, before, joins, "after a pull");
    if (joins) {
      lab_.count_newcomer();
      audit_->check_overruled({node, lab_.rows(node), lab_.record(node)});
    }
  }

  /// The rows after mbsync has done something to them. `tried`: those of the waiting rows that could not be written
  /// just now. `joined`: the node has met a fleet.
  void check_shown(std::size_t node, const Waiting& waiting, const std::set<RowId>& tried, const Lab::Mark& before,
                   bool joined, const std::string& when) {
    Look look{node, lab_.rows(node), {}, waiting};
    check_waiting(look, tried);
    if (may_mend_) {
      check_constraints(node);
      look.record = lab_.record(node);
      audit_->check_needed(look);
      mended(look, lab_.mends(node, before), joined);
    }
    compare(schema_, node, look.rows, model_->rows(node), when);
    if (may_mend_) {
      audit_->check(look);
    }
  }

  void mended(const Look& look, const std::vector<Mend>& mends, bool joined) {
    std::vector<Apart> aparts;
    std::vector<Union> unions;
    for (std::size_t i = 0; i < look.record.size(); ++i) {
      const auto& one = look.record[i];
      const bool goes_now = std::any_of(mends.begin(), mends.end(),
                                        [&](const Mend& mend) { return mend.deleted && mend.row == one.about; });
      if (is_kept_apart(one)) {
        aparts.push_back({one.about, one.node, one.at, joined && one.node == look.node});
      } else if (one.existence == "unique-merge" && one.kind == "unique" && one.row == one.about && goes_now) {
        unions.push_back({one.about, look.record[i - 1].row});  // the row that stays comes first
      }
    }
    // What went with a row that went with another.
    for (std::size_t i = 0; i < unions.size(); ++i) {
      for (std::size_t k = 0; k < unions.size() && unions.size() < kUnionsMax; ++k) {
        if (unions[i].stays == unions[k].gone) {
          unions.push_back({unions[i].gone, unions[k].stays});
        }
      }
    }
    audit_->check_mends(look, model_->rows_without(look.node, aparts), mends);
    model_->mend(look.node, mends, aparts, unions, look.rows, rows_of(look.waiting));
  }

  void check_waiting(const Look& look, const std::set<RowId>& tried) {
    if (!nodes_[look.node].held) {
      audit_->check_waiting(look, tried, nodes_[look.node].refused);
    }
  }

  void exchange() {
    const auto hub = history_.seed % history_.nodes;
    for (const bool gather : {true, false}) {
      for (std::size_t node = 0; node < history_.nodes; ++node) {
        if (node != hub) {
          ask(gather ? hub : node, gather ? node : hub);
          deliver(gather ? hub : node, gather ? node : hub);
        }
      }
    }
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      settle(node);
    }
  }

  bool all_is_everywhere() {
    const auto vector = lab_.vector_text(0);
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      if (lab_.vector_text(node) != vector || lab_.has_captures(node) || !lab_.waiting(node).empty()) {
        return false;
      }
    }
    return true;
  }

  void check_equal() {
    const auto rows = lab_.rows(0);
    const auto record = lab_.record_text(0);
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      const Look look{node, lab_.rows(node), lab_.record(node)};
      compare(schema_, node, look.rows, model_->rows(node), "all have pulled everything");
      compare(schema_, node, look.rows, rows, "all have pulled everything, and the first of them has other rows");
      if (lab_.record_text(node) != record) {
        throw Failure(fmt::format("all have pulled everything, and the records of conflicts differ: a\n{}\nand {}\n{}",
                                  record, node_name(node), lab_.record_text(node)));
      }
      check_constraints(node);
      audit_->check(look);
    }
  }

  void check_constraints(std::size_t node) {
    const auto broken = lab_.broken_constraints(node);
    if (!broken.empty()) {
      throw Failure(fmt::format("on {} {}", node_name(node), fmt::join(broken, ", ")));
    }
  }

  std::string state() {
    std::string text;
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      text += fmt::format("  {} ({}):\n{}", node_name(node), lab_.vector_text(node), text_of(schema_, lab_.rows(node)));
      for (const auto& [row, reason] : lab_.waiting(node)) {
        text += fmt::format("    waiting: {} {}: {}\n", schema_.tables()[row.table].name, row.key, reason);
      }
      if (model_) {
        text += fmt::format("  {} in the model:\n{}", node_name(node),
                            text_of(schema_, model_->settle(model_->knows(node))));
      }
    }
    return text;
  }

  Lab& lab_;
  const Schema& schema_;
  const History& history_;
  bool may_mend_;  ///< mbsync may have to make writes of its own (C18)
  const std::string& sabotage_;
  std::vector<std::int64_t> skew_;
  std::int64_t decisions_ = 0;
  std::optional<Model> model_;
  std::optional<Audit> audit_;
  struct Held {
    std::int64_t at;
    Differences differences;
  };
  struct Node {
    std::optional<Held> held{};  ///< by a transaction that is open
    std::string refused{};       ///< rows whose marker ends with one of these
    std::set<RowId> waiting{};
    std::optional<std::size_t> captured_by = 0;  ///< the policy that capture knows
  };
  std::vector<Node> nodes_;
  struct Answer {
    Knowledge writes;
    std::size_t policy = 0;
    bool of_newcomer = false;
  };
  std::map<std::pair<std::size_t, std::size_t>, Answer> answers_;
};

/// Deals with blocks of histories that share a schema, until there are none left or one has failed.
class Worker {
 public:
  struct Shared {
    const Wanted& wanted;
    Clock::time_point start = Clock::now();
    std::atomic<std::uint64_t> next_block{0};
    std::atomic<std::uint64_t> histories{0};
    std::atomic<std::uint64_t> schemas{0};
    std::atomic<bool> stop{false};
    std::mutex mutex{};  // guards the rest
    std::string failure{};
    std::size_t steps_left = 0;
  };

  Worker(mbsync::test::TempCluster& cluster, const std::string& name, Shared& shared)
      : lab_(cluster, name), shared_(shared) {}

  void work() {
    const auto& wanted = shared_.wanted;
    while (!shared_.stop) {
      const auto block = wanted.seed / kHistoriesPerSchema + shared_.next_block++;
      const auto first = std::max(wanted.seed, block * kHistoriesPerSchema);
      auto end = (block + 1) * kHistoriesPerSchema;
      if (!wanted.minutes) {
        end = std::min(end, wanted.seed + wanted.histories);
      }
      if (first >= end) {
        return;
      }
      const Schema schema(schema_seed(first));
      lab_.use(schema);
      ++shared_.schemas;
      for (auto seed = first; seed < end && !shared_.stop; ++seed) {
        if (wanted.minutes &&
            Clock::now() - shared_.start > std::chrono::duration<double, std::ratio<60>>(*wanted.minutes)) {
          return;
        }
        one(schema, seed);
      }
    }
  }

  [[nodiscard]] const Counts& counts() const { return lab_.counts(); }

  void fail(const std::string& text, std::size_t steps_left = 0) {
    const std::lock_guard lock(shared_.mutex);
    shared_.stop = true;
    if (shared_.failure.empty()) {
      shared_.failure = text;
      shared_.steps_left = steps_left;
    }
  }

 private:
  void one(const Schema& schema, std::uint64_t seed) {
    const auto history = make_history(seed, schema);
    const auto failure = failure_of(lab_, schema, history, shared_.wanted.faults);
    ++shared_.histories;
    if (failure.empty()) {
      return;
    }
    shared_.stop = true;
    const auto shrunk = shared_.wanted.shrink ? shrink(lab_, schema, history, failure, shared_.wanted.faults)
                                              : Shrunk{history, failure};
    const auto left = shrunk.history.steps.size();
    fail(fmt::format("the same again: MBSYNC_SEED={} MBSYNC_HISTORIES=1\n\n{}\n{}\n{}\n({} of {} steps are left, after "
                     "{} tries)\n",
                     seed, schema.create(), describe(shrunk.history), shrunk.failure, left, history.steps.size(),
                     shrunk.tries),
         left);
  }

  Lab lab_;
  Shared& shared_;
};

}  // namespace

std::string failure_of(Lab& lab, const Schema& schema, const History& history, const Faults& faults) {
  try {
    Run run(lab, schema, history, faults);
    run.steps();
    run.heal();
    if (history.seed % 3 == 0) {
      run.forget();
    }
  } catch (const Failure& failure) {
    return failure.what();
  } catch (const mbsync::test::SqlError& error) {
    return fmt::format("SQL: {}", error.what());
  }
  return "";
}

Shrunk shrink(Lab& lab, const Schema& schema, History history, std::string failure, const Faults& faults) {
  Shrunk best{std::move(history), std::move(failure), 0};
  const auto start = Clock::now();
  const auto attempt = [&](const History& smaller) {
    if (best.tries >= kShrinkTriesMax || Clock::now() - start > kShrinkMax) {
      return false;
    }
    ++best.tries;
    auto found = failure_of(lab, schema, smaller, faults);
    if (found.empty()) {
      return false;
    }
    best.history = smaller;
    best.failure = std::move(found);
    return true;
  };
  // Halves first, then smaller and smaller pieces, from the end.
  for (std::size_t piece = std::max<std::size_t>(1, best.history.steps.size() / 2); piece > 0; piece /= 2) {
    for (std::size_t end = best.history.steps.size(); end > 0;) {
      auto smaller = best.history;
      const auto from = end > piece ? end - piece : 0;
      smaller.steps.erase(smaller.steps.begin() + static_cast<std::ptrdiff_t>(from),
                          smaller.steps.begin() + static_cast<std::ptrdiff_t>(std::min(end, smaller.steps.size())));
      attempt(smaller);
      end = from;
    }
  }
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = best.history.steps.size(); i-- > 0;) {
      auto smaller = best.history;
      smaller.steps.erase(smaller.steps.begin() + static_cast<std::ptrdiff_t>(i));
      again = attempt(smaller) || again;
    }
    for (std::size_t i = 0; i < best.history.steps.size(); ++i) {
      for (std::size_t k = best.history.steps[i].statements.size(); k-- > 0;) {
        auto smaller = best.history;
        auto& statements = smaller.steps[i].statements;
        statements.erase(statements.begin() + static_cast<std::ptrdiff_t>(k));
        again = attempt(smaller) || again;
      }
    }
    for (const auto rows : {&History::first_rows, &History::own_rows}) {
      for (std::size_t k = (best.history.*rows).size(); k-- > 0;) {
        auto smaller = best.history;
        (smaller.*rows).erase((smaller.*rows).begin() + static_cast<std::ptrdiff_t>(k));
        again = attempt(smaller) || again;
      }
    }
  }
  return best;
}

Verdict check(mbsync::test::TempCluster& cluster, const Wanted& wanted) {
  static std::atomic<int> labs{0};
  // A worker waits for its server half of the time, so there are two for each core.
  const auto count = std::clamp(2 * std::thread::hardware_concurrency(), 2U, 8U);
  Worker::Shared shared{wanted};
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < count; ++i) {
    workers.push_back(std::make_unique<Worker>(cluster, fmt::format("lab{}", labs++), shared));
  }
  shared.start = Clock::now();
  std::vector<std::jthread> threads;
  threads.reserve(workers.size());
  for (auto& worker : workers) {
    threads.emplace_back([&worker] {
      try {
        worker->work();
      } catch (const std::exception& error) {
        worker->fail(error.what());
      }
    });
  }
  threads.clear();
  Verdict verdict{
      shared.histories,  shared.schemas, std::chrono::duration<double>(Clock::now() - shared.start).count(), {},
      shared.steps_left, shared.failure};
  for (const auto& worker : workers) {
    verdict.counts.add(worker->counts());
  }
  return verdict;
}

mbsync::test::TempClusterOptions fast_cluster() {
  return {.conf = {"synchronous_commit = off", "shared_buffers = 256MB", "max_connections = 400", "wal_level = minimal",
                   "max_wal_senders = 0", "max_wal_size = 4GB", "checkpoint_timeout = 30min",
                   "autovacuum_naptime = 30s", "track_activities = off", "log_min_messages = panic", "jit = off"}};
}

}  // namespace mbsync::checker
