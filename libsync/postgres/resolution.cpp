#include "resolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "conflict_reader.h"
#include "connection.h"
#include "migrate.h"
#include "record_text.h"
#include "schema.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// A row that an application transaction holds is waited for no longer than this, since a person waits as well.
constexpr const char* kLimits = "SET LOCAL lock_timeout = '5s'";
constexpr int kTries = 5;  // after a deadlock
constexpr std::chrono::milliseconds kTryAgainAfter{20};
// How long the catalog's facts are taken for granted: many conflicts are decided with one look, and a column that comes
// while a person thinks is not missed.
constexpr std::chrono::seconds kSchemaGoodFor{10};
constexpr std::size_t kShownInMessage = 40;  // characters of a value
constexpr std::size_t kNamedInMessage = 3;   // columns

// What the conflict left behind: its outcome, and what people have made of it since.
struct Expected {
  bool exists = true;
  std::map<std::string, Value> values;
};

struct Locked {
  const Table* table = nullptr;
  RowNow row;
};

std::string in_message(const Value& value) {
  if (!value) {
    return "NULL";
  }
  if (value->size() <= kShownInMessage) {
    return "'" + *value + "'";
  }
  auto end = kShownInMessage;
  while (end > 0 && (static_cast<unsigned char>((*value)[end]) & 0xC0U) == 0x80U) {
    --end;
  }
  return "'" + value->substr(0, end) + "'...";
}

Value* find_value(NamedValues& values, const std::string& column) {
  const auto place = std::find_if(values.begin(), values.end(), [&](const auto& item) { return item.first == column; });
  return place == values.end() ? nullptr : &place->second;
}

const Value* find_value(const NamedValues& values, const std::string& column) {
  const auto place = std::find_if(values.begin(), values.end(), [&](const auto& item) { return item.first == column; });
  return place == values.end() ? nullptr : &place->second;
}

Json json_of(const Value& value) {
  return value ? Json(*value) : Json();
}

Value value_of(const Json& value) {
  return value.is_string() ? Value(value.get<std::string>()) : Value();
}

std::string text_of(const Json& object, const char* member) {
  const auto place = object.find(member);
  return place == object.end() ? std::string() : value_of(*place).value_or("");
}

// ISO times compare as texts once the Z is gone, with or without a fraction.
std::string comparable(std::string time) {
  if (!time.empty() && time.back() == 'Z') {
    time.pop_back();
  }
  return time;
}

// The changes that a resolution made: column, before, after.
std::vector<DecisionReport::Change> changes_of(const Json& resolution) {
  std::vector<DecisionReport::Change> changes;
  if (const auto changed = resolution.find("changed"); changed != resolution.end() && changed->is_object()) {
    for (const auto& [column, change] : changed->items()) {
      changes.push_back({column, value_of(change.value("from", Json())), value_of(change.value("to", Json()))});
    }
  }
  return changes;
}

Expected expected_after(const Conflict& conflict) {
  Expected expected;
  expected.exists = conflict.outcome.exists;
  // Columns that nobody disputes are recorded where the row's existence was at stake; whoever wrote one has it stand.
  if (conflict.summary.kind == "existence") {
    for (const auto& version : conflict.versions) {
      if (!version.deleted) {
        for (const auto& [column, value] : version.values) {
          expected.values[column] = value;
        }
      }
    }
  }
  for (const auto& [column, decided] : conflict.outcome.columns) {
    expected.values[column] = decided.value;
  }
  for (const auto* step : conflict.summary.decisions()) {
    const auto row = text_of(*step, "row");
    expected.exists = row == "inserted" || (row != "deleted" && expected.exists);
    if (row == "inserted" || row == "updated") {
      for (const auto& change : changes_of(*step)) {
        expected.values[change.column] = change.to;
      }
    }
  }
  return expected;
}

std::string hint_for(const Error& error) {
  if (error.message.find("foreign key") != std::string::npos) {
    return "write the row that it refers to, or those that refer to it, first; nothing has been changed";
  }
  if (error.message.find("unique") != std::string::npos || error.message.find("exclusion") != std::string::npos) {
    return "another row has this value: change that one first, or give this one a value of its own with 'mbsync "
           "resolve set'; nothing has been changed";
  }
  if (error.kind == ErrorKind::kConflict) {
    return "give values that the constraint allows with 'mbsync resolve set'; nothing has been changed";
  }
  if (error.message.find("[22") != std::string::npos) {  // the SQLSTATEs of data that cannot be read
    return "give the value as PostgreSQL writes it for the column's type; nothing has been changed";
  }
  return "see to what the message says, and try again; nothing has been changed";
}

