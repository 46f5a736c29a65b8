// What is asked of a node, its own or a peer, to compare rows: it answers from one snapshot, and nothing is changed.
#pragma once

#include "digest_message.h"
#include "pull_service.h"

namespace mbsync {

/// Of the node behind the HTTP server. Called from the server's threads, several at a time.
class DigestService {
 public:
  virtual ~DigestService() = default;
  /// Errors become a Refusal.
  virtual Result<DigestAnswer> digest(const DigestRequest& request, const Caller& caller) = 0;
};

/// Whoever answers to a comparison: the own database, or a peer. One thread.
class DigestSource {
 public:
  virtual ~DigestSource() = default;
  virtual Result<DigestAnswer> ask(const DigestRequest& request) = 0;
};

}  // namespace mbsync
