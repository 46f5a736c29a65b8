#include "child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "wait_until.h"

namespace mbsync::test {
namespace {

constexpr int kCannotStart = 127;
constexpr int kSignalBase = 128;

int memory_file(const char* name) {
  const int fd = ::memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) {
    throw std::runtime_error(fmt::format("memfd_create: {}", std::strerror(errno)));
  }
  return fd;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (fd >= 0) {
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
    if (got <= 0) {
      break;
    }
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

std::vector<std::string> child_environment(const ChildOptions& options) {
  const auto replaced = [&](std::string_view name) {
    return std::find(options.unset.begin(), options.unset.end(), name) != options.unset.end() ||
           std::any_of(options.environment.begin(), options.environment.end(),
                       [&](const auto& pair) { return pair.first == name; });
  };
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    if (!replaced(text.substr(0, text.find('=')))) {
      result.emplace_back(text);
    }
  }
  for (const auto& [name, value] : options.environment) {
    result.push_back(fmt::format("{}={}", name, value));
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (auto& text : strings) {
    result.push_back(text.data());
  }
  result.push_back(nullptr);
  return result;
}

/// Between fork and exec only async-signal-safe calls are allowed, since other threads may have held locks: everything
/// is prepared before. Reports errno through `report` and ends.
[[noreturn]] void become(const char* program, char* const* argv, char* const* envp, int in, int out, int err,
                         const char* directory, const std::optional<Account>& account, int report) {
  const auto fail = [report] {
    const int number = errno;
    [[maybe_unused]] const ssize_t written = ::write(report, &number, sizeof number);
    ::_exit(kCannotStart);
  };
  // The test's own mask and ignored signals would be inherited.
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (::dup2(in, STDIN_FILENO) < 0 || ::dup2(out, STDOUT_FILENO) < 0 || ::dup2(err, STDERR_FILENO) < 0) {
    fail();
  }
  if (account && (::setgroups(0, nullptr) != 0 || ::setgid(account->group) != 0 || ::setuid(account->user) != 0)) {
    fail();
  }
  if (*directory != '\0' && ::chdir(directory) != 0) {
    fail();
  }
  ::execvpe(program, argv, envp);
  fail();
  ::_exit(kCannotStart);
}

}  // namespace

ChildProcess::ChildProcess(const std::filesystem::path& program, ChildOptions options) {
  std::vector<std::string> arguments{program.string()};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = child_environment(options);
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(environment);
  const std::string directory = options.working_directory.string();

  const int in = memory_file("stdin");
  if (::write(in, options.input.data(), options.input.size()) != static_cast<ssize_t>(options.input.size())) {
    ::close(in);
    throw std::runtime_error("cannot prepare stdin of " + program.string());
  }
  ::lseek(in, 0, SEEK_SET);
  if (options.output_file.empty()) {
    out_ = memory_file("stdout");
    err_ = memory_file("stderr");
  } else {
    out_ = ::open(options.output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    err_ = ::dup(out_);
    if (out_ < 0 || err_ < 0) {
      ::close(in);
      close_files();
      throw std::runtime_error(fmt::format("{}: {}", options.output_file.string(), std::strerror(errno)));
    }
    ::fcntl(err_, F_SETFD, FD_CLOEXEC);
  }

  // Closed by a successful exec; carries errno otherwise.
  std::array<int, 2> report{-1, -1};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) {
    ::close(in);
    close_files();
    throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    become(argv[0], argv.data(), envp.data(), in, out_, err_, directory.c_str(), options.run_as, report[1]);
  }
  const int fork_error = errno;
  ::close(in);
  ::close(report[1]);
  int number = pid_ < 0 ? fork_error : 0;
  if (pid_ > 0) {
    while (::read(report[0], &number, sizeof number) < 0 && errno == EINTR) {
    }
  }
  ::close(report[0]);
  if (number != 0) {
    if (pid_ > 0) {
      ::waitpid(pid_, nullptr, 0);
    }
    close_files();
    throw std::runtime_error(fmt::format("cannot start '{}': {}", program.string(), std::strerror(number)));
  }
  if (!options.output_file.empty()) {
    close_files();
  }
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      exit_code_(other.exit_code_),
      peak_kib_(other.peak_kib_),
      out_(std::exchange(other.out_, -1)),
      err_(std::exchange(other.err_, -1)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  std::swap(peak_kib_, other.peak_kib_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  return *this;
}

ChildProcess::~ChildProcess() {
  kill();
  close_files();
}

void ChildProcess::close_files() {
  for (int* fd : {&out_, &err_}) {
    if (*fd >= 0) {
      ::close(std::exchange(*fd, -1));
    }
  }
}

void ChildProcess::reap(int status) {
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalBase + WTERMSIG(status);
}

bool ChildProcess::running() {
  if (pid_ < 0 || exit_code_) {
    return false;
  }
  look_at_memory();
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_) {
    reap(status);
    return false;
  }
  return true;
}

std::optional<int> ChildProcess::wait(std::chrono::milliseconds timeout) {
  if (wait_until(timeout, [this] { return !running(); })) {
    return exit_code_;
  }
  return std::nullopt;
}

void ChildProcess::signal(int number) {
  if (running()) {
    ::kill(pid_, number);
  }
}

void ChildProcess::kill() {
  if (!running()) {
    return;
  }
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  reap(status);
}

std::string ChildProcess::out() const {
  return read_all(out_);
}
std::string ChildProcess::err() const {
  return read_all(err_);
}

void ChildProcess::look_at_memory() {
  std::ifstream status{fmt::format("/proc/{}/status", pid_)};
  constexpr std::string_view kField = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kField)) {
      peak_kib_ = std::max(peak_kib_, static_cast<std::size_t>(std::stoull(line.substr(kField.size()))));
      return;
    }
  }
}

std::size_t ChildProcess::peak_resident_kib() {
  [[maybe_unused]] const bool alive = running();
  return peak_kib_;
}

void ChildProcess::forget_peak() {
  if (running()) {
    std::ofstream{fmt::format("/proc/{}/clear_refs", pid_)} << "5";
    peak_kib_ = 0;
  }
}

Finished run_program(const std::filesystem::path& program, ChildOptions options, std::chrono::milliseconds timeout) {
  ChildProcess child{program, std::move(options)};
  const auto code = child.wait(timeout);
  if (!code) {
    throw std::runtime_error(fmt::format("'{}' did not end within {} ms; it printed:\n{}{}", program.string(),
                                         timeout.count(), child.out(), child.err()));
  }
  return Finished{*code, child.out(), child.err()};
}

}  // namespace mbsync::test
