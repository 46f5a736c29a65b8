#include "schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace mbsync::checker {
namespace {

using mbsync::test::Rng;

bool chance(Rng& rng, std::uint64_t percent) {
  return rng.below(100) < percent;
}

template <typename T>
const T& any_of(Rng& rng, const std::vector<T>& list) {
  return list[rng.below(list.size())];
}

const std::vector<std::pair<std::string, std::vector<std::string>>>& key_types() {
  static const std::vector<std::pair<std::string, std::vector<std::string>>> types = {
      {"int", {"1", "2", "3", "4"}},
      {"text", {"'a'", "'A'", "'b,\"c'", "''"}},
      {"uuid",
       {"'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "'12345678-1234-1234-1234-123456789abc'"}},
      {"bigint", {"1", "2", "9223372036854775807", "-4"}},
  };
  return types;
}

const std::vector<std::pair<std::string, std::vector<std::string>>>& value_types() {
  static const std::vector<std::pair<std::string, std::vector<std::string>>> types = {
      {"int", {"0", "1", "2"}},
      {"text", {"''", "'p'", "'q'"}},
      {"numeric", {"1.0", "1.00", "2"}},
      {"boolean", {"true", "false"}},
      {"timestamptz", {"'2024-01-02 03:04:05.678901+02'", "'-infinity'"}},
      {"jsonb", {"'{\"a\": 1.0}'", "'[null]'"}},
      {"float8", {"0", "'-0'", "0.1"}},
  };
  return types;
}

}  // namespace

Schema::Schema(std::uint64_t seed) {
  Rng rng(seed);
  const auto kind = rng.below(100);
  const bool refer = kind >= 25 && kind < 85;
  const bool unique = kind >= 50;
  const auto count = refer ? 2 + rng.below(3) : 1 + rng.below(2);
  for (std::size_t index = 0; index < count; ++index) {
    Table table;
    table.name = fmt::format("t{}", index);
    table.keys = chance(rng, 25) ? 2 : 1;
    for (std::size_t i = 0; i < table.keys; ++i) {
      const auto& [type, values] = any_of(rng, key_types());
      // Few keys, so that several nodes mean the same row, and so that a parent is there more often than not.
      const auto some = table.keys == 1 ? 2 + rng.below(2) : 2;
      table.columns.push_back(Column{
          fmt::format("k{}", i), type, {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(some)}, true, ""});
    }
    table.columns.push_back(Column{"marker", "text", {}, false, ""});
    table.refuses = chance(rng, 40);
    const auto plain = rng.below(4);
    for (std::size_t i = 0; i < plain; ++i) {
      const auto& [type, values] = any_of(rng, value_types());
      table.columns.push_back(Column{fmt::format("v{}", i), type, values, chance(rng, 15), ""});
    }
    if (chance(rng, 30)) {
      table.columns.push_back(Column{"tags", "text[]", {"'{}'", "'{a}'", "'{b,a}'", "'{a,c,a}'"}, false, ""});
    }
    if (chance(rng, 30)) {
      table.columns.push_back(Column{"stock", "int", {"0", "10"}, true, ""});
    }
    tables_.push_back(std::move(table));
    auto& added = tables_.back();
    if (refer && chance(rng, index == 0 ? 20 : 85)) {
      for (auto references = 1 + rng.below(2); references > 0; --references) {
        add_reference(rng, added, chance(rng, 15) ? index : rng.below(index + 1), false);
      }
    }
    if (unique && !added.foreign_keys.empty() && chance(rng, 25)) {
      UniqueKey key;
      for (const auto& reference : added.foreign_keys) {
        key.columns.insert(key.columns.end(), reference.columns.begin(), reference.columns.end());
      }
      added.unique_keys.push_back(std::move(key));
    } else if (unique && chance(rng, 80)) {
      add_unique_key(rng, added, "u");
    }
    if (unique && chance(rng, 30)) {
      add_unique_key(rng, added, "w");
    }
  }
  if (refer && chance(rng, 25)) {
    const auto from = rng.below(count - 1);
    add_reference(rng, tables_[from], from + 1 + rng.below(count - 1 - from), true);
  }
}

void Schema::add_reference(Rng& rng, Table& table, std::size_t place, bool in_circle) {
  const auto& parent = tables_[place];
  const auto number = table.foreign_keys.size();
  ForeignKey key;
  key.parent = place;
  key.on_delete = any_of(rng, std::vector<std::string>{"CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"});
  key.on_update = any_of(rng, std::vector<std::string>{"CASCADE", "NO ACTION"});
  key.deferred = chance(rng, in_circle ? 50 : 20);
  // In a circle, rows could only be made in one transaction, and never if all is checked at once.
  const bool required = chance(rng, in_circle ? (key.deferred ? 10 : 0) : 30);
  key.referenced.resize(parent.keys);
  std::iota(key.referenced.begin(), key.referenced.end(), 0);
  for (const auto& unique : parent.unique_keys) {
    if (unique.can_be_referred_to() && chance(rng, 40)) {
      key.referenced = unique.columns;
    }
  }
  const bool in_key = number == 0 && table.keys == 2 && key.referenced.size() == 1 && place < tables_.size() - 1;
  if (in_key && chance(rng, 40)) {
    auto& own = table.columns[1];
    own.type = parent.columns[key.referenced[0]].type;
    own.values = parent.columns[key.referenced[0]].values;
    key.columns.push_back(1);
    table.foreign_keys.push_back(std::move(key));
    return;
  }
  for (std::size_t k = 0; k < key.referenced.size(); ++k) {
    // Two references by the same first column, as where each row belongs to a tenant.
    if (k == 0 && number == 1 && key.referenced.size() > 1 && table.foreign_keys[0].parent == place &&
        table.foreign_keys[0].referenced == key.referenced && chance(rng, 60)) {
      key.columns.push_back(table.foreign_keys[0].columns[0]);
      continue;
    }
    auto column = parent.columns[key.referenced[k]];
    column.name = fmt::format("r{}_{}", number, k);
    column.not_null = required;
    column.default_value = key.on_delete == "SET DEFAULT" && chance(rng, 70) ? column.values[0] : "";
    key.columns.push_back(table.columns.size());
    table.columns.push_back(column);
  }
  table.foreign_keys.push_back(std::move(key));
}

void Schema::add_unique_key(Rng& rng, Table& table, const std::string& prefix) {
  enum Variant : std::uint64_t {
    kText,
    kInt,
    kTextAndInt,
    kPartial,
    kExpression,
    kDeferred,
    kShort,
    kNullsEqual,
    kNumber,
    kRange,
    kCount
  };
  const auto variant = rng.below(kCount);
  const auto first = table.columns.size();
  const auto add = [&](const std::string& type, const std::vector<std::string>& values, bool not_null) {
    table.columns.push_back(
        Column{fmt::format("{}{}", prefix, table.columns.size() - first), type, values, not_null, ""});
  };
  if (variant == kInt) {
    add("int", {"1", "2", "3"}, false);
  } else if (variant == kNumber) {
    add("int", {"1", "2", "3", "4"}, true);
  } else if (variant == kRange) {
    add("int4range", {"'[1,3)'", "'[2,6)'", "'[7,9)'", "'empty'"}, chance(rng, 20));
  } else if (variant == kShort) {
    add("varchar(6)", {"'ssssss'", "'t'", "'tttttt'"}, chance(rng, 50));
  } else {
    add("text", {"'s'", "'t'", "'S'"}, chance(rng, 20));
  }
  UniqueKey key;
  key.columns = {first};
  if (variant == kTextAndInt) {
    add("int", {"1", "2"}, false);
    key.columns.push_back(first + 1);
  } else if (variant == kPartial) {
    add("boolean", {"true", "false"}, false);
    key.predicate = prefix + "1";
  } else if (variant == kExpression) {
    key.expression = fmt::format("lower({}0)", prefix);
  }
  key.deferred = variant == kDeferred;
  key.nulls_equal = variant == kNullsEqual;
  key.exclusion = variant == kRange;
  key.deferred = key.deferred || (key.exclusion && chance(rng, 30));
  table.unique_keys.push_back(std::move(key));
}

bool Schema::has_constraints() const {
  return std::any_of(tables_.begin(), tables_.end(),
                     [](const Table& table) { return !table.foreign_keys.empty() || !table.unique_keys.empty(); });
}

bool Schema::has_counters() const {
  return std::any_of(tables_.begin(), tables_.end(), [](const Table& table) {
    const auto roles = table.shape().roles;
    return std::find(roles.begin(), roles.end(), ColumnRole::kCounter) != roles.end();
  });
}

Shape Table::shape() const {
  Shape shape;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto& called = columns[i].name;
    shape.roles.push_back(i < keys            ? ColumnRole::kKey
                          : i == marker()     ? ColumnRole::kMarker
                          : called == "tags"  ? ColumnRole::kTags
                          : called == "stock" ? ColumnRole::kCounter
                                              : ColumnRole::kPlain);
  }
  for (const auto& key : foreign_keys) {
    if (key.columns.size() > 1) {
      std::set<std::size_t> united(key.columns.begin(), key.columns.end());
      std::erase_if(shape.references, [&](const auto& other) {
        const bool meet = std::any_of(other.begin(), other.end(), [&](auto column) { return united.contains(column); });
        united.insert(meet ? other.begin() : other.end(), other.end());
        return meet;
      });
      shape.references.push_back(std::move(united));
    }
  }
  return shape;
}

std::string Schema::names(const Table& table, const std::vector<std::size_t>& columns) {
  std::vector<std::string> list;
  list.reserve(columns.size());
  for (const auto column : columns) {
    list.push_back(table.columns[column].name);
  }
  return fmt::format("{}", fmt::join(list, ", "));
}

std::string Schema::create() const {
  std::string sql;
  std::string later;
  for (const auto& table : tables_) {
    sql += fmt::format("CREATE TABLE {} (", table.name);
    std::vector<std::size_t> key(table.keys);
    std::iota(key.begin(), key.end(), 0);
    for (const auto& column : table.columns) {
      sql += fmt::format("{} {}{}{}, ", column.name, column.type, column.not_null ? " NOT NULL" : "",
                         column.default_value.empty() ? "" : " DEFAULT " + column.default_value);
    }
    sql +=
        fmt::format("PRIMARY KEY ({}){});\n", names(table, key), table.refuses ? ", CHECK (lab.accepts(marker))" : "");
    for (std::size_t i = 0; i < table.unique_keys.size(); ++i) {
      const auto& unique = table.unique_keys[i];
      if (unique.exclusion) {
        sql += fmt::format("ALTER TABLE {} ADD EXCLUDE USING gist ({} WITH &&){};\n", table.name,
                           names(table, unique.columns), unique.deferred ? " DEFERRABLE INITIALLY DEFERRED" : "");
      } else if (unique.deferred) {
        sql += fmt::format("ALTER TABLE {} ADD UNIQUE ({}) DEFERRABLE INITIALLY DEFERRED;\n", table.name,
                           names(table, unique.columns));
      } else {
        sql += fmt::format("CREATE UNIQUE INDEX {0}_u{1} ON {0} ({2}){3}{4};\n", table.name, i,
                           unique.expression.empty() ? names(table, unique.columns) : unique.expression,
                           unique.nulls_equal ? " NULLS NOT DISTINCT" : "",
                           unique.predicate.empty() ? "" : " WHERE " + unique.predicate);
      }
    }
    for (const auto& reference : table.foreign_keys) {
      const auto& parent = tables_[reference.parent];
      later += fmt::format("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}{};\n",
                           table.name, names(table, reference.columns), parent.name,
                           names(parent, reference.referenced), reference.on_delete, reference.on_update,
                           reference.deferred ? " DEFERRABLE INITIALLY DEFERRED" : "");
    }
  }
  return sql + later;
}

std::string Schema::drop() const {
  std::string sql;
  for (const auto& table : tables_) {
    sql += fmt::format("DROP TABLE {} CASCADE;\n", table.name);
  }
  return sql;
}

std::string Schema::clear() const {
  std::string sql;
  for (const auto& table : tables_) {
    sql += fmt::format("DELETE FROM {};\n", table.name);
  }
  return sql;
}

std::string Schema::value(Rng& rng, const Table& table, std::size_t column, const std::string& marker) const {
  if (column == table.marker()) {
    return fmt::format("'{}'", marker);
  }
  return !table.columns[column].not_null && chance(rng, 15) ? "NULL" : any_of(rng, table.columns[column].values);
}

std::string Schema::key_condition(Rng& rng, const Table& table) const {
  if (chance(rng, 8)) {
    return "true";
  }
  std::string condition;
  for (std::size_t i = 0; i < table.keys; ++i) {
    const auto& column = table.columns[i];
    const auto& one = any_of(rng, column.values);
    condition += fmt::format("{}{} IN ({}, {})", i == 0 ? "" : " AND ", column.name, one,
                             chance(rng, 20) ? any_of(rng, column.values) : one);
  }
  return condition;
}

std::string Schema::insert(Rng& rng, const Table& table, const std::string& marker) const {
  std::vector<std::string> all;
  std::vector<std::string> list;
  std::vector<std::string> keys;
  std::vector<std::string> updates;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    all.push_back(table.columns[i].name);
    list.push_back(value(rng, table, i, marker));
    if (i < table.keys) {
      keys.push_back(table.columns[i].name);
    } else if (chance(rng, 60)) {
      const auto& name = table.columns[i].name;
      updates.push_back(name == "stock" ? fmt::format("stock = {}.stock + excluded.stock", table.name)
                                        : fmt::format("{0} = excluded.{0}", name));
    }
  }
  return fmt::format("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO {}", table.name, fmt::join(all, ", "),
                     fmt::join(list, ", "), fmt::join(keys, ", "),
                     updates.empty() ? "NOTHING" : fmt::format("UPDATE SET {}", fmt::join(updates, ", ")));
}

