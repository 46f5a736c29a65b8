#include "run_loop.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "allowed_nodes.h"
#include "answers.h"
#include "dns_sd_source.h"
#include "fleet_key.h"
#include "fleet_tag_keeper.h"
#include "http_server.h"
#include "interrupter.h"
#include "local_port.h"
#include "log.h"
#include "node_activity.h"
#include "node_control.h"
#include "pace.h"
#include "parked_log.h"
#include "peer_book.h"
#include "peer_directory.h"
#include "peers.h"
#include "pg_store.h"
#include "precheck.h"
#include "prepare_teller.h"
#include "process_tag.h"
#include "shared_state.h"
#include "static_source.h"
#include "stop_signal.h"
#include "sync_round.h"
#include "tuning.h"
#include "verifier.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"run"};
constexpr LogDomain kPeerDomain{"peer"};
/// Of what tells this process from others with the same identity.
constexpr std::size_t kStartDigits = 8;
/// What the directory calls it where peers were not named or announced: they have answered before this process was
/// started.
constexpr std::string_view kRememberedSource = "remembered";

using Clock = std::chrono::steady_clock;

constexpr std::string_view kRunning = "running";

// What the node is at goes to whoever looks after it, and to its local port.
class ActivityToo : public Supervisor {
 public:
  ActivityToo(Supervisor& supervisor, NodeActivity& activity) : supervisor_(supervisor), activity_(activity) {}

  void doing(std::string_view phase, std::string_view detail) override {
    // While it runs, the activity has the detail itself.
    activity_.phase(std::string(phase), phase == kRunning ? "" : std::string(detail));
    supervisor_.doing(phase, detail);
  }
  void ready() override { supervisor_.ready(); }
  void alive() override {
    activity_.beat();
    supervisor_.alive();
  }
  void stopping() override {
    activity_.phase("stopping");
    supervisor_.stopping();
  }

 private:
  Supervisor& supervisor_;
  NodeActivity& activity_;
};

class Node {
 public:
  /// `config` changes when it is read again, in this thread alone.
  Node(Config& config, const std::stop_token& stop, std::function<void(Node&)> look_for_hangup, Supervisor& supervisor,
       NodeActivity& activity, NodeControl& control, VerifyBoard& board)
      : config_(config),
        look_for_hangup_(std::move(look_for_hangup)),
        stop_(stop),
        supervisor_(supervisor),
        pause_(stop),
        control_(control),
        board_(board),
        store_(config.database_url, config.node_name, config.tables, config.local_port()),
        shared_(store_, activity),
        teller_(config_.database_url, activity) {}

  /// Whether the node has ended in order to start anew, under another identity.
  [[nodiscard]] bool is_another() const { return shared_.is_another; }

  /// What has been taken of a configuration that was read again.
  void adopt(const Reloaded& reloaded) {
    if (adopt_) {
      adopt_(reloaded);
    }
    if (reloaded.has(ConfigKey::kConflictRetention)) {
      conflicts_at_ = {};
    }
    if (reloaded.has(ConfigKey::kAwayAfter)) {
      silent_at_ = {};
    }
  }

