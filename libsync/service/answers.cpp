#include "answers.h"

#include <fmt/format.h>

#include <chrono>

#include "counting_sink.h"
#include "log.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"peer"};
/// What the directory calls it where peers were not named or announced: they have asked here.
constexpr std::string_view kAskedSource = "asked";

using Clock = std::chrono::steady_clock;

}  // namespace

Result<void> Answers::accept(const PullRequest& request, const Caller& caller) {
  auto accepted = allowed_.check(request.sender, shared_.store.self());
  if (accepted) {
    accepted = shared_.store.accept(request);
  }
  const std::string sender = fmt::format("{} {} {}", caller.address, to_string(request.sender.id), request.sender.name);
  if (accepted) {
    health_.asked(request.sender.id, Clock::now());
    shared_.activity.asked(request.sender, caller.address);
    book_.asked(request.sender, caller.address, caller.key);
    if (directory_ != nullptr && caller.port != 0 && is_kept(request.sender.id)) {
      directory_->peer_found(kAskedSource, Sighting{to_string(request.sender.id),
                                                    {PeerAddress{caller.address, caller.port}},
                                                    Announcement{kProtocolVersion, request.sender.id, "", ""}});
    }
    refused_.forget(sender);
  } else if (accepted.error().kind != ErrorKind::kTransient && refused_.is_news(sender, accepted.error().log_text())) {
    log_warning(kDomain, "request refused from={} peer={} reason={}", caller.address, log_value(request.sender.name),
                log_value(accepted.error().log_text()));
  }
  return accepted;
}

bool Answers::wait(const PullRequest& request, std::chrono::milliseconds patience) {
  return shared_.store.wait_for_news(request, patience);
}

Result<void> Answers::answer(const PullRequest& request, PullSink& sink) {
  CountingSink counting(sink);
  const auto begun = Clock::now();
  auto answered = shared_.store.answer(request, counting);
  shared_.reports_changed = true;
  const std::string sender = fmt::format("{} {}", to_string(request.sender.id), request.sender.name);
  if (answered) {
    shared_.activity.answered(request.sender, counting.rows(), counting.bytes(),
                              std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun));
    unanswered_.forget(sender);
  } else if (answered.error().kind != ErrorKind::kCancelled) {
    if (answered.error().kind == ErrorKind::kRejected) {
      shared_.schema_suspect = true;
    }
    if (unanswered_.is_news(sender, answered.error().log_text())) {
      log_warning(kDomain, "could not answer peer={} reason={}", log_value(request.sender.name),
                  log_value(answered.error().log_text()));
    }
  }
  return answered;
}

Result<DigestAnswer> Answers::digest(const DigestRequest& request, const Caller& caller) {
  const auto self = shared_.store.self();
  auto answer = [&]() -> Result<DigestAnswer> {
    MBSYNC_TRY(allowed_.check(request.sender, self));
    if (request.sender.id == self.id) {
      return Error{ErrorKind::kRejected, fmt::format("both nodes have the identity {}", to_string(self.id)),
                   "one of the two databases is a copy of the other and must get an identity of its own"};
    }
    auto digest = shared_.store.digest(request);
    // Of a member; what a stranger is told has nothing to do with tables.
    if (!digest && digest.error().kind == ErrorKind::kRejected) {
      shared_.schema_suspect = true;
    }
    return digest;
  }();
  const std::string sender = fmt::format("digest {} {}", caller.address, to_string(request.sender.id));
  if (answer) {
    refused_.forget(sender);
    return answer;
  }
  if (answer.error().kind != ErrorKind::kTransient && answer.error().kind != ErrorKind::kCancelled &&
      refused_.is_news(sender, answer.error().log_text())) {
    log_warning(kDomain, "could not compare rows from={} peer={} reason={}", caller.address,
                log_value(request.sender.name), log_value(answer.error().log_text()));
  }
  return answer;
}

// Whoever has the key can make up ids, and must not take up the directory.
bool Answers::is_kept(NodeId asker) {
  const std::lock_guard lock(mutex_);
  return askers_.contains(asker) || (askers_.size() < kAskersLookedFor && askers_.insert(asker).second);
}

}  // namespace mbsync
