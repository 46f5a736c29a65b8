#include "verify_board.h"

#include <utility>

namespace mbsync {

void VerifyBoard::give_up_now() {
  const std::lock_guard lock(giving_up_);
  if (give_up_asking_) {
    give_up_asking_();
  }
}

// Under the mutex.
void VerifyBoard::end_unbegun(const char* why) {
  VerifyReport report;
  report.id = next_->id;
  report.failure = Error{ErrorKind::kCancelled, why, ""};
  last_ = last_asked_ = std::move(report);
  next_.reset();
}

Result<std::uint64_t> VerifyBoard::order(VerifyOrder what) {
  std::uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!open_) {
      return Error{ErrorKind::kTransient, "the node cannot compare rows now: it starts, or waits for its database",
                   "GET /health says what it is waiting for"};
    }
    if (next_ || (running_ && !running_->scheduled)) {
      return Error{ErrorKind::kTransient, "a comparison that somebody has asked for is under way",
                   "wait for it, or end it with 'mbsync verify --stop'"};
    }
    give_up_ = running_.has_value();  // a scheduled one gives way
    id = ++last_id_;
    next_ = Order{id, std::move(what)};
    changed_.notify_all();
  }
  give_up_now();
  return id;
}

bool VerifyBoard::cancel() {
  bool any = false;
  {
    const std::lock_guard lock(mutex_);
    any = next_ || running_;
    if (next_) {
      end_unbegun("it was ended before it began");
    }
    give_up_ = running_.has_value();
    changed_.notify_all();
  }
  give_up_now();
  return any;
}

nlohmann::ordered_json VerifyBoard::document() const {
  using Json = nlohmann::ordered_json;
  const std::lock_guard lock(mutex_);
  Json document{
      {"running", Json()}, {"waiting", next_ ? Json(next_->id) : Json()}, {"last", Json()}, {"last_asked", Json()}};
  if (running_) {
    document["running"] = {{"id", running_->id},         {"scheduled", running_->scheduled},
                           {"peer", running_->peer},     {"table", running_->table},
                           {"tables", running_->tables}, {"tables_done", running_->tables_done},
                           {"rows", running_->rows},     {"rows_estimated", running_->estimate}};
  }
  if (last_) {
    document["last"] = to_json(*last_);
  }
  if (last_asked_) {
    document["last_asked"] = to_json(*last_asked_);
  }
  return document;
}

void VerifyBoard::open(bool is_open, std::function<void()> give_up) {
  const std::lock_guard giving_up(giving_up_);
  give_up_asking_ = std::move(give_up);
  const std::lock_guard lock(mutex_);
  open_ = is_open;
  if (!is_open && next_) {
    end_unbegun("the node has stopped before it began");
  }
  changed_.notify_all();
}

std::optional<VerifyBoard::Order> VerifyBoard::take(std::chrono::milliseconds patience, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, patience, [this] { return next_.has_value(); });
  if (stop.stop_requested() || !next_) {
    return std::nullopt;
  }
  auto order = std::exchange(next_, std::nullopt);
  running_ = Running{order->id};
  give_up_ = false;
  return order;
}

std::optional<std::uint64_t> VerifyBoard::begin_scheduled() {
  const std::lock_guard lock(mutex_);
  if (next_) {
    return std::nullopt;
  }
  running_ = Running{++last_id_, true};
  give_up_ = false;
  return last_id_;
}

bool VerifyBoard::wait(std::chrono::milliseconds pause, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, pause, [this] { return give_up_; });
  return !give_up_ && !stop.stop_requested();
}

bool VerifyBoard::given_up() const {
  const std::lock_guard lock(mutex_);
  return give_up_;
}

void VerifyBoard::at_peer(const std::string& peer, std::size_t tables) {
  const std::lock_guard lock(mutex_);
  if (running_) {
    *running_ = Running{running_->id, running_->scheduled, peer, "", tables};
  }
}

void VerifyBoard::at_table(const std::string& table, std::size_t done) {
  const std::lock_guard lock(mutex_);
  if (running_) {
    running_->table = table;
    running_->tables_done = done;
    running_->rows = 0;
    running_->estimate = 0;
  }
}

void VerifyBoard::progress(std::int64_t rows, std::int64_t estimate) {
  const std::lock_guard lock(mutex_);
  if (running_) {
    running_->rows = rows;
    running_->estimate = estimate;
  }
}

void VerifyBoard::finished(VerifyReport report) {
  const std::lock_guard lock(mutex_);
  running_.reset();
  give_up_ = false;
  last_ = std::move(report);
  if (!last_->scheduled) {
    last_asked_ = last_;
  }
  changed_.notify_all();
}

}  // namespace mbsync