  Result<void> run() {
    log_info(kDomain, "deriving the fleet's key");
    supervisor_.doing("starting");
    const auto keys = FleetKeys::derive(config_.registration_key.reveal(), config_.next_key.reveal());
    MBSYNC_TRY(keys);
    // First of all, as making the database ready may take long, and outliving the threads, which it sets free.
    Interrupter interrupter(store_, stop_);
    if (!open_database()) {
      return ended();
    }

    PeerHealth health;
    // Before all that notes something down in it.
    PeerBook book({[&] { return store_.begin_peer_notes(keys->next.has_value()); },
                   [&](const PeerNotes& notes) { return store_.store_peer_notes(notes); }});
    AllowedNodes allowed(config_.allowed_nodes);
    const auto start = make_process_tag().substr(0, kStartDigits);
    PeerDirectory directory(store_.self().id, start);
    FleetTagKeeper tags(*keys, {[&] { return store_.fleet_tags(); },
                                [&](const TagsByKey& known) { return store_.store_fleet_tags(known); }});
    Answers answers(shared_, health, book, allowed, config_.discovers() ? &directory : nullptr);
    HttpServerOptions options;
    options.bind_address = config_.bind_address;
    options.port = config_.port;
    options.spool_directory = config_.data_dir;
    options.on_warning = [](std::string_view line) { log_warning(kPeerDomain, "{}", line); };
    options.process_tag = make_process_tag();
    options.fleet_tags = &tags.tags();
    options.digests = &answers;
    auto server = std::make_unique<HttpServer>(options, *keys, answers);
    auto started = server->start();
    if (!started && config_.source(ConfigKey::kBindAddress) == "default") {
      // A machine without IPv6.
      options.bind_address = "0.0.0.0";
      server = std::make_unique<HttpServer>(options, *keys, answers);
      started = server->start();
    }
    if (!started) {
      auto error = started.error().about(ErrorArea::kPort);
      if (const auto other = node_at_local_port(config_.port); !other.empty()) {
        error.hint = fmt::format(
            "it is the local port of {}, which is the one after its own; give this node another SYNC_PORT, two away at "
            "least, or that one another SYNC_STATUS_PORT",
            other);
      }
      return error;
    }
    shared_.activity.is_node(store_.self(), server->port());
    log_info(kDomain, "listening address={} port={}", options.bind_address, server->port());

    SenderAnnouncer said;
    const OwnProcess own{options.process_tag, server->port(), &tags.tags()};
    PeerContext context{
        shared_, directory, health, book, allowed, *keys, tags.tags(), config_.interval, own, said, [&] {
          interrupter.call();
        }};
    Peers peers(context, store_.self().id, config_.live_peers);
    Verifier verifier(context, board_, verify_settings());
    peers_ = &peers;
    tags_ = &tags;
    auto named = std::make_unique<StaticSource>(named_peers());
    adopt_ = [this, &allowed, &context, &verifier, source = named.get()](const Reloaded& reloaded) {
      context.interval = config_.interval;
      verifier.adopt(verify_settings());
      if (reloaded.has(ConfigKey::kAllowedNodes)) {
        allowed.replace(config_.allowed_nodes);
      }
      if (reloaded.has(ConfigKey::kPeers)) {
        source->replace(named_peers());
      }
    };
    peers.add(std::move(named));
    if (config_.discovers()) {
      DnsSdSource::Options service;
      service.name = config_.node_name;
      service.port = server->port();
      service.announcement = Announcement{kProtocolVersion, store_.self().id, tags.announced(), start};
      auto source = std::make_unique<DnsSdSource>(std::move(service));
      announce_ = [&tags, node = store_.self().id, start, network = source.get()] {
        network->announce(Announcement{kProtocolVersion, node, tags.announced(), start});
      };
      peers.add(std::move(source));
      remember(directory);
    }

    // Also if this ends by an exception: nothing may be asked of peers that are gone.
    struct NoMoreRounds {
      NodeControl& control;
      ~NoMoreRounds() { control.set_round({}); }
    };
    const NoMoreRounds no_more_rounds{control_};
    control_.set_round([&context](const std::stop_token& stop) { return run_sync_round(context, stop); });
    shared_.activity.event("node_started", fmt::format("node {} is at work", store_.self().name));
    supervisor_.ready();
    watch();
    adopt_ = nullptr;

    log_info(kDomain, "stopping");
    if (!shared_.is_another && !control_.is_to_restart()) {  // the process goes on then
      supervisor_.stopping();
    }
    control_.set_round({});
    peers.ask_to_stop();
    verifier.ask_to_stop();
    server->stop();
    peers.stop();
    peers_ = nullptr;
    tags_ = nullptr;
    announce_ = nullptr;
    return ended();
  }

 private:
  [[nodiscard]] VerifySettings verify_settings() const {
    return {std::chrono::hours{config_.verify_interval_hours}, config_.verify_rows_per_s};
  }

