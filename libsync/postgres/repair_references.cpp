// Rows that refer to one which was deleted, or has another value now (CONFLICTS.md C20).
#include "repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "change_sql.h"
#include "copy_text.h"
#include "counters.h"
#include "record_text.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

constexpr const char* kNoSuchRow = "no-such-row";
constexpr const char* kCascade = "cascade";
constexpr const char* kRestrict = "restrict";
// How many deletions are looked through for a row that is referred to by something else than its key.
constexpr int kDeletionsMax = 10000;

bool same_columns(std::vector<std::string> a, std::vector<std::string> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

std::vector<std::string> key_names(const Table& table) {
  std::vector<std::string> names;
  for (const auto index : table.key) {
    names.push_back(table.columns[index].name);
  }
  return names;
}

}  // namespace

// Whether the columns that ON DELETE SET NULL or SET DEFAULT is for can be set.
bool Repair::can_be_set(const Edge& edge, bool to_default) {
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  return std::all_of(list.begin(), list.end(), [&](const std::string& name) {
    const auto* column = edge.child->find(name);
    return !column->not_null || (to_default && !column->default_value.empty());
  });
}

// A default that leads nowhere refuses as well, but for that one has to look at the row.
bool Repair::refuses_deletion(const Edge& edge) {
  switch (edge.reference->on_delete) {
    case 'c':
      return false;
    case 'n':
      return !can_be_set(edge, false);
    case 'd':
      return !can_be_set(edge, true);
    default:
      return true;
  }
}

Result<bool> Repair::mend(const Edge& edge) {
  MBSYNC_TRY(stage_children(edge));
  const auto moved = follow_moves(edge);
  MBSYNC_TRY(moved);
  auto keys = dangling(edge);
  MBSYNC_TRY(keys);
  // What these refer to comes back, for others as well.
  std::stable_partition(keys->begin(), keys->end(), [&](const std::string& key) {
    return pinned_.contains({edge.child->id, key});
  });
  bool changed = *moved;
  const auto pinned = pinned_.size();
  for (const auto& key : *keys) {
    if (pinned_.size() != pinned) {  // a row has come back meanwhile, perhaps the very one
      const auto still = dangling(edge, &key);
      MBSYNC_TRY(still);
      if (still->empty()) {
        MBSYNC_TRY(note_need(edge, key));
        continue;
      }
    }
    const auto deletion = find_deletion(edge, key);
    MBSYNC_TRY(deletion);
    if (*deletion) {
      MBSYNC_TRY(apply_action(edge, key, **deletion));
      changed = true;
      continue;
    }
    const auto followed = follow(edge, key);
    MBSYNC_TRY(followed);
    if (*followed) {
      changed = true;
      continue;
    }
    const auto unchecked = find_unchecked(edge, key);
    MBSYNC_TRY(unchecked);
    const auto& columns = edge.reference->columns;
    const bool may_be_null = edge.reference->on_delete_columns.empty() &&
                             std::none_of(columns.begin(), columns.end(),
                                          [&](const std::string& name) { return edge.child->find(name)->not_null; });
    if (*unchecked && (may_be_null || (*unchecked)->by_deletions)) {
      MBSYNC_TRY(may_be_null ? set_columns(edge, key, (*unchecked)->cause, false, kNoSuchRow)
                             : remove(edge, key, (*unchecked)->cause, kNoSuchRow));
      changed = true;
      continue;
    }
    set_aside({edge.child->id, key}, fmt::format("it refers to a row of {} that is not here (constraint \"{}\")",
                                                 edge.parent->display(), edge.reference->name));
  }
  return changed;
}

