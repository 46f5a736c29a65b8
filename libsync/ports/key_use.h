// Which of a node's registration keys: while a fleet changes from one to another, each node takes two.
#pragma once

#include <string_view>

namespace mbsync {

enum class KeyUse {
  kCurrent,  ///< SYNC_REGISTRATION_KEY
  kNext,     ///< SYNC_REGISTRATION_KEY_NEXT
};

/// "current" or "next", as status and the database have it.
constexpr std::string_view to_string(KeyUse use) {
  return use == KeyUse::kNext ? "next" : "current";
}

}  // namespace mbsync