// What is not part of the decision stays unknown to the caller: the reason, and where the row is to be looked at.
Error changed_since(const Conflict& conflict, const std::string& what) {
  const auto& summary = conflict.summary;
  return Error{
      ErrorKind::kRejected,
      fmt::format("the row {} of {}.{} has changed since: {}", summary.key, summary.schema, summary.table, what),
      fmt::format("look at it with 'mbsync resolve show {}'; --force goes on all the same", summary.id)};
}

}  // namespace

std::vector<const Json*> ConflictSummary::decisions() const {
  std::vector<const Json*> latest_first;
  for (const auto* step = &resolution; step->is_object();) {
    latest_first.push_back(step);
    const auto before = step->find("previous");
    if (before == step->end()) {
      break;
    }
    step = &*before;
  }
  return {latest_first.rbegin(), latest_first.rend()};
}

std::string_view to_string(ConflictState state) {
  switch (state) {
    case ConflictState::kOpen:
      return "open";
    case ConflictState::kDecided:
      return "decided";
    case ConflictState::kResolved:
      return "resolved";
  }
  return "decided";
}

std::string_view to_string(Decision::How how) {
  switch (how) {
    case Decision::How::kAccept:
      return "accept";
    case Decision::How::kKeep:
      return "keep";
    case Decision::How::kSet:
      return "set";
    case Decision::How::kUndo:
      return "undo";
  }
  return "accept";
}

const ConflictVersionSeen* Conflict::find(int version) const {
  const auto place = std::find_if(versions.begin(), versions.end(),
                                  [&](const auto& candidate) { return candidate.version == version; });
  return place == versions.end() ? nullptr : &*place;
}

struct ConflictDesk::Impl {
  explicit Impl(std::unique_ptr<PgConnection> session) : connection(std::move(session)), db(*connection) {}

  std::unique_ptr<PgConnection> connection;
  PgConnection& db;
  std::optional<Schema> schema;
  std::chrono::steady_clock::time_point schema_read;

  // Looks again if the table is not known, for it may have come since.
  Result<const Table*> table_of(const ConflictSummary& summary) {
    for (const bool fresh : {false, true}) {
      const auto now = std::chrono::steady_clock::now();
      if (fresh || !schema || now - schema_read > kSchemaGoodFor) {
        auto read = read_schema(db);
        MBSYNC_TRY(read);
        schema = std::move(*read);
        schema_read = now;
      }
      if (const auto* table = schema->find(summary.schema, summary.table); table != nullptr) {
        return table;
      }
    }
    const auto refused = std::find_if(schema->refused.begin(), schema->refused.end(), [&](const auto& candidate) {
      return candidate.schema == summary.schema && candidate.name == summary.table;
    });
    if (refused != schema->refused.end()) {
      return Error{
          ErrorKind::kRejected,
          fmt::format("table {}.{} is not synchronised: it {}", summary.schema, summary.table, refused->reason),
          "write the row with an ordinary UPDATE, and close the conflict with 'mbsync resolve accept'"};
    }
    return Error{ErrorKind::kRejected, fmt::format("there is no table {}.{} any more", summary.schema, summary.table),
                 "close the conflict with 'mbsync resolve accept'"};
  }

  Result<RowNow> read_row(const Table& table, const std::string& key, bool lock) {
    const TableSql sql(table);
    const auto rows = db.exec(fmt::format("SELECT {} FROM {} t WHERE {}{}", sql.columns("t"), table.quoted(),
                                          sql.key_match("t", db.quote(key)), lock ? " FOR UPDATE OF t" : ""));
    if (!rows) {
      if (lock && rows.error().message.find("lock timeout") != std::string::npos) {
        return Error{ErrorKind::kTransient,
                     fmt::format("the row {} of {} is held by another transaction", key, table.display()),
                     "try again when it has ended"};
      }
      return rows.error().in(fmt::format("the row {} of {}", key, table.display()));
    }
    RowNow now;
    now.exists = !rows->empty();
    if (now.exists) {
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        const auto field = (*rows)[0][static_cast<pqxx::row::size_type>(i)];
        now.values.emplace_back(table.columns[i].name, field.is_null() ? Value() : Value(field.c_str()));
      }
    }
    return now;
  }

  Result<DecisionReport> attempt(const std::string& id, const Decision& decision);
};

