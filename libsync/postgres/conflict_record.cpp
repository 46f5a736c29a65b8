#include "conflict_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "record_text.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

std::string dot_of(const ConflictVersion& version) {
  return fmt::format("{}:{}", version.node, version.counter);
}

Json place_of(const std::optional<std::size_t>& version) {
  return version ? Json(*version + 1) : Json();
}

}  // namespace

Json iso_time(WriteTime at) {
  if (at == kTimeUnknown) {
    return {};
  }
  using namespace std::chrono;
  const auto moment = sys_time<microseconds>(microseconds(at.micros));
  const auto day = floor<days>(moment);
  const year_month_day date(day);
  const hh_mm_ss time(moment - day);
  auto text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                          static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                          time.minutes().count(), time.seconds().count());
  if (const auto micros = time.subseconds().count(); micros != 0) {
    text += fmt::format(".{:06}", micros);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + "Z";
}

std::vector<std::string> ConflictRecord::dots() const {
  std::vector<std::string> all;
  for (const auto& version : versions) {
    all.push_back(dot_of(version) + (version.key.empty() || version.key == key ? "" : "=" + version.key));
  }
  return all;
}

std::string ConflictRecord::signature() const {
  auto sorted = dots();
  std::sort(sorted.begin(), sorted.end());
  return fmt::format("{}|{}.{}|{}|{}|{}", kind, schema, table, key, fmt::join(sorted, " "),
                     kind == "existence" ? existence_rule : "");
}

std::vector<Value> ConflictRecord::line() const {
  std::vector<std::string> names;
  auto latest = kTimeUnknown;
  Json all = Json::array();
  for (const auto& version : versions) {
    latest = std::max(latest, version.at);
    all.push_back({{"version", all.size() + 1},
                   {"node", version.node},
                   {"counter", version.counter},
                   {"at", iso_time(version.at)},
                   {"deleted", version.deleted},
                   {"values", version.values}});
    if (!version.key.empty()) {
      all.back()["key"] = version.key;
    }
  }
  Json decided = Json::object();
  for (const auto& column : columns) {
    names.push_back(column.name);
    decided[column.name] = {{"rule", column.rule}, {"version", place_of(column.version)}};
    if (!column.version) {
      decided[column.name]["value"] = column.value;
    }
    if (!column.note.empty()) {
      decided[column.name]["note"] = column.note;
    }
  }
  const Json outcome{{"exists", exists},
                     {"rule", existence_rule.empty() ? Json() : Json(existence_rule)},
                     {"version", place_of(existence_version)},
                     {"columns", decided}};
  return {signature(),
          kind,
          schema,
          table,
          key,
          format_array(dots()),
          format_array(names),
          all.dump(),
          outcome.dump(),
          latest == kTimeUnknown ? Value() : Value(std::to_string(latest.micros)),
          std::string(is_open ? "t" : "f")};
}

}  // namespace mbsync
