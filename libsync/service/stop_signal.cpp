#include "stop_signal.h"

#include <unistd.h>

#include <ctime>

namespace mbsync {
namespace {
constexpr int kExitOfSignal = 128;  // as shells report it
}

StopSignal::StopSignal() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &wanted, &previous_);
  waiter_ = std::jthread([this, wanted](const std::stop_token& done) {
    constexpr timespec kLook{0, 100'000'000};  // how soon the destructor gets its thread back
    while (!done.stop_requested()) {
      siginfo_t info{};
      const int signal = sigtimedwait(&wanted, &info, &kLook);
      if (signal == SIGHUP && info.si_code != SI_KERNEL) {
        hangup_ = true;
      } else if (signal > 0) {
        if (source_.stop_requested()) {
          // Nothing is lost by it: what was not committed has not happened.
          _exit(kExitOfSignal + signal);
        }
        signal_ = signal;
        source_.request_stop();
      }
    }
  });
}

StopSignal::~StopSignal() {
  waiter_.request_stop();
  waiter_.join();
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

}  // namespace mbsync
