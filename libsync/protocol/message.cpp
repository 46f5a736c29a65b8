#include "message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "json_reader.h"
#include "message_parts.h"
#include "protocol_limits.h"

namespace mbsync {
namespace {

using detail::dump;
using detail::Fault;
using detail::json_of;
using detail::ObjectReader;
using detail::read_columns;
using detail::read_member;
using detail::read_names;
using detail::read_node_id;
using nlohmann::json;

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
/// 9999-12-31: a clock beyond it is broken.
constexpr std::int64_t kClockMax = 253'402'300'799'999'999;

/// Where `now` differs from `base`; 0 where only `base` has something.
json changes_of(const VersionVector& now, const VersionVector& base) {
  json out = json::object();
  auto before = base.counters().begin();
  const auto end = base.counters().end();
  const auto gone_before = [&](const NodeId* origin) {
    for (; before != end && (origin == nullptr || before->first < *origin); ++before) {
      out[to_string(before->first)] = 0;
    }
  };
  for (const auto& [origin, counter] : now.counters()) {
    gone_before(&origin);
    const bool known = before != end && before->first == origin;
    if (!known || before->second != counter) {
      out[to_string(origin)] = counter;
    }
    before = known ? std::next(before) : before;
  }
  gone_before(nullptr);
  return out;
}

/// Those that `base` does not name, or names otherwise.
json changes_of(const std::vector<Member>& members, const std::vector<Member>& base) {
  std::map<NodeId, std::string_view> known;
  for (const Member& member : base) {
    known.emplace(member.id, member.name);
  }
  json out = json::array();
  for (const Member& member : members) {
    const auto place = known.find(member.id);
    if (place == known.end() || place->second != member.name) {
      out.push_back(json_of(member));
    }
  }
  return out;
}

/// Reports say where they differ from what their teller has itself. In a fleet at rest all have all, so most members
/// are like each other: whoever is not named has all of it too, or, where that is shorter, nothing is said of it.
void put_reports(json& out, const std::map<NodeId, VersionVector>& reports, const std::vector<Member>& members,
                 const VersionVector& seen) {
  std::set<NodeId> have_all;
  std::vector<NodeId> unknown;
  for (const Member& member : members) {
    const auto report = reports.find(member.id);
    if (report == reports.end()) {
      unknown.push_back(member.id);
    } else if (report->second == seen) {
      have_all.insert(member.id);
    }
  }
  const bool others_have_all = unknown.size() < have_all.size();
  json told = json::object();
  for (const auto& [node, report] : reports) {
    if (!others_have_all || !have_all.contains(node)) {
      told[to_string(node)] = changes_of(report, seen);
    }
  }
  if (others_have_all) {
    for (const NodeId node : unknown) {
      told[to_string(node)] = nullptr;
    }
  }
  out["others_have_all"] = others_have_all;
  out["reports"] = std::move(told);
}

/// `base` with the changes that `value` tells.
VersionVector read_changes(const json& value, const VersionVector& base, std::string_view what, Fault& fault) {
  VersionVector::Map counters = base.counters();
  for (const auto& [id, counter] : detail::read_object(value, kMembersMax, what, fault).items()) {
    const NodeId origin = read_node_id(id, what, fault);
    counters[origin] = detail::read_integer(counter, base.counter(origin) > 0 ? 0 : 1, kInt64Max, what, fault);
    if (fault) {
      return {};
    }
  }
  if (counters.size() > kMembersMax) {
    fault.set(what, "more entries than a fleet has members");
  }
  return VersionVector(std::move(counters));
}

/// `base` with those that are new or have other names, in the order of their ids.
std::vector<Member> read_members(const json& value, const std::vector<Member>& base, Fault& fault) {
  std::map<NodeId, std::string> names;
  for (const Member& member : base) {
    names[member.id] = member.name;
  }
  std::set<NodeId> seen;
  for (const json& element : detail::read_array(value, kMembersMax, "members", fault)) {
    Member member = read_member(element, "members", fault);
    if (!fault && !seen.insert(member.id).second) {
      fault.set("members", "one node twice");
    }
    if (fault) {
      return {};
    }
    names[member.id] = std::move(member.name);
  }
  if (names.size() > kMembersMax) {
    fault.set("members", "more than a fleet may have");
  }
  std::vector<Member> members;
  members.reserve(names.size());
  for (auto& [id, name] : names) {
    members.push_back({id, std::move(name)});
  }
  return members;
}

constexpr std::array kStandings{Standing::kAway, Standing::kGone, Standing::kBanned, Standing::kElsewhere};

// What is as it nearly always is, is not said.
void put_standing(json& out, const PullHeader& message) {
  if (message.standing != Standing::kMember) {
    out["standing"] = to_string(message.standing);
  }
  for (const auto& [name, nodes] : {std::pair("staying", &message.staying), std::pair("outside", &message.outside)}) {
    for (const NodeId node : *nodes) {
      out[name].push_back(to_string(node));
    }
  }
}

// None, if it is not there.
std::vector<NodeId> read_nodes(ObjectReader& reader, const char* name, Fault& fault) {
  std::vector<NodeId> nodes;
  if (!reader.has(name)) {
    return nodes;
  }
  for (const json& element : reader.array(name, kMembersMax)) {
    nodes.push_back(read_node_id(detail::read_text(element, 1, 16, name, fault), name, fault));
    if (!fault && nodes.size() > 1 && !(nodes[nodes.size() - 2] < nodes.back())) {
      fault.set(name, "not in the order of ids");
    }
    if (fault) {
      return nodes;
    }
  }
  if (nodes.empty()) {
    fault.set(name, "empty");
  }
  return nodes;
}

void read_standing(ObjectReader& reader, PullHeader& message, Fault& fault) {
  if (reader.has("standing")) {
    const auto word = reader.text("standing", 1, kIdentifierBytesMax);
    const auto* const place = std::find_if(kStandings.begin(), kStandings.end(),
                                           [&](Standing standing) { return to_string(standing) == word; });
    if (place == kStandings.end()) {
      fault.set("standing", "unknown word");
      return;
    }
    message.standing = *place;
  }
  message.staying = read_nodes(reader, "staying", fault);
  if (!fault) {
    message.outside = read_nodes(reader, "outside", fault);
  }
}

std::map<NodeId, VersionVector> read_reports(ObjectReader& reader, const std::vector<Member>& members,
                                             const VersionVector& seen, Fault& fault) {
  const bool others_have_all = reader.boolean("others_have_all");
  std::map<NodeId, VersionVector> reports;
  std::set<NodeId> unknown;
  std::size_t entries = 0;
  const auto count = [&](const VersionVector& report) {
    entries += report.counters().size();
    if (entries > kReportEntriesMax) {
      fault.set("reports", "more entries than may be");
    }
  };
  for (const auto& [id, changes] :
       detail::read_object(reader.member("reports"), kMembersMax, "reports", fault).items()) {
    const NodeId node = read_node_id(id, "reports", fault);
    if (others_have_all && changes.is_null()) {
      unknown.insert(node);
    } else {
      reports[node] = read_changes(changes, seen, "reports", fault);
      count(reports[node]);
    }
    if (fault) {
      return {};
    }
  }
  if (others_have_all) {
    for (const Member& member : members) {
      if (!unknown.contains(member.id) && !reports.contains(member.id)) {
        count(seen);
        if (fault) {
          return {};
        }
        reports.emplace(member.id, seen);
      }
    }
  }
  return reports;
}

std::vector<ColumnNumber> read_numbers(const json& array, Fault& fault) {
  std::vector<ColumnNumber> numbers;
  std::set<ColumnNumber> seen;
  for (const json& element : array) {
    numbers.push_back(
        static_cast<ColumnNumber>(detail::read_integer(element, kRowMark + 1, kColumnNumberMax, "numbers", fault)));
    if (!fault && !seen.insert(numbers.back()).second) {
      fault.set("numbers", "one number twice");
    }
    if (fault) {
      return {};
    }
  }
  return numbers;
}

// Digits with a sign and a point, as numeric writes them.
std::string read_decimal(const json& value, std::string_view what, Fault& fault) {
  auto text = detail::read_text(value, 1, kDecimalBytesMax, what, fault);
  const std::size_t sign = text.starts_with('-') ? 1 : 0;
  const auto point = text.find('.');
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool digits = std::all_of(text.begin() + static_cast<std::ptrdiff_t>(sign), text.end(),
                                  [&](char c) { return is_digit(c) || c == '.'; });
  if (!fault &&
      (!digits || text.size() == sign || !is_digit(text[sign]) || !is_digit(text.back()) || point != text.rfind('.'))) {
    fault.set(what, "not a decimal number");
  }
  return text;
}

ColumnNumber read_number(const std::string& text, std::string_view what, Fault& fault) {
  ColumnNumber number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == kRowMark || number > kColumnNumberMax ||
      std::to_string(number) != text) {
    fault.set(what, "not a column number");
  }
  return number;
}

WireWrite read_write(const json& value, Fault& fault) {
  constexpr std::size_t kParts = 8;
  const json& parts = detail::read_array(value, kParts, "write", fault);
  WireWrite write;
  if (!fault && parts.size() != kParts) {
    fault.set("write", "not of eight parts");
  }
  if (fault) {
    return write;
  }
  write.dot.origin.value = detail::read_integer(parts[0], 1, kInt64Max, "origin", fault);
  write.dot.counter = detail::read_integer(parts[1], 1, kInt64Max, "counter", fault);
  // Nobody knowing the time has a form of its own.
  write.at = parts[2].is_null() ? kTimeUnknown
                                : WriteTime{detail::read_integer(parts[2], kWriteTimeMin, kWriteTimeMax, "at", fault)};
  if (auto columns = ColumnSet::parse(detail::read_text(parts[3], 1, kColumnNumberMax + 1, "bits", fault))) {
    write.columns = std::move(*columns);
  } else {
    fault.set("bits", "holds something else than 0 and 1");
  }
  if (write.columns.empty()) {
    fault.set("bits", "no column");
  }
  write.deleted = detail::read_boolean(parts[4], "deleted", fault);
  if (!parts[5].is_null()) {
    write.kept = detail::read_text(parts[5], 2, kRowWritesBytesMax, "kept", fault);
  }
  write.policy = detail::read_integer(parts[6], 0, kInt64Max, "policy", fault);
  if (!parts[7].is_null()) {
    for (const auto& [number, sum] : detail::read_object(parts[7], kColumnsMax, "sums", fault).items()) {
      write.sums[read_number(number, "sums", fault)] = read_decimal(sum, "sums", fault);
    }
  }
  return write;
}

std::vector<WireWrite> read_writes(const json& value, Fault& fault) {
  std::vector<WireWrite> writes;
  for (const json& element : detail::read_array(value, kRowWritesMax, "writes", fault)) {
    writes.push_back(read_write(element, fault));
    if (!fault && writes.size() > 1 && !(writes[writes.size() - 2].dot < writes.back().dot)) {
      fault.set("writes", "not in dot order");
    }
    if (fault) {
      return {};
    }
  }
  return writes;
}

std::vector<WireCounter> read_counters(const json& value, Fault& fault) {
  constexpr std::size_t kParts = 5;
  std::vector<WireCounter> counters;
  std::set<std::pair<ColumnNumber, NodeId>> seen;
  for (const json& element : detail::read_array(value, kRowCountersMax, "counters", fault)) {
    const json& parts = detail::read_array(element, kParts, "counter", fault);
    if (!fault && parts.size() != kParts) {
      fault.set("counter", "not of five parts");
    }
    if (fault) {
      return {};
    }
    WireCounter counter;
    counter.number =
        static_cast<ColumnNumber>(detail::read_integer(parts[0], kRowMark + 1, kColumnNumberMax, "counter", fault));
    counter.origin.value = detail::read_integer(parts[1], 1, kInt64Max, "counter", fault);
    counter.counter = detail::read_integer(parts[2], 1, kInt64Max, "counter", fault);
    counter.total = read_decimal(parts[3], "counter", fault);
    counter.shown = read_decimal(parts[4], "counter", fault);
    if (!fault && !seen.emplace(counter.number, counter.origin).second) {
      fault.set("counters", "one origin twice");
    }
    counters.push_back(std::move(counter));
  }
  return counters;
}

ErrorKind read_kind(std::string_view text, Fault& fault) {
  for (const ErrorKind kind :
       {ErrorKind::kTransient, ErrorKind::kInDoubt, ErrorKind::kRejected, ErrorKind::kConflict, ErrorKind::kCorrupt,
        ErrorKind::kConfig, ErrorKind::kNotFound, ErrorKind::kCancelled, ErrorKind::kInternal}) {
    if (text == to_string(kind)) {
      return kind;
    }
  }
  fault.set("kind", "unknown word");
  return ErrorKind::kInternal;
}

/// At most `bytes_max` of it, without half a character at the end, and without zero bytes, which no reader would take.
std::string clip(std::string text, std::size_t bytes_max) {
  text.erase(std::remove(text.begin(), text.end(), '\0'), text.end());
  // A byte that is no UTF-8 becomes a mark of three bytes; done here so that the limit holds for what is sent.
  text = json::parse(dump(json(text))).get<std::string>();
  if (text.size() > bytes_max) {
    std::size_t end = bytes_max;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
      --end;
    }
    text.resize(end);
  }
  return text;
}

}  // namespace

