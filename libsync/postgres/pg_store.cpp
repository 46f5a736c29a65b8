#include "pg_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "armed_rows.h"
#include "capture.h"
#include "comeback.h"
#include "conflict_retention.h"
#include "digest_reader.h"
#include "engine_lock.h"
#include "engine_turn.h"
#include "fleet_tag_store.h"
#include "forget.h"
#include "left_out.h"
#include "membership_store.h"
#include "merge_rows.h"
#include "migrate.h"
#include "peer_claims.h"
#include "peer_store.h"
#include "pull_reader.h"
#include "pull_stage.h"
#include "report_choice.h"
#include "schema.h"
#include "seal.h"
#include "status_reader.h"
#include "verdict_store.h"
#include "version_store.h"

namespace mbsync {
namespace {

// How often a peer that waits hears that its own writes have arrived, if there is nothing else to tell it.
constexpr std::chrono::milliseconds kReportEvery{1000};

// A server that has not given up its statements this long after it was asked to does not answer at all.
constexpr std::chrono::milliseconds kCutAfter{1500};

// A table that is locked as a whole is waited for no longer than this, since all else waits meanwhile.
constexpr const char* kTableLockTimeout = "SET LOCAL lock_timeout = '1s'";
// No comparison of rows keeps a snapshot, and a lock that a migration has to wait for, for longer.
constexpr const char* kDigestTimeout = "SET LOCAL statement_timeout = '1min'";
// How long a repair waits for its turn with the database.
constexpr std::chrono::seconds kRepairPatience{20};

std::int64_t now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void describe(const Schema& schema, bool replica, PrepareReport& report) {
  report.tables = static_cast<int>(
      std::count_if(schema.tables.begin(), schema.tables.end(), [](const Table& table) { return !table.internal; }));
  for (const auto& refused : schema.refused) {
    report.refused.emplace_back(fmt::format("{}.{}", refused.schema, refused.name), refused.reason);
  }
  for (const auto& table : schema.tables) {
    if (table.rekeyed) {
      report.rekeyed.push_back(table.display());
    }
  }
  report.bypasses_constraints = replica;
  for (const auto& table : schema.tables) {
    for (const auto& trigger : replica ? table.always_triggers : table.user_triggers) {
      report.application_triggers.push_back(fmt::format("{}: {}", table.display(), trigger));
    }
  }
}

}  // namespace

struct PgStore::Impl {
  class Pull;

  DatabaseUrl url;
  std::string node_name;
  TableChoice tables;
  std::uint16_t local_port = 0;

  mutable std::mutex state_mutex;  // guards everything down to `interrupted`
  std::condition_variable news;
  Member self;
  std::shared_ptr<const Schema> schema;
  ApplyRole role;
  VersionVector seen;
  bool captures_pending = false;
  bool rows_unseen = false;                        // some row was set aside
  PolicyVersion captured_policy = kBuiltInPolicy;  // the version that the triggers were made for
  bool interrupted = false;
  std::chrono::steady_clock::time_point interrupted_at;
  std::vector<std::unique_ptr<PgConnection>> idle;
  std::map<const PgConnection*, std::shared_ptr<PgConnection::Stopper>> busy;
  /// Per pull under way: what its peer was known to hold when it was asked. See forget().
  std::map<const Pull*, VersionVector> floors;
  std::map<NodeId, std::chrono::steady_clock::time_point> last_answer;
  std::map<NodeId, std::chrono::steady_clock::time_point> last_reports;
  std::mt19937_64 random{std::random_device{}()};

  EngineTurn engine_turn;        // one seal, read, apply or forget at a time
  std::timed_mutex schema_turn;  // one look at the tables at a time; taken before the engine's turn, never within it
  std::mutex guard_mutex;        // guards `guard`
  std::unique_ptr<PgConnection> guard;

  // For a connection that is being made.
  [[nodiscard]] std::function<bool()> stopping() const {
    return [this] {
      const std::lock_guard lock(state_mutex);
      return interrupted;
    };
  }

  static Error cancelled() { return Error{ErrorKind::kCancelled, "mbsync is stopping", ""}; }

  // A session from the pool; goes back when it is let go of, unless it broke.
  struct Lease {
    Lease(Impl& store, std::unique_ptr<PgConnection> session) : owner(&store), connection(std::move(session)) {}
    Lease(Lease&& other) noexcept : owner(other.owner), connection(std::move(other.connection)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (!connection) {
        return;
      }
      connection->rollback();
      const std::lock_guard lock(owner->state_mutex);
      owner->busy.erase(connection.get());
      if (!connection->broken() && !owner->interrupted) {
        owner->idle.push_back(std::move(connection));
      }
    }
    PgConnection& operator*() const { return *connection; }
    PgConnection* operator->() const { return connection.get(); }

