#include "message.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "json_reader.h"
#include "protocol_limits.h"

namespace mbsync {
namespace {

using detail::Fault;
using detail::ObjectReader;
using nlohmann::json;

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
/// 9999-12-31: a clock beyond it is broken.
constexpr std::int64_t kClockMax = 253'402'300'799'999'999;

/// Texts come from PostgreSQL in UTF-8. Should one not be, a message for people shows a mark instead of failing.
std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

json json_of(const Member& member) {
  return {{"id", to_string(member.id)}, {"name", member.name}};
}

json json_of(const VersionVector& vector) {
  json out = json::object();
  for (const auto& [origin, counter] : vector.counters()) {
    out[to_string(origin)] = counter;
  }
  return out;
}

json json_of(const std::vector<Member>& members) {
  json out = json::array();
  for (const Member& member : members) {
    out.push_back(json_of(member));
  }
  return out;
}

json json_of(const std::map<NodeId, VersionVector>& reports) {
  json out = json::object();
  for (const auto& [node, vector] : reports) {
    out[to_string(node)] = json_of(vector);
  }
  return out;
}

NodeId read_node_id(std::string_view text, std::string_view what, Fault& fault) {
  const auto id = parse_node_id(text);
  // Only the form that we write is taken: two spellings of one node would be two members of an object.
  if (!id || to_string(*id) != text) {
    fault.set(what, "not a node id of 16 lower-case hexadecimal digits");
    return {};
  }
  return *id;
}

Member read_member(const json& value, std::string_view what, Fault& fault) {
  ObjectReader reader(value, what, fault);
  Member member;
  member.id = read_node_id(reader.text("id", 1, 16), "id", fault);
  member.name = reader.text("name", 1, kNodeNameBytesMax);
  if (std::any_of(member.name.begin(), member.name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; })) {
    fault.set("name", "holds a control character");
  }
  reader.done();
  return member;
}

VersionVector read_vector(const json& value, std::string_view what, Fault& fault) {
  VersionVector::Map counters;
  for (const auto& [id, counter] : detail::read_object(value, kMembersMax, what, fault).items()) {
    const NodeId origin = read_node_id(id, what, fault);
    counters[origin] = detail::read_integer(counter, 1, kInt64Max, what, fault);
    if (fault) {
      return {};
    }
  }
  return VersionVector(std::move(counters));
}

std::vector<Member> read_members(const json& value, Fault& fault) {
  std::vector<Member> members;
  std::set<NodeId> seen;
  for (const json& element : detail::read_array(value, kMembersMax, "members", fault)) {
    members.push_back(read_member(element, "members", fault));
    if (!fault && !seen.insert(members.back().id).second) {
      fault.set("members", "one node twice");
    }
    if (fault) {
      return {};
    }
  }
  return members;
}

std::map<NodeId, VersionVector> read_reports(const json& value, Fault& fault) {
  std::map<NodeId, VersionVector> reports;
  for (const auto& [id, vector] : detail::read_object(value, kMembersMax, "reports", fault).items()) {
    const NodeId node = read_node_id(id, "reports", fault);
    reports[node] = read_vector(vector, "reports", fault);
    if (fault) {
      return {};
    }
  }
  return reports;
}

/// Distinct texts within the limits.
std::vector<std::string> read_names(const json& array, std::string_view what, Fault& fault) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const json& element : array) {
    names.push_back(detail::read_text(element, 1, kIdentifierBytesMax, what, fault));
    if (!fault && !seen.insert(names.back()).second) {
      fault.set(what, "one name twice");
    }
    if (fault) {
      return {};
    }
  }
  return names;
}

std::vector<WireColumn> read_columns(const json& array, Fault& fault) {
  std::vector<WireColumn> columns;
  std::set<std::string> seen;
  for (const json& element : array) {
    ObjectReader reader(element, "columns", fault);
    columns.push_back({reader.text("name", 1, kIdentifierBytesMax), reader.text("type", 1, kTypeBytesMax)});
    reader.done();
    if (!fault && !seen.insert(columns.back().name).second) {
      fault.set("columns", "one name twice");
    }
    if (fault) {
      return {};
    }
  }
  return columns;
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
  // The lowest number is how kTimeUnknown looks inside; on the wire it has its own form.
  write.at = parts[2].is_null()
                 ? kTimeUnknown
                 : WriteTime{detail::read_integer(parts[2], kTimeUnknown.micros + 1, kInt64Max, "at", fault)};
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

/// Every parser ends the same way: with the first fault, or with the message.
template <typename T>
Result<T> result_of(T message, const Fault& fault) {
  if (fault) {
    return fault.error();
  }
  return message;
}

}  // namespace

std::string to_json(const PullRequest& message) {
  return dump({{"sender", json_of(message.sender)},
               {"seen", json_of(message.seen)},
               {"members", json_of(message.members)},
               {"reports", json_of(message.reports)},
               {"wait_ms", message.wait_ms},
               {"sent_at_us", message.sent_at_us}});
}

Result<PullRequest> parse_pull_request(std::string_view text) {
  Fault fault("pull request");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  PullRequest message;
  message.sender = read_member(reader.member("sender"), "sender", fault);
  message.seen = read_vector(reader.member("seen"), "seen", fault);
  message.members = read_members(reader.member("members"), fault);
  message.reports = read_reports(reader.member("reports"), fault);
  message.wait_ms = reader.integer("wait_ms", 0, kWaitMsMax);
  message.sent_at_us = reader.integer("sent_at_us", 0, kClockMax);
  reader.done();
  return result_of(std::move(message), fault);
}

std::string to_json(const PullHeader& message) {
  return dump({{"sender", json_of(message.sender)},
               {"seen", json_of(message.seen)},
               {"members", json_of(message.members)},
               {"reports", json_of(message.reports)},
               {"full", message.full},
               {"sent_at_us", message.sent_at_us},
               {"forgotten", json_of(message.forgotten)},
               {"ask_again", message.ask_again}});
}

Result<PullHeader> parse_pull_header(std::string_view text) {
  Fault fault("pull header");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  PullHeader message;
  message.sender = read_member(reader.member("sender"), "sender", fault);
  message.seen = read_vector(reader.member("seen"), "seen", fault);
  message.members = read_members(reader.member("members"), fault);
  message.reports = read_reports(reader.member("reports"), fault);
  message.full = reader.boolean("full");
  message.sent_at_us = reader.integer("sent_at_us", 0, kClockMax);
  message.forgotten = read_vector(reader.member("forgotten"), "forgotten", fault);
  message.ask_again = reader.boolean("ask_again");
  reader.done();
  return result_of(std::move(message), fault);
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
  return result_of(std::move(message), fault);
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
  return result_of(message, fault);
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
  return result_of(std::move(message), fault);
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
  return result_of(std::move(row), fault);
}

}  // namespace mbsync