std::string_view to_string(Standing standing) {
  switch (standing) {
    case Standing::kMember:
      return "member";
    case Standing::kAway:
      return "away";
    case Standing::kGone:
      return "gone";
    case Standing::kBanned:
      return "banned";
    case Standing::kElsewhere:
      return "elsewhere";
  }
  return "member";
}

std::string to_json(const PullRequest& message, const PullRequest& base, std::string_view base_name) {
  const PullRequest nothing;
  const PullRequest& known = base_name.empty() ? nothing : base;
  json out{{"base", base_name},
           {"sender", json_of(message.sender)},
           {"seen", changes_of(message.seen, known.seen)},
           {"members", changes_of(message.members, known.members)},
           {"wait_ms", message.wait_ms},
           {"sent_at_us", message.sent_at_us}};
  put_reports(out, message.reports, message.members, message.seen);
  if (message.was) {
    out["was"] = to_string(*message.was);
  }
  return dump(out);
}

std::string base_text(const PullRequest& message) {
  std::map<NodeId, std::string_view> members;
  for (const Member& member : message.members) {
    members.emplace(member.id, member.name);
  }
  json names = json::object();
  for (const auto& [id, name] : members) {
    names[to_string(id)] = name;
  }
  return dump({{"members", std::move(names)}, {"seen", changes_of(message.seen, {})}});
}

