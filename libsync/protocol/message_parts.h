// Parts that several messages have, as JSON and back. Only the files that make messages use this.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "json_reader.h"
#include "message.h"

namespace mbsync::detail {

/// Texts come from PostgreSQL in UTF-8. Should one not be, a message for people shows a mark instead of failing.
std::string dump(const nlohmann::json& document);
nlohmann::json json_of(const Member& member);

NodeId read_node_id(std::string_view text, std::string_view what, Fault& fault);
Member read_member(const nlohmann::json& value, std::string_view what, Fault& fault);
/// Distinct texts within the limits.
std::vector<std::string> read_names(const nlohmann::json& array, std::string_view what, Fault& fault);
std::vector<WireColumn> read_columns(const nlohmann::json& array, Fault& fault);

/// Every parser ends the same way: with the first fault, or with the message.
template <typename T>
Result<T> result_of(T message, const Fault& fault) {
  if (fault) {
    return fault.error();
  }
  return message;
}

}  // namespace mbsync::detail
