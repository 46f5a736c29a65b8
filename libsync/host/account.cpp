#include "account.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string_view>

#include "command.h"

namespace mbsync {
namespace {
constexpr std::chrono::seconds kPatience{30};
constexpr std::size_t kEntryBytes = 65536;  // of passwd and group; a group has all its members in it
constexpr const char* kComment = "Multi-Business Sync Service";
}  // namespace

std::optional<Account> find_account(const std::string& name) {
  std::array<char, kEntryBytes> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return std::nullopt;
  }
  std::array<char, kEntryBytes> group_buffer{};
  group group_entry{};
  group* found_group = nullptr;
  const bool has_group =
      ::getgrnam_r(name.c_str(), &group_entry, group_buffer.data(), group_buffer.size(), &found_group) == 0 &&
      found_group != nullptr;
  return Account{name, {found->pw_uid, found->pw_gid}, std::string_view(found->pw_gecos) == kComment, has_group};
}

Result<Account> make_account(const std::string& name) {
  MBSYNC_TRY(run_or_fail({"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                          "--shell", "/usr/sbin/nologin", "--comment", kComment, name},
                         kPatience));
  if (auto account = find_account(name)) {
    return std::move(*account);
  }
  return Error{ErrorKind::kInternal, "the user '" + name + "' was made and cannot be found",
               "look at /etc/nsswitch.conf, or make the user by hand and say it again"};
}

Result<void> remove_account(const std::string& name) {
  const auto account = find_account(name);
  if (!account || !account->made_for_mbsync) {
    return {};
  }
  MBSYNC_TRY(run_or_fail({"userdel", name}, kPatience));
  return {};
}

bool is_root() {
  return ::geteuid() == 0;
}

}  // namespace mbsync