// A reference that is known from a deletion's image alone may never have been checked: where the constraint is checked
// at the end of a transaction, a row may be given one that leads nowhere and be deleted again. If somebody else's write
// brings the row back, the image counts (CONFLICTS.md C6). Then this is the deletion. Nor has anybody checked a
// reference of several columns that come from different writes.
Result<std::optional<Repair::Unchecked>> Repair::find_unchecked(const Edge& edge, const std::string& child_key) {
  std::string mask(edge.child->width, '0');
  for (const auto& column : edge.reference->columns) {
    mask[edge.child->find(column)->number] = '1';
  }
  // A row that had to come back for others is as its deletion found it, whatever else is known of it.
  const bool came_back = pinned_.contains({edge.child->id, child_key});
  const auto writes = db_.exec(fmt::format(
      "SELECT c.origin, c.counter, {}, {}, count(*) OVER () FROM mbsync.change c WHERE c.tab = {} AND {} AND "
      "position(B'1' IN c.cols & B'{}') > 0 ORDER BY {}c.at DESC, c.origin DESC, c.counter DESC LIMIT 1",
      micros_of("c.at"), came_back ? "c.deleted" : "bool_and(c.deleted) OVER ()", edge.child->id,
      has_key("c", db_.quote(child_key)), mask, came_back ? "c.deleted DESC, " : ""));
  MBSYNC_TRY(writes);
  const bool by_deletions = !writes->empty() && (*writes)[0][3].as<bool>();
  const bool by_several =
      !writes->empty() && edge.reference->columns.size() > 1 && (*writes)[0][4].as<std::int64_t>() > 1;
  if (!by_deletions && !by_several) {
    return std::optional<Unchecked>();
  }
  const auto& row = (*writes)[0];
  return std::optional<Unchecked>({Deletion{to_string(NodeId{row[0].as<std::int64_t>()}), row[1].as<std::int64_t>(),
                                            time_of(row[2]), child_key, ""},
                                   by_deletions});
}

// Rows of the application's that refer to what is about to go or to change its value, and are not staged themselves.
Result<void> Repair::stage_children(const Edge& edge) {
  const auto& child = *edge.child;
  const auto& parent = *edge.parent;
  const TableSql child_sql(child);
  std::string moves;
  for (const auto& column : edge.reference->referenced) {
    moves += fmt::format("{}p.{} IS DISTINCT FROM {}", moves.empty() ? "" : " OR ", PgConnection::quote_name(column),
                         staged_of("ps", parent)(column));
  }
  const auto which = fmt::format(
      "FROM {} ps JOIN {} p ON {} JOIN {} t ON {} WHERE NOT ps.m_held AND (ps.m_deleted IS TRUE OR ({}) AND NOT {}) "
      "AND NOT EXISTS "
      "(SELECT FROM {} cs WHERE {})",
      stage(parent).name, parent.quoted(), TableSql(parent).key_match("p", "ps.m_key"), child.quoted(),
      equal_columns(*edge.reference, &parent, of("t"), of("p")), moves, has_news_of(child, *edge.reference, known_),
      stage(child).name, child_sql.key_match("t", "cs.m_key"));
  MBSYNC_TRY(bring_in(child, which, parent.id, "ps.m_key"));
  if (!skip_held_) {
    return {};
  }
  // What the application holds is still there: then the parent's turn comes later.
  const auto waiting = db_.exec("SELECT DISTINCT ps.m_key " + which);
  MBSYNC_TRY(waiting);
  for (const auto& row : *waiting) {
    set_aside({parent.id, row[0].c_str()}, "");
  }
  return {};
}

// Whether what `child` refers to will be there.
std::string Repair::has_parent(const Edge& edge, const NameColumn& child) const {
  const auto& parent = *edge.parent;
  return fmt::format(
      "(EXISTS (SELECT FROM {0} ps WHERE ps.m_deleted IS NOT TRUE AND NOT ps.m_held AND {1}) OR EXISTS (SELECT FROM "
      "{2} "
      "p WHERE {3} AND NOT EXISTS (SELECT FROM {0} ps WHERE NOT ps.m_held AND {4})))",
      stage(parent).name, equal_columns(*edge.reference, &parent, child, staged_of("ps", parent)), parent.quoted(),
      equal_columns(*edge.reference, &parent, child, of("p")), TableSql(parent).key_match("p", "ps.m_key"));
}

