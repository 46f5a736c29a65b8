// Values of settings as text, taken apart and checked. An error says what is allowed: "must be ...". Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"

namespace mbsync {

using SettingValues = std::vector<std::string>;  ///< one, except for lists

/// `config` with the message "must be " and `what`.
Error must_be(std::string what);

/// `unit`: empty, or " of days".
Result<std::int64_t> whole_number(const std::string& text, std::int64_t min, std::int64_t max, std::string_view unit);
/// true, yes, on, 1 and their opposites, in any case.
Result<bool> true_or_false(const std::string& text);
/// What stands between commas, without the space around it; nothing of what is empty.
std::vector<std::string> list_of(const SettingValues& values);

Result<std::string> node_name_of(const std::string& text);
Result<std::vector<std::string>> peers_of(const SettingValues& values);
Result<std::string> bind_address_of(const std::string& text);
Result<Discovery> discovery_of(const std::string& text);
std::string_view to_string(Discovery discovery);
Result<std::vector<NodeId>> nodes_of(const SettingValues& values);
/// Addresses of this machine, for the local port.
Result<std::vector<std::string>> local_addresses_of(const SettingValues& values);
/// Names of hosts without scheme and port, in the form that they are compared in (host_name.h).
Result<std::vector<std::string>> host_names_of(const SettingValues& values);
Result<std::string> status_token_of(const std::string& text);
/// Globs over schema.table, as libsync/policy/glob.h has them.
Result<std::vector<std::string>> table_patterns_of(const SettingValues& values);

}  // namespace mbsync