Result<PullRequest> parse_pull_request(std::string_view text, const FindRequest& find) {
  Fault fault("pull request");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  PullRequest message;
  const PullRequest nothing;
  const PullRequest* base = &nothing;
  const auto base_name = reader.text("base", 0, kBaseNameBytesMax);
  if (!fault && !base_name.empty()) {
    base = find ? find(base_name) : nullptr;
    if (base == nullptr) {
      return Error{ErrorKind::kNotFound, "the request builds on one that is not known here", "say all of it"};
    }
  }
  message.sender = read_member(reader.member("sender"), "sender", fault);
  message.seen = read_changes(reader.member("seen"), base->seen, "seen", fault);
  message.members = read_members(reader.member("members"), base->members, fault);
  message.reports = read_reports(reader, message.members, message.seen, fault);
  message.wait_ms = reader.integer("wait_ms", 0, kWaitMsMax);
  message.sent_at_us = reader.integer("sent_at_us", 0, kClockMax);
  if (reader.has("was")) {
    message.was = read_node_id(reader.text("was", 1, 16), "was", fault);
    if (!fault && *message.was == message.sender.id) {
      fault.set("was", "the sender itself");
    }
  }
  reader.done();
  return detail::result_of(std::move(message), fault);
}

std::string to_json(const PullHeader& message, const PullRequest& asked) {
  json out{{"sender", json_of(message.sender)},
           {"seen", changes_of(message.seen, asked.seen)},
           {"members", changes_of(message.members, asked.members)},
           {"full", message.full},
           {"sent_at_us", message.sent_at_us},
           {"forgotten", changes_of(message.forgotten, message.seen)},
           {"ask_again", message.ask_again}};
  put_reports(out, message.reports, message.members, message.seen);
  put_standing(out, message);
  return dump(out);
}

