#include "digest_message.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "json_reader.h"
#include "message_parts.h"
#include "protocol_limits.h"
#include "utf8.h"

namespace mbsync {
namespace {

using detail::Fault;
using detail::ObjectReader;
using nlohmann::json;

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
constexpr std::array kKinds{DigestKind::kTables, DigestKind::kShape,  DigestKind::kBlock,
                            DigestKind::kRows,   DigestKind::kLook,   DigestKind::kArm,
                            DigestKind::kFire,   DigestKind::kDisarm, DigestKind::kTouch};
constexpr std::array kStates{DigestState::kCompared, DigestState::kNoTable, DigestState::kDiffers};

json json_of(const std::optional<std::string>& text) {
  return text ? json(*text) : json();
}

json json_of(const std::vector<WireColumn>& columns) {
  json out = json::array();
  for (const WireColumn& column : columns) {
    out.push_back({{"name", column.name}, {"type", column.type}});
  }
  return out;
}

json json_of(const VersionVector& vector) {
  json out = json::object();
  for (const auto& [origin, counter] : vector.counters()) {
    out[to_string(origin)] = counter;
  }
  return out;
}

// Texts for people; what is too long ends with a whole character.
std::string_view clipped(std::string_view text) {
  text = text.substr(0, kRefusalTextBytesMax);
  return text.substr(0, valid_utf8_length(text));
}

// The word that one of `all` has.
template <typename T, std::size_t N>
T read_word(ObjectReader& reader, const char* name, const std::array<T, N>& all, Fault& fault) {
  const auto word = reader.text(name, 1, kIdentifierBytesMax);
  const auto place = std::find_if(all.begin(), all.end(), [&](T one) { return to_string(one) == word; });
  if (place == all.end()) {
    fault.set(name, "unknown word");
    return all.front();
  }
  return *place;
}

std::optional<std::string> read_key(const json& value, const char* name, Fault& fault) {
  if (value.is_null()) {
    return std::nullopt;
  }
  return detail::read_text(value, 0, kDigestKeyBytesMax, name, fault);
}

std::string read_hash(const json& value, std::size_t digits, const char* name, Fault& fault) {
  auto text = detail::read_text(value, digits, digits, name, fault);
  if (!fault && text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    fault.set(name, "not lower-case hexadecimal digits");
  }
  return text;
}

VersionVector read_vector(ObjectReader& reader, const char* name, Fault& fault) {
  VersionVector::Map counters;
  for (const auto& [id, counter] : reader.object(name, kMembersMax).items()) {
    const NodeId origin = detail::read_node_id(id, name, fault);
    counters[origin] = detail::read_integer(counter, 1, kInt64Max, name, fault);
    if (fault) {
      return {};
    }
  }
  return VersionVector(std::move(counters));
}

// Pairs, one after the other: JSON is not to be nested deeper than need be.
std::vector<Dot> read_dots(const json& array, Fault& fault) {
  std::vector<Dot> dots;
  if (array.size() % 2 != 0) {
    fault.set("writes", "an origin without a counter");
    return dots;
  }
  for (std::size_t i = 0; i < array.size(); i += 2) {
    const Dot dot{NodeId{detail::read_integer(array[i], 1, kInt64Max, "writes", fault)},
                  detail::read_integer(array[i + 1], 1, kInt64Max, "writes", fault)};
    if (!fault && !dots.empty() && !(dots.back() < dot)) {
      fault.set("writes", "not in the order of dots");
    }
    if (fault) {
      return {};
    }
    dots.push_back(dot);
  }
  return dots;
}

RowLook read_look(const json& value, Fault& fault) {
  ObjectReader reader(value, "looks", fault);
  RowLook look;
  look.key = reader.text("key", 0, kDigestKeyBytesMax);
  look.present = reader.boolean("present");
  look.captured = reader.boolean("captured");
  look.waits = reader.boolean("waits");
  look.parked = reader.boolean("parked");
  look.writes = read_dots(reader.array("writes", 2 * (kRowWritesMax + kRowCountersMax)), fault);
  const auto& columns = reader.array("columns", kColumnsMax);
  if (look.present) {
    look.hash = read_hash(reader.member("hash"), kRowHashDigits, "hash", fault);
    for (const json& element : columns) {
      look.columns.push_back(read_hash(element, kColumnHashDigits, "columns", fault));
      if (fault) {
        return look;
      }
    }
  } else if (!columns.empty()) {
    fault.set("columns", "of a row that is not there");
  }
  reader.done();
  return look;
}

json json_of(const RowLook& look) {
  json out{{"key", look.key},       {"present", look.present}, {"captured", look.captured}, {"waits", look.waits},
           {"parked", look.parked}, {"columns", look.columns}, {"writes", json::array()}};
  if (look.present) {
    out["hash"] = look.hash;
  }
  for (const Dot& dot : look.writes) {
    out["writes"].push_back(dot.origin.value);
    out["writes"].push_back(dot.counter);
  }
  return out;
}

}  // namespace

std::string_view to_string(DigestKind kind) {
  switch (kind) {
    case DigestKind::kTables:
      return "tables";
    case DigestKind::kShape:
      return "shape";
    case DigestKind::kBlock:
      return "block";
    case DigestKind::kRows:
      return "rows";
    case DigestKind::kLook:
      return "look";
    case DigestKind::kArm:
      return "arm";
    case DigestKind::kFire:
      return "fire";
    case DigestKind::kDisarm:
      return "disarm";
    case DigestKind::kTouch:
      break;
  }
  return "touch";
}

bool is_of_repair(DigestKind kind) {
  return kind == DigestKind::kArm || kind == DigestKind::kFire || kind == DigestKind::kDisarm ||
         kind == DigestKind::kTouch;
}

std::string_view to_string(DigestState state) {
  switch (state) {
    case DigestState::kCompared:
      return "compared";
    case DigestState::kNoTable:
      return "no_table";
    case DigestState::kDiffers:
      break;
  }
  return "differs";
}

std::string to_json(const DigestRequest& message) {
  return detail::dump({{"sender", detail::json_of(message.sender)},
                       {"kind", to_string(message.kind)},
                       {"schema", message.schema},
                       {"table", message.table},
                       {"key", message.key},
                       {"columns", json_of(message.columns)},
                       {"order", message.order},
                       {"above", json_of(message.above)},
                       {"upto", json_of(message.upto)},
                       {"limit", message.limit},
                       {"keys", message.keys},
                       {"hash", message.hash.empty() ? json() : json(message.hash)},
                       {"touched", message.touched},
                       {"at_us", message.at_us},
                       {"awaits", message.awaits.valid() ? json(to_string(message.awaits)) : json()},
                       {"awaited_us", message.awaited_us}});
}

Result<DigestRequest> parse_digest_request(std::string_view text) {
  Fault fault("digest request");
  const json document = detail::parse_json(text, kMessageBytesMax, fault);
  ObjectReader reader(document, "", fault);
  DigestRequest message;
  message.sender = detail::read_member(reader.member("sender"), "sender", fault);
  message.kind = read_word(reader, "kind", kKinds, fault);
  message.schema = reader.text("schema", 0, kIdentifierBytesMax);
  message.table = reader.text("table", 0, kIdentifierBytesMax);
  message.key = detail::read_names(reader.array("key", kKeyColumnsMax), "key", fault);
  message.columns = detail::read_columns(reader.array("columns", kColumnsMax), fault);
  message.order = reader.text("order", 0, kDigestOrderBytesMax);
  message.above = read_key(reader.member("above"), "above", fault);
  message.upto = read_key(reader.member("upto"), "upto", fault);
  message.limit = reader.integer("limit", 0, kDigestRowsMax);
  for (const json& element : reader.array("keys", kDigestKeysMax)) {
    message.keys.push_back(detail::read_text(element, 0, kDigestKeyBytesMax, "keys", fault));
    if (fault) {
      break;
    }
  }
  if (const json& hash = reader.member("hash"); !hash.is_null()) {
    message.hash = read_hash(hash, kRowHashDigits, "hash", fault);
  }
  message.touched = detail::read_names(reader.array("touched", kColumnsMax), "touched", fault);
  message.at_us = reader.integer("at_us", kWriteTimeMin, kWriteTimeMax);
  if (const json& awaits = reader.member("awaits"); !awaits.is_null()) {
    message.awaits = detail::read_node_id(detail::read_text(awaits, 1, 16, "awaits", fault), "awaits", fault);
  }
  message.awaited_us = reader.integer("awaited_us", kWriteTimeMin, kWriteTimeMax);
  reader.done();
  const bool of_table = message.kind != DigestKind::kTables;
  if (of_table && (message.schema.empty() || message.table.empty() || message.key.empty() || message.columns.empty())) {
    fault.set("table", "not said which, with its key and columns");
  }
  if ((message.kind == DigestKind::kBlock || message.kind == DigestKind::kRows) && message.limit == 0) {
    fault.set("limit", "0");
  }
  if (message.kind == DigestKind::kLook && message.keys.empty()) {
    fault.set("keys", "empty");
  }
  const bool as_it_is = message.kind == DigestKind::kArm || message.kind == DigestKind::kTouch;
  if (is_of_repair(message.kind) && (message.keys.size() != 1 || (as_it_is && message.hash.empty()))) {
    fault.set("keys", "not one row as it is");
  }
  if (is_of_repair(message.kind) && message.kind != DigestKind::kTouch && !message.awaits.valid()) {
    fault.set("awaits", "nobody");
  }
  return detail::result_of(std::move(message), fault);
}

std::string to_json(const DigestAnswer& message) {
  json tables = json::array();
  for (const DigestTable& table : message.tables) {
    tables.push_back({{"schema", table.schema}, {"name", table.name}, {"why", clipped(table.why)}});
  }
  json list = json::array();
  for (const RowHash& row : message.list) {
    list.push_back({row.key, row.hash});
  }
  json looks = json::array();
  for (const RowLook& look : message.looks) {
    looks.push_back(json_of(look));
  }
  return detail::dump({{"sender", detail::json_of(message.sender)},
                       {"state", to_string(message.state)},
                       {"why", clipped(message.why)},
                       {"tables", std::move(tables)},
                       {"order", message.order},
                       {"key", message.key},
                       {"columns", json_of(message.columns)},
                       {"estimate", message.estimate},
                       {"row_bytes", message.row_bytes},
                       {"rows", message.rows},
                       {"checksum", message.checksum.empty() ? json() : json(message.checksum)},
                       {"last", json_of(message.last)},
                       {"list", std::move(list)},
                       {"seen", json_of(message.seen)},
                       {"forgotten", json_of(message.forgotten)},
                       {"looks", std::move(looks)}});
}

Result<DigestAnswer> parse_digest_answer(std::string_view text) {
  Fault fault("answer to a digest");
  const json document = detail::parse_json(text, kDigestBytesMax, fault);
  ObjectReader reader(document, "", fault);
  DigestAnswer message;
  message.sender = detail::read_member(reader.member("sender"), "sender", fault);
  message.state = read_word(reader, "state", kStates, fault);
  message.why = reader.text("why", 0, kRefusalTextBytesMax);
  for (const json& element : reader.array("tables", kDigestTablesMax)) {
    ObjectReader table(element, "tables", fault);
    message.tables.push_back({table.text("schema", 1, kIdentifierBytesMax), table.text("name", 1, kIdentifierBytesMax),
                              table.text("why", 0, kRefusalTextBytesMax)});
    table.done();
    if (fault) {
      break;
    }
  }
  message.order = reader.text("order", 0, kDigestOrderBytesMax);
  message.key = detail::read_names(reader.array("key", kKeyColumnsMax), "key", fault);
  message.columns = detail::read_columns(reader.array("columns", kColumnsMax), fault);
  message.estimate = reader.integer("estimate", 0, kInt64Max);
  message.row_bytes = reader.integer("row_bytes", 0, kInt64Max);
  message.rows = reader.integer("rows", 0, kDigestRowsMax);
  if (const json& checksum = reader.member("checksum"); !checksum.is_null()) {
    message.checksum = read_hash(checksum, kRowHashDigits, "checksum", fault);
  }
  message.last = read_key(reader.member("last"), "last", fault);
  for (const json& element : reader.array("list", static_cast<std::size_t>(kDigestRowsMax))) {
    const json& pair = detail::read_array(element, 2, "list", fault);
    if (pair.size() != 2) {
      fault.set("list", "not a key and a hash");
      break;
    }
    message.list.push_back({detail::read_text(pair[0], 0, kDigestKeyBytesMax, "list", fault),
                            read_hash(pair[1], kRowHashDigits, "list", fault)});
    if (fault) {
      break;
    }
  }
  message.seen = read_vector(reader, "seen", fault);
  message.forgotten = read_vector(reader, "forgotten", fault);
  for (const json& element : reader.array("looks", kDigestKeysMax)) {
    message.looks.push_back(read_look(element, fault));
    if (fault) {
      break;
    }
  }
  reader.done();
  return detail::result_of(std::move(message), fault);
}

}  // namespace mbsync