namespace {

// One decision, inside a transaction that the caller ends.
class Deciding {
 public:
  Deciding(PgConnection& db, const Conflict& conflict, const Decision& decision, const Table* table, RowNow row)
      : db_(db), conflict_(conflict), decision_(decision), table_(table), row_(std::move(row)) {
    report_.id = conflict.summary.id;
    report_.table = fmt::format("{}.{}", conflict.summary.schema, conflict.summary.table);
    report_.key = conflict.summary.key;
    report_.how = to_string(decision.how);
    report_.row = "unchanged";
    expected_ = expected_after(conflict);
  }

  // Writes the row, as far as it has to be written.
  Result<void> write() {
    switch (decision_.how) {
      case Decision::How::kAccept:
        tell_of_changes();
        return {};
      case Decision::How::kKeep:
        return keep();
      case Decision::How::kSet:
        return set();
      case Decision::How::kUndo:
        return undo();
    }
    return {};
  }

  [[nodiscard]] bool wrote() const { return wrote_; }

  // What the write made of the row, triggers and defaults included.
  void compare(const RowNow& after) {
    for (const auto& column : table_->columns) {
      const auto* from = find_value(row_.values, column.name);
      const auto* to = find_value(after.values, column.name);
      if (row_.exists != after.exists || (from != nullptr && to != nullptr && *from != *to)) {
        report_.changed.push_back({column.name, from == nullptr ? Value() : *from, to == nullptr ? Value() : *to});
      }
    }
    if (row_.exists != after.exists) {
      report_.row = after.exists ? "inserted" : "deleted";
    } else if (!report_.changed.empty()) {
      report_.row = "updated";
    }
  }

  [[nodiscard]] DecisionReport& report() { return report_; }
  [[nodiscard]] std::optional<int> version() const { return version_; }

 private:
  // What differs from what should be there, in words; empty if nothing does.
  [[nodiscard]] std::string difference(const std::vector<std::string>& columns) const {
    const bool by_eye = decision_.shown.has_value();
    const bool should_exist = by_eye ? decision_.shown->exists : expected_.exists;
    if (row_.exists != should_exist) {
      return row_.exists ? "it is there again" : "it has been deleted";
    }
    if (!row_.exists) {
      return "";
    }
    std::vector<std::string> found;
    for (const auto& column : columns) {
      const auto* now = find_value(row_.values, column);
      const Value* should = nullptr;
      if (by_eye) {
        should = find_value(decision_.shown->values, column);
      } else if (const auto place = expected_.values.find(column); place != expected_.values.end()) {
        should = &place->second;
      }
      if (now != nullptr && should != nullptr && *now != *should) {
        found.push_back(fmt::format("{} is {}, {} {}", column, in_message(*now),
                                    by_eye ? "shown was" : "the conflict left", in_message(*should)));
      }
    }
    const auto named = std::min(found.size(), kNamedInMessage);
    return fmt::format("{}{}", fmt::join(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(named), "; "),
                       named < found.size() ? fmt::format("; and {} more", found.size() - named) : std::string());
  }

  [[nodiscard]] std::vector<std::string> all_columns() const {
    std::vector<std::string> names;
    for (const auto& [column, value] : row_.values) {
      names.push_back(column);
    }
    return names;
  }

  void tell_of_changes() {
    if (table_ == nullptr) {
      return;
    }
    if (const auto what = difference(all_columns()); !what.empty()) {
      report_.notes.push_back(fmt::format("the row has changed since the conflict: {}; it stays as it is", what));
    }
  }

  // A row that waits here may stand elsewhere; decided here, it would be another version of it.
  Result<void> check_row_is_here() {
    const auto waits = db_.exec(
        "SELECT p.reason FROM mbsync.parked p JOIN mbsync.synced_table t ON t.id = p.tab WHERE t.schema_name = $1 AND "
        "t.table_name = $2 AND p.key = $3",
        {conflict_.summary.schema, conflict_.summary.table, conflict_.summary.key});
    MBSYNC_TRY(waits);
    if (waits->empty()) {
      return {};
    }
    std::vector<std::string> places;
    for (const auto& version : conflict_.versions) {
      if (version.key.empty() || version.key == conflict_.summary.key) {
        places.push_back(version.name);
      }
    }
    return Error{
        ErrorKind::kRejected,
        fmt::format("the row {} of {} waits on this node: {}", conflict_.summary.key, table_->display(),
                    (*waits)[0][0].c_str()),
        fmt::format("decide it on {}, which wrote it, or change here what it waits for", fmt::join(places, " or "))};
  }

  Result<void> check(const std::vector<std::string>& concerned) {
    if (!row_.exists) {
      MBSYNC_TRY(check_row_is_here());
    }
    const auto what = difference(concerned);
    if (what.empty()) {
      return {};
    }
    if (!decision_.force) {
      return changed_since(conflict_, what);
    }
    report_.notes.push_back(fmt::format("the row had changed since the conflict: {}", what));
    return {};
  }