// Staged rows whose parent will not be there.
Result<std::vector<std::string>> Repair::dangling(const Edge& edge, const std::string* only) {
  const auto own = staged_of("s", *edge.child);
  const auto rows = db_.exec(
      fmt::format("SELECT s.m_key FROM {} s WHERE {} AND s.m_deleted IS NOT TRUE AND NOT s.m_held AND {} AND {} AND "
                  "NOT {} ORDER BY s.m_key",
                  stage(*edge.child).name, only == nullptr ? "true" : "s.m_key = " + db_.quote(*only),
                  all_present(*edge.reference, own),
                  edge.reference->validated ? "true" : may_have_written(stage(*edge.child), edge.reference->columns),
                  has_parent(edge, own)));
  MBSYNC_TRY(rows);
  std::vector<std::string> keys;
  for (const auto& row : *rows) {
    keys.emplace_back(row[0].c_str());
  }
  return keys;
}

// The write that deleted the row which a staged row refers to; of several, the latest.
Result<std::optional<Repair::Deletion>> Repair::find_deletion(const Edge& edge, const std::string& child_key) {
  const auto& parent = *edge.parent;
  const auto& reference = *edge.reference;
  const auto own = staged_of("s", *edge.child);
  // Deleted here, a moment ago, because something else was.
  std::vector<std::string> image(parent.width - 1, "NULL");
  for (std::size_t i = 0; i < parent.columns.size(); ++i) {
    image[parent.columns[i].number - 1] = fmt::format("ps.v{}", i + 1);
  }
  const auto own_deletion = db_.exec(fmt::format(
      "SELECT r.node, r.counter, r.at_us, ps.m_key, ROW({})::text FROM {} ps JOIN pg_temp.repaired r ON r.tab = {} AND "
      "r.key = ps.m_key AND r.op = 'D', {} s WHERE ps.m_deleted AND s.m_key = {} AND {} LIMIT 1",
      fmt::join(image, ", "), stage(parent).name, parent.id, stage(*edge.child).name, db_.quote(child_key),
      equal_columns(reference, &parent, own, staged_of("ps", parent))));
  MBSYNC_TRY(own_deletion);
  if (!own_deletion->empty()) {
    const auto& row = (*own_deletion)[0];
    return std::optional<Deletion>(
        Deletion{row[0].c_str(), row[1].as<std::int64_t>(), time_of(row[2]), row[3].c_str(), row[4].c_str()});
  }
  std::string condition;
  std::vector<std::string> wanted;  // texts of the referenced columns, where they are not the key
  bool by_key = same_columns(reference.referenced, key_names(parent));
  // A row that stands here with what is referred to may have got another value before it was deleted.
  std::string standing;
  if (!by_key) {
    const auto here = db_.exec(fmt::format(
        "SELECT ps.m_key FROM {} s JOIN {} p ON {} JOIN {} ps ON {} WHERE s.m_key = {} AND ps.m_deleted AND NOT "
        "ps.m_held",
        stage(*edge.child).name, parent.quoted(), equal_columns(reference, &parent, own, of("p")), stage(parent).name,
        TableSql(parent).key_match("p", "ps.m_key"), db_.quote(child_key)));
    MBSYNC_TRY(here);
    standing = here->empty() ? "" : (*here)[0][0].c_str();
  }
  if (!standing.empty()) {
    by_key = true;
    condition = has_key("c", db_.quote(standing));
  } else if (by_key) {
    std::string columns;
    for (std::size_t i = 0; i < reference.columns.size(); ++i) {
      columns +=
          fmt::format("{}{}::{} AS {}", i == 0 ? "" : ", ", own(reference.columns[i]),
                      parent.find(reference.referenced[i])->type, PgConnection::quote_name(reference.referenced[i]));
    }
    const auto key =
        db_.exec(fmt::format("SELECT {} FROM (SELECT {} FROM {} s WHERE s.m_key = {}) x",
                             TableSql(parent).key_text("x"), columns, stage(*edge.child).name, db_.quote(child_key)));
    MBSYNC_TRY(key);
    condition = has_key("c", fmt::format("{} COLLATE \"C\"", db_.quote((*key)[0][0].c_str())));
  } else {
    condition = "true";
    for (const auto& column : reference.columns) {
      const auto value = db_.exec(fmt::format("SELECT concat({}) FROM {} s WHERE s.m_key = {}", own(column),
                                              stage(*edge.child).name, db_.quote(child_key)));
      MBSYNC_TRY(value);
      wanted.emplace_back((*value)[0][0].c_str());
    }
  }
  const auto rows = db_.exec(fmt::format(
      "SELECT c.origin, c.counter, {}, c.key, c.kept, c.sums FROM mbsync.change c WHERE c.tab = {} AND c.deleted AND "
      "c.kept IS NOT NULL AND {} ORDER BY c.at DESC, c.origin DESC, c.counter DESC LIMIT {}",
      micros_of("c.at"), parent.id, condition, by_key ? 1 : kDeletionsMax));
  MBSYNC_TRY(rows);
  for (const auto& row : *rows) {
    if (!by_key) {
      const auto fields = parse_record(row[4].c_str());
      MBSYNC_TRY(fields);
      bool same = true;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const auto number = parent.find(reference.referenced[i])->number;
        same = same && number <= fields->size() && (*fields)[number - 1] == wanted[i];
      }
      if (!same) {
        continue;
      }
    }
    auto kept = image_now(parent, row[3].c_str(), row[4].c_str(), row[5].is_null() ? "{}" : row[5].c_str());
    MBSYNC_TRY(kept);
    return std::optional<Deletion>(Deletion{to_string(NodeId{row[0].as<std::int64_t>()}), row[1].as<std::int64_t>(),
                                            time_of(row[2]), row[3].c_str(), std::move(*kept)});
  }
  return std::optional<Deletion>();
}