  [[nodiscard]] std::vector<PeerAddress> named_peers() const {
    std::vector<PeerAddress> named;
    for (const auto& text : config_.peers) {
      named.push_back(parse_peer_address(text).value());  // checked when the configuration was read
    }
    return named;
  }

  // Without a way to find peers, those that were there before would be looked for in vain after each start.
  void remember(PeerDirectory& directory) {
    const auto known = store_.remembered_addresses();
    if (!known) {
      log_warning(kPeerDomain, "where peers were before is not known reason={}", log_value(known.error().log_text()));
      return;
    }
    for (const auto& note : *known) {
      directory.peer_found(
          kRememberedSource,
          Sighting{to_string(note.address), {note.address}, Announcement{kProtocolVersion, *note.node, "", ""}});
    }
  }

  Result<void> ended() {
    if (failure_) {
      return *failure_;
    }
    log_info(kDomain, "stopped");
    return {};
  }

  // Connects and prepares until it works; false when stopped, or when only a person can help (then failure_ is set).
  bool open_database() {
    Backoff backoff;
    Announcer announcer;
    while (!stop_.stop_requested()) {
      supervisor_.alive();
      const auto prepared = store_.prepare();
      if (prepared) {
        take(*prepared);
        return true;
      }
      if (stop_.stop_requested()) {
        return false;  // what failed has been given up
      }
      const auto& error = prepared.error();
      if (error.kind != ErrorKind::kTransient && error.kind != ErrorKind::kInDoubt) {
        failure_ = error.about(ErrorArea::kDatabase);
        return false;
      }
      supervisor_.doing("waiting for the database", error.text());
      if (announcer.is_news(error.text())) {
        log_warning(kDomain, "waiting for the database reason={}", log_value(error.log_text()));
      }
      pause_(backoff.next());
      look_for_hangup_(*this);
    }
    return false;
  }

  void take(const PrepareReport& report) {
    teller_.tell(store_.self(), report);
    tables_waiting_ = !report.waiting.empty() || !report.still_in.empty();
  }

