// Commands that the running node carries out are asked for at its local port.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "config.h"
#include "local_client.h"
#include "result.h"

namespace mbsync {

/// Where the node of this configuration's database can be asked, and nobody else.
Result<LocalTarget> running_node(const Config& config);

/// GET, or POST where there is a `body`: the answer, if the node has not refused.
Result<nlohmann::ordered_json> ask_node(const LocalTarget& node, const std::string& path, const std::string& body,
                                        std::chrono::milliseconds patience);

/// The text of that member, or empty.
std::string text_at(const nlohmann::ordered_json& object, const char* name);

/// For an answer that has not the form that it should have.
Error wrong_answer();

}  // namespace mbsync
