#include "run_loop.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "fleet_key.h"
#include "http_client.h"
#include "http_server.h"
#include "log.h"
#include "pg_store.h"
#include "static_source.h"
#include "stop_signal.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"run"};
constexpr LogDomain kPeerDomain{"peer"};

using Clock = std::chrono::steady_clock;

// Sleeps that end when the node is asked to stop.
class Pause {
 public:
  explicit Pause(std::stop_token stop) : stop_(std::move(stop)) {}
  void operator()(milliseconds duration) {
    std::unique_lock lock(mutex_);
    condition_.wait_for(lock, stop_, duration, [] { return false; });
  }

 private:
  std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any condition_;
};

class Backoff {
 public:
  explicit Backoff(milliseconds first = kBackoffFirst, milliseconds most = kBackoffMax)
      : first_(first), most_(most), wait_(first) {}
  milliseconds next() { return std::exchange(wait_, std::min(wait_ * 2, most_)); }
  void reset() { wait_ = first_; }

 private:
  milliseconds first_;
  milliseconds most_;
  milliseconds wait_;
};

// Says a thing once until it changes, so that a peer that is off for a week makes two lines and not a hundred thousand.
class Announcer {
 public:
  bool is_news(const std::string& text) {
    if (text == last_) {
      return false;
    }
    last_ = text;
    return true;
  }
  void forget() { last_.reset(); }

 private:
  std::optional<std::string> last_;  // nothing has been said yet, and then even "" is news
};

struct Shared {
  explicit Shared(PgStore& database) : store(database) {}
  PgStore& store;
  std::atomic<bool> reports_changed{true};
  std::atomic<bool> schema_suspect{false};  // a statement failed in a way that a changed table explains
  std::atomic<bool> rows_set_aside{true};   // some may be, so look soon
};

class Answers : public PullService {
 public:
  explicit Answers(Shared& shared) : shared_(shared) {}

  Result<void> accept(const PullRequest& request, std::string_view remote_address) override {
    auto accepted = shared_.store.accept(request);
    if (!accepted && accepted.error().kind != ErrorKind::kTransient) {
      log_warning(kPeerDomain, "request refused from={} peer={} reason={}", remote_address,
                  log_value(request.sender.name), log_value(accepted.error().text()));
    }
    return accepted;
  }

  bool wait(const PullRequest& request, milliseconds patience) override {
    return shared_.store.wait_for_news(request, patience);
  }

  Result<void> answer(const PullRequest& request, PullSink& sink) override {
    auto answered = shared_.store.answer(request, sink);
    shared_.reports_changed = true;
    if (!answered && answered.error().kind != ErrorKind::kCancelled) {
      if (answered.error().kind == ErrorKind::kRejected) {
        shared_.schema_suspect = true;
      }
      log_warning(kPeerDomain, "could not answer peer={} reason={}", log_value(request.sender.name),
                  log_value(answered.error().text()));
    }
    return answered;
  }

 private:
  Shared& shared_;
};

// Pulls from one peer for as long as the node runs.
class PeerLoop {
 public:
  PeerLoop(Shared& shared, PeerAddress address, const FleetKey& key, milliseconds interval)
      : shared_(shared), name_(to_string(address)), client_(std::move(address), key), interval_(interval) {}

  void run(const std::stop_token& stop) {
    Pause pause(stop);
    while (!stop.stop_requested()) {
      if (auto pulled = pull(stop, pause); pulled) {
        backoff_.reset();
      } else if (!stop.stop_requested()) {
        session_.reset();
        wait_ = false;
        const auto& error = pulled.error();
        if (announcer_.is_news(error.text())) {
          log_warning(kPeerDomain, "not in step peer={} reason={}", name_, log_value(error.text()));
        }
        if (error.kind == ErrorKind::kRejected) {
          shared_.schema_suspect = true;
        }
        pause(backoff_.next());
      }
    }
  }

  void stop() { client_.stop(); }

