#include "deciding.h"

#include <fmt/format.h>

#include <algorithm>

#include "conflict_reader.h"
#include "record_text.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kShownInMessage = 40;  // characters of a value
constexpr std::size_t kNamedInMessage = 3;   // columns

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

const Value* find_value(const NamedValues& values, const std::string& column) {
  const auto place = std::find_if(values.begin(), values.end(), [&](const auto& item) { return item.first == column; });
  return place == values.end() ? nullptr : &place->second;
}

Value value_of(const Json& value) {
  return value.is_string() ? Value(value.get<std::string>()) : Value();
}

// ISO times compare as texts once the Z is gone, with or without a fraction.
std::string comparable(std::string time) {
  if (!time.empty() && time.back() == 'Z') {
    time.pop_back();
  }
  return time;
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

std::string text_of(const Json& object, const char* member) {
  const auto place = object.find(member);
  return place == object.end() ? std::string() : value_of(*place).value_or("");
}

std::vector<DecisionReport::Change> changes_of(const Json& resolution) {
  std::vector<DecisionReport::Change> changes;
  if (const auto changed = resolution.find("changed"); changed != resolution.end() && changed->is_object()) {
    for (const auto& [column, change] : changed->items()) {
      changes.push_back({column, value_of(change.value("from", Json())), value_of(change.value("to", Json()))});
    }
  }
  return changes;
}

Deciding::Expected Deciding::expected_after(const Conflict& conflict) {
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

Deciding::Deciding(PgConnection& db, const Conflict& conflict, const Decision& decision, const Table* table, RowNow row)
    : db_(db), conflict_(conflict), decision_(decision), table_(table), row_(std::move(row)) {
  report_.id = conflict.summary.id;
  report_.table = fmt::format("{}.{}", conflict.summary.schema, conflict.summary.table);
  report_.key = conflict.summary.key;
  report_.how = to_string(decision.how);
  report_.row = "unchanged";
  expected_ = expected_after(conflict);
}

Result<void> Deciding::write() {
  const auto decide = [&] {
    switch (decision_.how) {
      case Decision::How::kAccept:
        return tell_of_changes();
      case Decision::How::kKeep:
        return keep();
      case Decision::How::kSet:
        return set();
      case Decision::How::kUndo:
        return undo();
    }
    return Result<void>();
  };
  stands_ = row_.exists;
  MBSYNC_TRY(decide());
  return table_ != nullptr && stands_ ? stand_by() : Result<void>();
}

// Somebody may decide otherwise at this moment, on another node, and of two decisions the later one stands. So this one
// is a write of all that it is about, also of what it leaves as it is: the row, and the columns of the conflict.
Result<void> Deciding::stand_by() {
  return db_.run(fmt::format(
      "INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT t.id, 'T', {}, (SELECT string_agg(CASE WHEN c.name = "
      "ANY ({}::text[]) THEN 't' ELSE 'f' END, '' ORDER BY n) FROM generate_series(1, t.width - 1) n LEFT JOIN "
      "mbsync.synced_column c ON c.tab = t.id AND c.number = n AND NOT c.dropped), clock_timestamp() FROM "
      "mbsync.synced_table t WHERE t.schema_name = {} AND t.table_name = {} AND t.width > 1",
      db_.quote(conflict_.summary.key), db_.quote(format_array(conflict_.summary.columns)),
      db_.quote(conflict_.summary.schema), db_.quote(conflict_.summary.table)));
}

void Deciding::compare(const RowNow& after) {
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

// What differs from what should be there, in words; empty if nothing does.
std::string Deciding::difference(const std::vector<std::string>& columns) const {
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

std::vector<std::string> Deciding::all_columns() const {
  std::vector<std::string> names;
  for (const auto& [column, value] : row_.values) {
    names.push_back(column);
  }
  return names;
}

Result<void> Deciding::tell_of_changes() {
  if (table_ == nullptr) {
    return {};
  }
  const auto reason = waits_for();
  MBSYNC_TRY(reason);
  if (!reason->empty()) {
    report_.notes.push_back(fmt::format("the row waits on this node: {}", *reason));
    return {};
  }
  if (const auto what = difference(all_columns()); !what.empty()) {
    report_.notes.push_back(fmt::format("the row has changed since the conflict: {}; it stays as it is", what));
  }
  return {};
}

// Why the row does not stand here, although it may elsewhere; empty if it does, or is parked nowhere.
Result<std::string> Deciding::waits_for() {
  if (row_.exists) {
    return std::string();
  }
  const auto waits = db_.exec(
      "SELECT p.reason FROM mbsync.parked p JOIN mbsync.synced_table t ON t.id = p.tab WHERE t.schema_name = $1 AND "
      "t.table_name = $2 AND p.key = $3",
      {conflict_.summary.schema, conflict_.summary.table, conflict_.summary.key});
  MBSYNC_TRY(waits);
  return waits->empty() ? std::string() : std::string((*waits)[0][0].c_str());
}

// Decided here, a row that waits would be another version of it.
Result<void> Deciding::check_row_is_here() {
  const auto reason = waits_for();
  MBSYNC_TRY(reason);
  if (reason->empty()) {
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
      fmt::format("the row {} of {} waits on this node: {}", conflict_.summary.key, table_->display(), *reason),
      fmt::format("decide it on {}, which wrote it, or change here what it waits for", fmt::join(places, " or "))};
}

Result<void> Deciding::check(const std::vector<std::string>& concerned) {
  MBSYNC_TRY(check_row_is_here());
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

Result<void> Deciding::keep() {
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
    return remove_row(*chosen);
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

Result<void> Deciding::set() {
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
Result<void> Deciding::put(const NamedValues& target, const ConflictVersionSeen* version) {
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

Result<void> Deciding::remove_row(const ConflictVersionSeen& deletion) {
  MBSYNC_TRY(check(all_columns()));
  if (!row_.exists) {
    return {};
  }
  if (!decision_.force) {
    MBSYNC_TRY(check_nothing_written_since());
    // Who wrote what may be forgotten, or have a clock that is slow. Columns outside the conflict are as whoever
    // deleted the row has seen them, or somebody has written them who did not mean that they go.
    for (const auto& [column, value] : row_.values) {
      const auto* seen = in(deletion, column);
      if (seen != nullptr && *seen != value && !expected_.values.contains(column)) {
        return changed_since(conflict_, fmt::format("{} is {}, whoever deleted it has seen {}", column,
                                                    in_message(value), in_message(*seen)));
      }
    }
    MBSYNC_TRY(check_references());
  }
  return remove();
}

// Columns outside the conflict are not on record, so of these only the writes tell.
Result<void> Deciding::check_nothing_written_since() {
  const auto writes = read_later_writes(db_, conflict_);
  MBSYNC_TRY(writes);
  const auto last = std::max(comparable(conflict_.summary.at), comparable(text_of(conflict_.summary.resolution, "at")));
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
Result<void> Deciding::check_references() {
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

Result<void> Deciding::undo() {
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
        what = fmt::format("{} is {}, the resolution left {}", change.column, in_message(*now), in_message(change.to));
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
    if (column == nullptr && !decision_.force) {
      return Error{ErrorKind::kRejected,
                   fmt::format("table {} has no column {} any more, which the resolution wrote", table_->display(),
                               change.column),
                   "--force undoes the rest; the record forgets what that column was"};
    }
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

bool Deciding::is_key(const Column& column) const {
  return std::any_of(table_->key.begin(), table_->key.end(),
                     [&](std::size_t index) { return table_->columns[index].name == column.name; });
}

// A whole row out of `target`, the key, and what the versions say: the latest who wrote a column knows best, then who
// deleted the row, for whose image every column was read.
Result<NamedValues> Deciding::completed(const NamedValues& target, const ConflictVersionSeen* version) {
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
    return Error{
        ErrorKind::kRejected,
        fmt::format("the row {} of {} is gone, and no version of the conflict says what {} was", conflict_.summary.key,
                    table_->display(), fmt::join(missing, ", ")),
        fmt::format("give all of it: mbsync resolve set {} {}=...", conflict_.summary.id, fmt::join(missing, "=... "))};
  }
  return whole;
}

const Value* Deciding::in(const ConflictVersionSeen& version, const std::string& column) {
  const auto place = version.values.find(column);
  return place == version.values.end() ? nullptr : &place->second;
}

Result<NamedValues> Deciding::key_values() {
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

Result<void> Deciding::update(const NamedValues& target) {
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
  const auto before = captured();
  MBSYNC_TRY(before);
  MBSYNC_TRY(written(fmt::format("UPDATE {} AS t SET {} WHERE {}", table_->quoted(), assignments,
                                 sql.key_match("t", db_.quote(conflict_.summary.key))),
                     params));
  return write_counters_whole(*before);
}

// Which lines of the row there are; the lock on it keeps others from adding any.
Result<std::vector<std::string>> Deciding::captured() {
  const auto lines = db_.exec(
      "SELECT concat(c.ctid, ' ', c.xmin) FROM mbsync.capture c JOIN mbsync.synced_table t ON t.id = c.tab WHERE "
      "t.schema_name = $1 AND t.table_name = $2 AND c.key = $3",
      {conflict_.summary.schema, conflict_.summary.table, conflict_.summary.key});
  MBSYNC_TRY(lines);
  std::vector<std::string> found;
  for (const auto& line : *lines) {
    found.emplace_back(line[0].c_str());
  }
  return found;
}

// Who sets a counter right says what it is, not what is added to it: of two who do so at once, the later one stands
// (CONFLICTS.md C16).
Result<void> Deciding::write_counters_whole(const std::vector<std::string>& captured_before) {
  return db_.run(fmt::format(
      "UPDATE mbsync.capture c SET sums = NULL, cols = (SELECT string_agg(CASE WHEN c.sums::jsonb ? n::text THEN 't' "
      "ELSE substr(c.cols, n, 1) END, '' ORDER BY n) FROM generate_series(1, length(c.cols)) n) FROM "
      "mbsync.synced_table t WHERE t.id = c.tab AND t.schema_name = {} AND t.table_name = {} AND c.key = {} AND c.op = "
      "'U' AND c.sums IS NOT NULL AND concat(c.ctid, ' ', c.xmin) <> ALL ({}::text[])",
      db_.quote(conflict_.summary.schema), db_.quote(conflict_.summary.table), db_.quote(conflict_.summary.key),
      db_.quote(format_array(captured_before))));
}

Result<void> Deciding::insert(const NamedValues& whole) {
  std::string names;
  std::string places;
  std::vector<Value> params;
  for (const auto& [name, value] : whole) {
    params.push_back(value);
    names += fmt::format("{}{}", names.empty() ? "" : ", ", PgConnection::quote_name(name));
    places += fmt::format("{}${}", places.empty() ? "" : ", ", params.size());
  }
  stands_ = true;
  return written(
      fmt::format("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})", table_->quoted(), names, places), params);
}

Result<void> Deciding::remove() {
  const TableSql sql(*table_);
  stands_ = false;
  return written(fmt::format("DELETE FROM {} AS t WHERE {}", table_->quoted(),
                             sql.key_match("t", db_.quote(conflict_.summary.key))),
                 {});
}

// Functions of the application's (triggers, constraints) find their names as in any session of its own.
Result<void> Deciding::as_application() {
  return db_.run(fmt::format("SELECT set_config('search_path', {}, true)", db_.quote(db_.application_search_path())));
}

Result<void> Deciding::as_mbsync() {
  return db_.run("SET LOCAL search_path = pg_catalog, pg_temp");
}

Result<void> Deciding::written(const std::string& statement, const std::vector<Value>& params) {
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

}  // namespace mbsync
