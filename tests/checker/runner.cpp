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
#include <utility>

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
        exact_(!schema.has_constraints() && !publishes_keep_both(history)),
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
    for (std::size_t node = 1; node < history.nodes; ++node) {
      compare(node, lab_.rows(node), model_->rows(node), "the first rows differ");
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
        renew_capture(step.node);
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

  void write(const Step& step) {
    std::vector<Rows> after;
    const auto at = step.at + skew_[step.node];
    if (lab_.write(step.node, step.statements, at, after)) {
      change(step.node, at, differences(step.node, after));
    }
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
    lab_.settle(node);
    const auto waiting = lab_.waiting(node);
    const auto left = rows_of(waiting);
    if (std::exchange(nodes_[node].waiting, left) == left) {
      check_unchanged(node);  // nothing is sealed then either
      check_waiting(node, waiting, left);
      return;
    }
    model_->settle_waiting(node, left);
    check_shown(node, waiting, left, "what waited was tried again");
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
    if (lab_.deliver(node, other)) {
      delivered(node, other);
    } else {
      check_unchanged(node);  // out of date
    }
    renew_capture(node);
  }

  void check_unchanged(std::size_t node) { compare(node, lab_.rows(node), model_->rows(node), "nothing was applied"); }

  void delivered(std::size_t node, std::size_t other) {
    const auto& answer = answers_.at({node, other});
    if (answer.of_newcomer) {
      throw Failure("it was pulled from a node that has not joined yet");
    }
    if (!sabotage_.empty() && !nodes_[node].held) {
      lab_.sabotage(node, sabotage_);
    }
    auto& own = nodes_[node];
    const bool may_wait = !exact_ || own.held || !own.refused.empty() || !own.waiting.empty();
    const auto waiting = may_wait ? lab_.waiting(node) : Waiting{};
    auto fresh = rows_of(waiting);
    std::erase_if(fresh, [&](const RowId& row) { return own.waiting.contains(row); });
    own.waiting = rows_of(waiting);
    const bool joins = model_->joins(node);
    model_->learn(node, answer.writes, answer.policy, own.waiting);
    check_shown(node, waiting, fresh, "after a pull");
    if (joins) {
      lab_.count_newcomer();
      check_overruled(node);
    }
  }

  /// The rows after mbsync has done something to them. `tried`: those of the waiting rows that could not be written
  /// just now.
  void check_shown(std::size_t node, const Waiting& waiting, const std::set<RowId>& tried, const std::string& when) {
    const auto rows = lab_.rows(node);
    check_waiting(node, waiting, tried);
    if (exact_) {
      compare(node, rows, model_->rows(node), when);
      return;
    }
    model_->show(node, rows);
    check_constraints(node);
    check_all_known(node, rows, waiting);
  }

  /// Rows wait for a reason (C10, C21), and where the model knows it all, no others.
  void check_waiting(std::size_t node, const Waiting& waiting, const std::set<RowId>& tried) {
    const auto& own = nodes_[node];
    if (tried.empty() || own.held) {
      return;
    }
    const auto expected = model_->settle(model_->knows(node));
    for (const auto& row : tried) {
      const auto& table = schema_.tables()[row.table];
      const auto outcome = expected.find(row);
      const bool refused =
          table.refuses && outcome != expected.end() && is_refused(node, outcome->second[table.marker()]);
      // What refers to a row that waits, waits with it.
      const bool others_wait = !exact_ && waiting.size() > tried.size();
      if ((own.refused.empty() && !others_wait) || (exact_ && !refused)) {
        throw Failure(fmt::format("on {} row {} of {} waits without need: {}\n{}", node_name(node), row.key, table.name,
                                  waiting.at(row), state()));
      }
    }
  }

  [[nodiscard]] bool is_refused(std::size_t node, const Value& marker) const {
    return marker && !marker->empty() && nodes_[node].refused.find(marker->back()) != std::string::npos;
  }

  /// What either side showed before a newcomer joined is shown or on record (C9).
  void check_overruled(std::size_t node) {
    if (model_->overruled().empty()) {
      return;
    }
    const auto record = lab_.record(node);
    const auto rows = lab_.rows(node);
    for (const auto& one : model_->overruled()) {
      const auto& table = schema_.tables()[one.row.table];
      const auto& name = table.columns[one.column].name;
      const bool counter = model_->role(one.row.table, one.column) == ColumnRole::kCounter;
      const auto tells = [&](const Recorded& version) {
        const auto value = version.values.find(name);
        return version.row == one.row && value != version.values.end() && (counter || value->second == one.value);
      };
      const auto shown = rows.find(one.row);
      if (std::none_of(record.begin(), record.end(), tells) &&
          (shown == rows.end() || shown->second[one.column] != one.value)) {
        throw Failure(fmt::format("on {}, which has joined, {} = {} of row {} of {} is neither shown nor on record\n{}",
                                  node_name(node), name, one.value.value_or("NULL"), one.row.key, table.name, state()));
      }
    }
  }

  /// What the node shows, what it has on record and what waits there account for every write that it has heard of.
  void check_all_known(std::size_t node, const Rows& rows, const Waiting& waiting) {
    const auto record = lab_.record(node);
    if (!exact_) {
      check_others(node, rows, record, waiting);
    }
    check_nothing_lost(node, rows, record, waiting);
    check_mending(node, rows, record, waiting);
  }

  /// Whether a version of a row lives on under another key (C15).
  static bool is_kept_apart(const Recorded& one) {
    return one.row != one.about && std::any_of(one.decisions.begin(), one.decisions.end(),
                                               [](const auto& column) { return column.second.rule == "keep-both"; });
  }

  /// What mbsync has done by itself is what the schema and the rules say (CONFLICTS.md C18 to C20).
  void check_mending(std::size_t node, const Rows& rows, const std::vector<Recorded>& record, const Waiting& waiting) {
    std::set<RowId> gone;  // for other reasons
    for (const auto& one : record) {
      if (one.kind == "unique" || one.kind == "reference") {
        gone.insert(one.about);
      }
    }
    for (std::size_t i = 0; i < record.size(); ++i) {
      const auto& one = record[i];
      const auto wrong = [&](const std::string& what) {
        throw Failure(fmt::format("on {} conflict {} of {} {}, {}: {}\n{}", node_name(node), one.id,
                                  schema_.tables()[one.about.table].name, one.about.key, one.kind, what, state()));
      };
      if (is_kept_apart(one) && !rows.contains(one.row) && !waiting.contains(one.row) && !gone.contains(one.row) &&
          !model_->has_deleted(node, one.row)) {
        wrong("the row that is kept beside it is not there");
      }
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
      if (one.kind == "unique" || one.kind == "reference" || is_kept_apart(one)) {
        known_otherwise.insert(one.about);
        known_otherwise.insert(one.row);
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
      const auto own = lab_.rows(node);
      compare(node, own, exact_ ? model_->rows(node) : rows, "all have pulled everything");
      if (lab_.record_text(node) != record) {
        throw Failure(fmt::format("all have pulled everything, and the records of conflicts differ: a\n{}\nand {}\n{}",
                                  record, node_name(node), lab_.record_text(node)));
      }
      check_constraints(node);
      check_all_known(node, own, {});
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
        const bool exactly = one.node == write->node && one.at == (write->at == kTimeUnknown ? 0 : write->at);
        if (one.about == write->row && is_kept_apart(one)) {
          return one.node == write->node;
        }
        if (one.row != write->row || (exact_ && !exactly)) {
          return false;
        }
        if (!column) {
          return one.deleted;
        }
        const bool counter = model_->role(write->row.table, *column) == ColumnRole::kCounter;
        const auto value = one.values.find(table.columns[*column].name);
        return value != one.values.end() && (counter || value->second == write->values[*column]);
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