Result<PullHeader> parse_pull_header(std::string_view text, const PullRequest& asked) {
  Fault fault("pull header");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  PullHeader message;
  message.sender = read_member(reader.member("sender"), "sender", fault);
  message.seen = read_changes(reader.member("seen"), asked.seen, "seen", fault);
  message.members = read_members(reader.member("members"), asked.members, fault);
  message.reports = read_reports(reader, message.members, message.seen, fault);
  message.full = reader.boolean("full");
  message.sent_at_us = reader.integer("sent_at_us", 0, kClockMax);
  message.forgotten = read_changes(reader.member("forgotten"), message.seen, "forgotten", fault);
  message.ask_again = reader.boolean("ask_again");
  read_standing(reader, message, fault);
  reader.done();
  return detail::result_of(std::move(message), fault);
}

std::string to_json(const TableHeader& message) {
  json columns = json::array();
  for (const WireColumn& column : message.columns) {
    columns.push_back({{"name", column.name}, {"type", column.type}});
  }
  return dump({{"schema", message.schema},
               {"name", message.name},
               {"key", message.key},
               {"columns", std::move(columns)},
               {"numbers", message.numbers}});
}

Result<TableHeader> parse_table_header(std::string_view text) {
  Fault fault("table header");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  TableHeader message;
  message.schema = reader.text("schema", 1, kIdentifierBytesMax);
  message.name = reader.text("name", 1, kIdentifierBytesMax);
  message.key = read_names(reader.array("key", kKeyColumnsMax), "key", fault);
  message.columns = read_columns(reader.array("columns", kColumnsMax), fault);
  message.numbers = read_numbers(reader.array("numbers", kColumnsMax), fault);
  reader.done();
  if (message.key.empty()) {
    fault.set("key", "empty");
  }
  if (message.numbers.size() != message.columns.size()) {
    fault.set("numbers", "not as many as columns");
  }
  return detail::result_of(std::move(message), fault);
}

