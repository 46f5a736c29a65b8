#include "table_rulebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "check.h"
#include "conflict_record.h"

namespace mbsync {

const RowRules& TableRulebook::rules(PolicyVersion version) const {
  const auto* rules = book_.find(version, table_);
  MBSYNC_CHECK(rules != nullptr, "a write is judged by a policy that nobody looked up");
  return rules->row;
}

Result<void> TableRulebook::require(PolicyVersion version) const {
  return book_.require(version, table_);
}

std::optional<Value> TableRulebook::call(const ColumnRule& rule, ColumnNumber column, const Siblings& siblings) const {
  if (trouble_ && trouble_->kind != ErrorKind::kConflict) {
    return std::nullopt;  // the transaction may be over; the first reason is the one to tell
  }
  auto value = try_call(rule, column, siblings);
  if (!value) {
    trouble_ = value.error();
    return std::nullopt;
  }
  return std::move(*value);
}

Result<std::optional<Value>> TableRulebook::try_call(const ColumnRule& rule, ColumnNumber column,
                                                     const Siblings& siblings) const {
  const auto version = highest_policy(siblings);
  const auto here = db_.exec("SELECT mbsync.function_md5($1)", {rule.function + "(jsonb)"});
  MBSYNC_TRY(here);
  const auto published = book_.function_md5(version, rule.function);
  if ((*here)[0][0].is_null() || published != (*here)[0][0].c_str()) {
    return Error{
        ErrorKind::kConflict,
        fmt::format(
            "policy {} decides by the function {}(jsonb), which is {} in this database; create it as it was when "
            "that policy was published ('mbsync rules history'), or publish a policy with the function as it is now "
            "and "
            "then write the column once more on the same node",
            policy_serial(version), rule.function, (*here)[0][0].is_null() ? "missing" : "another one"),
        ""};
  }
  auto list = nlohmann::json::array();
  for (const auto* write : siblings) {
    const auto& value = value_of(*write, column);
    list.push_back({{"node", to_string(write->dot.origin)},
                    {"at", iso_time(write->at)},
                    {"value", value ? nlohmann::json(*value) : nlohmann::json()}});
  }
  const auto place = std::find_if(table_.columns.begin(), table_.columns.end(),
                                  [&](const Column& candidate) { return candidate.number == column; });
  const auto result = db_.exec("SELECT failed, value FROM mbsync.call_rule($1, $2::jsonb, $3)",
                               {rule.function, list.dump(), place->type});
  MBSYNC_TRY(result);
  if ((*result)[0][0].is_null()) {
    return Error{ErrorKind::kConflict,
                 fmt::format("policy {} decides by the function {}(jsonb), which cannot run in this database: {}; put "
                             "right what it needs here as on the other nodes",
                             policy_serial(version), rule.function, (*result)[0][1].c_str()),
                 ""};
  }
  if ((*result)[0][0].as<bool>()) {
    return std::optional<Value>();
  }
  if ((*result)[0][1].is_null()) {
    return place->not_null ? std::optional<Value>() : std::optional<Value>(Value());
  }
  return std::optional<Value>(Value((*result)[0][1].c_str()));
}

Result<void> TableRulebook::trouble() {
  return trouble_ ? Result<void>(*std::exchange(trouble_, std::nullopt)) : Result<void>();
}

}  // namespace mbsync
