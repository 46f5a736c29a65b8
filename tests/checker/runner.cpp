#include "runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <mutex>
#include <thread>
#include <tuple>

namespace mbsync::checker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRoundsMax = 8;
constexpr int kShrinkTriesMax = 400;
constexpr std::chrono::seconds kShrinkMax{60};

std::string text_of(const Schema& schema, const Rows& rows) {
  std::string text;
  for (const auto& [row, values] : rows) {
    const auto& table = schema.tables()[row.table];
    text += fmt::format("    {} {}:", table.name, row.key);
    for (std::size_t i = table.keys; i < values.size(); ++i) {
      text += fmt::format(" {}={}", table.columns[i].name, values[i].value_or("NULL"));
    }
    text += "\n";
  }
  return text.empty() ? "    (no rows)\n" : text;
}

using Waiting = std::map<RowId, std::string>;

class Run {
 public:
  Run(Lab& lab, const Schema& schema, const History& history, const Faults& faults)
      : lab_(lab),
        schema_(schema),
        history_(history),
        exact_(!schema.has_constraints()),
        sabotage_(faults.sabotage),
        skew_(history.skews) {
    lab_.reset(history.nodes, history.first_rows);
    const auto rows = lab_.rows(0);
    std::vector<Model::Shape> shapes;
    for (const auto& table : schema.tables()) {
      shapes.push_back({table.keys, table.columns.size()});
    }
    model_.emplace(history.nodes, rows, faults.rules, std::move(shapes));
    for (std::size_t node = 1; node < history.nodes; ++node) {
      compare(node, lab_.rows(node), rows, "the first rows differ");
    }
  }

  void steps() {
    for (const auto& step : history_.steps) {
      try {
        run(step);
      } catch (const Failure& failure) {
        throw Failure(fmt::format("in step {}, {}:\n{}", step.number, describe(step), failure.what()));
      }
    }
  }