std::vector<std::string> Schema::first_rows(Rng& rng) const {
  std::vector<std::string> sql;
  for (std::size_t number = 0; number < tables_.size(); ++number) {
    for (auto count = is_referred_to(number) ? 4 + rng.below(3) : rng.below(4); count > 0; --count) {
      sql.push_back(insert(rng, tables_[number], "first"));
    }
  }
  return sql;
}

bool Schema::is_referred_to(std::size_t number) const {
  return std::any_of(tables_.begin(), tables_.end(), [&](const Table& table) {
    return std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(),
                       [&](const ForeignKey& reference) { return reference.parent == number; });
  });
}

std::vector<std::string> Schema::statements(Rng& rng, const std::string& marker) const {
  return statements(rng, marker, 100);
}

std::vector<std::string> Schema::row_statements(Rng& rng, const std::string& marker) const {
  return statements(rng, marker, 98);
}

std::vector<std::string> Schema::statements(Rng& rng, const std::string& marker, std::uint64_t kinds) const {
  const auto number = rng.below(tables_.size());
  const auto& table = tables_[number];
  auto kind = rng.below(kinds);
  // Where there are references, what is referred to goes more often, and what refers is written more often.
  if (is_referred_to(number) && chance(rng, 35)) {
    kind = 80;
  } else if (!table.foreign_keys.empty() && chance(rng, 35)) {
    kind = 0;
  }
  if (kind < 40) {
    std::vector<std::string> all;
    // What is referred to is often not there; then it comes first.
    if (!table.foreign_keys.empty() && chance(rng, 30)) {
      const auto parent = any_of(rng, table.foreign_keys).parent;
      if (parent != number) {
        all.push_back(insert(rng, tables_[parent], marker));
      }
    }
    all.push_back(insert(rng, table, marker));
    return all;
  }
  if (kind < 72) {
    std::vector<std::string> set;
    for (std::size_t i = table.keys; i < table.columns.size(); ++i) {
      if (chance(rng, i == table.marker() ? 65 : 40)) {
        const auto& name = table.columns[i].name;
        set.push_back(name == "stock" && chance(rng, 80)
                          ? fmt::format("stock = stock + {}", static_cast<int>(rng.below(9)) - 4)
                          : fmt::format("{} = {}", name, value(rng, table, i, marker)));
      }
    }
    if (set.empty()) {
      set.push_back(fmt::format("marker = '{}'", marker));
    }
    return {fmt::format("UPDATE {} SET {} WHERE {}", table.name, fmt::join(set, ", "), key_condition(rng, table))};
  }
  if (kind < 78) {
    const auto part = rng.below(table.keys);
    return {fmt::format("UPDATE {} SET {} = {} WHERE {}", table.name, table.columns[part].name,
                        any_of(rng, table.columns[part].values), key_condition(rng, table))};
  }
  if (kind < 92) {
    return {fmt::format("DELETE FROM {} WHERE {}", table.name, key_condition(rng, table))};
  }
  if (kind < 98) {
    return {fmt::format("DELETE FROM {} WHERE {}", table.name, key_condition(rng, table)), insert(rng, table, marker)};
  }
  return {fmt::format("TRUNCATE {}{}", table.name, has_constraints() ? " CASCADE" : "")};
}