    Impl* owner;
    std::unique_ptr<PgConnection> connection;
  };

  Result<Lease> lease(std::string_view purpose) {
    {
      const std::lock_guard lock(state_mutex);
      if (interrupted) {
        return cancelled();
      }
      if (!idle.empty()) {
        auto session = std::move(idle.back());
        idle.pop_back();
        busy.emplace(session.get(), session->stopper());
        return Lease(*this, std::move(session));
      }
    }
    auto session = PgConnection::open(url, purpose, stopping());
    MBSYNC_TRY(session);
    MBSYNC_TRY(prepare_sealing(**session));
    const std::lock_guard lock(state_mutex);
    if (interrupted) {
      return cancelled();
    }
    busy.emplace(session->get(), (*session)->stopper());
    return Lease(*this, std::move(*session));
  }

  // Runs `work` as the only engine on this database. Others are waited for, for up to `patience` if there is one.
  Result<void> with_engine(PgConnection& db, const std::function<Result<void>()>& work, Patience patience = {}) {
    const Error others_at_work{ErrorKind::kCancelled, "others are at work on the database for longer than that", ""};
    if (!engine_turn.enter(patience)) {
      return others_at_work;
    }
    const EngineTurn::Leaver leaver(engine_turn);
    {
      const std::lock_guard lock(state_mutex);
      if (interrupted) {
        return cancelled();
      }
    }
    if (patience) {
      // Of another program, which holds it for a moment at most.
      const auto taken = db.exec_cached(fmt::format("SELECT pg_try_advisory_lock({})", kEngineLock));
      MBSYNC_TRY(taken);
      if (!(*taken)[0][0].as<bool>()) {
        return others_at_work;
      }
    } else {
      MBSYNC_TRY(db.exec_cached(fmt::format("SELECT pg_advisory_lock({})", kEngineLock)));
    }
    auto done = work();
    if (!done) {
      db.rollback();
    }
    if (!db.broken()) {
      MBSYNC_TRY(db.exec_cached(fmt::format("SELECT pg_advisory_unlock({})", kEngineLock)));
    }
    return done;
  }

  std::shared_ptr<const Schema> current_schema() const {
    const std::lock_guard lock(state_mutex);
    return schema;
  }
  Member current_self() const {
    const std::lock_guard lock(state_mutex);
    return self;
  }
  void publish_seen(const VersionVector& now) {
    const std::lock_guard lock(state_mutex);
    seen.merge(now);
    news.notify_all();
  }
  bool has_unseen() const {
    const std::lock_guard lock(state_mutex);
    return rows_unseen;
  }
  void publish_sealed() {
    const std::lock_guard lock(state_mutex);
    captures_pending = false;
  }

  Result<void> read_seen(PgConnection& db) {
    const auto versions = read_versions(db);
    MBSYNC_TRY(versions);
    publish_seen(versions->seen);
    const std::lock_guard lock(state_mutex);
    rows_unseen = versions->unseen;
    return {};
  }

  // One at a time: whoever has read the tables before another did, and registers them after it, would take back what
  // has come in between, and give it other numbers the next time.
  Result<void> load_schema(PgConnection& db, PrepareReport& report, Patience patience = {}) {
    std::unique_lock turn(schema_turn, std::defer_lock);
    if (!patience) {
      turn.lock();
    } else if (!turn.try_lock_for(*patience)) {
      return Error{ErrorKind::kCancelled, "the tables are being looked at for longer than that", ""};
    }
    MBSYNC_TRY(with_engine(
        db,
        [&]() -> Result<void> {
          auto left_out = update_left_out(db, tables);
          MBSYNC_TRY(left_out);
          report.still_in = std::move(left_out->still_in);
          report.unmatched = std::move(left_out->unmatched);
          return {};
        },
        patience));
    auto fresh = read_schema(db);
    MBSYNC_TRY(fresh);
    std::int64_t adopted_rows = 0;
    // Numbers in the registry and numbers in use change together: an answer that was read with the old ones would leave
    // a new column out and still count as complete.
    MBSYNC_TRY(with_engine(
        db,
        [&]() -> Result<void> {
          MBSYNC_TRY(register_tables(db, *fresh, current_self().id));
          publish_schema(*fresh);
          return {};
        },
        patience));
    const auto captured = install_capture(db, *fresh);
    MBSYNC_TRY(captured);
    MBSYNC_TRY(with_engine(
        db,
        [&]() -> Result<void> {
          const auto adopted = adopt_rows(db, *fresh, current_self().id);
          MBSYNC_TRY(adopted);
          adopted_rows = *adopted;
          publish_schema(*fresh);
          return read_seen(db);
        },
        patience));
    {
      const std::lock_guard lock(state_mutex);
      captured_policy = captured->policy;
    }
    report.triggers_installed = captured->installed;
    report.waiting = captured->waiting;
    report.rows_adopted = adopted_rows;
    auto trouble = fresh->rules->trouble(db, fresh->tables);
    MBSYNC_TRY(trouble);
    report.policy_trouble = std::move(*trouble);
    describe(*fresh, role.replica, report);
    return {};
  }