  // The heartbeat: looks for captured writes, and does what is due now and then.
  void watch() {
    auto last_write = Clock::now();
    auto last_seal = Clock::now();
    auto last_forget = Clock::now();
    auto last_refresh = Clock::now();
    bool stale_before = false;
    say_that_it_runs();
    while (!stop_.stop_requested() && !shared_.is_another) {
      supervisor_.alive();
      const auto captured = store_.poll();
      const auto now = Clock::now();
      if (!captured) {
        log_warning(kDomain, "database lost reason={}", log_value(captured.error().log_text()));
        shared_.activity.event("database_lost", fmt::format("the database is lost: {}", captured.error().text()));
        if (!open_database()) {
          return;
        }
        log_info(kDomain, "database is back");
        say_that_it_runs();
        shared_.activity.event("database_back", "the database is back");
        continue;
      }
      // A table that takes no part any more leaves such rows for good; looking once is enough.
      if (captured->stale && !stale_before) {
        shared_.schema_suspect = true;
      }
      stale_before = captured->stale;
      if (captured->pending) {
        last_write = now;
        if (now - last_seal >= kSealAfter) {
          const auto sealing = Clock::now();
          report(store_.seal_pending(kHeartbeatPatience), "sealing");
          shared_.activity.sealed(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - sealing));
          last_seal = now;
        }
      } else {
        last_seal = now;
      }
      peers_->look_after();
      if (tags_->look_after(now) && announce_) {
        announce_();
      }
      settle(now);
      if (shared_.reports_changed && now - last_forget >= kForgetEvery) {
        shared_.reports_changed = false;
        const auto forgotten = store_.forget_stable(kHeartbeatPatience);
        report(forgotten, "forgetting");
        if (gave_up(forgotten)) {
          shared_.reports_changed = true;
        }
        last_forget = now;
      }
      forget_conflicts(now);
      look_after_silent(now);
      look_for_hangup_(*this);
      tell_repeated_lines();
      const bool suspect = shared_.schema_suspect && now - last_refresh >= kForgetEvery;
      if (suspect || now - last_refresh >= (tables_waiting_ ? kForgetEvery : kRefreshEvery)) {
        shared_.schema_suspect = false;
        if (auto refreshed = store_.refresh(kHeartbeatPatience); refreshed) {
          take(*refreshed);
          report(store_.seal_pending(kHeartbeatPatience),
                 "sealing");  // rows that waited for their table to be understood again
        } else {
          report(refreshed, "looking at the tables");
          if (gave_up(refreshed)) {
            shared_.schema_suspect = true;
          }
        }
        last_refresh = now;
      }
      if (shared_.activity.peers_up() != peers_told_) {
        say_that_it_runs();
      }
      pause_(now - last_write < kPollCalmAfter ? kPollBusy : kPollCalm);
    }
  }

  void say_that_it_runs() {
    peers_told_ = shared_.activity.peers_up();
    supervisor_.doing(kRunning, peers_told_ == 0   ? "no peer connected"
                                : peers_told_ == 1 ? "1 peer connected"
                                                   : fmt::format("{} peers connected", peers_told_));
  }

  void forget_conflicts(Clock::time_point now) {
    if (config_.conflict_retention_days == 0 || now < conflicts_at_) {
      return;
    }
    const auto removed = store_.forget_conflicts(config_.conflict_retention_days, kHeartbeatPatience);
    report(removed, "removing old conflicts from the record");
    const bool more = removed && *removed > 0;
    conflicts_at_ = now + (more ? kOldConflictsNext : kOldConflictsEvery);
    conflicts_removed_ += more ? *removed : 0;
    if (!more && conflicts_removed_ > 0) {
      log_info(kDomain, "old conflicts removed from the record entries={} days={}", conflicts_removed_,
               config_.conflict_retention_days);
      conflicts_removed_ = 0;
    }
  }

  void look_after_silent(Clock::time_point now) {
    if (now < silent_at_) {
      return;
    }
    silent_at_ = now + kSilentEvery;
    const auto days_max = config_.away_after_days;
    const auto silent = store_.look_after_silent(days_max, kHeartbeatPatience);
    report(silent, "looking for members that are silent");
    if (!silent) {
      return;
    }
    for (const auto& [member, days, declared] : *silent) {
      if (declared) {
        log_warning(
            kDomain,
            "the fleet goes on without a member that has been silent for too long; if it turns up, it comes back "
            "by itself name={} node={} days={}",
            log_value(member.name), to_string(member.id), days);
        shared_.activity.event(
            "member_away",
            fmt::format("the fleet goes on without {}, which has been silent for {} days", member.name, days),
            member.name);
      } else if (days_max > 0 && days + kSilentWarnDays >= days_max && silent_told_[member.id] != days) {
        silent_told_[member.id] = days;
        log_warning(kDomain,
                    "a member is silent: after SYNC_AWAY_AFTER_DAYS the fleet goes on without it; switch it on, or say "
                    "'mbsync peers forget' name={} node={} days={} of={}",
                    log_value(member.name), to_string(member.id), days, days_max);
      }
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
    const auto settled = store_.settle_unseen(kHeartbeatPatience);
    settle_at_ = now + settle_wait_.next();
    if (!settled) {
      if (settle_failures_.is_news(settled.error().text())) {
        report(settled, "bringing up to date rows that the application held");
      }
      return;
    }
    settle_failures_.forget();
    shared_.reports_changed = shared_.reports_changed || (rows_waiting_ > 0 && settled->waiting != rows_waiting_);
    for (const auto& row : settled->parked) {
      log_parked(kDomain, row, "");
      shared_.activity.event("row_parked", fmt::format("a row cannot be written here: {}", row.text()));
    }
    if (settled->waiting > 0 && rows_waiting_ == 0) {
      log_info(kDomain, "rows are held by application transactions, what peers wrote to them follows later rows={}",
               settled->waiting);
    } else if (settled->waiting == 0 && rows_waiting_ > 0) {
      log_info(kDomain, "held rows have all been brought up to date");
    }
    rows_waiting_ = settled->waiting;
  }

  template <typename T>
  static bool gave_up(const Result<T>& result) {
    return !result && result.error().kind == ErrorKind::kCancelled;
  }

  template <typename T>
  void report(const Result<T>& result, std::string_view what) {
    if (!result && !gave_up(result)) {
      log_warning(kDomain, "{} failed reason={}", what, log_value(result.error().log_text()));
    }
  }

  Config& config_;
  std::function<void(Node&)> look_for_hangup_;
  std::function<void(const Reloaded&)> adopt_;  // while there are peers
  std::stop_token stop_;
  Supervisor& supervisor_;
  Pause pause_;
  NodeControl& control_;
  VerifyBoard& board_;
  PgStore store_;
  SharedState shared_;
  PrepareTeller teller_;
  Peers* peers_ = nullptr;  // while it watches, as are the two below
  FleetTagKeeper* tags_ = nullptr;
  std::function<void()> announce_;  // anew; nothing: this node is not announced
  std::optional<Error> failure_;
  Backoff settle_wait_{kSettleFirst, kSettleMax};
  Clock::time_point settle_at_;
  Announcer settle_failures_;
  Clock::time_point conflicts_at_;
  Clock::time_point silent_at_;
  std::map<NodeId, int> silent_told_;   // of how many days
  std::int64_t conflicts_removed_ = 0;  // since there were none left the last time
  std::int64_t rows_waiting_ = 0;       // what settle() saw last
  std::size_t peers_told_ = 0;          // to the supervisor, as connected
  bool tables_waiting_ = false;
};

}  // namespace

