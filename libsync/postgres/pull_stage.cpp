#include "pull_stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "peer_claims.h"
#include "seal.h"

namespace mbsync {
namespace {

constexpr std::int64_t kManyRows = 500;

std::string join_names(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

struct PullStage::Impl {
  Impl(PgConnection& connection, const Schema& tables, Member node, ApplyRole apply_role, VersionVector asked)
      : db(connection), schema(tables), self(std::move(node)), role(apply_role), asked_seen(std::move(asked)) {}

  PgConnection& db;
  const Schema& schema;
  Member self;
  ApplyRole role;
  VersionVector asked_seen;
  PullHeader header;
  Applier::Staged staged;
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
                     refused.because == RefusedTable::Because::kByChoice
                         ? "set 'tables' and 'tables_except' alike on all machines; until then nothing that comes from "
                           "there is taken"
                         : "make both definitions the same"};
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
  Result<void> renumber_bits(const StagedTable& entry, std::size_t length) {
    const auto width = entry.table->width;
    if (entry.renumber.empty()) {
      if (length == 0 || length == width) {
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
  MBSYNC_TRY(check_claims(header));
  MBSYNC_TRY(check_growth(impl_->asked_seen, header.seen, header.sender));
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
  auto stage = make_stage(impl_->db, **table);
  MBSYNC_TRY(stage);
  entry = std::move(*stage);
  MBSYNC_TRY(impl_->number_columns(wire, entry));
  std::string columns = "m_key, m_origin, m_counter, m_at, m_cols, m_deleted, m_policy, m_kept, m_writes";
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
  const auto facts = check_staged(impl_->db, entry, impl_->header);
  MBSYNC_TRY(facts);
  entry.may_delete = facts->may_delete;
  MBSYNC_TRY(impl_->renumber_bits(entry, facts->bits));
  if (rows > kManyRows) {
    MBSYNC_TRY(impl_->db.exec("ANALYZE " + entry.name));
  }
  return {};
}

Result<void> PullStage::footer(const PullFooter&) {
  impl_->complete = true;
  return {};
}

Result<ApplyReport> PullStage::apply(bool patient, const std::optional<Member>& as) {
  MBSYNC_CHECK(impl_->complete, "apply() of an answer that has not arrived whole");
  return Applier(impl_->db, impl_->schema, impl_->self, impl_->role)
      .apply(impl_->staged, impl_->header, impl_->asked_seen, patient, as);
}

const PullHeader& PullStage::received() const {
  return impl_->header;
}

}  // namespace mbsync