// What has been added to the row since it was deleted is part of it when it comes back (CONFLICTS.md C16). `included`:
// what the image has of it already, as in mbsync.change.sums.
Result<std::string> Repair::image_now(const Table& table, const std::string& key, const std::string& image,
                                      const std::string& included) {
  const auto sums = db_.exec(
      fmt::format("SELECT k.number, (sum(k.shown) - coalesce(({0}::json ->> k.number::text)::numeric, 0))::text FROM "
                  "mbsync.counter k WHERE k.tab = {1} AND {2} GROUP BY k.number",
                  db_.quote(included), table.id, has_key("k", db_.quote(key))));
  MBSYNC_TRY(sums);
  if (sums->empty()) {
    return image;
  }
  auto fields = parse_record(image);
  MBSYNC_TRY(fields);
  for (const auto& row : *sums) {
    const auto place = row[0].as<std::size_t>() - 1;
    if (place < fields->size()) {
      Values value{{kRowMark, (*fields)[place]}};
      add_sums(value, Sums{{kRowMark, Decimal::parse(row[1].c_str()).value_or(Decimal())}});
      (*fields)[place] = value.at(kRowMark);
    }
  }
  return format_record(*fields);
}

// Rows that stand here and refer to one that gets another value go with it, also where yet another row takes over the
// value that they refer to: nobody who wrote them meant that one. Not so where the answer says that they stay.
Result<bool> Repair::follow_moves(const Edge& edge) {
  const auto& child = *edge.child;
  const auto& parent = *edge.parent;
  const auto& reference = *edge.reference;
  if (same_columns(reference.referenced, key_names(parent))) {
    return false;
  }
  std::string moves;
  for (const auto& column : reference.referenced) {
    moves += fmt::format("{}p.{} IS DISTINCT FROM {}", moves.empty() ? "" : " OR ", PgConnection::quote_name(column),
                         staged_of("ps", parent)(column));
  }
  const auto found = db_.exec(fmt::format(
      "SELECT s.m_key, ps.m_key, (SELECT max({}) FROM mbsync.change c WHERE c.tab = {} AND {}) FROM {} s, {} ps JOIN "
      "{} p "
      "ON {} JOIN {} t ON {} WHERE {} AND s.m_deleted IS NOT TRUE AND NOT s.m_held AND ps.m_deleted IS NOT TRUE AND "
      "NOT "
      "ps.m_held AND {} AND ({}) AND NOT {}",
      micros_of("c.at"), parent.id, has_key("c", "ps.m_key"), stage(child).name, stage(parent).name, parent.quoted(),
      TableSql(parent).key_match("p", "ps.m_key"), child.quoted(), equal_columns(reference, &parent, of("t"), of("p")),
      TableSql(child).key_match("t", "s.m_key"), equal_columns(reference, &parent, staged_of("s", child), of("p")),
      moves, has_news_of(child, reference, known_)));
  MBSYNC_TRY(found);
  for (const auto& row : *found) {
    MBSYNC_TRY(go_along(edge, row[0].c_str(), row[1].c_str(), time_of(row[2])));
  }
  return !found->empty();
}