  Result<void> keep() {
    const ConflictVersionSeen* chosen = nullptr;
    std::vector<int> found;
    for (const auto& version : conflict_.versions) {
      const bool meant = decision_.version ? version.version == *decision_.version
                                           : version.name == decision_.node || version.node == decision_.node;
      if (meant) {
        chosen = &version;
        found.push_back(version.version);
      }
    }
    if (found.size() > 1) {
      return Error{ErrorKind::kRejected,
                   fmt::format("'{}' has written versions {} of conflict {}", decision_.node, fmt::join(found, " and "),
                               conflict_.summary.id),
                   "say which one with --version"};
    }
    if (chosen == nullptr) {
      std::vector<std::string> known;
      for (const auto& version : conflict_.versions) {
        known.push_back(fmt::format("{} by {}", version.version, version.name));
      }
      return Error{ErrorKind::kRejected,
                   fmt::format("conflict {} has no version {}", conflict_.summary.id,
                               decision_.version ? std::to_string(*decision_.version) : "by '" + decision_.node + "'"),
                   fmt::format("it has {}", fmt::join(known, ", "))};
    }
    if (!chosen->key.empty() && chosen->key != conflict_.summary.key) {
      return Error{ErrorKind::kRejected,
                   fmt::format("version {} of conflict {} is of another row, {} of {}", chosen->version,
                               conflict_.summary.id, chosen->key, table_->display()),
                   fmt::format("'mbsync resolve accept {0}' leaves both rows as they are; 'mbsync resolve set {0} ...' "
                               "changes this one, and an ordinary UPDATE the other",
                               conflict_.summary.id)};
    }
    version_ = chosen->version;
    if (chosen->deleted) {
      return remove_row();
    }
    NamedValues target;
    for (const auto& column : table_->columns) {
      if (const auto value = chosen->values.find(column.name); value != chosen->values.end()) {
        target.emplace_back(column.name, value->second);
      }
    }
    std::vector<std::string> gone;
    for (const auto& [column, value] : chosen->values) {
      if (table_->find(column) == nullptr) {
        gone.push_back(column);
      }
    }
    if (!gone.empty()) {
      return Error{ErrorKind::kRejected,
                   fmt::format("table {} has no column {} any more", table_->display(), fmt::join(gone, ", ")),
                   "give the values that still have a place with 'mbsync resolve set'"};
    }
    return put(target, chosen);
  }

  Result<void> set() {
    for (const auto& [name, value] : decision_.values) {
      const auto* column = table_->find(name);
      if (column == nullptr) {
        std::vector<std::string> names;
        for (const auto& known : table_->columns) {
          names.push_back(known.name);
        }
        return Error{ErrorKind::kRejected,
                     fmt::format("table {} has no column '{}' that can be written", table_->display(), name),
                     fmt::format("it has {}", fmt::join(names, ", "))};
      }
      if (is_key(*column)) {
        return Error{
            ErrorKind::kRejected,
            fmt::format("column '{}' is part of the key of {}, by which the row is known", name, table_->display()),
            "change the key with an ordinary UPDATE, and close the conflict with 'mbsync resolve accept'"};
      }
    }
    return put(decision_.values, nullptr);
  }

  // The row gets these values; it is inserted if it is not there.
  Result<void> put(const NamedValues& target, const ConflictVersionSeen* version) {
    std::vector<std::string> concerned;
    for (const auto& [column, value] : target) {
      concerned.push_back(column);
    }
    MBSYNC_TRY(check(concerned));
    if (row_.exists) {
      return update(target);
    }
    const auto whole = completed(target, version);
    MBSYNC_TRY(whole);
    return insert(*whole);
  }

  Result<void> remove_row() {
    MBSYNC_TRY(check(all_columns()));
    if (!row_.exists) {
      return {};
    }
    if (!decision_.force) {
      MBSYNC_TRY(check_nothing_written_since());
      MBSYNC_TRY(check_references());
    }
    return remove();
  }

  // Columns outside the conflict are not on record, so of these only the writes tell.
  Result<void> check_nothing_written_since() {
    const auto writes = read_later_writes(db_, conflict_);
    MBSYNC_TRY(writes);
    const auto last =
        std::max(comparable(conflict_.summary.at), comparable(text_of(conflict_.summary.resolution, "at")));
    for (const auto& write : *writes) {
      if (comparable(write.at) > last) {
        return changed_since(
            conflict_,
            fmt::format("{} wrote {} at {}", write.name,
                        write.columns.empty() ? "it" : fmt::format("{}", fmt::join(write.columns, ", ")), write.at));
      }
    }
    return {};
  }