  // with_engine(), and once more where the work found that a table has changed: so a migration between two looks at the
  // tables is no failure. Work that seals does so before anything else.
  Result<void> with_engine_and_schema(PgConnection& db, const std::function<Result<void>()>& work,
                                      Patience patience = {}) {
    auto done = with_engine(db, work, patience);
    if (!done && has_other_columns(done.error())) {
      MBSYNC_TRY(reload_schema(patience));
      done = with_engine(db, work, patience);
    }
    return done;
  }

  Result<PrepareReport> reload_schema(Patience patience = {}) {
    PrepareReport report;
    auto db = lease("schema");
    MBSYNC_TRY(db);
    MBSYNC_TRY(load_schema(**db, report, patience));
    return report;
  }

  // Under the engine's lock, so that whoever has it reads, writes and numbers by one schema. A schema that has not
  // changed stays the same object: an answer that was asked for under another one is out of date.
  void publish_schema(const Schema& fresh) {
    const std::lock_guard lock(state_mutex);
    if (!schema || *schema != fresh) {
      schema = std::make_shared<const Schema>(fresh);
    }
  }

  // Reports of a large fleet under load fill a message, and a peer that hears of every write at once need not have that
  // with each: nothing, if it was told some just before.
  std::optional<std::uint64_t> chance_of_reports(NodeId asker) {
    const std::lock_guard lock(state_mutex);
    const auto now = std::chrono::steady_clock::now();
    const auto [last, first] = last_reports.try_emplace(asker, now);
    if (!first && now - last->second < kReportEvery) {
      return std::nullopt;
    }
    last->second = now;
    return random();
  }

  // A row of this node becomes a write, now or when it has to: armed_rows.h.
  Result<std::int64_t> take_row(PgConnection& db, const DigestRequest& request) {
    const bool writes = request.kind == DigestKind::kTouch || request.kind == DigestKind::kFire;
    std::int64_t taken = 0;
    const auto work = [&]() -> Result<void> {
      const auto now = current_schema();
      if (writes) {
        // What waits may be much, and is not to be waited for with the row in hand.
        MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
        MBSYNC_TRY(db.exec(kTableLockTimeout));
        MBSYNC_TRY(seal(db, *now, current_self().id));
        MBSYNC_TRY(db.commit());
        publish_sealed();
      }
      const auto* table = now->find(request.schema, request.table);
      if (table == nullptr) {
        return Error{ErrorKind::kTransient, "the table has just changed", "compare it again"};
      }
      MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
      MBSYNC_TRY(db.exec(kTableLockTimeout));
      const auto done = mbsync::take_row(db, *now, *table, current_self().id, request);
      MBSYNC_TRY(done);
      taken = *done;
      if (writes && taken > 0) {
        MBSYNC_TRY(seal(db, *now, current_self().id));
      }
      MBSYNC_TRY(db.commit());
      if (writes) {
        publish_sealed();
      }
      return read_seen(db);
    };
    if (auto done = with_engine(db, work, kRepairPatience); !done) {
      return done.error().kind == ErrorKind::kCancelled && !stopping()()
                 ? Error{ErrorKind::kTransient, "the node is at work on other rows", "say 'mbsync verify' again"}
                 : done.error();
    }
    return taken;
  }

  // This node has come back as another, whose vector is not a later one of the same.
  void publish_self(const Member& now, const VersionVector& seen_now) {
    const std::lock_guard lock(state_mutex);
    self = now;
    seen = seen_now;
    news.notify_all();
  }
};

// Asks and applies in a session of its own, whose staging tables live from pull to pull.
class PgStore::Impl::Pull : public PullSession {
 public:
  Pull(Impl& store, std::unique_ptr<PgConnection> db) : store_(store), db_(std::move(db)) {}
  ~Pull() override {
    stage_.reset();
    const std::lock_guard lock(store_.state_mutex);
    store_.floors.erase(this);
    store_.busy.erase(db_.get());
  }
  Pull(const Pull&) = delete;
  Pull& operator=(const Pull&) = delete;

