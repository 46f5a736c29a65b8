#include "audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <tuple>

#include "history.h"

namespace mbsync::checker {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Whether the second is the first, perhaps shortened, with one or more suffixes behind it, each a "~" and what the
// digest begins with.
bool has_suffix(const std::string& before, std::string value, const std::string& digest) {
  bool any = false;
  for (auto place = value.rfind('~'); place != std::string::npos && digest.starts_with(value.substr(place + 1));
       place = value.rfind('~')) {
    value.erase(place);
    any = true;
  }
  return any && before.starts_with(value);
}

bool overlap(const std::string& a, const std::string& b) {
  int from[2] = {0, 0};
  int to[2] = {0, 0};
  return std::sscanf(a.c_str(), "[%d,%d)", &from[0], &to[0]) == 2 &&
         std::sscanf(b.c_str(), "[%d,%d)", &from[1], &to[1]) == 2 && from[0] < to[1] && from[1] < to[0];
}

// Whether two rows with these values in the columns of a unique key cannot stand together.
bool are_one(const UniqueKey& key, const Values& a, const Values& b) {
  for (std::size_t i = 0; i < key.columns.size(); ++i) {
    if (!a[i] || !b[i]) {
      if (!key.nulls_equal || a[i] != b[i]) {
        return false;
      }
    } else if (key.exclusion ? !overlap(*a[i], *b[i])
                             : (key.expression.empty() ? a[i] != b[i] : lower(*a[i]) != lower(*b[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool is_kept_apart(const Recorded& one) {
  return one.row != one.about && std::any_of(one.decisions.begin(), one.decisions.end(),
                                             [](const auto& column) { return column.second.rule == "keep-both"; });
}

std::string text_of(const Schema& schema, const Rows& rows) {
  std::string text;
  for (const auto& [row, values] : rows) {
    const auto& table = schema.tables()[row.table];
    text += fmt::format("    {} {}:", table.name, row.key);
    for (std::size_t i = table.keys; i < values.size(); ++i) {
      text += fmt::format(" {}={}", table.columns[i].name, values[i].value_or("NULL"));
    }
    text += "\n";
  }
  return text.empty() ? "    (no rows)\n" : text;
}

void compare(const Schema& schema, std::size_t node, const Rows& found, const Rows& expected, const std::string& when) {
  if (found != expected) {
    throw Failure(fmt::format("{}: {} has\n{}and should have\n{}", when, node_name(node), text_of(schema, found),
                              text_of(schema, expected)));
  }
}

void Audit::check(const Look& look) {
  check_nothing_lost(look);
  check_mending(look);
  for (const auto& one : look.record) {
    known_.insert(one.id);
  }
}

// Every write that the node has heard of shows, was written over by somebody who knew it, is on record, or waits.
void Audit::check_nothing_lost(const Look& look) const {
  for (const auto& [write, column] : model_.losses(look.node, look.rows)) {
    const auto& table = schema_.tables()[write->row.table];
    const auto tells = [&, write = write, column = column](const Recorded& one) {
      if (one.node != write->node || one.at != (write->at == kTimeUnknown ? 0 : write->at)) {
        return false;
      }
      if (one.about == write->row && is_kept_apart(one)) {
        return true;
      }
      if (one.row != write->row) {
        return false;
      }
      if (!column) {
        return one.deleted;
      }
      const bool counter = model_.role(write->row.table, *column) == ColumnRole::kCounter;
      const auto value = one.values.find(table.columns[*column].name);
      return value != one.values.end() && (counter || value->second == write->values[*column]);
    };
    if (!look.waiting.contains(write->row) && std::none_of(look.record.begin(), look.record.end(), tells)) {
      throw Failure(fmt::format(
          "on {} a write of {} is neither shown nor written over nor on record: row {} of {}, {}", node_name(look.node),
          node_name(write->node), write->row.key, table.name,
          column ? fmt::format("{} = {}", table.columns[*column].name, write->values[*column].value_or("NULL"))
                 : "its deletion"));
    }
  }
}

void Audit::wrong(const Look& look, const Recorded& one, const std::string& what) const {
  throw Failure(fmt::format("on {} conflict {} of {} {}, {}: {}", node_name(look.node), one.id,
                            schema_.tables()[one.about.table].name, one.about.key, one.kind, what));
}

// What mbsync has done by itself is what the schema and the rules say (CONFLICTS.md C18 to C20).
void Audit::check_mending(const Look& look) const {
  std::set<RowId> gone;  // for other reasons
  for (const auto& one : look.record) {
    if (one.kind == "unique" || one.kind == "reference") {
      gone.insert(one.about);
    }
  }
  for (std::size_t i = 0; i < look.record.size(); ++i) {
    const auto& one = look.record[i];
    if (is_kept_apart(one) && !look.rows.contains(one.row) && !look.waiting.contains(one.row) &&
        !gone.contains(one.row) && !model_.has_deleted(look.node, one.row)) {
      wrong(look, one, "the row that is kept beside it is not there");
    }
    if (one.kind == "unique" && one.row == one.about) {
      // The winner comes first.
      if (i == 0 || look.record[i - 1].id != one.id) {
        wrong(look, one, "the row that has given way is not the second");
      }
      check_gave_way(look, look.record[i - 1], one);
    }
    if (one.kind == "reference") {
      check_reference(look, one);
    }
  }
}

void Audit::check_mends(const Look& look, const Rows& before, const std::vector<Mend>& mends) const {
  for (const auto& mend : mends) {
    const auto& table = schema_.tables()[mend.row.table];
    const auto fail = [&](const std::string& what) {
      throw Failure(fmt::format("on {} mbsync has written row {} of {} by itself: {}", node_name(look.node),
                                mend.row.key, table.name, what));
    };
    const auto was = before.find(mend.row);
    const auto is = look.rows.find(mend.row);
    if (mend.deleted != (is == look.rows.end())) {
      fail(mend.deleted ? "it is deleted, and there" : "it is written, and not there");
    }
    bool must_be_on_record = was == before.end() || is == look.rows.end();
    for (std::size_t column = 0; was != before.end() && column < table.columns.size(); ++column) {
      const auto& name = table.columns[column].name;
      if (goes_along(table, column) || (is != look.rows.end() && is->second[column] == was->second[column])) {
        continue;
      }
      must_be_on_record = true;
      const auto tells = [&](const Recorded& one) {
        const auto value = one.values.find(name);
        return one.row == mend.row && value != one.values.end() && value->second == was->second[column];
      };
      // What was added to a counter of a row that is one with another by now counts there (C19).
      const bool counter = is != look.rows.end() && model_.role(mend.row.table, column) == ColumnRole::kCounter;
      if (!counter && std::none_of(look.record.begin(), look.record.end(), tells)) {
        fail(fmt::format("{} was {}, which is not on record", name, was->second[column].value_or("NULL")));
      }
    }
    const auto about = [&](const Recorded& one) { return one.about == mend.row || one.row == mend.row; };
    if (must_be_on_record && std::none_of(look.record.begin(), look.record.end(), about)) {
      fail("that is not on record");
    }
  }
}

// A reference to something that is not the key goes with the row that it refers to, which is no news to anybody.
bool Audit::goes_along(const Table& table, std::size_t column) const {
  return std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& key) {
    return key.referenced[0] >= schema_.tables()[key.parent].keys &&
           std::find(key.columns.begin(), key.columns.end(), column) != key.columns.end();
  });
}

// The winner is the one that had the value first.
void Audit::check_gave_way(const Look& look, const Recorded& winner, const Recorded& loser) const {
  const auto known_of = [](const Recorded& version) { return version.node + 1; };  // 0: nobody remembers
  if (std::tuple(loser.at, known_of(loser), loser.row.key) < std::tuple(winner.at, known_of(winner), winner.row.key)) {
    wrong(look, loser, "the row that has given way had the value first");
  }
  if (loser.decisions.empty() && loser.existence != "unique-merge") {
    wrong(look, loser, "no column has been changed");
  }
  for (const auto& [column, decision] : loser.decisions) {
    if (decision.rule == "unique-park") {
      continue;  // nothing has been done about it
    }
    const auto& before = loser.values.at(column);
    const bool suffix = decision.rule == "unique-suffix" && decision.value &&
                        has_suffix(before.value_or(""), *decision.value, loser.digest);
    if (!suffix && (decision.rule != "unique-null" || decision.value)) {
      wrong(look, loser, fmt::format("{} has become {}", column, decision.value.value_or("NULL")));
    }
  }
}

void Audit::check_reference(const Look& look, const Recorded& one) const {
  for (const auto& [column, decision] : one.decisions) {
    if (decision.rule == "unique-merge" || decision.rule == "no-such-row") {
      continue;  // what it refers to has become one with another row, or has never been
    }
    if (decision.rule == "restrict") {
      if (!schema_.is_referred_to(one.about.table)) {
        wrong(look, one, fmt::format("{} has kept its value, and nothing refers to it", column));
      }
      continue;  // it was to be NULL, and a row that must refer to something refers to it
    }
    if (!has_action(one.about.table, column, decision.rule == "set-null" ? "SET NULL" : "SET DEFAULT")) {
      wrong(look, one, fmt::format("{} is set by rule {}", column, decision.rule));
    }
  }
  if (one.existence == "cascade" && !has_action(one.about.table, "", "CASCADE")) {
    wrong(look, one, "it went with another row");
  }
  if (one.existence == "restrict" && !schema_.is_referred_to(one.about.table)) {
    wrong(look, one, "it has come back, and nothing refers to it");
  }
}

// Whether a foreign key of the table (with this column, if one is named) says so.
bool Audit::has_action(std::size_t table, const std::string& column, const std::string& action) const {
  const auto& keys = schema_.tables()[table].foreign_keys;
  return std::any_of(keys.begin(), keys.end(), [&](const ForeignKey& key) {
    const auto named = [&](std::size_t one) { return schema_.tables()[table].columns[one].name == column; };
    return key.on_delete == action && (column.empty() || std::any_of(key.columns.begin(), key.columns.end(), named));
  });
}

void Audit::check_needed(const Look& look) {
  // What waits may have been brought in first, and left out when the database refused it.
  for (std::size_t i = 0; i < look.record.size() && look.waiting.empty(); ++i) {
    const auto& one = look.record[i];
    if (known_.contains(one.id)) {
      continue;
    }
    if (one.kind == "unique" && one.row == one.about && i > 0 && !clash(look.record[i - 1], one)) {
      wrong(look, one, "the two rows have no unique value in common");
    }
    if (one.kind != "reference") {
      continue;
    }
    // Of a reference's versions, the first is the row, and the second who deleted what it refers to.
    const bool first = i == 0 || look.record[i - 1].id != one.id;
    const auto& table = schema_.tables()[one.about.table];
    const auto dangles = [&](const std::string& column, const std::string& action) {
      return std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& key) {
        const auto named = [&](std::size_t number) { return table.columns[number].name == column; };
        return (action.empty() || key.on_delete == action) &&
               (column.empty() || std::any_of(key.columns.begin(), key.columns.end(), named)) &&
               leads_nowhere(look, one, key);
      });
    };
    if (first && one.existence == "cascade" && !dangles("", "CASCADE")) {
      wrong(look, one, "it went, and what it refers to is there");
    }
    if (one.existence == "restrict" && !is_referred_to(look, one.about)) {
      wrong(look, one, "it has come back, and no row refers to it");
    }
    for (const auto& [column, decision] : one.decisions) {
      if (decision.rule == "restrict") {
        if (!is_referred_to(look, one.about)) {
          wrong(look, one, fmt::format("{} has kept its value, and no row refers to it", column));
        }
      } else if (!dangles(column, decision.rule == "set-null"      ? "SET NULL"
                                  : decision.rule == "set-default" ? "SET DEFAULT"
                                                                   : "")) {
        wrong(look, one, fmt::format("{} was set by rule {}, and what it refers to is there", column, decision.rule));
      }
    }
  }
}

// Whether the two rows, as they are on record, cannot stand together.
bool Audit::clash(const Recorded& a, const Recorded& b) const {
  const auto& table = schema_.tables()[a.about.table];
  return std::any_of(table.unique_keys.begin(), table.unique_keys.end(), [&](const UniqueKey& key) {
    Values mine;
    Values other;
    for (const auto column : key.columns) {
      const auto& name = table.columns[column].name;
      if (!a.values.contains(name) || !b.values.contains(name)) {
        return false;
      }
      mine.push_back(a.values.at(name));
      other.push_back(b.values.at(name));
    }
    return are_one(key, mine, other);
  });
}

// Whether there is a row that this one cannot stand beside.
bool Audit::clashes(const Look& look, const RowId& row, const Values& values) const {
  const auto& table = schema_.tables()[row.table];
  return std::any_of(look.rows.begin(), look.rows.end(), [&](const auto& entry) {
    const auto with = [&](const UniqueKey& key) {
      Values mine;
      Values other;
      for (const auto column : key.columns) {
        mine.push_back(values[column]);
        other.push_back(entry.second[column]);
      }
      return are_one(key, mine, other);
    };
    return entry.first.table == row.table && entry.first != row &&
           std::any_of(table.unique_keys.begin(), table.unique_keys.end(), with);
  });
}

bool Audit::leads_nowhere(const Look& look, const Recorded& child, const ForeignKey& reference) const {
  const auto& table = schema_.tables()[child.about.table];
  std::vector<std::string> wanted;
  for (const auto column : reference.columns) {
    const auto value = child.values.find(table.columns[column].name);
    if (value == child.values.end() || !value->second) {
      return false;
    }
    wanted.push_back(*value->second);
  }
  return std::none_of(look.rows.begin(), look.rows.end(), [&](const auto& entry) {
    return entry.first.table == reference.parent &&
           std::equal(wanted.begin(), wanted.end(), reference.referenced.begin(),
                      [&](const std::string& value, std::size_t column) { return entry.second[column] == value; });
  });
}

bool Audit::is_referred_to(const Look& look, const RowId& row) const {
  const auto parent = look.rows.find(row);
  if (parent == look.rows.end()) {
    return false;
  }
  return std::any_of(look.rows.begin(), look.rows.end(), [&](const auto& entry) {
    const auto& keys = schema_.tables()[entry.first.table].foreign_keys;
    return std::any_of(keys.begin(), keys.end(), [&](const ForeignKey& key) {
      return key.parent == row.table && std::equal(key.columns.begin(), key.columns.end(), key.referenced.begin(),
                                                   [&](std::size_t column, std::size_t referenced) {
                                                     return entry.second[column] == parent->second[referenced];
                                                   });
    });
  });
}

// Whether the row refers to one that waits, or to a value, not a key, that no row has any more: who has it under that
// value tells the others what has become of it (C20).
bool Audit::is_held_up(const Look& look, const Rows& expected, std::size_t table, const Values& values) const {
  const auto& keys = schema_.tables()[table].foreign_keys;
  return std::any_of(keys.begin(), keys.end(), [&](const ForeignKey& key) {
    const auto refers_to = [&](const auto& entry) {
      return entry.first.table == key.parent &&
             std::equal(key.columns.begin(), key.columns.end(), key.referenced.begin(),
                        [&](std::size_t column, std::size_t referenced) {
                          return values[column] && values[column] == entry.second[referenced];
                        });
    };
    const bool refers = std::all_of(key.columns.begin(), key.columns.end(),
                                    [&](std::size_t column) { return values[column].has_value(); });
    if (!refers || std::any_of(look.rows.begin(), look.rows.end(), refers_to)) {
      return false;
    }
    return key.referenced[0] >= schema_.tables()[key.parent].keys ||
           std::any_of(expected.begin(), expected.end(),
                       [&](const auto& entry) { return refers_to(entry) && look.waiting.contains(entry.first); });
  });
}

void Audit::check_overruled(const Look& look) const {
  for (const auto& one : model_.overruled()) {
    const auto& table = schema_.tables()[one.row.table];
    const auto& name = table.columns[one.column].name;
    const bool counter = model_.role(one.row.table, one.column) == ColumnRole::kCounter;
    const auto tells = [&](const Recorded& version) {
      const auto value = version.values.find(name);
      return version.row == one.row && value != version.values.end() && (counter || value->second == one.value);
    };
    const auto shown = look.rows.find(one.row);
    if (std::none_of(look.record.begin(), look.record.end(), tells) &&
        (shown == look.rows.end() || shown->second[one.column] != one.value)) {
      throw Failure(fmt::format("on {}, which has joined, {} = {} of row {} of {} is neither shown nor on record",
                                node_name(look.node), name, one.value.value_or("NULL"), one.row.key, table.name));
    }
  }
}

void Audit::check_waiting(const Look& look, const std::set<RowId>& tried, const std::string& refused) const {
  if (tried.empty()) {
    return;
  }
  const auto is_refused = [&](const Value& marker) {
    return marker && !marker->empty() && refused.find(marker->back()) != std::string::npos;
  };
  const auto expected = model_.settle(model_.knows(look.node));
  for (const auto& row : tried) {
    const auto& table = schema_.tables()[row.table];
    const auto outcome = expected.find(row);
    const bool must = table.refuses && outcome != expected.end() && is_refused(outcome->second[table.marker()]);
    // What refers to a row that waits, waits with it.
    if (outcome != expected.end() &&
        (is_held_up(look, expected, row.table, outcome->second) || clashes(look, row, outcome->second))) {
      continue;
    }
    const bool alone = !schema_.has_constraints();
    const bool others_wait = !alone && look.waiting.size() > tried.size();
    if ((refused.empty() && !others_wait) || (alone && !must)) {
      throw Failure(fmt::format("on {} row {} of {} waits without need: {}", node_name(look.node), row.key, table.name,
                                look.waiting.at(row)));
    }
  }
}

}  // namespace mbsync::checker