  // Rows that the database would delete or change along with this one, and that no undo brings back.
  Result<void> check_references() {
    const auto keys = db_.exec(fmt::format(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relname, f.confdeltype, "
        "string_agg(format('r.%I = t.%I', ca.attname, pa.attname), ' AND ') FROM pg_constraint f "
        "JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "CROSS JOIN LATERAL unnest(f.conkey, f.confkey) k(child, parent) "
        "JOIN pg_attribute ca ON ca.attrelid = f.conrelid AND ca.attnum = k.child "
        "JOIN pg_attribute pa ON pa.attrelid = f.confrelid AND pa.attnum = k.parent "
        "WHERE f.contype = 'f' AND f.confrelid = {} AND f.confdeltype IN ('c', 'n', 'd') AND f.conparentid = 0 "
        "GROUP BY f.oid, n.nspname, c.relname, f.confdeltype ORDER BY 1",
        table_->oid));
    MBSYNC_TRY(keys);
    const TableSql sql(*table_);
    for (const auto& reference : *keys) {
      MBSYNC_TRY(as_application());
      const auto any = db_.exec(fmt::format("SELECT EXISTS (SELECT FROM {} r JOIN {} t ON {} WHERE {})",
                                            reference[0].c_str(), table_->quoted(), reference[3].c_str(),
                                            sql.key_match("t", db_.quote(conflict_.summary.key))));
      MBSYNC_TRY(any);
      MBSYNC_TRY(as_mbsync());
      if ((*any)[0][0].as<bool>()) {
        const bool cascade = reference[2].c_str()[0] == 'c';
        return Error{ErrorKind::kRejected,
                     fmt::format("rows of {} refer to the row {} of {} and would {} with it; undo would not bring that "
                                 "back",
                                 reference[0].c_str(), conflict_.summary.key, table_->display(),
                                 cascade ? "be deleted" : "lose their reference"),
                     "--force deletes it all the same"};
      }
    }
    return {};
  }

  Result<void> undo() {
    const auto& last = conflict_.summary.resolution;
    const auto did = text_of(last, "row");
    const auto changes = changes_of(last);
    if (did != "updated" && did != "inserted" && did != "deleted") {
      return {};
    }
    const bool should_exist = did != "deleted";
    std::string what;
    if (row_.exists != should_exist) {
      what = row_.exists ? "it is there again" : "it has been deleted";
    } else {
      for (const auto& change : changes) {
        const auto* now = find_value(row_.values, change.column);
        if (should_exist && now != nullptr && *now != change.to) {
          what =
              fmt::format("{} is {}, the resolution left {}", change.column, in_message(*now), in_message(change.to));
          break;
        }
      }
    }
    if (!what.empty()) {
      if (!decision_.force) {
        return changed_since(conflict_, what);
      }
      report_.notes.push_back(fmt::format("the row had changed since the resolution: {}", what));
    }
    if (did == "inserted") {
      if (row_.exists && !decision_.force) {
        MBSYNC_TRY(check_references());
      }
      return row_.exists ? remove() : Result<void>();
    }
    NamedValues target;
    for (const auto& change : changes) {
      const auto* column = table_->find(change.column);
      if (column != nullptr && !(row_.exists && is_key(*column))) {
        target.emplace_back(change.column, change.from);
      }
    }
    if (row_.exists) {
      return update(target);
    }
    const auto whole = completed(target, nullptr);
    MBSYNC_TRY(whole);
    return insert(*whole);
  }

  [[nodiscard]] bool is_key(const Column& column) const {
    return std::any_of(table_->key.begin(), table_->key.end(),
                       [&](std::size_t index) { return table_->columns[index].name == column.name; });
  }

  // A whole row out of `target`, the key, and what the versions say: the latest who wrote a column knows best, then who
  // deleted the row, for whose image every column was read.
  Result<NamedValues> completed(const NamedValues& target, const ConflictVersionSeen* version) {
    auto key = key_values();
    MBSYNC_TRY(key);
    NamedValues whole;
    std::vector<std::string> missing;
    for (const auto& column : table_->columns) {
      if (const auto* given = find_value(target, column.name)) {
        whole.emplace_back(column.name, *given);
        continue;
      }
      if (const auto* part = find_value(*key, column.name)) {
        whole.emplace_back(column.name, *part);
        continue;
      }
      const Value* best = version == nullptr ? nullptr : in(*version, column.name);
      for (const bool deleted : {false, true}) {
        for (auto other = conflict_.versions.rbegin(); best == nullptr && other != conflict_.versions.rend(); ++other) {
          best = other->deleted == deleted ? in(*other, column.name) : nullptr;
        }
      }
      if (best == nullptr) {
        missing.push_back(column.name);
      } else {
        whole.emplace_back(column.name, *best);
      }
    }
    if (!missing.empty()) {
      return Error{ErrorKind::kRejected,
                   fmt::format("the row {} of {} is gone, and no version of the conflict says what {} was",
                               conflict_.summary.key, table_->display(), fmt::join(missing, ", ")),
                   fmt::format("give all of it: mbsync resolve set {} {}=...", conflict_.summary.id,
                               fmt::join(missing, "=... "))};
    }
    return whole;
  }

