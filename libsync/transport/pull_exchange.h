// One pull as the server answers it: wait until there is news, have the answer made, send it; with signs of life all
// the while. Knows nothing of HTTP, so that it is tested without a network.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string_view>

#include "pull_service.h"
#include "socket.h"
#include "spool.h"

namespace mbsync {

class PullExchange {
 public:
  /// The way to the asker.
  struct Wire {
    std::function<bool(std::string_view)> send;  ///< false: gone
    std::function<bool()> open;                  ///< false: the asker has hung up
  };

  /// When the answer may be made: answers cost much, and one asker shall not have many at a time.
  struct Turn {
    std::function<bool(std::chrono::milliseconds)> enter;  ///< waits so long; whether it is now
    std::function<void()> leave;
  };

  /// Borrows the service; `stopped` tells that the server is stopping, `crowded` that others wait for this thread.
  PullExchange(PullService& service, PullRequest request, std::filesystem::path spool_directory, StopCheck stopped,
               StopCheck crowded, Turn turn = {});

  /// Returns once everything is sent: the answer, or a refusal in its place. False: the asker has gone, or the answer
  /// broke off; the connection is of no use any more. What the service throws, or the system refuses, is told the asker
  /// as `transient`.
  bool run(const Wire& wire);

 private:
  bool exchange(const Wire& wire);
  bool wait_for_news(const Wire& wire);
  bool wait_for_turn(const Wire& wire);
  void leave_turn();
  Result<void> make_answer(const Wire& wire, Spool& spool);
  bool send_spool(const Wire& wire, Spool& spool);
  /// Keeps the asker informed; sets `gone_` when it is no longer there.
  void ping_if_due(const Wire& wire);
  static bool refuse(const Wire& wire, const Error& error);

  PullService* service_;
  PullRequest request_;
  std::filesystem::path spool_directory_;
  StopCheck stopped_;
  StopCheck crowded_;
  Turn turn_;
  bool in_turn_ = false;
  Deadline next_ping_;
  bool gone_ = false;
  bool sending_ = false;  ///< a piece of the answer may have been sent, so that no refusal fits in any more
};

}  // namespace mbsync