Result<void> run_node(const Config& config, const LoadAgain& load_again, Supervisor& supervisor) {
  StopSignal signal;
  return run_node(
      config, signal.token(), load_again, [&] { return signal.take_hangup(); }, supervisor);
}

Result<void> run_node(const Config& config, const std::stop_token& stop, const LoadAgain& load_again,
                      const std::function<bool()>& hangup, Supervisor& supervisor) {
  MBSYNC_TRY(make_data_dir(config));
  try {
    NodeActivity activity(MBSYNC_VERSION, std::chrono::system_clock::now());
    NodeControl control;
    VerifyBoard board;
    Config begun_with = config;  // the local port holds on to it
    Config live = config;
    std::optional<LocalPort> local(std::in_place, begun_with, MBSYNC_VERSION, activity, control, board);
    // Whoever has a node start anew has changed its files, as likely as not.
    const auto read_all_again = [&] {
      if (auto wanted = load_again ? read_for_restart(live, load_again) : std::nullopt) {
        local.reset();
        begun_with = *wanted;
        live = std::move(*wanted);
        local.emplace(begun_with, MBSYNC_VERSION, activity, control, board);
      }
    };
    ActivityToo told(supervisor, activity);
    if (!config.skip_db_precheck) {
      for (;;) {
        // It may wait for the database for long, and is to be told to end as the node itself is.
        std::stop_source wait;
        const std::stop_callback on_stop(stop, [&wait] { wait.request_stop(); });
        control.begin_run(wait);
        const auto checked = precheck(live, wait.get_token(), told);
        if (!control.take_restart()) {
          MBSYNC_TRY(checked);
          break;
        }
        read_all_again();
      }
    }
    const auto look_for_hangup = [&](Node& node) {
      if (hangup && hangup()) {
        node.adopt(read_again(live, load_again));
        local->adopt(live);
      }
    };
    for (;;) {
      std::stop_source run;
      const std::stop_callback on_stop(stop, [&run] { run.request_stop(); });
      control.begin_run(run);
      Node node(live, run.get_token(), look_for_hangup, told, activity, control, board);
      auto ended = node.run();
      const bool again = control.take_restart();
      if (!ended || stop.stop_requested() || (!again && !node.is_another())) {
        return ended;
      }
      log_info(kDomain, "starting anew{}", again ? "" : " under another identity");
      if (again) {
        read_all_again();
      }
    }
  } catch (const std::exception& thrown) {
    return Error{ErrorKind::kInternal, fmt::format("the node has failed: {}", thrown.what()),
                 "look at the memory and at the limits on processes and threads of this machine, then start it again"};
  }
}

}  // namespace mbsync