// A row goes along with the one that it refers to and that has another value now. If that is NULL and the row must
// refer to something, the other one keeps its value: no database that knew of both would have taken it away.
Result<void> Repair::go_along(const Edge& edge, const std::string& child_key, const std::string& parent_key,
                              WriteTime moved_at) {
  const auto& parent = *edge.parent;
  const auto& reference = *edge.reference;
  const auto staged = staged_of("ps", parent);
  std::string impossible;
  std::string assignments;
  for (std::size_t i = 0; i < reference.columns.size(); ++i) {
    const auto& name = reference.referenced[i];
    if (edge.child->find(reference.columns[i])->not_null) {
      impossible += fmt::format("{}num_nulls({}) > 0", impossible.empty() ? "" : " OR ", staged(name));
    }
    const auto& column = *parent.find(name);
    const auto standing = "p." + PgConnection::quote_name(name);
    assignments += fmt::format(
        "{}v{} = {}", assignments.empty() ? "" : ", ", parent.index_of(name) + 1,
        column.user_type ? fmt::format("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END", standing) : standing);
  }
  if (!impossible.empty()) {
    auto before = latest_version(parent, parent_key);
    MBSYNC_TRY(before);
    const auto kept = db_.exec(fmt::format("UPDATE {0} ps SET {1} FROM {2} p WHERE ps.m_key = {3} AND {4} AND ({5})",
                                           stage(parent).name, assignments, parent.quoted(), db_.quote(parent_key),
                                           TableSql(parent).key_match("p", "ps.m_key"), impossible));
    MBSYNC_TRY(kept);
    if (kept->affected_rows() > 0) {
      const auto after = staged_values(parent, parent_key);
      MBSYNC_TRY(after);
      auto entry = new_record("reference", parent, parent_key);
      const auto values = std::exchange(before->values, Json::object());
      for (const auto& name : reference.referenced) {
        if (values.at(name) != after->at(name)) {
          before->values[name] = values.at(name);
          entry.columns.push_back(ConflictColumn{name, kRestrict, std::nullopt, after->at(name)});
        }
      }
      entry.versions.push_back(std::move(*before));
      record(std::move(entry));
      return note(parent, parent_key, 'U', changed_flags(parent, reference.referenced),
                  Deletion{"", 0, moved_at, "", ""});
    }
  }
  return refer_to(edge, child_key, parent_key, Deletion{"", 0, moved_at, "", ""}, false);
}

