#include "run_as.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string_view>
#include <system_error>
#include <vector>

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX has no header for it

namespace mbsync {
namespace {

constexpr int kRefused = 70;  // of the copy, when it could not become the user

void forget_environment() {
  std::vector<std::string> names;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text{*variable};
    if (const auto name = text.substr(0, text.find('=')); name.starts_with("PG") || name == "HOME") {
      names.emplace_back(name);
    }
  }
  for (const auto& name : names) {
    ::unsetenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): the copy has one thread
  }
}

bool become(const Account& account) {
  const auto& owner = account.owner;
  return ::initgroups(account.name.c_str(), owner.group) == 0 &&
         ::setresgid(owner.group, owner.group, owner.group) == 0 &&
         ::setresuid(owner.user, owner.user, owner.user) == 0 && ::chdir("/") == 0;
}

bool write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(to, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  return true;
}

[[noreturn]] void be_the_copy(const Account& account, const std::function<std::string()>& work, int answer) {
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    // Whoever has handlers has them for itself; a peer that hangs up is an error, and no end.
    std::signal(signal, signal == SIGPIPE ? SIG_IGN : SIG_DFL);
  }
  forget_environment();
  ::umask(077);
  if (!become(account)) {
    ::_exit(kRefused);
  }
  int code = 1;
  try {
    code = write_all(answer, work()) ? 0 : 1;
  } catch (const std::exception&) {
    code = 1;
  }
  // Not exit(): what this process has yet to print or to close is the other one's.
  ::_exit(code);
}

std::string read_all(int from) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto got = ::read(from, buffer.data(), buffer.size());
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      return text;
    }
  }
}

}  // namespace

Result<std::string> run_as(const Account& account, const std::function<std::string()>& work) {
  std::cout.flush();
  std::cerr.flush();
  std::array<int, 2> ends{};
  const auto no_copy = [] {
    return Error{ErrorKind::kInternal, "no process can be made: " + std::generic_category().message(errno),
                 "look at the limits of this system on processes and open files"};
  };
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return no_copy();
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    be_the_copy(account, work, ends[1]);
  }
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    return no_copy();
  }
  auto text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    return text;
  }
  return Error{ErrorKind::kInternal,
               WIFEXITED(status) && WEXITSTATUS(status) == kRefused
                   ? fmt::format("this process may not become user '{}'", account.name)
                   : fmt::format("what was to be tried as user '{}' ended without an answer", account.name),
               "run it as root (sudo), and not in a container that may not change users"};
}

}  // namespace mbsync