  static const Value* in(const ConflictVersionSeen& version, const std::string& column) {
    const auto place = version.values.find(column);
    return place == version.values.end() ? nullptr : &place->second;
  }

  Result<NamedValues> key_values() {
    NamedValues values;
    if (table_->key.size() == 1) {
      values.emplace_back(table_->columns[table_->key[0]].name, conflict_.summary.key);
      return values;
    }
    const auto parts = parse_record(conflict_.summary.key);
    if (!parts || parts->size() != table_->key.size()) {
      return Error{ErrorKind::kRejected,
                   fmt::format("'{}' is no key of {}: its key has changed", conflict_.summary.key, table_->display()),
                   "close the conflict with 'mbsync resolve accept'"};
    }
    for (std::size_t i = 0; i < parts->size(); ++i) {
      values.emplace_back(table_->columns[table_->key[i]].name, (*parts)[i]);
    }
    return values;
  }

  Result<void> update(const NamedValues& target) {
    std::string assignments;
    std::vector<Value> params;
    for (const auto& [name, value] : target) {
      const auto* now = find_value(row_.values, name);
      const auto* column = table_->find(name);
      if (now == nullptr || column == nullptr || *now == value) {
        continue;
      }
      if (is_key(*column)) {
        continue;  // the row was found by it: equal keys can look different
      }
      if (column->identity_always) {
        return Error{ErrorKind::kRejected,
                     fmt::format("column '{}' of {} is an identity that PostgreSQL gives; UPDATE cannot set it", name,
                                 table_->display()),
                     "leave it out with 'mbsync resolve set', or delete the row and insert it anew"};
      }
      params.push_back(value);
      assignments +=
          fmt::format("{}{} = ${}", assignments.empty() ? "" : ", ", PgConnection::quote_name(name), params.size());
    }
    if (params.empty()) {
      return {};
    }
    const TableSql sql(*table_);
    return written(fmt::format("UPDATE {} AS t SET {} WHERE {}", table_->quoted(), assignments,
                               sql.key_match("t", db_.quote(conflict_.summary.key))),
                   params);
  }

  Result<void> insert(const NamedValues& whole) {
    std::string names;
    std::string places;
    std::vector<Value> params;
    for (const auto& [name, value] : whole) {
      params.push_back(value);
      names += fmt::format("{}{}", names.empty() ? "" : ", ", PgConnection::quote_name(name));
      places += fmt::format("{}${}", places.empty() ? "" : ", ", params.size());
    }
    return written(
        fmt::format("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})", table_->quoted(), names, places),
        params);
  }

  Result<void> remove() {
    const TableSql sql(*table_);
    return written(fmt::format("DELETE FROM {} AS t WHERE {}", table_->quoted(),
                               sql.key_match("t", db_.quote(conflict_.summary.key))),
                   {});
  }

  // Functions of the application's (triggers, constraints) find their names as in any session of its own.
  Result<void> as_application() {
    return db_.run(fmt::format("SELECT set_config('search_path', {}, true)", db_.quote(db_.application_search_path())));
  }
  Result<void> as_mbsync() { return db_.run("SET LOCAL search_path = pg_catalog, pg_temp"); }

  Result<void> written(const std::string& statement, const std::vector<Value>& params) {
    const auto run = [&]() -> Result<void> {
      MBSYNC_TRY(as_application());
      const auto done = params.empty() ? db_.exec(statement) : db_.exec(statement, params);
      MBSYNC_TRY(done);
      if (done->affected_rows() != 1) {
        return Error{ErrorKind::kRejected, "the write had no effect",
                     "a trigger, a rule or a row security policy of the table holds it back; write the row with an "
                     "ordinary UPDATE, and close the conflict with 'mbsync resolve accept'"};
      }
      MBSYNC_TRY(db_.exec("SET CONSTRAINTS ALL IMMEDIATE"));
      return as_mbsync();
    };
    if (const auto done = run(); !done) {
      auto error = done.error().in(fmt::format("the row {} of {}", conflict_.summary.key, table_->display()));
      if (done.error().hint.empty()) {
        error.hint = hint_for(done.error());
      }
      return error;
    }
    wrote_ = true;
    return {};
  }

