#include "status_keeper.h"

#include <algorithm>
#include <utility>

#include "tuning.h"

namespace mbsync {
namespace {

NodeSettings with_version(NodeSettings settings, std::string version) {
  settings.version = std::move(version);
  return settings;
}

}  // namespace

StatusKeeper::StatusKeeper(const Config& config, std::string version, NodeActivity& activity,
                           std::function<void()> often)
    : activity_(activity),
      often_(std::move(often)),
      reader_(config.database_url),
      settings_(with_version(settings_of(config), std::move(version))),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

StatusKeeper::~StatusKeeper() {
  stop();
}

void StatusKeeper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  thread_.request_stop();
  changed_.notify_all();
  if (!thread_.joinable()) {
    return;
  }
  // A read that hangs would hold up the end; the second time, the connection is cut.
  std::jthread interrupter([this](const std::stop_token& done) {
    std::unique_lock lock(mutex_);
    while (!done.stop_requested()) {
      reader_.interrupt();
      changed_.wait_for(lock, done, kInterruptEvery, [] { return false; });
    }
  });
  thread_.join();
}

void StatusKeeper::adopt(const Config& config) {
  auto settings = settings_of(config);
  const std::lock_guard lock(mutex_);
  settings.version = settings_.version;
  settings_ = std::move(settings);
}

void StatusKeeper::local_trouble(std::string trouble) {
  const std::lock_guard lock(mutex_);
  local_trouble_ = std::move(trouble);
}

NodeStatus StatusKeeper::now(std::chrono::milliseconds patience, Clock::time_point since) {
  NodeStatus status;
  status.process = activity_.facts();
  const bool at_work = status.process->phase == "running" && status.process->beat_age_s <= kBeatFreshS;
  std::unique_lock lock(mutex_);
  status.settings = settings_;
  const auto is_fresh = [&] { return read_ && read_at_ >= since; };
  if (!is_fresh()) {
    wanted_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, patience, [&] { return stopping_ || is_fresh(); });
  }
  status.local_trouble = local_trouble_;
  auto read = is_fresh() ? read_ : nullptr;
  if (!read && good_ && at_work) {
    // A count over a large backlog takes longer than the work of the node itself.
    read = good_;
    status.store_age_s = std::chrono::duration<double>(Clock::now() - good_at_).count();
  }
  lock.unlock();
  if (read && *read) {
    status.store = **read;
  } else {
    status.store_error = read ? read->error().text() : "it has not answered in time";
  }
  return status;
}

void StatusKeeper::run(const std::stop_token& stop) {
  auto sample_at = Clock::now();
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    changed_.wait_for(lock, stop, kLocalPortLook, [&] { return wanted_; });
    const bool wanted = std::exchange(wanted_, false);
    lock.unlock();
    often_();
    const auto begun = Clock::now();
    if (!stop.stop_requested() && (wanted || begun >= sample_at)) {
      auto read = std::make_shared<const Result<StoreStatus>>(reader_.read());
      lock.lock();
      read_ = read;
      read_at_ = begun;
      if (*read) {
        good_ = read;
        good_at_ = begun;
      }
      const auto settings = settings_;
      changed_.notify_all();
      lock.unlock();
      if (*read && begun >= sample_at) {
        NodeStatus status;
        status.settings = settings;
        status.store = **read;
        status.process = activity_.facts();
        std::int64_t rows = 0;
        double seconds = 0;
        for (const auto& peer : status.peers()) {
          if (peer.state != PeerState::kAway && peer.state != PeerState::kBanned) {
            rows = std::max(rows, peer.outgoing_rows);
            seconds = std::max(seconds, peer.outgoing_s.value_or(0));
          }
        }
        activity_.history().looked(std::chrono::system_clock::now(), (*read)->captures, rows, seconds,
                                   status.connected());
        sample_at = begun + kSampleEvery;
      }
    }
    lock.lock();
  }
}

}  // namespace mbsync