std::vector<std::string> Schema::ways_out(const RowId& standing, const Values& values, std::int64_t fresh) const {
  const auto& table = tables_[standing.table];
  std::string key;
  for (std::size_t i = 0; i < table.keys; ++i) {
    key += fmt::format("{}concat({}) = $key${}$key$", i == 0 ? "" : " AND ", table.columns[i].name,
                       values[i].value_or(""));
  }
  std::string set;
  for (const auto& unique : table.unique_keys) {
    const auto& column = table.columns[unique.columns[0]];
    const bool refers = std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& one) {
      return std::find(one.columns.begin(), one.columns.end(), unique.columns[0]) != one.columns.end();
    });
    const auto value = refers                       ? std::string("NULL")
                       : column.type == "int"       ? std::to_string(fresh)
                       : column.type == "int4range" ? fmt::format("'[{},{})'", fresh, fresh + 1)
                                                    : fmt::format("'{}'", fresh);
    set += fmt::format("{}{} = {}", set.empty() ? "" : ", ", column.name, value);
  }
  return {fmt::format("UPDATE {} SET {} WHERE {}", table.name, set, key),
          fmt::format("DELETE FROM {} WHERE {}", table.name, key), fmt::format("TRUNCATE {} CASCADE", table.name)};
}

std::string Schema::read() const {
  std::size_t width = 0;
  for (const auto& table : tables_) {
    width = std::max(width, table.columns.size());
  }
  std::string sql;
  for (std::size_t number = 0; number < tables_.size(); ++number) {
    const auto& table = tables_[number];
    std::vector<std::string> keys;
    std::string columns;
    for (std::size_t i = 0; i < width; ++i) {
      columns += i < table.columns.size() ? fmt::format(", CASE WHEN {0} IS NULL THEN '{1}' ELSE concat({0}) END",
                                                        table.columns[i].name, kNull)
                                          : ", NULL";
      if (i < table.keys) {
        keys.push_back(table.columns[i].name);
      }
    }
    sql += fmt::format("{}SELECT {}, {}{} FROM {}", number == 0 ? "" : " UNION ALL ", number,
                       keys.size() == 1 ? keys[0] + "::text" : fmt::format("ROW({})::text", fmt::join(keys, ", ")),
                       columns, table.name);
  }
  return sql;
}

