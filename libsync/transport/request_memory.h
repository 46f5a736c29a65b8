// What askers have said, so that their next requests need not say it again: a server keeps what it has heard lately
// under a name that is made of the contents. In a fleet at rest all nodes say the same, so one entry does for all of
// them.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "message.h"

namespace mbsync {

/// The HTTP status of a request that builds on one which is not known: it has to be said in full.
inline constexpr int kStatusBaseUnknown = 412;

/// 128 bits of SHA-256 over base_text(), hexadecimal. A name that holds for all askers must not be chosen by one of
/// them.
std::string base_name_of(const PullRequest& request);

/// Any thread.
class RequestMemory {
 public:
  explicit RequestMemory(std::size_t most) : most_(most) {}

  /// Nothing if it is not known, or not any more.
  std::shared_ptr<const PullRequest> find(std::string_view name);
  void keep(const PullRequest& request);

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<const PullRequest> request;  ///< without what is not built upon
  };
  const std::size_t most_;
  std::mutex mutex_;
  std::list<Entry> entries_;  ///< guarded by mutex_; those used last first
};

}  // namespace mbsync
