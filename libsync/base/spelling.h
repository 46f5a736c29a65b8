// What somebody meant who has mistyped a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mbsync {

/// "did you mean 'status'?", or nothing where none of the names is near. Empty names are passed over.
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& names);

}  // namespace mbsync