  Result<PullRequest> ask(std::chrono::milliseconds wait) override {
    stage_.reset();
    applied_ = false;
    as_.reset();
    Versions versions;
    Fleet fleet;
    Member asker;
    // Under the engine's lock, so that nothing is forgotten between reading the report and holding on to it.
    MBSYNC_TRY(store_.with_engine(*db_, [&]() -> Result<void> {
      auto now = read_versions(*db_);
      MBSYNC_TRY(now);
      versions = std::move(*now);
      auto known = read_fleet(*db_);
      MBSYNC_TRY(known);
      fleet = std::move(*known);
      const std::lock_guard lock(store_.state_mutex);
      const auto known_to_hold = fleet.reports.find(peer_);
      store_.floors[this] = known_to_hold == fleet.reports.end() ? VersionVector() : known_to_hold->second;
      schema_ = store_.schema;
      asker = store_.self;
      if (std::exchange(comes_back_, false) && asker == self_) {
        auto next = next_self(*db_, asker);
        MBSYNC_TRY(next);
        as_ = std::move(*next);
      }
      self_ = asker;
      return {};
    }));
    ApplyRole apply_role;
    {
      const std::lock_guard lock(store_.state_mutex);
      apply_role = store_.role;
    }
    stage_ = std::make_unique<PullStage>(*db_, *schema_, asker, apply_role, versions.seen);
    fleet.reports[asker.id] = std::move(versions.report);
    // Where others' are too many for a message, the peer has them from those that it pulls from itself.
    auto reports = some_reports(std::move(fleet.reports), versions.seen, asker.id, std::nullopt);
    PullRequest request{
        asker, std::move(versions.seen), std::move(fleet.members), std::move(reports), wait.count(), now_micros()};
    if (as_) {
      request.was = std::exchange(request.sender, *as_).id;
      request.wait_ms = 0;
    }
    return request;
  }

  PullSink& sink() override { return *stage_; }

  Result<ApplyOutcome> apply() override {
    ApplyOutcome outcome;
    if (applied_) {
      outcome.ask_again = true;  // it was committed, and only what comes after that failed
      return outcome;
    }
    bool schema_outdated = false;
    const auto done = store_.with_engine(*db_, [&]() -> Result<void> {
      const auto& header = stage_->received();
      if (header.standing != Standing::kMember) {
        return turned_away(header, outcome);
      }
      // An answer to who this node is no more is out of date as well.
      if (schema_ != store_.current_schema() || self_ != store_.current_self()) {
        outcome.ask_again = true;
        return {};
      }
      const auto report = stage_->apply(!store_.has_unseen(), as_);
      MBSYNC_TRY(report);
      if (report->turned_down) {
        outcome.sender = header.sender;
        outcome.turned_down = report->turned_down;
        return {};
      }
      applied_ = !report->outdated;
      schema_outdated = report->schema_outdated;
      outcome = ApplyOutcome{header.sender,     report->rows,       report->merged,
                             report->conflicts, report->set_aside,  report->parked,
                             report->missing,   report->may_settle, report->outdated || header.ask_again};
      if (report->outdated) {
        return {};
      }
      peer_ = header.sender.id;
      store_.publish_sealed();
      if (as_) {
        const auto versions = read_versions(*db_);
        MBSYNC_TRY(versions);
        store_.publish_self(*as_, versions->seen);
        outcome.became = as_;
      }
      return store_.read_seen(*db_);
    });
    if (!done && has_other_columns(done.error())) {
      outcome = {};
      outcome.ask_again = schema_outdated = true;
    } else {
      MBSYNC_TRY(done);
    }
    if (schema_outdated) {
      MBSYNC_TRY(store_.reload_schema());
    }
    const std::lock_guard lock(store_.state_mutex);
    store_.floors.erase(this);
    return outcome;
  }

  [[nodiscard]] bool usable() const override { return !db_->broken(); }

 private:
  // What an answer says that is none (CONFLICTS.md C22).
  Result<void> turned_away(const PullHeader& header, ApplyOutcome& outcome) {
    const auto fleet = read_fleet(*db_);
    MBSYNC_TRY(fleet);
    outcome.sender = header.sender;
    outcome.turned_down = why_turned_away(header, *fleet);
    comes_back_ = outcome.ask_again = !outcome.turned_down;
    return {};
  }

