#include "applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <limits>

#include "armed_rows.h"
#include "change_sql.h"
#include "comeback.h"
#include "copy_text.h"
#include "make_way.h"
#include "membership_store.h"
#include "peer_claims.h"
#include "pull_reader.h"
#include "repair.h"
#include "seal.h"
#include "table_sql.h"

namespace mbsync {
namespace {

// How long an answer waits for a row that an application transaction holds, at first. Most transactions are shorter,
// and while apply waits, the application may in turn wait for rows that apply has locked already. Far below
// PostgreSQL's deadlock_timeout (1 s by default), so that in a deadlock the application is never the victim.
constexpr const char* kRowLockTimeout = "100ms";
// The same once rows are set aside that cannot be had: what still waits is a statement that meets an uncommitted key.
constexpr const char* kProbeLockTimeout = "20ms";
// How long one attempt may look for the rows that block it, once it knows something of one; all that is not known to be
// free by then is set aside. The rows that are free are locked meanwhile.
constexpr std::chrono::milliseconds kProbeMax{200};
// The same for rows that the database refuses: they are few, and what is set aside with them comes late for nothing.
constexpr std::chrono::milliseconds kRefusedProbeMax{3000};

VersionVector without(NodeId node, const VersionVector& vector) {
  auto counters = vector.counters();
  counters.erase(node);
  return VersionVector(std::move(counters));
}

bool may_try_again(const PgConnection& db, const Error& error) {
  return error.kind == ErrorKind::kTransient && !db.broken();
}

}  // namespace

// Parents before children, so that rows can be written under foreign keys that are checked at once; tables in a cycle
// come in the order they were given.
std::vector<StagedTable*> Applier::parents_first(Staged& staged) {
  std::vector<StagedTable*> order;
  std::map<int, int> state;  // 1: being visited, 2: done
  std::map<std::string, StagedTable*> by_name;
  for (auto& [id, entry] : staged) {
    by_name[entry.table->display()] = &entry;
  }
  const std::function<void(StagedTable&)> visit = [&](StagedTable& entry) {
    auto& mark = state[entry.table->id];
    if (mark != 0) {
      return;
    }
    mark = 1;
    for (const auto& reference : entry.table->foreign_keys) {
      const auto parent = by_name.find(fmt::format("{}.{}", reference.schema, reference.table));
      if (parent != by_name.end()) {
        visit(*parent->second);
      }
    }
    mark = 2;
    order.push_back(&entry);
  };
  for (auto& [id, entry] : staged) {
    visit(entry);
  }
  return order;
}

// A function of the application's (a trigger, a check, an index expression) may raise any error there is, also the one
// of a statement that was cancelled. If mbsync itself is to stop, the next statement tells.
bool Applier::is_refused(const PgConnection& db, const Error& error) {
  const auto kind = error.kind;
  return !db.broken() && (kind == ErrorKind::kConflict || kind == ErrorKind::kRejected || kind == ErrorKind::kConfig ||
                          kind == ErrorKind::kCancelled);
}

Result<void> prepare_apply(PgConnection& db) {
  MBSYNC_TRY(prepare_sealing(db));
  MBSYNC_TRY(prepare_merge(db));
  MBSYNC_TRY(prepare_repair(db));
  MBSYNC_TRY(db.ensure_temporary_table("held", "tab int, key text COLLATE \"C\", reason text"));
  return db.ensure_temporary_table("suspect", "place bigint, tab int, key text COLLATE \"C\", waits boolean");
}

Result<ApplyReport> Applier::apply(Staged& staged, const PullHeader& header, const VersionVector& asked_seen,
                                   bool patient, const std::optional<Member>& as) {
  MBSYNC_TRY(check_peer(header));
  // What is not in it goes: so it has to be everything.
  if (as && (!header.full || header.ask_again || !staged.contains(schema_.internal("membership")->id))) {
    return Error{ErrorKind::kCorrupt,
                 fmt::format("{} answers a node that comes back with less than all rows", header.sender.name),
                 "the peer is of another version, or it is broken; nothing was changed"};
  }
  Task task{staged, header, asked_seen, false, false, as};
  if (patient || header.full) {
    Blocked none;
    auto done = attempt(task, none);
    if (done || !(may_try_again(db_, done.error()) || is_refused(db_, done.error()))) {
      return done;
    }
    task.repair = is_refused(db_, done.error());
    if (header.full && !task.repair) {
      return done;
    }
  }
  task.skip_held = true;
  return attempts(task);
}

// What may not be tried again without some row or another: it is not about rows.
Result<void> Applier::check_peer(const PullHeader& header) {
  const auto versions = read_versions(db_);
  MBSYNC_TRY(versions);
  MBSYNC_TRY(check_own_counter(header.seen, header.reports, header.sender, self_, versions->seen.counter(self_.id)));
  const auto fleet = read_fleet(db_);
  MBSYNC_TRY(fleet);
  return check_growth(fleet->members.size(), count_new(*fleet, heard_of(*fleet, header)), header.sender);
}

Result<ApplyReport> Applier::settle_unseen() {
  auto staged = stage_unseen();
  MBSYNC_TRY(staged);
  return settle(*staged);
}

// All that waits, but for parked rows whose time has not come.
Result<Applier::Staged> Applier::stage_unseen() {
  const auto which =
      fmt::format("NOT EXISTS (SELECT FROM mbsync.parked p WHERE p.next_try > now() AND p.tab = c.tab AND {})",
                  has_key("p", "c.key"));
  const auto tabs = db_.exec(fmt::format("SELECT DISTINCT c.tab FROM mbsync.change c WHERE c.unseen AND {}", which));
  MBSYNC_TRY(tabs);
  Staged staged;
  for (const auto& row : *tabs) {
    const auto id = row[0].as<int>();
    const auto table = std::find_if(schema_.tables.begin(), schema_.tables.end(),
                                    [&](const Table& candidate) { return candidate.id == id; });
    if (table == schema_.tables.end()) {
      continue;  // does not take part at present, and is named for it
    }
    auto entry = make_stage(db_, *table);
    MBSYNC_TRY(entry);
    const auto rows = db_.exec(fmt::format(
        "INSERT INTO {} (m_key, m_deleted) SELECT c.key, bool_or(c.deleted) FROM mbsync.change c WHERE c.unseen AND "
        "c.tab = {} AND {} GROUP BY c.key",
        entry->name, id, which));
    MBSYNC_TRY(rows);
    entry->rows = static_cast<std::int64_t>(rows->affected_rows());
    staged.emplace(id, std::move(*entry));
  }
  return staged;
}

Result<ApplyReport> Applier::settle(Staged& staged) {
  if (staged.empty()) {
    return ApplyReport{};
  }
  // No peer has a part in it: joining with nothing, known of nothing, leaves every write as it is.
  const PullHeader nobody;
  return attempts(Task{staged, nobody, {}, true, true});
}

Result<ApplyReport> Applier::attempt(const Task& task, Blocked& blocked) {
  MBSYNC_TRY(begin(task));
  auto report = run(task, blocked);
  if (report && blocked.empty() && !report->outdated) {
    // What the application has checked at the end of a transaction is checked where it can still be undone.
    if (auto checked = db_.run("SET CONSTRAINTS ALL IMMEDIATE"); !checked) {
      report = checked.error().in("checks at the end of the transaction");
    }
  }
  if (report && blocked.empty() && !report->outdated && !task.trial) {
    if (auto committed = db_.commit(); !committed) {
      db_.rollback();
      return committed.error();
    }
    return report;
  }
  db_.rollback();
  if (report && blocked.empty()) {
    return report;
  }
  // Whatever was wrong with a row may be mended or parked, but not any more in this session.
  if (db_.broken() && (report || report.error().kind == ErrorKind::kConflict)) {
    return Error{ErrorKind::kTransient, "the connection to the database was lost while rows were applied",
                 "nothing was changed; mbsync connects and tries again by itself"};
  }
  if (report && !blocked.empty()) {
    for (const auto& row : blocked.keys) {
      if (!row.reason.empty()) {
        return Error{ErrorKind::kTransient,
                     fmt::format("row {} of table {} cannot be written: {}", row.key, schema_.find(row.tab)->display(),
                                 row.reason),
                     "mbsync tries again by itself; change or remove one of the rows that cannot stand together"};
      }
    }
    return Error{ErrorKind::kTransient, "rows are held by application transactions",
                 "mbsync tries again by itself; pg_stat_activity shows transactions that stay open"};
  }
  return report;
}

Result<void> Applier::begin(const Task& task) {
  MBSYNC_TRY(db_.begin(PgConnection::Isolation::kReadCommitted));
  // Triggers, checks and index expressions of the application run under its own search path.
  std::string settings = fmt::format(
      "SET LOCAL lock_timeout = '{}'; SET LOCAL mbsync.applying = 'on'; SELECT set_config('search_path', {}, true)",
      task.skip_held ? kProbeLockTimeout : kRowLockTimeout, db_.quote(db_.application_search_path()));
  if (role_.replica) {
    settings += "; SET LOCAL session_replication_role = replica";
  } else {
    settings += "; SET CONSTRAINTS ALL DEFERRED";
  }
  return db_.run(settings);
}

// A unique key that is checked at the end of a transaction is checked for whoever comes second. Where constraints are
// bypassed that is not done for mbsync, nor for the application if it came first and has not committed yet. So nobody
// else may be writing the table. (With constraints, and with keys that are checked at once, the database waits itself.)
Result<void> Applier::lock_out_writers(const Task& task, const StagedTable& staged) {
  const auto& keys = staged.table->unique_keys;
  const bool late = staged.table->key_is_deferrable ||
                    std::any_of(keys.begin(), keys.end(), [](const UniqueKey& key) { return key.deferrable; });
  if (!role_.replica || !late || (staged.rows == 0 && !task.repair)) {
    return {};
  }
  const auto lock = fmt::format("LOCK TABLE {} IN SHARE MODE", staged.table->quoted());
  if (!task.skip_held) {
    return db_.run(lock);
  }
  MBSYNC_TRY(db_.exec("SAVEPOINT writers"));
  auto locked = db_.run(lock);
  if (locked || !may_try_again(db_, locked.error())) {
    return locked ? db_.run("RELEASE SAVEPOINT writers") : locked;
  }
  MBSYNC_TRY(db_.exec("ROLLBACK TO SAVEPOINT writers"));
  return db_.run(fmt::format("UPDATE {} SET m_held = true WHERE m_deleted IS NOT TRUE", staged.name));
}

// Rows that may go need the stronger lock: nobody can refer to them any more. With `skip_held`, what cannot be locked
// at once is marked.
Result<void> Applier::lock_rows(const Task& task, const StagedTable& staged) {
  const auto& table = *staged.table;
  const auto match = TableSql(table).key_match("t", "s.m_key");
  if (task.skip_held) {
    MBSYNC_TRY(
        db_.exec(fmt::format("UPDATE {0} s SET m_held = true FROM (SELECT tab, key FROM pg_temp.held UNION ALL SELECT "
                             "tab, key FROM pg_temp.suspect WHERE waits) h WHERE h.tab = {1} AND h.key = s.m_key",
                             staged.name, table.id)));
  }
  for (const bool may_go : {true, false}) {
    if (may_go && !staged.may_delete) {
      continue;
    }
    const auto which =
        fmt::format("NOT s.m_held AND ({}(s.m_deleted IS TRUE OR s.m_writes IS NOT NULL))", may_go ? "" : "NOT ");
    const auto lock = fmt::format("SELECT s.m_key FROM {} s JOIN {} t ON {} WHERE {} FOR {} OF t", staged.name,
                                  table.quoted(), match, which, may_go ? "UPDATE" : "NO KEY UPDATE");
    if (task.skip_held) {
      MBSYNC_TRY(
          db_.exec(fmt::format("WITH locked AS MATERIALIZED ({4} SKIP LOCKED) UPDATE {0} s SET m_held = true FROM {1} "
                               "t WHERE {2} AND {3} AND "
                               "NOT EXISTS (SELECT FROM locked l WHERE l.m_key = s.m_key)",
                               staged.name, table.quoted(), match, which, lock)));
    } else {
      MBSYNC_TRY(db_.exec(fmt::format("SELECT count(*) FROM ({}) locked", lock)));
    }
  }
  return {};
}

// Nothing else tells that a type has got a label. Looked at when the rows are locked: labels that these show are there.
Result<bool> Applier::labels_have_changed(const Task& task) {
  const bool ordered = std::any_of(task.staged.begin(), task.staged.end(), [&](const auto& entry) {
    return !schema_.rules->ordered_enums(*entry.second.table).empty();
  });
  if (!ordered) {
    return false;
  }
  const auto now = read_labels(db_);
  MBSYNC_TRY(now);
  return *now != schema_.labels;
}

// The writes of rows that needed no decision.
Result<void> Applier::store_writes(const StagedTable& staged) {
  return db_.run(fmt::format(
      "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, kept, policy) "
      "SELECT {}, m_key, m_origin, m_counter, m_at, m_cols, m_deleted, m_kept, m_policy FROM {} WHERE m_origin IS NOT "
      "NULL",
      staged.table->id, staged.name));
}

Result<ApplyReport> Applier::run(const Task& task, Blocked& blocked) {
  const auto& header = task.header;
  ApplyReport report;
  const auto order = parents_first(task.staged);
  std::int64_t most = 0;
  for (auto* entry : order) {
    report.rows += entry->rows;
    entry->full = header.full;
    if (task.as) {
      MBSYNC_TRY(stage_what_they_lack(db_, *entry));
    }
    most = std::max(most, entry->rows);
  }
  MBSYNC_TRY(plan_for(db_, most));
  for (const auto* entry : order) {
    auto locked = lock_out_writers(task, *entry);
    if (locked) {
      locked = lock_rows(task, *entry);
    }
    if (!locked) {
      return locked.error().in(fmt::format("locking rows of table {}", entry->table->display()));
    }
  }
  if (task.skip_held) {
    MBSYNC_TRY(note_parked(report));
  }
  if (task.settling) {
    // What is still held stays as it is.
    std::int64_t left = 0;
    for (const auto* entry : order) {
      const auto gone = db_.exec(fmt::format("DELETE FROM {} WHERE m_held", entry->name));
      MBSYNC_TRY(gone);
      report.set_aside += static_cast<std::int64_t>(gone->affected_rows());
      left += entry->rows - static_cast<std::int64_t>(gone->affected_rows());
    }
    if (left == 0) {
      return report;
    }
  }
  MBSYNC_TRY(note_kept_whole());
  // A write that was made here while the answer was on its way takes part as the concurrent write that it is.
  const auto sealed = seal(db_, schema_, self_.id);
  MBSYNC_TRY(sealed);
  // And so do rows that differ. Sealed by themselves: the application's write of the row keeps its own time.
  const auto armed = capture_armed(db_, order);
  MBSYNC_TRY(armed);
  if (*armed) {
    MBSYNC_TRY(seal(db_, schema_, self_.id));
  }
  MBSYNC_TRY(plan_for(db_, most));
  auto versions = read_versions(db_);
  MBSYNC_TRY(versions);
  const auto fleet = read_fleet(db_);
  MBSYNC_TRY(fleet);

  const auto news = task.staged.find(schema_.internal("policy")->id);
  const auto in_force = schema_.rules->read(db_, news == task.staged.end() ? nullptr : &news->second);
  MBSYNC_TRY(in_force);
  const auto stale = labels_have_changed(task);
  MBSYNC_TRY(stale);
  if (*stale) {
    report.outdated = report.schema_outdated = true;
    return report;
  }
  for (const auto* entry : order) {
    for (const auto version : entry->policies) {
      MBSYNC_TRY(schema_.rules->require(version, *entry->table));
    }
  }
  std::set<NodeId> others;  // members besides the two
  for (const auto& list : {fleet->members, header.members}) {
    for (const auto& member : list) {
      if (member.id != self_.id && member.id != header.sender.id) {
        others.insert(member.id);
      }
    }
  }
  // With no third member, a write that needed no decision would be forgotten at once: the sender has it, this node has
  // it, and there is nobody else to tell.
  const bool forget_at_once =
      others.empty() && !task.settling && !task.repair && !task.as && fleet->membership.away.empty();

  // A write that was forgotten here after the sender took its snapshot would count as never made: the answer is out
  // of date. Nor may a full answer miss anything that arrived meanwhile, since its rows say nothing of their writes.
  // And a node that is new to this fleet has to take the fleet's rows before it can give its own.
  const bool moved_on = header.full && !without(self_.id, task.asked_seen).covers(without(self_.id, versions->seen));
  const bool not_joined =
      !others.empty() && holds_only_own(header.seen, header.sender.id) && !holds_only_own(versions->seen, self_.id);
  if (!task.settling && (!header.seen.covers(versions->forgotten) || moved_on || not_joined)) {
    report.outdated = true;
    if (task.as && header.seen.counter(self_.id) < versions->forgotten.counter(self_.id)) {
      // It was forgotten together with nodes that are none of theirs, and nobody can bring it along any more.
      report.turned_down = two_fleets(header.sender, *fleet);
    }
    return report;
  }
  auto objection = task.settling ? std::optional<Error>() : objection_to(task, *fleet, *versions);
  VersionVector brought;
  if (!objection && task.as) {
    auto obstacle = come_back(task, brought);
    MBSYNC_TRY(obstacle);
    objection = std::move(*obstacle);
    versions = read_versions(db_);
    MBSYNC_TRY(versions);
  }
  if (objection) {
    report.outdated = true;
    report.turned_down = std::move(objection);
    return report;
  }
  const Member self = task.as.value_or(self_);
  const auto away = away_as_told(task, *fleet);
  MBSYNC_TRY(away);
  const MergeContext context{self,           header,    task.asked_seen,  versions->seen,
                             *schema_.rules, *in_force, outside_of(task), *away};

  MBSYNC_TRY(db_.clear_temporary_table("repaired"));
  bool mended = task.repair;  // writes of mbsync's own are made
  Repair repair(db_, schema_, task.staged, versions->seen, task.skip_held);
  for (auto* entry : order) {
    const auto where = entry->table->display();
    const auto counts = merge_rows(db_, *entry, context);
    if (!counts) {
      return counts.error().in(fmt::format("merging table {}", where));
    }
    report.merged += counts->merged;
    report.conflicts += counts->conflicts;
    report.set_aside += counts->set_aside;
    report.missing += counts->missing;
    mended = mended || counts->repaired;
    for (const auto& [key, of] : counts->apart) {
      repair.made(*entry->table, key, of);
    }
    entry->may_delete = entry->may_delete || counts->merged > 0;
    for (const auto& [key, reason] : counts->refused) {
      blocked.keys.push_back(ReferenceCheck::Held{entry->table->id, key, reason});
    }
    if (!forget_at_once) {
      if (auto stored = store_writes(*entry); !stored) {
        return stored.error().in(fmt::format("table {}", where));
      }
    }
  }
  if (!blocked.empty()) {
    return report;
  }
  MBSYNC_TRY(note_clashes(task));
  if (report.merged > 0 || report.set_aside > 0 || task.repair) {
    MBSYNC_TRY(store_merged(db_, schema_.internal("conflict_record")->id));
  }
  const auto block = [&](const ReferenceCheck::Keys& keys) {
    ReferenceCheck::Keys causes;
    for (const auto& row : keys) {
      const auto of_row = repair.causes_of(row);
      causes.insert(causes.end(), of_row.begin(), of_row.end());
    }
    blocked.keys = std::move(causes);
  };
  // From here on statements compare what was staged with the application's tables, whose statistics can be trusted.
  MBSYNC_TRY(plan_for(db_, std::numeric_limits<std::int64_t>::max()));
  ReferenceCheck references(db_, schema_, task.staged, versions->seen);
  if (report.set_aside > 0 || versions->unseen) {
    auto dependents = references.find_dependents();
    MBSYNC_TRY(dependents);
    block(*dependents);
    if (!blocked.empty()) {
      return report;
    }
  }
  if (task.repair) {
    auto unsolved = repair.run();
    MBSYNC_TRY(unsolved);
    blocked.keys = std::move(*unsolved);
    blocked.clashes = repair.clashes();
    if (!blocked.empty()) {
      return report;
    }
  }
  if (!task.repair) {
    const auto broken = repair.breaks_deferred_key();
    MBSYNC_TRY(broken);
    if (*broken) {
      return Error{ErrorKind::kConflict, "two rows have one value of a unique key that is checked late", ""};
    }
  }
  auto refused = references.check_deletions(task.skip_held);
  MBSYNC_TRY(refused);
  block(*refused);
  if (blocked.empty() && role_.replica) {
    auto outside = references.check_outsiders(task.skip_held);
    MBSYNC_TRY(outside);
    block(*outside);
  }
  if (!blocked.empty()) {
    return report;
  }
  MBSYNC_TRY(plan_for(db_, most));
  MBSYNC_TRY(write_all(task, order, blocked));
  block(blocked.keys);
  if (!blocked.empty()) {
    return report;
  }
  MBSYNC_TRY(plan_for(db_, std::numeric_limits<std::int64_t>::max()));
  auto waiting = references.lock_referenced(task.skip_held);
  MBSYNC_TRY(waiting);
  block(*waiting);
  if (!blocked.empty()) {
    return report;
  }
  MBSYNC_TRY(check_nobody_was_faster(order));
  if (mended) {
    // What was made here is sealed at once, so that no report covers what it follows from and leaves it out (C18).
    MBSYNC_TRY(store_merged(db_, schema_.internal("conflict_record")->id));
    const auto captured = repair.capture();
    MBSYNC_TRY(captured);
    report.repaired = *captured;
    MBSYNC_TRY(seal(db_, schema_, self.id));
  }
  MBSYNC_TRY(look_after_parked(task, report));
  if (task.settling) {
    return report;
  }

  if (!versions->seen.covers(header.seen)) {
    MBSYNC_TRY(raise_seen(db_, header.seen));
  }
  auto forgotten = header.forgotten;
  if (forget_at_once && !order.empty()) {
    forgotten.merge(header.seen);
  }
  if (!versions->forgotten.covers(forgotten)) {
    MBSYNC_TRY(raise_forgotten(db_, forgotten));
  }
  MBSYNC_TRY(store_fleet(*fleet, header));
  if (task.as) {
    MBSYNC_TRY(agree_as_told(db_, header.outside));
    MBSYNC_TRY(note_comeback(db_, self_, self, brought));
    MBSYNC_TRY(seal(db_, schema_, self.id));
  }
  if (task.as || !is_settled(*fleet) || task.staged.contains(schema_.internal("membership")->id)) {
    const auto now = look_after_membership(db_, schema_, self);
    MBSYNC_TRY(now);
    if (now->membership.away.contains(header.sender.id) && !task.as) {
      report.outdated = true;
      report.turned_down = is_away(header.sender);
    }
  }
  return report;
}

Error Applier::is_away(const Member& peer) {
  return Error{
      ErrorKind::kTransient,
      fmt::format("nothing is taken from {} ({}): it was said of it that it is away", peer.name, to_string(peer.id)),
      "if it is there and meant to be, nothing has to be done: it is taken back, or comes back by itself; "
      "'mbsync peers' shows who has said so"};
}

// Why nothing can be taken from who answers (CONFLICTS.md C22).
std::optional<Error> Applier::objection_to(const Task& task, const Fleet& fleet, const Versions& versions) const {
  const auto& sender = task.header.sender;
  const bool away = fleet.membership.away.contains(sender.id);
  if (task.as) {
    const auto& stay = task.header.staying;
    if (!comes_back_to(fleet.membership, sender.id, {stay.begin(), stay.end()})) {
      return they_stay_apart(sender, stay, fleet);
    }
    return std::nullopt;
  }
  if (fleet.membership.away.contains(self_.id)) {
    return std::nullopt;  // who knows that it is away, agrees to nothing
  }
  // What the answer says of its sender may be that it was taken back.
  if (away && !task.staged.contains(schema_.internal("membership")->id)) {
    return is_away(sender);
  }
  const bool brings = !away && brings_somebody_back(fleet.membership, versions.seen, task.header.seen);
  return brings ? std::optional(brought_back(sender, why_brings_back(fleet, versions.seen, task.header.seen)))
                : std::nullopt;
}

// Whose writes go on top of the fleet's rows, where the fleet has not got them.
std::set<NodeId> Applier::outside_of(const Task& task) const {
  std::set<NodeId> outside(task.header.outside.begin(), task.header.outside.end());
  outside.insert(self_.id);
  outside.insert(task.as.value_or(self_).id);
  return outside;
}

// What is in the way, if anything.
Result<std::optional<Error>> Applier::come_back(const Task& task, VersionVector& brought) {
  const auto& staged = task.staged.at(schema_.internal("membership")->id);
  const auto rows =
      db_.exec(fmt::format("SELECT v{0}, v{1} FROM {2} WHERE v{0} IS NOT NULL AND v{1} IS NOT NULL",
                           staged.table->index_of("node") + 1, staged.table->index_of("taken") + 1, staged.name));
  MBSYNC_TRY(rows);
  VersionVector taken;
  for (const auto& row : *rows) {
    taken.advance(Dot{NodeId{row[0].as<std::int64_t>()}, row[1].as<std::int64_t>()});
  }
  auto comeback = become(db_, *task.as, outside_of(task), task.header.seen, taken);
  MBSYNC_TRY(comeback);
  brought = std::move(comeback->brought);
  std::optional<Error> error;
  if (comeback->obstacle) {
    error = Error{ErrorKind::kTransient, fmt::format("this node cannot come back yet: {}", *comeback->obstacle),
                  "it goes on once they are up to date; 'mbsync status' shows them"};
  }
  return error;
}

// With those that the answer tells of.
Result<std::set<NodeId>> Applier::away_as_told(const Task& task, const Fleet& fleet) {
  std::set<NodeId> away;
  for (const auto& [node, dots] : fleet.membership.away) {
    away.insert(node);
  }
  const auto news = task.staged.find(schema_.internal("membership")->id);
  if (news != task.staged.end()) {
    const auto& table = *news->second.table;
    const auto rows = db_.exec(fmt::format(
        "SELECT v{0} FROM {2} WHERE v{0} IS NOT NULL AND (v{1}::boolean OR v{3}::boolean)", table.index_of("node") + 1,
        table.index_of("away") + 1, news->second.name, table.index_of("banned") + 1));
    MBSYNC_TRY(rows);
    for (const auto& row : *rows) {
      away.insert(NodeId{row[0].as<std::int64_t>()});
    }
  }
  return away;
}

bool Applier::is_referenced(const Table& table) const {
  return std::any_of(schema_.tables.begin(), schema_.tables.end(), [&](const Table& child) {
    return std::any_of(child.foreign_keys.begin(), child.foreign_keys.end(), [&](const ForeignKey& reference) {
      return reference.schema == table.schema && reference.table == table.name;
    });
  });
}

// Those of the rows kept whole that the seal may leave, since it can do nothing with them. They do not say whose they
// are, so any other may be of a row that is about to be written. Of very many the seal leaves none, as a rule.
Result<void> Applier::note_kept_whole() {
  constexpr int kNotedMax = 1'000;
  const auto kept = db_.exec_cached(fmt::format(
      "SELECT coalesce(array_agg(k.ctid), '{{}}') FROM (SELECT ctid FROM mbsync.capture WHERE op = 'R' LIMIT {}) k",
      kNotedMax));
  MBSYNC_TRY(kept);
  kept_whole_ = (*kept)[0][0].c_str();
  return {};
}

// Rows that were not there to be locked may have been inserted, and committed, since the seal. Such a write has not
// taken part, and may have been overwritten just now; its capture tells.
Result<void> Applier::check_nobody_was_faster(const std::vector<StagedTable*>& order) {
  const auto any = db_.exec_cached("SELECT EXISTS (SELECT FROM mbsync.capture)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return {};
  }
  for (const auto* entry : order) {
    if (entry->table->internal) {
      continue;  // written under the engine's lock, and just now by this very attempt
    }
    const auto faster = db_.exec(
        fmt::format("SELECT EXISTS (SELECT FROM mbsync.capture c JOIN {0} s ON s.m_key = c.key WHERE c.tab = {1}) OR "
                    "EXISTS (SELECT FROM mbsync.capture WHERE tab = {1} AND op = 'R' AND ctid <> ALL ({2}::tid[]))",
                    entry->name, entry->table->id, db_.quote(kept_whole_)));
    MBSYNC_TRY(faster);
    if ((*faster)[0][0].as<bool>()) {
      return Error{ErrorKind::kTransient,
                   fmt::format("a row of table {} was written here at the same moment", entry->table->display()), ""};
    }
  }
  return {};
}

Result<void> Applier::write_all(const Task& task, const std::vector<StagedTable*>& order, Blocked& blocked) {
  RowWriter writer(db_, role_, task.header.full, task.repair);
  // Deleting comes first, since a row that goes may hold a unique value that another one takes over. But where
  // foreign keys are live, a deleted row would take those along that still refer to it here and are about to refer to
  // another.
  const auto remove = [&](bool first) -> Result<void> {
    for (auto entry = order.rbegin(); entry != order.rend(); ++entry) {
      const auto& staged = **entry;
      if (!staged.may_delete || first != (role_.replica || !is_referenced(*staged.table))) {
        continue;
      }
      auto done = guarded(task, staged, blocked, [&](const std::string& only) { return writer.remove(staged, only); });
      if (!done) {
        return done.error().in(fmt::format("deleting from table {}", staged.table->display()));
      }
    }
    return {};
  };
  MBSYNC_TRY(remove(true));
  if (task.repair && !role_.replica && blocked.empty()) {
    const auto wrote = MakeWay(db_, schema_, order).run();
    MBSYNC_TRY(wrote);
    writer.some_are_written(*wrote);
  }
  // Where a row is refused the others are tried all the same, so that all that are come to light at once.
  for (const auto* entry : order) {
    auto done = guarded(task, *entry, blocked, [&](const std::string& only) { return writer.write(*entry, only); });
    if (!done) {
      auto error = done.error().in(fmt::format("writing table {}", entry->table->display()));
      if (error.kind == ErrorKind::kConflict) {
        error.hint =
            "this database refuses a row of the fleet; nothing was changed; change or remove one of the rows that "
            "cannot "
            "stand together, on either machine, and it goes on by itself";
      }
      return error;
    }
  }
  MBSYNC_TRY(remove(false));
  blocked.spare_innocent();
  return {};
}

// Where held rows are set aside, a statement that still waits for a lock is taken apart until it is known which rows
// do: an insert, for example, that meets a key of the application's which is not committed yet.
template <typename Statement>
Result<void> Applier::guarded(const Task& task, const StagedTable& staged, Blocked& blocked, Statement statement) {
  // Whatever a trigger or a check of the application's raises, and for whatever reason: it is about this row.
  const auto work = [&](const std::string& only) -> Result<void> {
    auto done = statement(only);
    if (!done && is_refused(db_, done.error())) {
      auto error = done.error();
      error.kind = ErrorKind::kConflict;
      return error;
    }
    return done;
  };
  if (!task.skip_held) {
    return work("true");
  }
  MBSYNC_TRY(db_.exec("SAVEPOINT guarded"));
  auto done = work("true");
  if (done) {
    return db_.run("RELEASE SAVEPOINT guarded");
  }
  const bool refused = is_refused(db_, done.error());
  if (!refused && !may_try_again(db_, done.error())) {
    return done;
  }
  MBSYNC_TRY(db_.exec("ROLLBACK TO SAVEPOINT guarded"));
  Blocked here;
  MBSYNC_TRY(find_blocked(staged, here, refused ? kRefusedProbeMax : kProbeMax, work));
  if (here.empty()) {
    return done;
  }
  std::move(here.keys.begin(), here.keys.end(), std::back_inserter(blocked.keys));
  std::move(here.ranges.begin(), here.ranges.end(), std::back_inserter(blocked.ranges));
  return {};
}

template <typename Work>
Result<void> Applier::find_blocked(const StagedTable& staged, Blocked& blocked, std::chrono::milliseconds patience,
                                   Work work) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  const auto tab = staged.table->id;
  const auto count = db_.exec(fmt::format("SELECT count(*) FROM {}", staged.name));
  MBSYNC_TRY(count);
  const auto key_at = [&](std::int64_t place) -> Result<Value> {
    const auto key = db_.exec(fmt::format("SELECT m_key FROM {} ORDER BY m_key OFFSET {} LIMIT 1", staged.name, place));
    MBSYNC_TRY(key);
    return key->empty() ? Value() : Value((*key)[0][0].c_str());
  };
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;  // from, rows
  const auto split = [&](std::int64_t from, std::int64_t rows) {
    ranges.emplace_back(from + rows / 2, rows - rows / 2);
    if (rows > 1) {
      ranges.emplace_back(from, rows / 2);
    }
  };
  split(0, (*count)[0][0].as<std::int64_t>());
  bool any = false;  // it is known of some row
  while (!ranges.empty()) {
    const auto [from, rows] = ranges.back();
    ranges.pop_back();
    const auto first = key_at(from);
    MBSYNC_TRY(first);
    const auto next = key_at(from + rows);
    MBSYNC_TRY(next);
    if (!*first) {
      continue;
    }
    if (any && std::chrono::steady_clock::now() > deadline) {
      blocked.ranges.push_back(KeyRange{tab, **first, *next});
      continue;
    }
    auto only = fmt::format("s.m_key >= {}", db_.quote(**first));
    only += *next ? fmt::format(" AND s.m_key < {}", db_.quote(**next)) : "";
    MBSYNC_TRY(db_.exec("SAVEPOINT probe"));
    auto done = work(only);
    if (!done && db_.broken()) {
      return done;
    }
    const bool by_others = !done && db_.refused_by_others();
    any = any || done;
    MBSYNC_TRY(db_.exec(done ? "RELEASE SAVEPOINT probe" : "ROLLBACK TO SAVEPOINT probe"));
    if (!done && (may_try_again(db_, done.error()) || is_refused(db_, done.error()))) {
      if (rows == 1) {
        const bool refused = done.error().kind == ErrorKind::kConflict;
        blocked.keys.push_back(
            ReferenceCheck::Held{tab, **first, refused ? done.error().message : "", refused && by_others});
        any = true;
      } else {
        split(from, rows);
      }
    }
  }
  return {};
}

// Members that the peer knows and this node does not, or by another name.
std::vector<Member> Applier::heard_of(const Fleet& fleet, const PullHeader& header) const {
  std::vector<Member> news;
  std::vector<Member> heard = header.members;
  heard.push_back(header.sender);
  for (const auto& member : heard) {
    if (std::find(fleet.members.begin(), fleet.members.end(), member) == fleet.members.end() && member.id != self_.id) {
      news.push_back(member);
    }
  }
  return news;
}

Result<void> Applier::store_fleet(const Fleet& fleet, const PullHeader& header) {
  MBSYNC_TRY(store_members(db_, heard_of(fleet, header)));
  for (const auto& [node, report] : header.reports) {
    const auto known = fleet.reports.find(node);
    if (node != self_.id && (known == fleet.reports.end() || !known->second.covers(report))) {
      MBSYNC_TRY(raise_report(db_, node, report));
    }
  }
  return {};
}

}  // namespace mbsync
