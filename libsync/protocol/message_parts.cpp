#include "message_parts.h"

#include <algorithm>
#include <set>

#include "protocol_limits.h"

namespace mbsync::detail {

using nlohmann::json;

std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

json json_of(const Member& member) {
  return {{"id", to_string(member.id)}, {"name", member.name}};
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

/// Distinct texts within the limits.
std::vector<std::string> read_names(const json& array, std::string_view what, Fault& fault) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const json& element : array) {
    names.push_back(read_text(element, 1, kIdentifierBytesMax, what, fault));
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

}  // namespace mbsync::detail