  void heal() {
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      for (std::size_t other = 0; other < history_.nodes; ++other) {
        if (node != other && lab_.has_answer(node, other)) {
          deliver(node, other);
        }
      }
    }
    for (int round = 0; !all_is_everywhere(); ++round) {
      if (round == kRoundsMax) {
        throw Failure("the nodes do not come to an end:\n" + state());
      }
      exchange();
    }
    check_equal();
    lab_.count_conflicts(0);
  }

  /// Once all know that all have everything, nothing may be left but the rows.
  void forget_all() {
    const auto rows = lab_.rows(0);
    exchange();
    exchange();
    for (std::size_t node = 0; node < history_.nodes; ++node) {
      lab_.forget(node);
      if (lab_.live_writes(node) != 0) {
        throw Failure(fmt::format("{} has writes left that everybody has", node_name(node)));
      }
      compare(node, lab_.rows(node), rows, "forgetting changed rows");
    }
  }

 private:
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
        if (lab_.deliver_and_cut(step.node, step.other, std::chrono::microseconds{step.delay})) {
          delivered(step.node, step.other);
        } else {
          check_unchanged(step.node);
        }
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
        break;
      case StepKind::kClock:
        skew_[step.node] = step.skew;
        break;
    }
  }

  void write(const Step& step) {
    std::vector<Rows> after;
    const auto at = step.at + skew_[step.node];
    if (!lab_.write(step.node, step.statements, at, after)) {
      return;
    }
    for (std::size_t i = 0; i < after.size(); ++i) {
      model_->change(step.node, at + static_cast<std::int64_t>(i), after[i]);
    }
  }

  void ask(std::size_t node, std::size_t other) {
    lab_.ask(node, other);
    model_->seal(other);
    answers_[{node, other}] = {model_->knows(other), model_->policy(other)};
  }

  void deliver(std::size_t node, std::size_t other) {
    if (lab_.deliver(node, other)) {
      delivered(node, other);
    } else {
      check_unchanged(node);  // out of date
    }
  }

  void check_unchanged(std::size_t node) { compare(node, lab_.rows(node), model_->rows(node), "nothing was applied"); }

  void delivered(std::size_t node, std::size_t other) {
    if (!sabotage_.empty()) {
      lab_.sabotage(node, sabotage_);
    }
    const auto& [writes, policy] = answers_.at({node, other});
    model_->learn(node, writes, policy);
    const auto rows = lab_.rows(node);
    if (exact_) {
      compare(node, rows, model_->rows(node), "after a pull");
      return;
    }
    model_->show(node, rows);
    check_constraints(node);
    check_all_known(node, rows);
  }

  /// What the node shows, what it has on record and what waits there account for every write that it has heard of.
  void check_all_known(std::size_t node, const Rows& rows) {
    const auto record = lab_.record(node);
    const auto waiting = lab_.waiting(node);
    if (!exact_) {
      check_others(node, rows, record, waiting);
    }
    check_nothing_lost(node, rows, record, waiting);
    check_mending(node, record);
  }

  /// What mbsync has done by itself is what the schema and the rules say (CONFLICTS.md C18 to C20).
  void check_mending(std::size_t node, const std::vector<Recorded>& record) {
    for (std::size_t i = 0; i < record.size(); ++i) {
      const auto& one = record[i];
      const auto wrong = [&](const std::string& what) {
        throw Failure(fmt::format("on {} conflict {} of {} {}, {}: {}\n{}", node_name(node), one.id,
                                  schema_.tables()[one.about.table].name, one.about.key, one.kind, what, state()));
      };
      if (one.kind == "unique" && one.row == one.about) {
        // The winner comes first, and is the one that had the value first.
        if (i == 0 || record[i - 1].id != one.id) {
          wrong("the row that has given way is not the second");
        }
        const auto& winner = record[i - 1];
        const auto known_of = [](const Recorded& version) { return version.node + 1; };  // 0: nobody remembers
        if (std::tuple(one.at, known_of(one), one.row.key) < std::tuple(winner.at, known_of(winner), winner.row.key)) {
          wrong("the row that has given way had the value first");
        }
        if (one.decisions.empty() && one.existence != "unique-merge") {
          wrong("no column has been changed");
        }
        for (const auto& [column, decision] : one.decisions) {
          const auto& before = one.values.at(column);
          const bool suffix = decision.rule == "unique-suffix" && before && decision.value &&
                              decision.value->starts_with(*before + "~") &&
                              one.digest.starts_with(decision.value->substr(before->size() + 1));
          if (!suffix && (decision.rule != "unique-null" || decision.value)) {
            wrong(fmt::format("{} has become {}", column, decision.value.value_or("NULL")));
          }
        }
      }
      if (one.kind == "reference") {
        for (const auto& [column, decision] : one.decisions) {
          if (decision.rule == "unique-merge" || decision.rule == "no-such-row") {
            continue;  // what it refers to has become one with another row, or has never been
          }
          if (!has_action(one.about.table, column, decision.rule == "set-null" ? "SET NULL" : "SET DEFAULT")) {
            wrong(fmt::format("{} is set by rule {}", column, decision.rule));
          }
        }
        if (one.existence == "cascade" && !has_action(one.about.table, "", "CASCADE")) {
          wrong("it went with another row");
        }
        if (one.existence == "restrict" && !schema_.is_referred_to(one.about.table)) {
          wrong("it has come back, and nothing refers to it");
        }
      }
    }
  }

  /// Whether a foreign key of the table (with this column, if one is named) says so.
  [[nodiscard]] bool has_action(std::size_t table, const std::string& column, const std::string& action) const {
    const auto& keys = schema_.tables()[table].foreign_keys;
    return std::any_of(keys.begin(), keys.end(), [&](const ForeignKey& key) {
      const auto named = [&](std::size_t one) { return schema_.tables()[table].columns[one].name == column; };
      return key.on_delete == action && (column.empty() || std::any_of(key.columns.begin(), key.columns.end(), named));
    });
  }

  /// Where mbsync may make writes of its own, the model still knows what becomes of all rows but those which it has
  /// done so to, and these are on record.
  void check_others(std::size_t node, const Rows& rows, const std::vector<Recorded>& record, const Waiting& waiting) {
    std::set<RowId> known_otherwise;
    for (const auto& one : record) {
      if (one.kind == "unique" || one.kind == "reference") {
        known_otherwise.insert(one.about);
      }
    }
    for (const auto& [row, reason] : waiting) {
      known_otherwise.insert(row);
    }
    auto found = rows;
    auto expected = model_->settle(model_->knows(node));
    for (auto* part : {&found, &expected}) {
      std::erase_if(*part, [&](const auto& entry) { return known_otherwise.contains(entry.first); });
    }
    compare(node, found, expected, "rows that mbsync has done nothing to by itself");
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
    if (!exact_) {
      for (std::size_t node = 0; node < history_.nodes; ++node) {
        if (!lab_.waiting(node).empty()) {
          lab_.settle(node);
          model_->show(node, lab_.rows(node));
        }
      }
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
      const auto own = lab_.rows(node);
      compare(node, own, exact_ ? model_->rows(node) : rows, "all have pulled everything");
      if (lab_.record_text(node) != record) {
        throw Failure(fmt::format("all have pulled everything, and the records of conflicts differ: a\n{}\nand {}\n{}",
                                  record, node_name(node), lab_.record_text(node)));
      }
      check_constraints(node);
      check_all_known(node, own);
    }
  }

  void check_constraints(std::size_t node) {
    const auto broken = lab_.broken_constraints(node);
    if (!broken.empty()) {
      throw Failure(fmt::format("on {} {}\n{}", node_name(node), fmt::join(broken, ", "), state()));
    }
  }

  /// Every write that the node has heard of shows, was written over by somebody who knew it, is on record, or waits.
  void check_nothing_lost(std::size_t node, const Rows& rows, const std::vector<Recorded>& record,
                          const Waiting& waiting) {
    for (const auto& [write, column] : model_->losses(node, rows)) {
      const auto& table = schema_.tables()[write->row.table];
      const auto tells = [&, write = write, column = column](const Recorded& one) {
        // What mbsync itself has done about a row is recorded with the latest of the writes that made it. And a write
        // of its own, which the model does not know, may have taken the value over before it lost.
        const bool exactly = one.node == write->node && one.at == write->at;
        if (one.row != write->row || (exact_ && !exactly)) {
          return false;
        }
        if (!column) {
          return one.deleted;
        }
        const auto value = one.values.find(table.columns[*column].name);
        return value != one.values.end() && value->second == write->values[*column];
      };
      if (!waiting.contains(write->row) && std::none_of(record.begin(), record.end(), tells)) {
        throw Failure(fmt::format(
            "on {} a write of {} is neither shown nor written over nor on record: row {} of {}, {}\n{}",
            node_name(node), node_name(write->node), write->row.key, table.name,
            column ? fmt::format("{} = {}", table.columns[*column].name, write->values[*column].value_or("NULL"))
                   : "its deletion",
            state()));
      }
    }
  }

  void compare(std::size_t node, const Rows& found, const Rows& expected, const std::string& when) {
    if (found != expected) {
      throw Failure(fmt::format("{}: {} has\n{}and should have\n{}\n{}", when, node_name(node), text_of(schema_, found),
                                text_of(schema_, expected), state()));
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
  bool exact_;  ///< the model knows all that can happen to rows
  const std::string& sabotage_;
  std::vector<std::int64_t> skew_;
  std::optional<Model> model_;
  std::map<std::pair<std::size_t, std::size_t>, std::pair<Knowledge, std::size_t>> answers_;  ///< with the policy
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
      run.forget_all();
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
    for (std::size_t k = best.history.first_rows.size(); k-- > 0;) {
      auto smaller = best.history;
      smaller.first_rows.erase(smaller.first_rows.begin() + static_cast<std::ptrdiff_t>(k));
      again = attempt(smaller) || again;
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