// SET list for rows `s` of the child's stage: what they refer to in `ps`, a row of the parent's.
std::string Repair::assignments_from(const Edge& edge) const {
  const auto& child = *edge.child;
  std::string assignments;
  for (std::size_t i = 0; i < edge.reference->columns.size(); ++i) {
    const auto place = child.index_of(edge.reference->columns[i]);
    const auto& column = child.columns[place];
    assignments += fmt::format("{}v{} = {}::{}", i == 0 ? "" : ", ", place + 1,
                               staged_of("ps", *edge.parent)(edge.reference->referenced[i]),
                               column.user_type ? "text" : column.type);
  }
  return assignments;
}

// The parent is still there under another value: the reference follows it, as ON UPDATE CASCADE would have it.
Result<bool> Repair::follow(const Edge& edge, const std::string& child_key) {
  const auto& child = *edge.child;
  const auto& parent = *edge.parent;
  const auto moved = db_.exec(fmt::format(
      "SELECT ps.m_key, (SELECT max({}) FROM mbsync.change c WHERE c.tab = {} AND {}) FROM {} s, {} ps JOIN {} p ON {} "
      "WHERE s.m_key = {} AND ps.m_deleted IS NOT TRUE AND NOT ps.m_held AND {}",
      micros_of("c.at"), parent.id, has_key("c", "ps.m_key"), stage(child).name, stage(parent).name, parent.quoted(),
      TableSql(parent).key_match("p", "ps.m_key"), db_.quote(child_key),
      equal_columns(*edge.reference, &parent, staged_of("s", child), of("p"))));
  MBSYNC_TRY(moved);
  if (moved->empty()) {
    return false;
  }
  const auto& to = (*moved)[0];
  MBSYNC_TRY(go_along(edge, child_key, to[0].c_str(), time_of(to[1])));
  return true;
}

// What the schema says should happen to rows that refer to a deleted one (CONFLICTS.md C20).
Result<void> Repair::apply_action(const Edge& edge, const std::string& child_key, const Deletion& deletion) {
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  const auto united = united_with(*edge.parent, deletion, {edge.child->id, child_key});
  MBSYNC_TRY(united);
  if (*united) {
    return refer_to(edge, child_key, **united, deletion);
  }
  // A row that has to be there for others keeps what it refers to, as a deletion that cascades into a RESTRICT fails
  // whole.
  if (pinned_.contains({edge.child->id, child_key}) || refuses_deletion(edge)) {
    return revive(edge, child_key, deletion);
  }
  if (reference.on_delete == 'c') {
    const auto refused = is_refused_otherwise(edge, child_key, deletion);
    MBSYNC_TRY(refused);
    return *refused ? revive(edge, child_key, deletion) : remove(edge, child_key, deletion, kCascade);
  }
  if (reference.on_delete == 'n') {
    return set_columns(edge, child_key, deletion, false, "set-null");
  }
  // The default must lead to a row that is there. A deletion that would set another default is refused as well.
  const auto own = staged_of("s", *edge.child);
  const NameColumn by_default = [&](const std::string& name) {
    const auto* column = edge.child->find(name);
    if (std::find(list.begin(), list.end(), name) == list.end()) {
      return own(name);
    }
    return column->default_value.empty() ? fmt::format("NULL::{}", column->type)
                                         : fmt::format("({})::{}", column->default_value, column->type);
  };
  const auto leads =
      db_.exec(fmt::format("SELECT {} AND NOT {} FROM {} s WHERE s.m_key = {}", all_present(reference, by_default),
                           has_parent(edge, by_default), stage(*edge.child).name, db_.quote(child_key)));
  MBSYNC_TRY(leads);
  return (*leads)[0][0].as<bool>() ? revive(edge, child_key, deletion)
                                   : set_columns(edge, child_key, deletion, true, "set-default");
}

