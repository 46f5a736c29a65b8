// Users of this system: whom this process runs as, and the user that the service runs as.
#pragma once

#include <optional>
#include <string>

#include "files.h"
#include "result.h"

namespace mbsync {

struct Account {
  std::string name;
  FileOwner owner;
  bool made_for_mbsync = false;  ///< by make_account()
  bool has_group = false;        ///< there is a group of the same name
};

/// Nothing if there is no such user.
std::optional<Account> find_account(const std::string& name);

/// Makes a system user without a password, a shell or a home, with a group of the same name. Needs root.
Result<Account> make_account(const std::string& name);

/// Nothing to do is no error; what was not made by make_account() stays. Needs root.
Result<void> remove_account(const std::string& name);

/// The effective user is root.
bool is_root();

}  // namespace mbsync
