#include "digest_exchange.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "protocol_limits.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::steady_clock;

/// White space, which JSON allows in front.
constexpr std::string_view kSignOfLife = "\n";

std::string refusal(const Error& error) {
  return to_json(Refusal{error.kind, error.message, error.hint});
}

}  // namespace

std::string DigestExchange::make_answer() const {
  try {
    const auto answer = service_->digest(request_, caller_);
    if (!answer) {
      return refusal(stopped_() ? Error{ErrorKind::kTransient, "this node is stopping", ""}
                                : answer.error().without_row());
    }
    auto text = to_json(*answer);
    if (text.size() > kDigestBytesMax) {
      return refusal(
          {ErrorKind::kRejected,
           fmt::format("the keys and values to compare take {} bytes, more than {}", text.size(), kDigestBytesMax),
           ""});
    }
    return text;
  } catch (const std::exception& thrown) {
    return refusal({ErrorKind::kTransient, fmt::format("this node failed before it could answer: {}", thrown.what()),
                    "if this goes on, look at the memory and at the limits of that machine"});
  }
}

bool DigestExchange::run(const Wire& wire) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::string> answer;  // guarded by mutex
  // In a thread of its own, so that this one can go on telling that it lives while the database works.
  const std::jthread maker([&] {
    std::string made = make_answer();
    const std::lock_guard lock(mutex);
    answer = std::move(made);
    changed.notify_one();
  });
  bool gone = false;
  auto next = steady_clock::now() + tuning::kPingInterval;
  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, tuning::kWaitSlice, [&] { return answer.has_value(); })) {
    lock.unlock();
    gone = gone || !wire.open();
    if (!gone && steady_clock::now() >= next) {
      gone = !wire.send(kSignOfLife);
      next = steady_clock::now() + tuning::kPingInterval;
    }
    lock.lock();
  }
  return !gone && wire.send(*answer);
}

}  // namespace mbsync