std::string to_json(const PullFooter& message) {
  return dump({{"tables", message.tables}, {"rows", message.rows}});
}

Result<PullFooter> parse_pull_footer(std::string_view text) {
  Fault fault("pull footer");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  PullFooter message;
  message.tables = reader.integer("tables", 0, kInt64Max);
  message.rows = reader.integer("rows", 0, kInt64Max);
  reader.done();
  return detail::result_of(message, fault);
}

std::string to_json(const Refusal& message) {
  return dump({{"kind", to_string(message.kind)},
               {"message", clip(message.message, kRefusalTextBytesMax)},
               {"hint", clip(message.hint, kRefusalTextBytesMax)}});
}

Result<Refusal> parse_refusal(std::string_view text) {
  Fault fault("refusal");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  Refusal message;
  message.kind = read_kind(reader.text("kind", 1, kRefusalTextBytesMax), fault);
  message.message = reader.text("message", 0, kRefusalTextBytesMax);
  message.hint = reader.text("hint", 0, kRefusalTextBytesMax);
  reader.done();
  return detail::result_of(std::move(message), fault);
}

Result<std::string> to_json(const WireRow& row, std::size_t width) {
  json writes = json::array();
  for (const WireWrite& write : row.writes) {
    json sums;
    for (const auto& [number, sum] : write.sums) {
      sums[std::to_string(number)] = sum;
    }
    writes.push_back({write.dot.origin.value, write.dot.counter,
                      write.at == kTimeUnknown ? json() : json(write.at.micros), write.columns.to_bits(width),
                      write.deleted, write.kept ? json(*write.kept) : json(), write.policy, std::move(sums)});
  }
  json counters = json::array();
  for (const WireCounter& counter : row.counters) {
    counters.push_back({counter.number, counter.origin.value, counter.counter, counter.total, counter.shown});
  }
  const json out = counters.empty() ? std::move(writes) : json{{"writes", writes}, {"counters", counters}};
  try {
    return out.dump(-1, ' ', false, json::error_handler_t::strict);
  } catch (const json::exception&) {
    return Error{ErrorKind::kCorrupt, "a write keeps values that are not UTF-8",
                 "convert the database to the encoding UTF8"};
  }
}

Result<WireRow> parse_wire_row(std::string_view text) {
  Fault fault("row's writes");
  const json document = detail::parse_json(text, kRowWritesBytesMax, fault);
  WireRow row;
  if (!fault && document.is_object()) {
    ObjectReader reader(document, "", fault);
    row.writes = read_writes(reader.member("writes"), fault);
    row.counters = read_counters(reader.member("counters"), fault);
    reader.done();
  } else {
    row.writes = read_writes(document, fault);
  }
  if (row.writes.empty() && row.counters.empty()) {
    fault.set("", "no write");
  }
  return detail::result_of(std::move(row), fault);
}

}  // namespace mbsync