// Whether the row refers to the deleted one by another reference as well, which refuses. In a database, names of
// constraints would decide which comes first.
Result<bool> Repair::is_refused_otherwise(const Edge& edge, const std::string& child_key, const Deletion& deletion) {
  for (const auto& other : edges()) {
    if (other.child != edge.child || other.parent != edge.parent || !refuses_deletion(other)) {
      continue;
    }
    const auto dangles = dangling(other, &child_key);
    MBSYNC_TRY(dangles);
    if (dangles->empty()) {
      continue;
    }
    const auto same = find_deletion(other, child_key);
    MBSYNC_TRY(same);
    if (*same && (*same)->key == deletion.key) {
      return true;
    }
  }
  return false;
}

// What went because `cause` was deleted is taken back, and what went because of that.
Result<void> Repair::take_back_cascades(const RowKey& cause) {
  const auto [from, to] = cascades_.equal_range(cause);
  std::vector<RowKey> gone;
  std::transform(from, to, std::back_inserter(gone), [](const auto& entry) { return entry.second; });
  cascades_.erase(from, to);
  for (const auto& row : gone) {
    MBSYNC_TRY(take_back(row));
  }
  return {};
}

// A row that went a moment ago, because what it refers to is deleted, does not go after all. Whether there was such a
// row.
Result<bool> Repair::take_back(const RowKey& row) {
  const auto& [tab, key] = row;
  const auto& table = *schema_.find(tab);
  const auto went = std::erase_if(records_, [&, &key = key](const auto& known) {
    const auto& entry = known.second;
    return entry.schema == table.schema && entry.table == table.name && entry.key == key &&
           entry.existence_rule == kCascade;
  });
  if (went == 0) {
    return false;
  }
  MBSYNC_TRY(db_.exec(fmt::format(
      "DELETE FROM pg_temp.repaired WHERE tab = {0} AND key = {1} AND op = 'D'; UPDATE {2} SET m_deleted = false WHERE "
      "m_key = {1}",
      tab, db_.quote(key), stage(table).name)));
  MBSYNC_TRY(take_back_cascades(row));
  return true;
}

// What has come back for one row is needed by another as well.
Result<void> Repair::note_need(const Edge& edge, const std::string& child_key) {
  const auto rows = db_.exec(fmt::format(
      "SELECT ps.m_key FROM {} ps, {} s WHERE s.m_key = {} AND {}", stage(*edge.parent).name, stage(*edge.child).name,
      db_.quote(child_key),
      equal_columns(*edge.reference, edge.parent, staged_of("s", *edge.child), staged_of("ps", *edge.parent))));
  MBSYNC_TRY(rows);
  for (const auto& row : *rows) {
    if (const auto place = brought_in_.find({edge.parent->id, row[0].c_str()}); place != brought_in_.end()) {
      place->second.emplace(edge.child->id, child_key);
    }
  }
  return {};
}

