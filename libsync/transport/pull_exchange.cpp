#include "pull_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "pull_stream.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Error stopping() {
  return Error{ErrorKind::kTransient, "this node is stopping", ""};
}

/// Lets the maker of an answer go on only while somebody wants it.
class WantedSink : public PullSink {
 public:
  WantedSink(PullSink& next, StopCheck unwanted) : next_(&next), unwanted_(std::move(unwanted)) {}

  Result<void> header(const PullHeader& header) override {
    MBSYNC_TRY(check());
    return next_->header(header);
  }
  Result<void> table(const TableHeader& table) override {
    MBSYNC_TRY(check());
    return next_->table(table);
  }
  Result<void> rows(std::string_view copy_text) override {
    MBSYNC_TRY(check());
    return next_->rows(copy_text);
  }
  Result<void> table_end(std::int64_t rows) override {
    MBSYNC_TRY(check());
    return next_->table_end(rows);
  }
  Result<void> footer(const PullFooter& footer) override {
    MBSYNC_TRY(check());
    return next_->footer(footer);
  }

 private:
  [[nodiscard]] Result<void> check() const {
    if (unwanted_()) {
      return Error{ErrorKind::kCancelled, "nobody waits for this answer any more", ""};
    }
    return {};
  }

  PullSink* next_;
  StopCheck unwanted_;
};

/// The service's answer, whatever it throws.
Result<void> ask(PullService& service, const PullRequest& request, Spool& spool, StopCheck unwanted) {
  try {
    PullEncoder encoder([&spool](std::string_view bytes) { return spool.write(bytes); }, request);
    WantedSink sink(encoder, std::move(unwanted));
    MBSYNC_TRY(service.answer(request, sink));
    if (!encoder.complete()) {
      return Error{ErrorKind::kInternal, "the answer has no footer", "please report this"};
    }
    return {};
  } catch (const std::exception& thrown) {
    return Error{ErrorKind::kInternal, fmt::format("the answer failed: {}", thrown.what()), "please report this"};
  }
}

}  // namespace

PullExchange::PullExchange(PullService& service, PullRequest request, std::filesystem::path spool_directory,
                           StopCheck stopped, StopCheck crowded, Turn turn)
    : service_(&service),
      request_(std::move(request)),
      spool_directory_(std::move(spool_directory)),
      stopped_(std::move(stopped)),
      crowded_(std::move(crowded)),
      turn_(std::move(turn)) {}

bool PullExchange::run(const Wire& wire) {
  // Behind whatever is thrown.
  struct Leaving {
    PullExchange& exchange;
    ~Leaving() { exchange.leave_turn(); }
  };
  const Leaving leaving{*this};
  try {
    return exchange(wire);
  } catch (const std::exception& thrown) {
    // Above this is HTTP's library, which lets it through, and then the thread. A shortage of memory or threads, most
    // likely, so the asker may well try again.
    const Error failed{ErrorKind::kTransient, fmt::format("this node failed before it could answer: {}", thrown.what()),
                       "if this goes on, look at the memory and at the limits of that machine"};
    return !gone_ && !sending_ && refuse(wire, failed);
  }
}

bool PullExchange::exchange(const Wire& wire) {
  next_ping_ = steady_clock::now() + tuning::kPingInterval;
  if (!wait_for_news(wire) || !wait_for_turn(wire)) {
    return !gone_ && refuse(wire, stopping());
  }
  Spool spool(spool_directory_, tuning::kSpoolMemoryBytes);
  const Result<void> made = make_answer(wire, spool);
  if (gone_) {
    return false;
  }
  if (!made) {
    return refuse(wire, stopped_() ? stopping() : made.error().without_row());
  }
  // What lies in memory is small, and a slow reader of it is in nobody's way.
  if (!spool.on_disk()) {
    leave_turn();
  }
  return send_spool(wire, spool);
}

bool PullExchange::wait_for_turn(const Wire& wire) {
  while (turn_.enter && !in_turn_) {
    if (stopped_()) {
      return false;
    }
    in_turn_ = turn_.enter(tuning::kWaitSlice);
    gone_ = gone_ || !wire.open();
    ping_if_due(wire);
    if (gone_) {
      return false;
    }
  }
  return true;
}

void PullExchange::leave_turn() {
  if (in_turn_) {
    in_turn_ = false;
    turn_.leave();
  }
}

bool PullExchange::wait_for_news(const Wire& wire) {
  const auto patience = std::min(milliseconds{request_.wait_ms}, tuning::kWaitMax);
  const auto begun = steady_clock::now();
  const auto deadline = begun + patience;
  for (;;) {
    if (stopped_()) {
      return false;
    }
    const auto now = steady_clock::now();
    if (now - begun >= tuning::kPatienceWhenCrowded && crowded_()) {
      return true;
    }
    const auto left = std::chrono::ceil<milliseconds>(deadline - now);
    if (left <= milliseconds{0} || service_->wait(request_, std::min(left, tuning::kWaitSlice))) {
      return true;
    }
    gone_ = gone_ || !wire.open();
    ping_if_due(wire);
    if (gone_) {
      return false;
    }
  }
}

void PullExchange::ping_if_due(const Wire& wire) {
  if (!gone_ && steady_clock::now() >= next_ping_) {
    gone_ = !wire.send(encoded_ping());
    next_ping_ = steady_clock::now() + tuning::kPingInterval;
  }
}

Result<void> PullExchange::make_answer(const Wire& wire, Spool& spool) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Result<void>> outcome;  // guarded by mutex
  std::atomic<bool> gone = false;
  // The answer has a thread of its own, so that this one can go on sending pings while the database works.
  const std::jthread maker([&] {
    Result<void> result = ask(*service_, request_, spool, [&] { return gone || stopped_(); });
    const std::lock_guard lock(mutex);
    outcome = std::move(result);
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, tuning::kWaitSlice, [&] { return outcome.has_value(); })) {
    lock.unlock();
    gone_ = gone_ || !wire.open();
    ping_if_due(wire);
    gone = gone_;
    lock.lock();
  }
  return *outcome;
}

bool PullExchange::send_spool(const Wire& wire, Spool& spool) {
  std::vector<char> buffer(tuning::kSendBytes);
  sending_ = true;
  for (;;) {
    const auto taken = spool.read(buffer.data(), buffer.size());
    if (!taken || stopped_()) {
      return false;  // in the middle of the answer there is no place for words; the asker sees that it is cut short
    }
    if (*taken == 0) {
      return true;
    }
    if (!wire.send(std::string_view(buffer.data(), *taken))) {
      return false;
    }
  }
}

bool PullExchange::refuse(const Wire& wire, const Error& error) {
  return wire.send(encoded_refusal(Refusal{error.kind, error.message, error.hint}));
}

}  // namespace mbsync