  // Nothing, if this node may come back as another.
  [[nodiscard]] std::optional<Error> why_turned_away(const PullHeader& header, const Fleet& fleet) const {
    const auto& peer = header.sender;
    switch (header.standing) {
      case Standing::kMember:
        break;
      case Standing::kGone:
        if (!comes_back_to(fleet.membership, peer.id, {header.staying.begin(), header.staying.end()})) {
          return they_stay_apart(peer, header.staying, fleet);
        }
        break;
      case Standing::kAway:
        return Error{
            ErrorKind::kTransient,
            fmt::format("{} has heard that this node is away, and asks those who have said so to take it back",
                        peer.name),
            "it goes on by itself. If the node that has said it is gone for good, say 'mbsync peers forget' of "
            "that one, on one of the others: then this one comes back as another"};
      case Standing::kBanned:
        return Error{ErrorKind::kRejected, fmt::format("{} says that this node is banned from the fleet", peer.name),
                     fmt::format("if that was a mistake, say 'mbsync peers unban {}' on another node; nothing of what "
                                 "is here is lost",
                                 self_.name)};
      case Standing::kElsewhere:
        return Error{ErrorKind::kTransient,
                     fmt::format("{} is away itself, so nobody can join the fleet by it", peer.name),
                     "let this node reach another one of the fleet: 'mbsync peers' shows whom it knows"};
    }
    return std::nullopt;
  }

