// Does a piece of work as another user, in a process of its own: what the service will be able to do is found out by
// trying it as the service's user.
#pragma once

#include <functional>
#include <string>

#include "account.h"
#include "result.h"

namespace mbsync {

/// What `work` returns. It runs in a copy of this process, with the account's groups, in "/", without the variables
/// that libpq takes from its environment (PGPASSWORD, HOME), as the service has none of them. To be called while this
/// process has one thread. Needs root. `internal` if the copy cannot be made, or ends without an answer.
Result<std::string> run_as(const Account& account, const std::function<std::string()>& work);

}  // namespace mbsync
