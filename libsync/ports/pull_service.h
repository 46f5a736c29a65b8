// What the HTTP server asks of the node behind it. Called from the server's threads, several at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "key_use.h"
#include "pull_sink.h"

namespace mbsync {

/// What the connection says of who asks.
struct Caller {
  std::string address;            ///< numeric
  KeyUse key = KeyUse::kCurrent;  ///< which of this node's keys it has come with
  std::uint16_t port = 0;         ///< where it says that it listens itself, at this address; 0: it has not said
};

class PullService {
 public:
  virtual ~PullService() = default;

  /// Looks at a request before anything is answered; an error becomes a Refusal.
  virtual Result<void> accept(const PullRequest& request, const Caller& caller) = 0;

  /// Waits until there is something to answer or `patience` is over. True: answer now. A long wait comes as many calls
  /// of a quarter of a second each, so that the server can send signs of life and can stop.
  virtual bool wait(const PullRequest& request, std::chrono::milliseconds patience) = 0;

  /// Seals, reads in one snapshot, and writes the answer into `sink`, which never blocks on the network. What was
  /// written counts only if this returns success (that is, once the transaction it was read in has committed).
  /// Once nobody wants the answer any more (the asker is gone, the server stops), the sink's next call fails with
  /// `cancelled`; the server waits for this to return.
  virtual Result<void> answer(const PullRequest& request, PullSink& sink) = 0;
};

}  // namespace mbsync
