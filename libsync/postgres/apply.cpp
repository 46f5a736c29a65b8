#include "apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "merge_rows.h"
#include "pull_reader.h"
#include "reference_check.h"
#include "seal.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

constexpr std::int64_t kManyRows = 500;

// How long apply waits for a row that an application transaction holds before it gives everything back and tries again.
// Below PostgreSQL's deadlock_timeout (1 s by default), so that in a deadlock the application is never the victim.
constexpr const char* kRowLockTimeout = "300ms";

VersionVector without(NodeId node, const VersionVector& vector) {
  auto counters = vector.counters();
  counters.erase(node);
  return VersionVector(std::move(counters));
}

std::string join_names(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

// Parents before children, so that rows can be written under foreign keys that are checked at once; tables in a cycle
// come in the order they were given.
std::vector<StagedTable*> parents_first(std::map<int, StagedTable>& staged) {
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

}  // namespace

Result<ApplyRole> find_apply_role(PgConnection& db) {
  // Superuser, or PostgreSQL 15's GRANT SET ON PARAMETER: trying is the one question that all versions answer.
  ApplyRole role;
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  role.replica = db.exec("SET LOCAL session_replication_role = replica").has_value();
  db.rollback();
  return role;
}

struct PullStage::Impl {
  Impl(PgConnection& connection, const Schema& tables, Member node, ApplyRole apply_role, VersionVector asked)
      : db(connection), schema(tables), self(std::move(node)), role(apply_role), asked_seen(std::move(asked)) {}

  PgConnection& db;
  const Schema& schema;
  Member self;
  ApplyRole role;
  VersionVector asked_seen;
  PullHeader header;
  std::map<int, StagedTable> staged;
  StagedTable* open = nullptr;  // the table whose COPY is under way
  bool complete = false;

  Result<const Table*> find_table(const TableHeader& wire) const {
    for (const auto& table : schema.tables) {
      if (table.schema == wire.schema && table.name == wire.name) {
        return &table;
      }
    }
    for (const auto& refused : schema.refused) {
      if (refused.schema == wire.schema && refused.name == wire.name) {
        return Error{ErrorKind::kRejected,
                     fmt::format("table {}.{} takes part on {} but not here: it {}", wire.schema, wire.name,
                                 header.sender.name, refused.reason),
                     "make both definitions the same"};
      }
    }
    return Error{ErrorKind::kRejected,
                 fmt::format("table {}.{} exists on {} but not here", wire.schema, wire.name, header.sender.name),
                 "run the application's migrations on this machine; synchronisation goes on by itself"};
  }

  Result<void> compare(const Table& table, const TableHeader& wire) const {
    std::vector<std::string> key;
    for (const auto index : table.key) {
      key.push_back(table.columns[index].name);
    }
    const auto differs = [&](const std::string& what) {
      return Error{ErrorKind::kRejected,
                   fmt::format("table {} differs between here and {}: {}", table.display(), header.sender.name, what),
                   "run the application's migrations on the machine that is behind; synchronisation goes on by itself"};
    };
    for (const auto& column : wire.columns) {
      const auto* own = table.find(column.name);
      if (own == nullptr) {
        return differs(fmt::format("column \"{}\" is missing here", column.name));
      }
      if (own->type != column.type) {
        return differs(fmt::format("column \"{}\" is {} there and {} here", column.name, column.type, own->type));
      }
    }
    for (const auto& own : table.columns) {
      if (std::none_of(wire.columns.begin(), wire.columns.end(),
                       [&](const WireColumn& c) { return c.name == own.name; })) {
        return differs(fmt::format("column \"{}\" is missing there", own.name));
      }
    }
    if (key != wire.key) {
      return differs(fmt::format("its key is ({}) there and ({}) here", join_names(wire.key), join_names(key)));
    }
    return {};
  }

  // Temporary tables stay for the session: making and dropping them for every pull would bloat the catalog.
  Result<void> make_stage(const Table& table, StagedTable& entry) {
    entry.table = &table;
    entry.name = fmt::format("pg_temp.stage_{}", table.id);
    const auto definition = fmt::format(
        "m_key text COLLATE \"C\", m_origin bigint, m_counter bigint, m_at timestamptz, m_cols varbit, m_deleted "
        "boolean, "
        "m_kept text, m_writes text, m_slow boolean NOT NULL DEFAULT false, {}",
        TableSql(table).staged_definitions());
    return db.ensure_temporary_table(fmt::format("stage_{}", table.id), definition);
  }

  Result<void> number_columns(const TableHeader& wire, StagedTable& entry) {
    bool same = true;
    std::map<ColumnNumber, ColumnNumber> renumber;
    for (std::size_t i = 0; i < wire.columns.size(); ++i) {
      const auto own = entry.table->find(wire.columns[i].name)->number;
      renumber[wire.numbers[i]] = own;
      same = same && own == wire.numbers[i];
    }
    if (!same) {
      entry.renumber = std::move(renumber);
    }
    return {};
  }

  // Brings staged bit strings into our numbering and length.
  Result<void> renumber_bits(const StagedTable& entry) {
    const auto width = entry.table->width;
    if (entry.renumber.empty()) {
      const auto length =
          db.exec(fmt::format("SELECT length(m_cols) FROM {} WHERE m_cols IS NOT NULL LIMIT 1", entry.name));
      MBSYNC_TRY(length);
      if (length->empty() || (*length)[0][0].as<std::size_t>() == width) {
        return {};  // one sender, one length
      }
      MBSYNC_TRY(db.exec(
          fmt::format("UPDATE {0} SET m_cols = rpad(m_cols::text, {1}, '0')::varbit WHERE length(m_cols) <> {1}",
                      entry.name, width)));
      return {};
    }
    std::vector<std::string> bits(width, "B'0'");
    bits[kRowMark] = "substring(p.cols FROM 1 FOR 1)";
    ColumnNumber highest = 0;
    for (const auto& [theirs, ours] : entry.renumber) {
      bits[ours] = fmt::format("substring(p.cols FROM {} FOR 1)", theirs + 1);
      highest = std::max(highest, theirs);
    }
    MBSYNC_TRY(
        db.exec(fmt::format("UPDATE {0} s SET m_cols = {1} FROM (SELECT ctid AS place, rpad(m_cols::text, {2}, "
                            "'0')::varbit AS cols FROM {0}) p "
                            "WHERE p.place = s.ctid AND s.m_cols IS NOT NULL",
                            entry.name, fmt::join(bits, " || "), highest + 1)));
    return {};
  }

  Result<void> begin_apply() {
    MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
    std::string settings =
        fmt::format("SET LOCAL lock_timeout = '{}'; SET LOCAL mbsync.applying = 'on'", kRowLockTimeout);
    if (role.replica) {
      settings += "; SET LOCAL session_replication_role = replica";
    } else {
      settings += "; SET CONSTRAINTS ALL DEFERRED";
    }
    MBSYNC_TRY(db.exec(settings));
    return {};
  }

  Result<void> lock_rows(const StagedTable& entry) {
    const TableSql sql(*entry.table);
    MBSYNC_TRY(
        db.exec(fmt::format("SELECT count(*) FROM (SELECT 1 FROM {} s JOIN {} t ON {} FOR NO KEY UPDATE OF t) locked",
                            entry.name, entry.table->quoted(), sql.key_match("t", "s.m_key"))));
    return {};
  }

  Result<void> delete_rows(const StagedTable& entry) {
    const TableSql sql(*entry.table);
    MBSYNC_TRY(db.exec(fmt::format("DELETE FROM {} t USING {} s WHERE s.m_deleted AND {}", entry.table->quoted(),
                                   entry.name, sql.key_match("t", "s.m_key"))));
    return {};
  }

  [[nodiscard]] bool is_referenced(const Table& table) const {
    return std::any_of(schema.tables.begin(), schema.tables.end(), [&](const Table& child) {
      return std::any_of(child.foreign_keys.begin(), child.foreign_keys.end(), [&](const ForeignKey& reference) {
        return reference.schema == table.schema && reference.table == table.name;
      });
    });
  }

  Result<void> write_rows(const StagedTable& entry) {
    const auto& table = *entry.table;
    const TableSql sql(table);
    const auto match = sql.key_match("t", "s.m_key");
    const auto living = db.exec(fmt::format("SELECT count(*) FROM {} WHERE m_deleted IS NOT TRUE", entry.name));
    MBSYNC_TRY(living);
    const auto expected = (*living)[0][0].as<std::int64_t>();
    if (expected == 0) {
      return {};
    }
    // UPDATE cannot set such a column; where it differs, a row was deleted and inserted anew under the same key.
    for (const auto& column : table.columns) {
      const auto place = static_cast<std::size_t>(&column - table.columns.data());
      const bool key = std::find(table.key.begin(), table.key.end(), place) != table.key.end();
      if (column.identity_always && !key && role.replica) {
        MBSYNC_TRY(
            db.exec(fmt::format("DELETE FROM {} t USING {} s WHERE s.m_deleted IS NOT TRUE AND {} AND t.{} <> s.v{}",
                                table.quoted(), entry.name, match, PgConnection::quote_name(column.name), place + 1)));
      }
    }
    std::int64_t updated = 0;
    const auto assignments = sql.staged_assignments("s");
    const auto update = fmt::format("UPDATE {} t SET {} FROM {} s WHERE s.m_deleted IS NOT TRUE AND {}", table.quoted(),
                                    assignments, entry.name, match);
    if (header.full || assignments.empty()) {
      // A full answer mostly holds rows that are the same here already.
      const auto present =
          db.exec(fmt::format("SELECT count(*) FROM {} s JOIN {} t ON {} WHERE s.m_deleted IS NOT TRUE", entry.name,
                              table.quoted(), match));
      MBSYNC_TRY(present);
      updated = (*present)[0][0].as<std::int64_t>();
    }
    if (!assignments.empty()) {
      const auto unequal = header.full ? fmt::format(" AND ROW({})::record OPERATOR(pg_catalog.*<>) ROW({})::record",
                                                     sql.columns("t"), sql.staged_values("s"))
                                       : std::string();
      MBSYNC_TRY(db.exec("SAVEPOINT rows"));
      const auto done = db.exec(update + unequal);
      if (!done && done.error().kind == ErrorKind::kConflict && role.replica) {
        // Values of a unique column moved from row to row; one row at a time they collide, taken out together they do
        // not. Safe only where deleting fires no foreign key's action.
        MBSYNC_TRY(db.exec("ROLLBACK TO SAVEPOINT rows"));
        MBSYNC_TRY(db.exec(fmt::format("DELETE FROM {} t USING {} s WHERE s.m_deleted IS NOT TRUE AND {}",
                                       table.quoted(), entry.name, match)));
        updated = 0;
      } else {
        MBSYNC_TRY(done);
        updated = header.full ? updated : static_cast<std::int64_t>(done->affected_rows());
      }
      MBSYNC_TRY(db.exec("RELEASE SAVEPOINT rows"));
    }
    if (updated == expected) {
      return {};
    }
    // Somebody may insert the same key at this moment; a deferrable key or an INSERT rule cannot be an arbiter, and
    // then the key itself reports it.
    std::string arbiter;
    if (!table.key_is_deferrable && !table.has_insert_rule) {
      std::vector<std::string> key;
      for (const auto index : table.key) {
        key.push_back(PgConnection::quote_name(table.columns[index].name));
      }
      arbiter = fmt::format(" ON CONFLICT ({}) DO NOTHING", fmt::join(key, ", "));
    }
    const auto inserted = db.exec(fmt::format(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE s.m_deleted IS NOT TRUE "
        "AND NOT EXISTS (SELECT FROM {} t WHERE {}){}",
        table.quoted(), sql.column_names(), sql.staged_values("s"), entry.name, table.quoted(), match, arbiter));
    MBSYNC_TRY(inserted);
    if (updated + static_cast<std::int64_t>(inserted->affected_rows()) != expected) {
      return Error{ErrorKind::kTransient,
                   fmt::format("a row of table {} was written here at the same moment", table.display()), ""};
    }
    return {};
  }

  // The writes of rows that needed no decision. With no third member they would be forgotten at once: the sender has
  // them, this node has them, and there is nobody else to tell.
  Result<void> store_writes(const StagedTable& entry, bool forget_at_once) {
    if (forget_at_once) {
      return {};
    }
    MBSYNC_TRY(db.exec(fmt::format(
        "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, kept) "
        "SELECT {}, m_key, m_origin, m_counter, m_at, m_cols, m_deleted, m_kept FROM {} WHERE m_origin IS NOT NULL",
        entry.table->id, entry.name)));
    return {};
  }

  Result<ApplyReport> merge() {
    ApplyReport report;
    const auto order = parents_first(staged);
    std::int64_t most = 0;
    for (const auto* entry : order) {
      report.rows += entry->rows;
      most = std::max(most, entry->rows);
    }
    MBSYNC_TRY(plan_for(db, most));
    for (const auto* entry : order) {
      if (auto locked = lock_rows(*entry); !locked) {
        return locked.error().in(fmt::format("locking rows of table {}", entry->table->display()));
      }
    }
    // A write that was made here while the answer was on its way takes part as the concurrent write that it is.
    const auto sealed = seal(db, schema, self.id);
    MBSYNC_TRY(sealed);
    MBSYNC_TRY(plan_for(db, most));
    const auto versions = read_versions(db);
    MBSYNC_TRY(versions);
    const auto fleet = read_fleet(db);
    MBSYNC_TRY(fleet);
    if (header.seen.counter(self.id) > versions->seen.counter(self.id)) {
      return Error{
          ErrorKind::kRejected,
          fmt::format("{} has seen writes of this node up to {}, but this database only remembers {}",
                      header.sender.name, header.seen.counter(self.id), versions->seen.counter(self.id)),
          "this database was restored from an older backup or is a copy; it must join again with a new identity"};
    }

    const MergeContext context{self, header, asked_seen, versions->seen};
    std::set<NodeId> others;  // members besides the two
    for (const auto& list : {fleet->members, header.members}) {
      for (const auto& member : list) {
        if (member.id != self.id && member.id != header.sender.id) {
          others.insert(member.id);
        }
      }
    }
    const bool forget_at_once = others.empty();

    // A write that was forgotten here after the sender took its snapshot would count as never made: the answer is out
    // of date. Nor may a full answer miss anything that arrived meanwhile, since its rows say nothing of their writes.
    // And a node that is new to this fleet has to take the fleet's rows before it can give its own.
    const bool moved_on = header.full && !without(self.id, asked_seen).covers(without(self.id, versions->seen));
    const bool not_joined =
        !others.empty() && holds_only_own(header.seen, header.sender.id) && !holds_only_own(versions->seen, self.id);
    if (!header.seen.covers(versions->forgotten) || moved_on || not_joined) {
      report.outdated = true;
      return report;
    }

    for (auto* entry : order) {
      const auto where = entry->table->display();
      const auto counts = merge_rows(db, *entry, context);
      if (!counts) {
        return counts.error().in(fmt::format("merging table {}", where));
      }
      report.merged += counts->merged;
      report.conflicts += counts->conflicts;
      if (auto stored = store_writes(*entry, forget_at_once); !stored) {
        return stored.error().in(fmt::format("table {}", where));
      }
    }
    if (report.merged > 0) {
      MBSYNC_TRY(store_merged(db));
    }
    // Deleting comes first, since a row that goes may hold a unique value that another one takes over. But where
    // foreign keys are live, a deleted row would take those along that still refer to it here and are about to refer to
    // another.
    const auto remove = [&](bool first) -> Result<void> {
      for (auto entry = order.rbegin(); entry != order.rend(); ++entry) {
        if (first != (role.replica || !is_referenced(*(*entry)->table))) {
          continue;
        }
        if (auto done = delete_rows(**entry); !done) {
          return done.error().in(fmt::format("deleting from table {}", (*entry)->table->display()));
        }
      }
      return {};
    };
    MBSYNC_TRY(remove(true));
    for (const auto* entry : order) {
      if (auto done = write_rows(*entry); !done) {
        auto error = done.error().in(fmt::format("writing table {}", entry->table->display()));
        if (error.kind == ErrorKind::kConflict) {
          error.hint = fmt::format(
              "a row from {} and a row here cannot stand together; nothing was changed; change or "
              "remove one of the two, on either machine, and it goes on by itself",
              header.sender.name);
        }
        return error;
      }
    }
    MBSYNC_TRY(remove(false));
    // Without a concurrent write here, the sender's consistent cut is consistent here too.
    if (role.replica && !header.seen.covers(versions->seen)) {
      for (const auto* entry : order) {
        MBSYNC_TRY(check_references(db, schema, *entry));
      }
    }

    if (!versions->seen.covers(header.seen)) {
      MBSYNC_TRY(raise_seen(db, header.seen));
    }
    auto forgotten = header.forgotten;
    if (forget_at_once && !order.empty()) {
      forgotten.merge(header.seen);
    }
    if (!versions->forgotten.covers(forgotten)) {
      MBSYNC_TRY(raise_forgotten(db, forgotten));
    }
    return store_fleet(*fleet, report);
  }

  Result<ApplyReport> store_fleet(const Fleet& fleet, ApplyReport report) {
    std::vector<Member> news;
    std::vector<Member> heard = header.members;
    heard.push_back(header.sender);
    for (const auto& member : heard) {
      if (std::find(fleet.members.begin(), fleet.members.end(), member) == fleet.members.end() &&
          member.id != self.id) {
        news.push_back(member);
      }
    }
    MBSYNC_TRY(store_members(db, news));
    auto reports = header.reports;
    reports[header.sender.id].merge(header.seen);
    for (const auto& [node, seen] : reports) {
      const auto known = fleet.reports.find(node);
      if (node != self.id && (known == fleet.reports.end() || !known->second.covers(seen))) {
        MBSYNC_TRY(raise_report(db, node, seen));
      }
    }
    return report;
  }
};

PullStage::PullStage(PgConnection& db, const Schema& schema, const Member& self, ApplyRole role,
                     VersionVector asked_seen)
    : impl_(std::make_unique<Impl>(db, schema, self, role, std::move(asked_seen))) {}

PullStage::~PullStage() {
  if (impl_->open != nullptr) {
    impl_->db.copy_in_abort();
  }
  impl_->db.rollback();
}

Result<void> PullStage::header(const PullHeader& header) {
  if (header.sender.id == impl_->self.id) {
    return Error{
        ErrorKind::kRejected,
        fmt::format("the peer \"{}\" has this node's identity {}", header.sender.name, to_string(header.sender.id)),
        "one of the two databases is a copy of the other and must get an identity of its own"};
  }
  impl_->header = header;
  return {};
}

Result<void> PullStage::table(const TableHeader& wire) {
  const auto table = impl_->find_table(wire);
  MBSYNC_TRY(table);
  MBSYNC_TRY(impl_->compare(**table, wire));
  auto& entry = impl_->staged[(*table)->id];
  if (entry.table != nullptr) {
    return Error{ErrorKind::kCorrupt, fmt::format("table {} comes twice in one answer", (*table)->display()), ""};
  }
  MBSYNC_TRY(impl_->make_stage(**table, entry));
  MBSYNC_TRY(impl_->number_columns(wire, entry));
  std::string columns = "m_key, m_origin, m_counter, m_at, m_cols, m_deleted, m_kept, m_writes";
  for (const auto& column : wire.columns) {
    columns += fmt::format(", v{}", (*table)->find(column.name) - (*table)->columns.data() + 1);
  }
  MBSYNC_TRY(impl_->db.copy_in_begin(fmt::format("COPY {} ({}) FROM STDIN", entry.name, columns)));
  impl_->open = &entry;
  return {};
}

Result<void> PullStage::rows(std::string_view copy_text) {
  return impl_->db.copy_in(copy_text);
}

Result<void> PullStage::table_end(std::int64_t rows) {
  auto& entry = *impl_->open;
  impl_->open = nullptr;
  const auto copied = impl_->db.copy_in_end();
  if (!copied) {
    return copied.error().in(fmt::format("receiving rows of table {}", entry.table->display()));
  }
  if (*copied != rows) {
    return Error{ErrorKind::kCorrupt,
                 fmt::format("table {}: {} rows announced, {} received", entry.table->display(), rows, *copied), ""};
  }
  entry.rows = rows;
  MBSYNC_TRY(impl_->renumber_bits(entry));
  if (rows > kManyRows) {
    MBSYNC_TRY(impl_->db.exec("ANALYZE " + entry.name));
  }
  return {};
}

Result<void> PullStage::footer(const PullFooter&) {
  impl_->complete = true;
  return {};
}

Result<ApplyReport> PullStage::apply() {
  MBSYNC_CHECK(impl_->complete, "apply() of an answer that has not arrived whole");
  auto& db = impl_->db;
  MBSYNC_TRY(impl_->begin_apply());
  auto report = impl_->merge();
  if (!report || report->outdated) {
    db.rollback();
    return report;
  }
  if (auto committed = db.commit(); !committed) {
    db.rollback();
    return committed.error();
  }
  return report;
}

const PullHeader& PullStage::received() const {
  return impl_->header;
}

}  // namespace mbsync