  PgConnection& db_;
  const Conflict& conflict_;
  const Decision& decision_;
  const Table* table_;
  RowNow row_;
  Expected expected_;
  DecisionReport report_;
  std::optional<int> version_;
  bool wrote_ = false;
};

std::string described(const Json& resolution) {
  return fmt::format("{} by {} on {} at {}", text_of(resolution, "how"), text_of(resolution, "user"),
                     text_of(resolution, "by"), text_of(resolution, "at"));
}

// Lines of the row that the line $1 makes superfluous.
constexpr const char* kNarrower =
    "r.schema_name = c.schema_name AND r.table_name = c.table_name AND hashtextextended(r.key, 0) = "
    "hashtextextended(c.key, 0) AND r.key = c.key AND r.kind = c.kind AND r.id <> c.id AND r.dots <@ c.dots AND "
    "c.id = $1::uuid";

Result<void> close(PgConnection& db, const Conflict& conflict, const DecisionReport& report,
                   std::optional<int> version) {
  const auto now = db.exec(fmt::format("SELECT (SELECT n.name FROM mbsync.node n WHERE n.is_self), {}, session_user",
                                       iso_sql("clock_timestamp()")));
  MBSYNC_TRY(now);
  const auto& summary = conflict.summary;
  Json changed = Json::object();
  for (const auto& change : report.changed) {
    changed[change.column] = {{"from", json_of(change.from)}, {"to", json_of(change.to)}};
  }
  const auto& row = (*now)[0];
  const Json made{{"by", row[0].is_null() ? Json() : Json(row[0].c_str())},
                  {"at", row[1].c_str()},
                  {"user", row[2].c_str()},
                  {"was_open", summary.state == ConflictState::kOpen}};
  auto main = made;
  main["how"] = report.how;
  main["row"] = report.row;
  main["changed"] = std::move(changed);
  if (version) {
    main["version"] = *version;
  }
  if (summary.state == ConflictState::kResolved) {
    main["previous"] = summary.resolution;
  }
  MBSYNC_TRY(db.exec("UPDATE mbsync.conflict_record SET is_open = false, resolution = $2::jsonb WHERE id = $1::uuid",
                     {summary.id, main.dump()}));
  auto with = made;
  with["how"] = "with";
  with["conflict"] = summary.id;
  MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.conflict_record r SET is_open = false, resolution = $2::jsonb || CASE "
                                 "WHEN r.resolution IS NULL THEN '{{}}' ELSE jsonb_build_object('previous', "
                                 "r.resolution) END FROM mbsync.conflict_record c WHERE {} AND r.is_open",
                                 kNarrower),
                     {summary.id, with.dump()}));
  return {};
}

Result<void> reopen(PgConnection& db, const Conflict& conflict) {
  const auto& last = conflict.summary.resolution;
  const auto open = last.find("was_open");
  const auto previous = last.find("previous");
  MBSYNC_TRY(
      db.exec("UPDATE mbsync.conflict_record SET is_open = $2::boolean, resolution = $3::jsonb WHERE id = $1::uuid",
              {conflict.summary.id, std::string(open != last.end() && *open == Json(true) ? "t" : "f"),
               previous == last.end() ? Value() : Value(previous->dump())}));
  MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.conflict_record r SET is_open = coalesce((r.resolution ->> "
                                 "'was_open')::boolean, false), resolution = r.resolution -> 'previous' FROM "
                                 "mbsync.conflict_record c WHERE {} AND r.resolution ->> 'how' = 'with' AND "
                                 "r.resolution ->> 'conflict' = $1::uuid::text",
                                 kNarrower),
                     {conflict.summary.id}));
  return {};
}

}  // namespace

