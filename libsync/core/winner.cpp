#include "winner.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <tuple>

#include "check.h"
#include "value_order.h"
#include "value_union.h"

namespace mbsync {

namespace {

class BuiltInRules : public Rulebook {
 public:
  [[nodiscard]] const RowRules& rules(PolicyVersion) const override { return rules_; }
  [[nodiscard]] bool readable(const Value&) const override { return true; }
  [[nodiscard]] std::optional<Value> call(const ColumnRule&, ColumnNumber, const Siblings&) const override {
    return std::nullopt;
  }

 private:
  RowRules rules_;
};

// kTimeUnknown is the least time there is, so it loses to any other without being named here.
bool earlier(const Write* a, const Write* b) {
  return std::tie(a->at, a->dot) < std::tie(b->at, b->dot);
}

bool computes(Rule rule) {
  return rule == Rule::kUnion || rule == Rule::kAppend || rule == Rule::kFunction;
}

bool looks_at_values(Rule rule) {
  return computes(rule) || rule == Rule::kMax || rule == Rule::kMin || rule == Rule::kPreferNonNull;
}

// C12: such a column goes by its own rule, whatever group it is in, and has no say in what its group goes by.
bool stands_alone(Rule rule) {
  return looks_at_values(rule) || rule == Rule::kSum;
}

int rank_of(const Write& write, const RowRules& rules) {
  const auto place = rules.ranks.find(write.dot.origin);
  return place == rules.ranks.end() ? std::numeric_limits<int>::max() : place->second;
}

ColumnType type_of(ColumnNumber column, const RowRules& rules) {
  const auto place = rules.types.find(column);
  return place == rules.types.end() ? ColumnType{} : place->second;
}

bool is_empty(const Value& value) {
  return !value || value->empty();
}

template <typename Predicate>
Siblings those(const Siblings& siblings, Predicate predicate) {
  Siblings result;
  std::copy_if(siblings.begin(), siblings.end(), std::back_inserter(result), predicate);
  return result.empty() ? siblings : result;
}

// Of the siblings whose value of `column` is the greatest, or the least that is not NULL, the last.
const Write& extreme(const Siblings& siblings, ColumnNumber column, const ColumnType& type, bool greatest) {
  const auto known = those(siblings, [&](const Write* write) { return value_of(*write, column).has_value(); });
  const auto* best = known.front();
  for (const auto* write : known) {
    const auto order = compare_values(value_of(*write, column), value_of(*best, column), type) * (greatest ? 1 : -1);
    best = order > 0 || (order == 0 && earlier(best, write)) ? write : best;
  }
  return *best;
}

// One of the siblings, by a rule that chooses among them.
const Write& choose(Rule rule, const Siblings& siblings, ColumnNumber column, const RowRules& rules) {
  switch (rule) {
    case Rule::kFirstWriterWins:
      return **std::min_element(siblings.begin(), siblings.end(), earlier);
    case Rule::kNodePriority: {
      const auto* best = *std::min_element(siblings.begin(), siblings.end(), [&](const Write* a, const Write* b) {
        return rank_of(*a, rules) < rank_of(*b, rules);
      });
      return last_writer(
          those(siblings, [&](const Write* write) { return rank_of(*write, rules) == rank_of(*best, rules); }));
    }
    case Rule::kMax:
    case Rule::kMin:
      return extreme(siblings, column, type_of(column, rules), rule == Rule::kMax);
    case Rule::kPreferNonNull:
      return last_writer(those(siblings, [&](const Write* write) { return !is_empty(value_of(*write, column)); }));
    case Rule::kLastWriterWins:
    case Rule::kManual:
    case Rule::kSum:
    case Rule::kUnion:
    case Rule::kAppend:
    case Rule::kFunction:
      return last_writer(siblings);
  }
  return last_writer(siblings);
}

// A value made of all siblings, which come in the order of time. Nothing: they are not of the form that it takes.
std::optional<Value> compute(const ColumnRule& rule, const Siblings& siblings, ColumnNumber column,
                             const Rulebook& book, const RowRules& rules) {
  if (rule.rule == Rule::kFunction) {
    return book.call(rule, column, siblings);
  }
  std::vector<std::string> texts;
  for (const auto* write : siblings) {
    if (const auto& value = value_of(*write, column); value && !(rule.rule == Rule::kAppend && value->empty())) {
      texts.push_back(*value);
    }
  }
  if (texts.empty()) {
    return Value(std::string());  // NULL and the empty text: something was said
  }
  if (rule.rule == Rule::kAppend) {
    return append_texts(texts);
  }
  auto united = type_of(column, rules).kind == ValueKind::kArray ? unite_arrays(texts) : unite_json(texts);
  return united ? std::optional<Value>(std::move(*united)) : std::nullopt;
}

// Whether the policy that a write was made under has made it hold all of the group.
bool made_whole(const Write& write, const ColumnSet& group, const Rulebook& book) {
  const auto& groups = book.rules(write.policy).groups;
  return std::any_of(groups.begin(), groups.end(), [&](const ColumnSet& other) { return group.minus(other).empty(); });
}

const ColumnSet* group_of(ColumnNumber column, const RowRules& rules) {
  const auto group = std::find_if(rules.groups.begin(), rules.groups.end(),
                                  [&](const ColumnSet& candidate) { return candidate.contains(column); });
  return group == rules.groups.end() ? nullptr : &*group;
}

}  // namespace

const Rulebook& built_in_rules() {
  static const BuiltInRules kRules;
  return kRules;
}

const Write& last_writer(const Siblings& siblings) {
  MBSYNC_CHECK(!siblings.empty(), "no siblings to choose a winner from");
  return **std::max_element(siblings.begin(), siblings.end(), earlier);
}

PolicyVersion highest_policy(const Siblings& siblings) {
  PolicyVersion highest = kBuiltInPolicy;
  for (const auto* write : siblings) {
    highest = std::max(highest, write->policy);
  }
  return highest;
}

const Value& value_of(const Write& write, ColumnNumber column) {
  const auto found = write.values.find(column);
  MBSYNC_CHECK(found != write.values.end(), "a write lacks the value of one of its columns");
  return found->second;
}

Verdict judge_siblings(const Siblings& siblings, ColumnNumber column, const Rulebook& book) {
  const auto& rules = book.rules(highest_policy(siblings));
  auto rule = rules.rule_of(column);
  auto candidates = siblings;
  // Columns of a group are judged alike, so they come from one write. One that was made before they became a group may
  // hold but a part of it, and gives way. What it holds now does not tell: a later write may have taken columns over.
  if (const auto* group = group_of(column, rules); group != nullptr && !stands_alone(rule.rule)) {
    candidates = those(siblings, [&](const Write* write) { return made_whole(*write, *group, book); });
    for (const auto number : group->numbers()) {
      if (const auto& other = rules.rule_of(number); other.rule != Rule::kLastWriterWins && !stands_alone(other.rule)) {
        rule = other;
        break;
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(), earlier);

  Verdict verdict{{}, rule.rule, {}};
  const bool unreadable = looks_at_values(rule.rule) &&
                          std::any_of(candidates.begin(), candidates.end(),
                                      [&](const Write* write) { return !book.readable(value_of(*write, column)); });
  if (unreadable) {
    verdict.note = "a value is too large for this rule; the last writer wins";
  } else if (computes(rule.rule)) {
    if (auto value = compute(rule, candidates, column, book, rules)) {
      verdict.value = std::move(*value);
      const auto same = std::find_if(candidates.rbegin(), candidates.rend(),
                                     [&](const Write* write) { return value_of(*write, column) == verdict.value; });
      if (same != candidates.rend()) {
        verdict.winner = (*same)->dot;
      }
      return verdict;
    }
    verdict.note = rule.rule == Rule::kFunction ? "the function " + rule.function + " failed; the last writer wins"
                                                : "these values cannot be joined; the last writer wins";
  }
  const auto& winner = choose(unreadable ? Rule::kLastWriterWins : rule.rule, candidates, column, rules);
  verdict.value = value_of(winner, column);
  verdict.winner = winner.dot;
  return verdict;
}

}  // namespace mbsync
