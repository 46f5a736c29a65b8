#include "terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <csignal>
#include <iostream>

namespace mbsync {
namespace {

/// While it lives, Ctrl-C and its like end the wait for an answer, and not the process: the terminal has to be set
/// right first. They are let in while it waits, and at no other time, so that none falls between two looks.
class Interruptible {
 public:
  Interruptible() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigset_t held;
    sigemptyset(&held);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      sigaddset(&held, kSignals[i]);
    }
    ::sigprocmask(SIG_BLOCK, &held, &mask_before_);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  ~Interruptible() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
    ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

  /// Whether there is something to read on stdin; false if one of the signals came instead.
  [[nodiscard]] bool wait() const {
    pollfd wanted{STDIN_FILENO, POLLIN, 0};
    return ::ppoll(&wanted, 1, nullptr, &mask_before_) == 1;
  }

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  std::array<struct sigaction, kSignals.size()> before_{};
  sigset_t mask_before_{};
};

class Silence {
 public:
  explicit Silence(bool wanted) {
    if (wanted && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
      termios silent = before_;
      silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
      on_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
    }
  }
  ~Silence() {
    if (on_) {
      ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
      std::cerr << '\n' << std::flush;  // the Enter was not shown either
    }
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  [[nodiscard]] bool on() const { return on_; }

 private:
  termios before_{};
  bool on_ = false;
};

Result<std::string> read_line(const Interruptible& interruptible) {
  std::string line;
  for (;;) {
    char c = 0;
    const auto got = interruptible.wait() ? ::read(STDIN_FILENO, &c, 1) : -1;
    if (got == 1 && c == '\n') {
      return line;
    }
    if (got != 1) {
      return Error{ErrorKind::kCancelled, "nothing has been answered, and nothing was done", ""};
    }
    line += c;
  }
}

Result<std::string> ask_line(std::string_view question, bool secret) {
  const Interruptible interruptible;
  const Silence silence(secret);
  if (secret && !silence.on()) {
    return Error{ErrorKind::kInternal, "this terminal cannot be kept from showing what is typed",
                 "give the secret in a file: --env-file"};
  }
  std::cerr << question << std::flush;
  return read_line(interruptible);
}

}  // namespace

bool is_at_terminal() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

Result<std::string> ask(std::string_view question) {
  return ask_line(question, false);
}

Result<std::string> ask_secret(std::string_view question) {
  return ask_line(question, true);
}

Result<bool> ask_yes(std::string_view question, bool otherwise) {
  auto answer = ask(fmt::format("{} [{}] ", question, otherwise ? "Y/n" : "y/N"));
  MBSYNC_TRY(answer);
  std::transform(answer->begin(), answer->end(), answer->begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return answer->empty() ? otherwise : *answer == "y" || *answer == "yes";
}

}  // namespace mbsync