  Impl& store_;
  std::unique_ptr<PgConnection> db_;
  NodeId peer_;               // who answered last time
  Member self_;               // who has asked
  bool comes_back_ = false;   // the next question is asked as another
  std::optional<Member> as_;  // who that is
  std::shared_ptr<const Schema> schema_;
  std::unique_ptr<PullStage> stage_;
  bool applied_ = false;
};

PgStore::PgStore(DatabaseUrl url, std::string node_name, TableChoice tables, std::uint16_t local_port)
    : impl_(std::make_unique<Impl>()) {
  impl_->local_port = local_port;
  impl_->url = std::move(url);
  impl_->node_name = std::move(node_name);
  impl_->tables = std::move(tables);
}

PgStore::~PgStore() = default;

Result<PrepareReport> PgStore::prepare() {
  PrepareReport report;
  {
    const std::lock_guard lock(impl_->guard_mutex);
    if (impl_->guard) {
      const std::lock_guard state(impl_->state_mutex);
      impl_->busy.erase(impl_->guard.get());
    }
    impl_->guard.reset();
    auto guard = PgConnection::open(impl_->url, "node", impl_->stopping());
    MBSYNC_TRY(guard);
    const auto claimed = (*guard)->exec(fmt::format("SELECT pg_try_advisory_lock({})", kNodeLock));
    MBSYNC_TRY(claimed);
    if (!(*claimed)[0][0].as<bool>()) {
      return Error{ErrorKind::kTransient, fmt::format("another mbsync is at work on database {}", impl_->url.display),
                   "this one waits, and takes over when that has ended; 'mbsync status' shows it"};
    }
    if (impl_->local_port != 0) {
      MBSYNC_TRY(
          (*guard)->exec(fmt::format("SELECT pg_try_advisory_lock_shared({}, {})", kLocalPortLock, impl_->local_port)));
    }
    const std::lock_guard state(impl_->state_mutex);
    impl_->guard = std::move(*guard);
    impl_->busy.emplace(impl_->guard.get(), impl_->guard->stopper());
    if (impl_->interrupted) {
      return Impl::cancelled();
    }
    impl_->idle.clear();  // sessions from before the database went away
  }
  auto db = impl_->lease("prepare");
  MBSYNC_TRY(db);
  const auto encoding = (*db)->exec("SHOW server_encoding");
  MBSYNC_TRY(encoding);
  if (std::string_view((*encoding)[0][0].c_str()) == "SQL_ASCII") {
    return Error{
        ErrorKind::kConfig,
        fmt::format("database {} has the encoding SQL_ASCII, so nobody knows what its texts say", impl_->url.display),
        "move its contents to a database with ENCODING 'UTF8'", ErrorArea::kDatabase};
  }
  const auto migrated = migrate(**db);
  MBSYNC_TRY(migrated);
  report.created = migrated->from == 0;
  auto self = ensure_self(**db, impl_->node_name);
  MBSYNC_TRY(self);
  const auto role = find_apply_role(**db);
  MBSYNC_TRY(role);
  {
    const std::lock_guard lock(impl_->state_mutex);
    impl_->self = *self;
    impl_->role = *role;
  }
  MBSYNC_TRY(impl_->load_schema(**db, report));
  return report;
}

Result<PrepareReport> PgStore::refresh(Patience patience) {
  return impl_->reload_schema(patience);
}

Member PgStore::self() const {
  return impl_->current_self();
}

Result<PgStore::Captured> PgStore::poll() {
  const std::lock_guard lock(impl_->guard_mutex);
  if (!impl_->guard || impl_->guard->broken()) {
    return Error{ErrorKind::kTransient, "the connection to the database is lost", ""};
  }
  // Rows kept whole (op R) wait until their table is understood again; they must not make anybody run in circles.
  const auto any = impl_->guard->exec(
      "SELECT EXISTS (SELECT FROM mbsync.capture WHERE op <> 'R'), EXISTS (SELECT FROM mbsync.capture), "
      "coalesce((SELECT max(version) FROM mbsync.policy), 0)");
  MBSYNC_TRY(any);
  const bool pending = (*any)[0][0].as<bool>();
  Captured captured{pending, !pending && (*any)[0][1].as<bool>()};
  const std::lock_guard state(impl_->state_mutex);
  // Counters begin with triggers that know them.
  captured.stale = captured.stale || (*any)[0][2].as<PolicyVersion>() != impl_->captured_policy;
  if (pending) {
    impl_->captures_pending = true;
    impl_->news.notify_all();
  }
  return captured;
}

bool PgStore::wait_for_news(const PullRequest& request, std::chrono::milliseconds patience) {
  std::unique_lock lock(impl_->state_mutex);
  // Its own writes are no news to the asker; but now and then it should hear that they have arrived, to forget them.
  auto asker = request.seen;
  if (std::chrono::steady_clock::now() - impl_->last_answer[request.sender.id] < kReportEvery) {
    asker.advance(Dot{request.sender.id, std::numeric_limits<std::int64_t>::max()});
  }
  return impl_->news.wait_for(
      lock, patience, [&] { return impl_->interrupted || impl_->captures_pending || !asker.covers(impl_->seen); });
}

Result<void> PgStore::accept(const PullRequest& request) {
  const std::lock_guard lock(impl_->state_mutex);
  if (!impl_->self.id.valid() || !impl_->schema) {
    return Error{ErrorKind::kTransient, "this node is still starting", "try again in a moment"};
  }
  if (request.sender.id == impl_->self.id || request.was == impl_->self.id) {
    return Error{ErrorKind::kRejected, fmt::format("both nodes have the identity {}", to_string(request.sender.id)),
                 "one of the two databases is a copy of the other and must get an identity of its own"};
  }
  MBSYNC_TRY(check_claims(request));
  return check_own_counter(request.seen, request.reports, request.sender, impl_->self,
                           impl_->seen.counter(impl_->self.id));
}

Result<void> PgStore::answer(const PullRequest& request, PullSink& sink) {
  auto db = impl_->lease("answer");
  MBSYNC_TRY(db);
  return impl_->with_engine_and_schema(**db, [&]() -> Result<void> {
    const auto self = impl_->current_self();
    const auto schema = impl_->current_schema();
    MBSYNC_TRY((*db)->begin(PgConnection::Isolation::kRepeatableRead));
    MBSYNC_TRY((*db)->exec(kTableLockTimeout));
    const auto sealed = seal(**db, *schema, self.id);
    MBSYNC_TRY(sealed);
    const auto welcomed = welcome(**db, *schema, self, request);
    MBSYNC_TRY(welcomed);
    if (welcomed->standing == Standing::kMember) {
      if (request.was) {
        MBSYNC_TRY(store_members(**db, {request.sender}));
      }
      const PullContext context{self, welcomed->staying, welcomed->outside,
                                impl_->chance_of_reports(request.sender.id)};
      MBSYNC_TRY(read_pull(**db, *schema, context, request, sink));
    } else {
      PullHeader header{self, request.seen, request.members, {}};
      header.sent_at_us = now_micros();
      header.standing = welcomed->standing;
      header.staying = welcomed->staying;
      MBSYNC_TRY(sink.header(header));
      MBSYNC_TRY(sink.footer(PullFooter{}));
    }
    MBSYNC_TRY((*db)->commit());
    impl_->publish_sealed();
    {
      const std::lock_guard lock(impl_->state_mutex);
      impl_->last_answer[request.sender.id] = std::chrono::steady_clock::now();
    }
    return impl_->read_seen(**db);
  });
}

Result<DigestAnswer> PgStore::digest(const DigestRequest& request) {
  const auto self = impl_->current_self();
  const auto schema = impl_->current_schema();
  if (!schema) {
    return Error{ErrorKind::kTransient, "this node is still starting", "try again in a moment"};
  }
  auto db = impl_->lease("digest");
  MBSYNC_TRY(db);
  MBSYNC_TRY((*db)->begin(PgConnection::Isolation::kRepeatableRead));
  MBSYNC_TRY((*db)->exec(kTableLockTimeout));
  MBSYNC_TRY((*db)->exec(kDigestTimeout));
  if (const auto* table = schema->find(request.schema, request.table); table != nullptr && !table->internal) {
    // Before anything else, so that the snapshot is later than the lock: read_digest().
    MBSYNC_TRY((*db)->exec(fmt::format("LOCK TABLE {} IN ACCESS SHARE MODE", table->quoted())));
  }
  if (request.sender.id != self.id) {
    const auto member = (*db)->exec(fmt::format(
        "SELECT coalesce(m.banned, false) FROM mbsync.node n LEFT JOIN mbsync.membership m ON m.node = n.id WHERE "
        "n.id = {}",
        request.sender.id.value));
    MBSYNC_TRY(member);
    if (member->empty() || (*member)[0][0].as<bool>()) {
      return Error{ErrorKind::kNotFound,
                   fmt::format("{} is {} here, so its rows are not compared", request.sender.name,
                               member->empty() ? "no member" : "banned"),
                   "the two have to exchange rows first: 'mbsync peers' shows whether they do"};
    }
  }
  auto answer = read_digest(**db, *schema, self, request);
  if (!answer && answer.error().kind == ErrorKind::kCancelled && !impl_->stopping()()) {
    return Error{ErrorKind::kConflict, "a look at the table's rows takes more than a minute",
                 "is the server busy, or the table large and sorted otherwise on the other machine?"};
  }
  MBSYNC_TRY(answer);
  MBSYNC_TRY((*db)->commit());
  if (answer->state == DigestState::kCompared && is_of_repair(request.kind)) {
    const auto taken = impl_->take_row(**db, request);
    MBSYNC_TRY(taken);
    answer->rows = *taken;
  }
  return answer;
}

Result<void> PgStore::store_verdicts(const VerifyNote& note) {
  auto db = impl_->lease("verify");
  MBSYNC_TRY(db);
  return mbsync::store_verdicts(**db, note);
}

Result<std::vector<VerifyNote>> PgStore::verdicts() {
  auto db = impl_->lease("verify");
  MBSYNC_TRY(db);
  return read_verdicts(**db, true);
}

Result<std::vector<Member>> PgStore::other_members() {
  auto db = impl_->lease("verify");
  MBSYNC_TRY(db);
  return read_other_members(**db);
}

Result<std::unique_ptr<PullSession>> PgStore::open_pull(const std::string& peer) {
  auto session = PgConnection::open(impl_->url, fmt::format("pull {}", peer), impl_->stopping());
  MBSYNC_TRY(session);
  MBSYNC_TRY(prepare_apply(**session));
  const std::lock_guard lock(impl_->state_mutex);
  if (impl_->interrupted) {
    return Impl::cancelled();
  }
  impl_->busy.emplace(session->get(), (*session)->stopper());
  return std::unique_ptr<PullSession>(std::make_unique<Impl::Pull>(*impl_, std::move(*session)));
}

Result<std::int64_t> PgStore::seal_pending(Patience patience) {
  auto db = impl_->lease("seal");
  MBSYNC_TRY(db);
  std::int64_t rows = 0;
  MBSYNC_TRY(impl_->with_engine_and_schema(
      **db,
      [&]() -> Result<void> {
        const auto self = impl_->current_self();
        const auto schema = impl_->current_schema();
        MBSYNC_TRY((*db)->begin(PgConnection::Isolation::kReadCommitted));
        MBSYNC_TRY((*db)->exec(kTableLockTimeout));
        const auto sealed = seal(**db, *schema, self.id);
        MBSYNC_TRY(sealed);
        rows = *sealed;
        MBSYNC_TRY((*db)->commit());
        impl_->publish_sealed();
        return impl_->read_seen(**db);
      },
      patience));
  return rows;
}

Result<std::int64_t> PgStore::forget_stable(Patience patience) {
  auto db = impl_->lease("forget");
  MBSYNC_TRY(db);
  std::int64_t removed = 0;
  MBSYNC_TRY(impl_->with_engine(
      **db,
      [&]() -> Result<void> {
        const auto self = impl_->current_self();
        std::vector<VersionVector> floors;
        {
          const std::lock_guard lock(impl_->state_mutex);
          for (const auto& [pull, floor] : impl_->floors) {
            floors.push_back(floor);
          }
        }
        const auto done = forget(**db, self.id, floors);
        MBSYNC_TRY(done);
        removed = *done;
        return {};
      },
      patience));
  return removed;
}

Result<std::int64_t> PgStore::forget_conflicts(int days, Patience patience) {
  auto db = impl_->lease("forget");
  MBSYNC_TRY(db);
  std::int64_t removed = 0;
  MBSYNC_TRY(impl_->with_engine(
      **db,
      [&]() -> Result<void> {
        const auto schema = impl_->current_schema();
        const auto* record = schema ? schema->internal("conflict_record") : nullptr;
        if (record == nullptr) {
          return {};
        }
        const auto done = remove_old_conflicts(**db, record->id, days);
        MBSYNC_TRY(done);
        removed = *done;
        return {};
      },
      patience));
  return removed;
}

Result<std::vector<SilentMember>> PgStore::look_after_silent(int days_max, Patience patience) {
  auto db = impl_->lease("membership");
  MBSYNC_TRY(db);
  std::vector<SilentMember> silent;
  MBSYNC_TRY(impl_->with_engine(
      **db,
      [&]() -> Result<void> {
        MBSYNC_TRY((*db)->begin(PgConnection::Isolation::kReadCommitted));
        auto found = mbsync::look_after_silent(**db, *impl_->current_schema(), impl_->current_self(), days_max);
        MBSYNC_TRY(found);
        MBSYNC_TRY((*db)->commit());
        silent = std::move(*found);
        return impl_->read_seen(**db);
      },
      patience));
  return silent;
}

Result<SettleOutcome> PgStore::settle_unseen(Patience patience) {
  if (!impl_->has_unseen()) {
    return SettleOutcome{};
  }
  auto db = impl_->lease("settle");
  MBSYNC_TRY(db);
  MBSYNC_TRY(prepare_apply(**db));
  ApplyRole role;
  {
    const std::lock_guard lock(impl_->state_mutex);
    role = impl_->role;
  }
  SettleOutcome outcome;
  bool schema_outdated = false;
  const auto settle = [&]() -> Result<void> {
    const auto self = impl_->current_self();
    const auto schema = impl_->current_schema();
    const auto report = Applier(**db, *schema, self, role).settle_unseen();
    MBSYNC_TRY(report);
    schema_outdated = report->schema_outdated;
    outcome = SettleOutcome{report->set_aside, report->parked};
    return impl_->read_seen(**db);
  };
  MBSYNC_TRY(impl_->with_engine_and_schema(**db, settle, patience));
  if (schema_outdated) {
    MBSYNC_TRY(impl_->reload_schema());
    MBSYNC_TRY(impl_->with_engine(**db, settle));
  }
  return outcome;
}

Result<void> PgStore::begin_peer_notes(bool two_keys) {
  auto db = impl_->lease("peers");
  MBSYNC_TRY(db);
  return mbsync::begin_peer_notes(**db, two_keys);
}

Result<void> PgStore::store_peer_notes(const PeerNotes& notes) {
  auto db = impl_->lease("peers");
  MBSYNC_TRY(db);
  return mbsync::store_peer_notes(**db, notes);
}

Result<std::vector<AddressNote>> PgStore::remembered_addresses() {
  auto db = impl_->lease("peers");
  MBSYNC_TRY(db);
  return read_remembered_addresses(**db);
}

Result<TagsByKey> PgStore::fleet_tags() {
  auto db = impl_->lease("peers");
  MBSYNC_TRY(db);
  return read_fleet_tags(**db);
}

Result<void> PgStore::store_fleet_tags(const TagsByKey& tags) {
  auto db = impl_->lease("peers");
  MBSYNC_TRY(db);
  return mbsync::store_fleet_tags(**db, tags);
}

void PgStore::interrupt() {
  std::vector<std::shared_ptr<PgConnection::Stopper>> sessions;
  bool cut = false;
  {
    const std::lock_guard lock(impl_->state_mutex);
    const auto now = std::chrono::steady_clock::now();
    if (!impl_->interrupted) {
      impl_->interrupted = true;
      impl_->interrupted_at = now;
    }
    cut = now - impl_->interrupted_at > kCutAfter;
    impl_->news.notify_all();
    for (const auto& [connection, stopper] : impl_->busy) {
      sessions.push_back(stopper);
    }
  }
  for (const auto& session : sessions) {
    if (cut) {
      session->cut();
    } else {
      session->give_up();
    }
  }
}

Result<StoreStatus> PgStore::read_status(const DatabaseUrl& url) {
  return StatusReader(url).read();
}

}  // namespace mbsync
