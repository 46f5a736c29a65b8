// What an administrator says of members: that the fleet is to go on without one, that one is to be kept out, or no more
// (CONFLICTS.md C22). Beside a running node or without one; what is said travels with the next exchange.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "database_url.h"
#include "message.h"
#include "result.h"

namespace mbsync {

struct Said {
  Member member;
  bool news = false;   ///< else it was as it should be already
  bool alone = false;  ///< nobody else is left, and what that member lacks is kept for whoever comes next
};

/// One session with the database. One thread.
class MembershipDesk {
 public:
  /// Errors as PgConnection::open() has them; `not_found` without a schema mbsync.
  static Result<std::unique_ptr<MembershipDesk>> open(const DatabaseUrl& url);
  ~MembershipDesk();
  MembershipDesk(const MembershipDesk&) = delete;
  MembershipDesk& operator=(const MembershipDesk&) = delete;

  /// `node`: an id, or a name that only one member has. `not_found` if there is none; `rejected` if it may not be said,
  /// with the reason; `transient` if the database is busy for long.

  /// The fleet need not wait for it. Not of a node that has been heard of in the last kHeardOfLately.
  Result<Said> forget(std::string_view node);
  /// Nobody answers it or takes from it any more, whether it is there or not.
  Result<Said> ban(std::string_view node);
  /// It may come back.
  Result<Said> unban(std::string_view node);

 private:
  struct Impl;
  explicit MembershipDesk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
