#include "pace.h"

#include <algorithm>
#include <utility>

namespace mbsync {

void Pause::operator()(milliseconds duration) {
  std::unique_lock lock(mutex_);
  condition_.wait_for(lock, stop_, duration, [this] { return hurried_; });
  hurried_ = false;
}

void Pause::hurry() {
  const std::lock_guard lock(mutex_);
  hurried_ = true;
  condition_.notify_all();
}

milliseconds Backoff::next() {
  return std::exchange(wait_, std::min(wait_ * 2, most_));
}

bool Announcer::is_news(const std::string& text) {
  if (text == last_) {
    return false;
  }
  last_ = text;
  return true;
}

bool SenderAnnouncer::is_news(const std::string& sender, const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (senders_.size() >= kSendersKept && !senders_.contains(sender)) {
    senders_.clear();  // a few lines too many are better than a list without end
  }
  return senders_[sender].is_news(text);
}

void SenderAnnouncer::forget(const std::string& sender) {
  const std::lock_guard lock(mutex_);
  senders_.erase(sender);
}

AskAgainPace::Next AskAgainPace::next(Time now) {
  if (asked_ == 0) {
    since_ = now;
  }
  const milliseconds wait = asked_ < kAskAgainQuick ? kAskAgainPause : backoff_.next();
  ++asked_;
  return {wait, now - since_ >= kAskAgainPatience};
}

void AskAgainPace::reset() {
  asked_ = 0;
  backoff_.reset();
}

}  // namespace mbsync