 private:
  Result<void> pull(const std::stop_token& stop, Pause& pause) {
    if (!session_) {
      auto session = shared_.store.open_pull(name_);
      MBSYNC_TRY(session);
      session_ = std::move(*session);
    }
    const auto request = session_->ask(wait_ ? interval_ : milliseconds{0});
    MBSYNC_TRY(request);
    MBSYNC_TRY(client_.pull(*request, session_->sink()));
    for (int tries = 1;; ++tries) {
      const auto started = Clock::now();
      const auto applied = session_->apply();
      if (applied) {
        if (applied->ask_again) {
          log_debug(kPeerDomain, "answer out of date, asking again peer={}", name_);
          pause(kAskAgainPause);
          wait_ = false;
          return {};
        }
        wait_ = true;
        shared_.reports_changed = true;
        if (announcer_.is_news("")) {
          log_info(kPeerDomain, "in step peer={}", name_);
        }
        if (applied->set_aside > 0) {
          shared_.rows_set_aside = true;
        }
        if (applied->rows > 0) {
          log_debug(kPeerDomain, "applied peer={} rows={} merged={} conflicts={} set_aside={} ms={}", name_,
                    applied->rows, applied->merged, applied->conflicts, applied->set_aside,
                    std::chrono::duration_cast<milliseconds>(Clock::now() - started).count());
        }
        return {};
      }
      if (applied.error().kind != ErrorKind::kTransient || tries == kApplyTries || !session_->usable() ||
          stop.stop_requested()) {
        return applied.error();
      }
      log_debug(kPeerDomain, "trying again peer={} tries={} reason={}", name_, tries,
                log_value(applied.error().text()));
      pause(kApplyPause * tries);
    }
  }

  Shared& shared_;
  std::string name_;
  PeerClient client_;
  milliseconds interval_;
  bool wait_ = false;  // the first question after a (re)connection is answered at once: both sides learn of each other
  std::unique_ptr<PullSession> session_;
  Backoff backoff_;
  Announcer announcer_;
};

class Node {
 public:
  Node(const Config& config, const std::stop_token& stop)
      : config_(config), stop_(stop), pause_(stop), store_(config.database_url, config.node_name), shared_(store_) {}

  Result<void> run() {
    log_info(kDomain, "deriving the fleet's key");
    const auto key = FleetKey::derive(config_.registration_key.reveal());
    MBSYNC_TRY(key);
    if (!open_database()) {
      return failure_ ? Result<void>(*failure_) : Result<void>();
    }

    Answers answers(shared_);
    HttpServerOptions options;
    options.bind_address = config_.bind_address;
    options.port = config_.port;
    options.spool_directory = config_.data_dir;
    options.on_warning = [](std::string_view line) { log_warning(kPeerDomain, "{}", line); };
    HttpServer server(options, *key, answers);
    if (auto started = server.start(); !started) {
      return started.error().about(ErrorArea::kPort);
    }
    log_info(kDomain, "listening address={} port={}", config_.bind_address, server.port());

    std::vector<std::unique_ptr<PeerLoop>> peers;
    std::vector<std::jthread> threads;
    for (const auto& text : config_.peers) {
      auto address = parse_peer_address(text);
      MBSYNC_TRY(address);
      peers.push_back(std::make_unique<PeerLoop>(shared_, *address, *key, config_.interval));
      threads.emplace_back([this, loop = peers.back().get()] { loop->run(stop_); });
    }
    // Without this, threads that are still pulling would never learn of the stop.
    const std::stop_callback interrupt(stop_, [&] { store_.interrupt(); });

    watch();

    log_info(kDomain, "stopping");
    store_.interrupt();
    for (const auto& peer : peers) {
      peer->stop();
    }
    server.stop();
    threads.clear();
    log_info(kDomain, "stopped");
    return failure_ ? Result<void>(*failure_) : Result<void>();
  }

 private:
  // Connects and prepares until it works; false when stopped, or when only a person can help (then failure_ is set).
  bool open_database() {
    Backoff backoff;
    Announcer announcer;
    while (!stop_.stop_requested()) {
      const auto prepared = store_.prepare();
      if (prepared) {
        describe(*prepared);
        return true;
      }
      const auto& error = prepared.error();
      if (error.kind != ErrorKind::kTransient && error.kind != ErrorKind::kInDoubt) {
        failure_ = error.about(ErrorArea::kDatabase);
        return false;
      }
      if (announcer.is_news(error.text())) {
        log_warning(kDomain, "waiting for the database reason={}", log_value(error.text()));
      }
      pause_(backoff.next());
    }
    return false;
  }

  void describe(const PrepareReport& report) {
    const auto self = store_.self();
    if (report.created) {
      log_info(kDomain, "made a node out of this database: schema mbsync created database={} rows={}",
               config_.database_url.display, report.rows_adopted);
    } else if (report.rows_adopted > 0) {
      log_info(kDomain, "rows take part now rows={}", report.rows_adopted);
    }
    if (first_) {
      log_info(kDomain, "node ready node={} name={} database={} tables={}", to_string(self.id), log_value(self.name),
               config_.database_url.display, report.tables);
    }
    for (const auto& [table, reason] : report.refused) {
      if (refused_.emplace(table, reason).second) {
        log_warning(kDomain, "table not synchronised table={} reason={}", log_value(table), log_value(reason));
      }
    }
    for (const auto& table : report.waiting) {
      log_warning(kDomain, "table waits for its triggers, an application transaction holds it table={}",
                  log_value(table));
    }
    if (first_ && !report.bypasses_constraints) {
      log_warning(
          kDomain,
          "the database role may not set session_replication_role: rows are applied in foreign-key order and the "
          "application's triggers fire; GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15) changes that");
      for (const auto& trigger : report.application_triggers) {
        log_warning(kDomain, "application trigger will fire on apply trigger={}", log_value(trigger));
      }
    }
    if (report.triggers_installed > 0) {
      log_info(kDomain, "capture in place tables={}", report.triggers_installed);
    }
    tables_waiting_ = !report.waiting.empty();
    first_ = false;
  }