// The deleted row comes back as it was, because of the row that refers to it.
Result<void> Repair::revive(const Edge& edge, const std::string& child_key, const Deletion& deletion) {
  const auto& parent = *edge.parent;
  const auto waits = waits_here(parent, deletion.key);
  MBSYNC_TRY(waits);
  if (*waits) {
    // What it is to be is known already, and is later than what it was.
    set_aside({edge.child->id, child_key}, "");
    return {};
  }
  const auto staged = db_.exec(
      fmt::format("SELECT EXISTS (SELECT FROM {} WHERE m_key = {})", stage(parent).name, db_.quote(deletion.key)));
  MBSYNC_TRY(staged);
  const RowKey child{edge.child->id, child_key};
  if (const auto place = brought_in_.find({parent.id, deletion.key}); place != brought_in_.end()) {
    place->second.insert(child);
  } else if (!(*staged)[0][0].as<bool>()) {
    brought_in_[{parent.id, deletion.key}].insert(child);
  }
  // A deletion that is refused is refused with all that would come of it.
  MBSYNC_TRY(take_back_cascades({parent.id, deletion.key}));
  const auto taken_back = take_back({parent.id, deletion.key});
  MBSYNC_TRY(taken_back);
  if (*taken_back) {
    pinned_.emplace(parent.id, deletion.key);  // so what it refers to comes back in turn
    return {};
  }
  auto fields = parse_record(deletion.image);
  MBSYNC_TRY(fields);
  std::vector<Value> line{deletion.key, std::string("f")};
  std::string columns = "m_key, m_deleted";
  Json image = Json::object();
  for (std::size_t i = 0; i < parent.columns.size(); ++i) {
    const auto number = parent.columns[i].number;
    auto value = number <= fields->size() ? (*fields)[number - 1] : Value();
    image[parent.columns[i].name] = value ? Json(*value) : Json();
    columns += fmt::format(", v{}", i + 1);
    line.push_back(std::move(value));
  }
  MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} WHERE m_key = {}", stage(parent).name, db_.quote(deletion.key))));
  std::string text;
  append_copy_line(text, line);
  MBSYNC_TRY(db_.copy_in_begin(fmt::format("COPY {} ({}) FROM STDIN", stage(parent).name, columns)));
  MBSYNC_TRY(db_.copy_in(text));
  MBSYNC_TRY(db_.copy_in_end());
  // What was deleted a moment ago because of something else is not deleted after all, and that comes back as well.
  MBSYNC_TRY(db_.exec(
      fmt::format("DELETE FROM pg_temp.repaired WHERE tab = {} AND key = {}", parent.id, db_.quote(deletion.key))));
  pinned_.emplace(parent.id, deletion.key);
  MBSYNC_TRY(note(parent, deletion.key, 'I', "", deletion));
  auto entry = new_record("reference", parent, deletion.key);
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, image});
  entry.exists = true;
  entry.existence_rule = kRestrict;
  record(std::move(entry));
  return {};
}

Result<void> Repair::remove(const Edge& edge, const std::string& child_key, const Deletion& deletion,
                            const std::string& rule) {
  const auto& child = *edge.child;
  auto version = latest_version(child, child_key);
  MBSYNC_TRY(version);
  auto entry = new_record("reference", child, child_key);
  entry.versions.push_back(std::move(*version));
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, Json::object()});
  entry.exists = false;
  entry.existence_rule = rule;
  entry.existence_version = 1;
  record(std::move(entry));
  if (rule == kCascade) {
    cascades_.emplace(RowKey{edge.parent->id, deletion.key}, RowKey{child.id, child_key});
  }
  MBSYNC_TRY(note(child, child_key, 'D', "", deletion));
  return db_.run(
      fmt::format("UPDATE {} SET m_deleted = true WHERE m_key = {}", stage(child).name, db_.quote(child_key)));
}

Result<void> Repair::set_columns(const Edge& edge, const std::string& child_key, const Deletion& deletion,
                                 bool to_default, const std::string& rule) {
  const auto& child = *edge.child;
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  auto version = latest_version(child, child_key);
  MBSYNC_TRY(version);
  const auto before = version->values;
  version->values = Json::object();
  std::string assignments;
  for (const auto& name : list) {
    const auto& column = *child.find(name);
    const bool has_default = to_default && !column.default_value.empty();
    const auto value = has_default ? fmt::format("({})::{}", column.default_value, column.type) : std::string("NULL");
    assignments += fmt::format("{}v{} = {}{}", assignments.empty() ? "" : ", ", child.index_of(name) + 1, value,
                               has_default && column.user_type ? "::text" : "");
    version->values[name] = before.at(name);
  }
  MBSYNC_TRY(db_.exec(
      fmt::format("UPDATE {} s SET {} WHERE s.m_key = {}", stage(child).name, assignments, db_.quote(child_key))));
  const auto after = staged_values(child, child_key);
  MBSYNC_TRY(after);
  auto entry = new_record("reference", child, child_key);
  entry.versions.push_back(std::move(*version));
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, Json::object()});
  for (const auto& name : list) {
    entry.columns.push_back(ConflictColumn{name, rule, std::nullopt, after->at(name)});
  }
  record(std::move(entry));
  return note(child, child_key, 'U', changed_flags(child, list), deletion);
}

}  // namespace mbsync
