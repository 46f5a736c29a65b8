// What this node tells those who ask it, over whichever transport: who may take part, what they lack, and what is to be
// remembered of them. Any thread.
#pragma once

#include <mutex>
#include <set>
#include <string_view>

#include "allowed_nodes.h"
#include "digest_service.h"
#include "pace.h"
#include "peer_book.h"
#include "peer_directory.h"
#include "peer_health.h"
#include "pull_service.h"
#include "shared_state.h"

namespace mbsync {

class Answers : public PullService, public DigestService {
 public:
  /// `directory`: where to look for those who ask; none: they are not looked for. All must outlive the object.
  Answers(SharedState& shared, PeerHealth& health, PeerBook& book, const AllowedNodes& allowed,
          PeerDirectory* directory)
      : shared_(shared), health_(health), book_(book), allowed_(allowed), directory_(directory) {}

  Result<void> accept(const PullRequest& request, const Caller& caller) override;
  bool wait(const PullRequest& request, std::chrono::milliseconds patience) override;
  Result<void> answer(const PullRequest& request, PullSink& sink) override;
  Result<DigestAnswer> digest(const DigestRequest& request, const Caller& caller) override;

 private:
  bool is_kept(NodeId asker);

  SharedState& shared_;
  PeerHealth& health_;
  PeerBook& book_;
  const AllowedNodes& allowed_;
  PeerDirectory* directory_;
  std::mutex mutex_;
  std::set<NodeId> askers_;  // guarded by mutex_; those that the directory was told of
  SenderAnnouncer refused_;
  SenderAnnouncer unanswered_;
};

}  // namespace mbsync