std::string Schema::broken_constraints() const {
  std::vector<std::string> queries;
  for (const auto& table : tables_) {
    for (const auto& unique : table.unique_keys) {
      if (unique.exclusion) {
        queries.push_back(
            fmt::format("SELECT 'rows of {0} overlap in {1}' FROM {0} a JOIN {0} b ON a.ctid < b.ctid AND "
                        "a.{1} && b.{1}",
                        table.name, names(table, unique.columns)));
        continue;
      }
      std::string present = unique.predicate.empty() ? "true" : unique.predicate;
      for (const auto column : unique.columns) {
        present += unique.nulls_equal ? "" : fmt::format(" AND {} IS NOT NULL", table.columns[column].name);
      }
      const auto what = unique.expression.empty() ? names(table, unique.columns) : unique.expression;
      queries.push_back(
          fmt::format("SELECT 'several rows of {0} have one value of ({1})' FROM {0} WHERE {2} GROUP BY "
                      "{1} HAVING count(*) > 1",
                      table.name, what, present));
    }
    for (const auto& reference : table.foreign_keys) {
      const auto& parent = tables_[reference.parent];
      std::string match = "true";
      std::string present = "true";
      for (std::size_t i = 0; i < reference.columns.size(); ++i) {
        const auto& name = table.columns[reference.columns[i]].name;
        match += fmt::format(" AND p.{} = c.{}", parent.columns[reference.referenced[i]].name, name);
        present += fmt::format(" AND c.{} IS NOT NULL", name);
      }
      queries.push_back(fmt::format(
          "SELECT 'a row of {0} refers to one of {1} that is not there, by ({2})' FROM {0} c WHERE {3} AND NOT EXISTS "
          "(SELECT FROM {1} p WHERE {4})",
          table.name, parent.name, names(table, reference.columns), present, match));
    }
  }
  return queries.empty() ? "SELECT '' WHERE false" : fmt::format("{}", fmt::join(queries, " UNION ALL "));
}

}  // namespace mbsync::checker
