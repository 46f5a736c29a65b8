#include "conflict_json.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Value& value) {
  return value ? Json(*value) : Json();
}

Json json_of_text(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

Json json_of_place(const std::optional<int>& place) {
  return place ? Json(*place) : Json();
}

Json summary_json(const ConflictSummary& summary) {
  return {{"id", summary.id},
          {"state", to_string(summary.state)},
          {"kind", summary.kind},
          {"schema", summary.schema},
          {"table", summary.table},
          {"key", summary.key},
          {"columns", summary.columns},
          {"nodes", summary.nodes},
          {"rules", summary.rules},
          {"at", json_of_text(summary.at)},
          {"recorded_at", json_of_text(summary.recorded_at)},
          {"resolution", Json::parse(summary.resolution.dump())}};
}

template <typename Map>
Json values_json(const Map& values) {
  Json object = Json::object();
  for (const auto& [column, value] : values) {
    object[column] = json_of(value);
  }
  return object;
}

Json change_json(const DecisionReport& report) {
  Json changed = Json::array();
  for (const auto& change : report.changed) {
    changed.push_back({{"column", change.column}, {"from", json_of(change.from)}, {"to", json_of(change.to)}});
  }
  return changed;
}

}  // namespace

Json list_json(const ConflictList& list) {
  Json document{{"conflicts", Json::array()},
                {"more", list.more},
                {"open", list.counts.open},
                {"decided", list.counts.decided},
                {"resolved", list.counts.resolved}};
  for (const auto& conflict : list.conflicts) {
    document["conflicts"].push_back(summary_json(conflict));
  }
  return document;
}

Json details_json(const ConflictDetails& details) {
  const auto& conflict = details.conflict;
  Json document{{"conflict", summary_json(conflict.summary)}};
  document["versions"] = Json::array();
  for (const auto& version : conflict.versions) {
    document["versions"].push_back({{"version", version.version},
                                    {"node", {{"id", version.node}, {"name", version.name}}},
                                    {"counter", version.counter},
                                    {"at", json_of_text(version.at)},
                                    {"deleted", version.deleted},
                                    {"key", json_of_text(version.key)},
                                    {"values", values_json(version.values)}});
  }
  Json columns = Json::object();
  for (const auto& [column, decided] : conflict.outcome.columns) {
    columns[column] = {{"rule", decided.rule},
                       {"version", json_of_place(decided.version)},
                       {"value", json_of(decided.value)},
                       {"note", json_of_text(decided.note)}};
  }
  document["outcome"] = {{"exists", conflict.outcome.exists},
                         {"rule", json_of_text(conflict.outcome.rule)},
                         {"version", json_of_place(conflict.outcome.version)},
                         {"columns", columns}};
  document["row"] = {{"unreadable", json_of_text(details.row.unreadable)},
                     {"exists", details.row.exists},
                     {"values", values_json(details.row.values)}};
  document["after"] = {{"writes", Json::array()}, {"conflicts", Json::array()}};
  for (const auto& write : details.writes) {
    document["after"]["writes"].push_back({{"node", {{"id", write.node}, {"name", write.name}}},
                                           {"counter", write.counter ? Json(*write.counter) : Json()},
                                           {"at", json_of_text(write.at)},
                                           {"deleted", write.deleted},
                                           {"columns", write.columns}});
  }
  for (const auto& later : details.conflicts) {
    document["after"]["conflicts"].push_back(summary_json(later));
  }
  return document;
}

Json results_json(const std::vector<DecisionResult>& results) {
  Json document{{"results", Json::array()}, {"done", 0}, {"failed", 0}};
  std::size_t failed = 0;
  for (const auto& result : results) {
    if (result.report) {
      const auto& report = *result.report;
      document["results"].push_back({{"id", report.id},
                                     {"done", true},
                                     {"table", report.table},
                                     {"key", report.key},
                                     {"how", report.how},
                                     {"row", report.row},
                                     {"changed", change_json(report)},
                                     {"notes", report.notes}});
    } else {
      ++failed;
      const auto& error = result.report.error();
      document["results"].push_back(
          {{"id", result.id},
           {"done", false},
           {"error", {{"kind", to_string(error.kind)}, {"message", error.message}, {"hint", error.hint}}}});
    }
  }
  document["done"] = results.size() - failed;
  document["failed"] = failed;
  return document;
}

}  // namespace mbsync