  // The heartbeat: looks for captured writes, and does what is due now and then.
  void watch() {
    auto last_write = Clock::now();
    auto last_seal = Clock::now();
    auto last_forget = Clock::now();
    auto last_refresh = Clock::now();
    bool raw_before = false;
    while (!stop_.stop_requested()) {
      const auto captured = store_.poll();
      const auto now = Clock::now();
      if (!captured) {
        log_warning(kDomain, "database lost reason={}", log_value(captured.error().text()));
        if (!open_database()) {
          return;
        }
        log_info(kDomain, "database is back");
        continue;
      }
      // A table that takes no part any more leaves such rows for good; looking once is enough.
      if (captured->raw && !raw_before) {
        shared_.schema_suspect = true;
      }
      raw_before = captured->raw;
      if (captured->pending) {
        last_write = now;
        if (now - last_seal >= kSealAfter) {
          report(store_.seal_pending(), "sealing");
          last_seal = now;
        }
      } else {
        last_seal = now;
      }
      settle(now);
      if (shared_.reports_changed && now - last_forget >= kForgetEvery) {
        shared_.reports_changed = false;
        report(store_.forget_stable(), "forgetting");
        last_forget = now;
      }
      const bool suspect = shared_.schema_suspect && now - last_refresh >= kForgetEvery;
      if (suspect || now - last_refresh >= (tables_waiting_ ? kForgetEvery : kRefreshEvery)) {
        shared_.schema_suspect = false;
        if (auto refreshed = store_.refresh(); refreshed) {
          describe(*refreshed);
          report(store_.seal_pending(), "sealing");  // rows that waited for their table to be understood again
        } else {
          report(refreshed, "looking at the tables");
        }
        last_refresh = now;
      }
      pause_(now - last_write < kPollCalmAfter ? kPollBusy : kPollCalm);
    }
  }

  // Rows that an application transaction held when news of them came.
  void settle(Clock::time_point now) {
    if (shared_.rows_set_aside.exchange(false)) {
      settle_wait_.reset();
      settle_at_ = now;
    }
    if (now < settle_at_) {
      return;
    }
    const auto waiting = store_.settle_unseen();
    settle_at_ = now + settle_wait_.next();
    if (!waiting) {
      if (settle_failures_.is_news(waiting.error().text())) {
        report(waiting, "bringing up to date rows that the application held");
      }
      return;
    }
    settle_failures_.forget();
    shared_.reports_changed = shared_.reports_changed || (rows_waiting_ > 0 && *waiting != rows_waiting_);
    if (*waiting > 0 && rows_waiting_ == 0) {
      log_info(kDomain, "rows are held by application transactions, what peers wrote to them follows later rows={}",
               *waiting);
    } else if (*waiting == 0 && rows_waiting_ > 0) {
      log_info(kDomain, "held rows have all been brought up to date");
    }
    rows_waiting_ = *waiting;
  }

  template <typename T>
  void report(const Result<T>& result, std::string_view what) {
    if (!result && result.error().kind != ErrorKind::kCancelled) {
      log_warning(kDomain, "{} failed reason={}", what, log_value(result.error().text()));
    }
  }

  const Config& config_;
  std::stop_token stop_;
  Pause pause_;
  PgStore store_;
  Shared shared_;
  std::optional<Error> failure_;
  std::set<std::pair<std::string, std::string>> refused_;
  Backoff settle_wait_{kSettleFirst, kSettleMax};
  Clock::time_point settle_at_;
  Announcer settle_failures_;
  std::int64_t rows_waiting_ = 0;  // what settle() saw last
  bool first_ = true;
  bool tables_waiting_ = false;
};

}  // namespace

Result<void> run_node(const Config& config) {
  const StopSignal signal;
  return run_node(config, signal.token());
}

Result<void> run_node(const Config& config, const std::stop_token& stop) {
  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  if (error) {
    return Error{ErrorKind::kConfig,
                 fmt::format("cannot make directory \"{}\": {}", config.data_dir.string(), error.message()),
                 "set SYNC_DATA_DIR to a directory that this user may write"};
  }
  return Node(config, stop).run();
}

}  // namespace mbsync