Result<DecisionReport> ConflictDesk::Impl::attempt(const std::string& id, const Decision& decision) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  MBSYNC_TRY(db.exec(kLimits));
  const auto conflict = read_conflict(db, id, true);
  MBSYNC_TRY(conflict);
  const auto& summary = conflict->summary;
  const bool resolved = summary.state == ConflictState::kResolved;
  const bool undo = decision.how == Decision::How::kUndo;
  if (decision.stamp && *decision.stamp != summary.stamp()) {
    return Error{ErrorKind::kRejected,
                 fmt::format("conflict {} has meanwhile been {}", id,
                             resolved ? "resolved: " + described(summary.resolution) : std::string("opened again")),
                 fmt::format("look at it with 'mbsync resolve show {}'", id)};
  }
  if (undo && !resolved) {
    return Error{ErrorKind::kRejected, fmt::format("nobody has resolved conflict {}, so nothing can be undone", id),
                 fmt::format("'mbsync resolve show {}' shows how it was decided", id)};
  }
  if (resolved && !undo && !decision.force) {
    return Error{ErrorKind::kRejected,
                 fmt::format("conflict {} has been resolved already: {}", id, described(summary.resolution)),
                 fmt::format("undo that first with 'mbsync resolve undo {}'; --force decides anew", id)};
  }

  const Table* table = nullptr;
  RowNow row;
  const bool closes_only = decision.how == Decision::How::kAccept || (undo && changes_of(summary.resolution).empty());
  const auto found = table_of(summary);
  if (!found && !closes_only) {
    return found.error();
  }
  if (found) {
    table = *found;
    auto read = read_row(*table, summary.key, !closes_only);
    MBSYNC_TRY(read);
    row = std::move(*read);
  }
  Deciding deciding(db, *conflict, decision, table, std::move(row));
  MBSYNC_TRY(deciding.write());
  if (deciding.wrote()) {
    const auto after = read_row(*table, summary.key, false);
    MBSYNC_TRY(after);
    deciding.compare(*after);
  }
  MBSYNC_TRY(undo ? reopen(db, *conflict) : close(db, *conflict, deciding.report(), deciding.version()));
  MBSYNC_TRY(db.commit());
  return deciding.report();
}

ConflictDesk::ConflictDesk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConflictDesk::~ConflictDesk() = default;

Result<std::unique_ptr<ConflictDesk>> ConflictDesk::open(const DatabaseUrl& url) {
  auto session = PgConnection::open(url, "resolve");
  MBSYNC_TRY(session);
  if (auto fits = check_schema_version(**session); !fits) {
    return fits.error().in(fmt::format("database {}", url.display)).about(ErrorArea::kDatabase);
  }
  return std::unique_ptr<ConflictDesk>(new ConflictDesk(std::make_unique<Impl>(std::move(*session))));
}

Result<ConflictList> ConflictDesk::list(const ConflictFilter& filter) {
  return read_conflicts(impl_->db, filter);
}

Result<std::string> ConflictDesk::find(const std::string& beginning) {
  return find_conflict(impl_->db, beginning);
}

Result<ConflictDetails> ConflictDesk::show(const std::string& id) {
  auto& db = impl_->db;
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kRepeatableRead));
  const auto run = [&]() -> Result<ConflictDetails> {
    ConflictDetails details;
    auto conflict = read_conflict(db, id, false);
    MBSYNC_TRY(conflict);
    details.conflict = std::move(*conflict);
    auto writes = read_later_writes(db, details.conflict);
    MBSYNC_TRY(writes);
    details.writes = std::move(*writes);
    auto later = read_later_conflicts(db, details.conflict);
    MBSYNC_TRY(later);
    details.conflicts = std::move(*later);
    // Last, since a key that does not fit the table any more ends the transaction.
    const auto table = impl_->table_of(details.conflict.summary);
    if (!table) {
      if (db.broken()) {
        return table.error();
      }
      details.row.unreadable = table.error().message;
      return details;
    }
    auto row = impl_->read_row(**table, details.conflict.summary.key, false);
    if (!row) {
      if (db.broken()) {
        return row.error();
      }
      details.row.unreadable = row.error().message;
      return details;
    }
    details.row = std::move(*row);
    return details;
  };
  auto details = run();
  db.rollback();
  return details;
}

Result<DecisionReport> ConflictDesk::decide(const std::string& id, const Decision& decision) {
  for (int tries = 1;; ++tries) {
    auto report = impl_->attempt(id, decision);
    if (report) {
      return report;
    }
    impl_->db.rollback();
    const auto& error = report.error();
    // A table that was migrated since it was looked at.
    if (error.kind == ErrorKind::kRejected && error.message.find("[42") != std::string::npos && tries == 1) {
      impl_->schema.reset();
      continue;
    }
    const bool deadlock = error.kind == ErrorKind::kTransient &&
                          error.message.find("lock timeout") == std::string::npos &&
                          error.message.find("is held by") == std::string::npos;
    if (!deadlock || impl_->db.broken() || tries >= kTries) {
      return error;
    }
    std::this_thread::sleep_for(kTryAgainAfter * tries);
  }
}

}  // namespace mbsync
