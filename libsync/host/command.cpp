#include "command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <system_error>
#include <thread>

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX has no header for it

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kOutputMax = std::size_t{64} * 1024;
constexpr int kExitOfSignal = 128;
constexpr milliseconds kLookEvery{20};

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void close() {
    if (number_ >= 0) {
      ::close(number_);
      number_ = -1;
    }
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

/// Reads what there is now; false once nothing can come any more.
bool read_some(int from, std::string& output) {
  std::array<char, 4096> buffer{};
  const auto got = ::read(from, buffer.data(), buffer.size());
  if (got > 0) {
    output.append(buffer.data(), std::min(static_cast<std::size_t>(got), kOutputMax - output.size()));
  }
  return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

/// The child's status, once it has ended.
std::optional<int> ended(pid_t child) {
  int status = 0;
  const pid_t answer = ::waitpid(child, &status, WNOHANG);
  if (answer != child) {
    return std::nullopt;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kExitOfSignal + WTERMSIG(status);
}

Result<pid_t> start(const std::vector<std::string>& words, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  std::vector<std::string> texts;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    // What it says is read by programs and shown to people: always in one language. Secrets are none of its business.
    const std::string_view text{*variable};
    const auto name = text.substr(0, text.find('='));
    if (name.substr(0, 3) != "LC_" && name != "LANG" && name != "LANGUAGE" && name != "DATABASE_URL" &&
        name.substr(0, 5) != "SYNC_" && name.substr(0, 2) != "PG") {
      texts.emplace_back(text);
    }
  }
  texts.emplace_back("LC_ALL=C");
  std::vector<char*> environment;
  environment.reserve(texts.size() + 1);
  for (auto& text : texts) {
    environment.push_back(text.data());
  }
  environment.push_back(nullptr);
  std::vector<std::string> copies(words);
  std::vector<char*> arguments;
  arguments.reserve(copies.size() + 1);
  for (auto& word : copies) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_t child = 0;
  int failed = posix_spawnp(&child, arguments.front(), &actions, nullptr, arguments.data(), environment.data());
  // Whoever has become root by a plain 'su' has no sbin in PATH.
  for (const char* place : {"/usr/sbin/", "/sbin/"}) {
    if (failed == ENOENT && words.front().find('/') == std::string::npos) {
      const auto path = place + words.front();
      failed = posix_spawn(&child, path.c_str(), &actions, nullptr, arguments.data(), environment.data());
    }
  }
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT) {
    return Error{ErrorKind::kNotFound, fmt::format("there is no program '{}' on this system", words.front()),
                 "install it, or do by hand what it was to do: " + as_typed(words)};
  }
  if (failed != 0) {
    return Error{ErrorKind::kInternal,
                 fmt::format("'{}' cannot be started: {}", words.front(), std::generic_category().message(failed)),
                 "look at the limits of this system on processes, and do by hand: " + as_typed(words)};
  }
  return child;
}

}  // namespace

std::filesystem::path own_program() {
  std::error_code error;
  auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::path() : path;
}

std::string as_typed(const std::vector<std::string>& program_and_arguments) {
  std::string text;
  for (const auto& word : program_and_arguments) {
    constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@,+%";
    const bool plain = !word.empty() && word.find_first_not_of(kPlain) == std::string::npos;
    text += text.empty() ? "" : " ";
    text += plain ? word : "'" + word + "'";
  }
  return text;
}

Result<CommandOutcome> run_command(const std::vector<std::string>& program_and_arguments, milliseconds patience) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error{ErrorKind::kInternal, "no pipe could be made: " + std::generic_category().message(errno),
                 "look at the limits of this system on open files"};
  }
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  const auto child = start(program_and_arguments, writer.number());
  writer.close();
  MBSYNC_TRY(child);
  ::fcntl(reader.number(), F_SETFL, O_NONBLOCK);
  CommandOutcome outcome;
  const auto deadline = Clock::now() + patience;
  bool open = true;
  for (;;) {
    if (open) {
      pollfd wanted{reader.number(), POLLIN, 0};
      ::poll(&wanted, 1, static_cast<int>(kLookEvery.count()));
      if (wanted.revents != 0) {
        open = read_some(reader.number(), outcome.output);
      }
    } else {
      std::this_thread::sleep_for(kLookEvery);
    }
    if (const auto code = ended(*child)) {
      // What it left behind may hold the pipe open; what it said itself is there.
      for (auto before = std::string::npos; open && before != outcome.output.size();) {
        before = outcome.output.size();
        open = read_some(reader.number(), outcome.output);
      }
      outcome.exit_code = *code;
      return outcome;
    }
    if (Clock::now() >= deadline) {
      ::kill(*child, SIGKILL);
      ::waitpid(*child, nullptr, 0);
      return Error{ErrorKind::kTransient,
                   fmt::format("'{}' has not ended within {} s", as_typed(program_and_arguments),
                               std::chrono::duration_cast<std::chrono::seconds>(patience).count()),
                   "try it by hand"};
    }
  }
}

Result<std::string> run_or_fail(const std::vector<std::string>& program_and_arguments, milliseconds patience) {
  auto outcome = run_command(program_and_arguments, patience);
  MBSYNC_TRY(outcome);
  if (outcome->exit_code == 0) {
    return std::move(outcome->output);
  }
  std::string said = outcome->output;
  while (!said.empty() && (said.back() == '\n' || said.back() == ' ')) {
    said.pop_back();
  }
  constexpr std::size_t kShown = 600;
  if (said.size() > kShown) {
    said = "..." + said.substr(said.size() - kShown);
  }
  std::replace(said.begin(), said.end(), '\n', ' ');
  return Error{ErrorKind::kConfig,
               fmt::format("'{}' failed with exit code {}{}{}", as_typed(program_and_arguments), outcome->exit_code,
                           said.empty() ? "" : ": ", said),
               "try it by hand, as root"};
}

}  // namespace mbsync
