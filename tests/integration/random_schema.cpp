#include "random_schema.h"

#include <array>
#include <cstddef>

#include "temp_cluster.h"

namespace mbsync::test {
namespace {

using Texts = std::vector<std::string>;

struct Type {
  std::string name;
  Texts values;  ///< expressions; few, so that both nodes often mean the same row
};

const std::vector<Type>& key_types() {
  static const std::vector<Type> types = {
      {"int", {"1", "2", "3", "4", "5", "6", "-7", "2147483647"}},
      {"bigint", {"1", "2", "3", "4", "5", "9223372036854775807"}},
      {"text", {"''", "'a'", "'A'", "E'\\\\N\\t'", "'(x,\"y\")'", "'☃'", "'a '"}},
      {"uuid",
       {"'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'12345678-1234-1234-1234-123456789abc'"}},
      {"date", {"'2024-01-02'", "'2024-02-01'", "'infinity'", "'0044-03-15 BC'"}},
      {"timestamptz",
       {"'2024-10-27 01:30:00+00'", "'-infinity'", "'2024-10-27 02:30:00.000001+00'", "'0044-03-15 BC'"}},
      {"timestamp(3)", {"'2024-10-27 01:30:00'", "'infinity'", "'2024-10-27 02:30:00.001'"}},
      {"numeric", {"1.0", "1.00", "1", "'NaN'", "-2.50", "-2.5", "0"}},
      {"numeric(10,2)", {"1", "2.5", "'NaN'", "-3"}},
      {"float8", {"0", "'-0'", "0.1", "'NaN'", "'Infinity'"}},
      {"bytea", {"'\\x'", "'\\x00'", "'\\x5c'", "'\\xff27'"}},
      {"char(6)", {"'a'", "'a b'", "''", "'é'"}},
      {"inet", {"'10.0.0.1'", "'10.0.0.1/8'", "'::1'"}},
      {"public.mood", {"'sad'", "'it''s ok'", "'a,b'", "'ÄÖ'"}},
      {"public.positive", {"1", "2", "3", "4", "5"}},
  };
  return types;
}

/// Without what PostgreSQL 13 has not got yet.
std::vector<Type> without_news_of_14(std::vector<Type> types) {
  if (postgres_major() < 14) {
    std::erase_if(types, [](const Type& type) { return type.name.find("multirange") != std::string::npos; });
    for (auto& type : types) {
      std::erase_if(type.values, [&](const std::string& value) {
        return type.name == "numeric" && value.find("Infinity") != std::string::npos;
      });
    }
  }
  return types;
}

const std::vector<Type>& value_types() {
  static const std::vector<Type> types = without_news_of_14({
      {"int", {"0", "1", "-1", "7"}},
      {"text",
       {"''", "'x'", "'NULL'", "E'\\\\N'", "E'a\\nb\\tc\\\\'", "'quote '' \"'", "'👩‍👧'",
        "repeat('long ', 2000)"}},
      {"numeric", {"1.0", "1.00", "'NaN'", "'-Infinity'", "12345678901234567890.000"}},
      {"float8", {"0", "'-0'", "'4.9e-324'", "'NaN'", "0.1"}},
      {"real", {"0", "'-0'", "0.1", "'Infinity'"}},
      {"bool", {"true", "false"}},
      {"timestamp(3)", {"'2024-01-02 03:04:05.678'", "'infinity'", "'0044-03-15 BC'"}},
      {"timestamptz", {"'2024-01-02 03:04:05.678901+02'", "'-infinity'"}},
      {"timetz", {"'12:00+02'", "'10:00+00'"}},
      {"interval", {"'1 day'", "'24 hours'", "'-1 mon +2 days -03:00'"}},
      {"json", {"'{\"a\" : 1, \"a\":2}'", "'1.0'", "'[ ]'"}},
      {"jsonb", {"'{\"a\": 1.0}'", "'{\"a\": 1.00}'", "'[null]'"}},
      {"bytea", {"'\\x'", "'\\x00ff5c27'"}},
      {"text[]", {"'{}'", "'{a,NULL,\"NULL\",\"\"}'", "'[0:1]={x,\"y,\"}'"}},
      {"int[]", {"'{{1,2},{3,NULL}}'", "'[-1:0]={1,2}'"}},
      {"public.mood", {"'sad'", "'it''s ok'", "'a,b'"}},
      {"public.mood[]", {"'{sad,\"a,b\",NULL}'", "'{}'"}},
      {"public.positive", {"1", "2"}},
      {"public.pair", {"ROW(1, 'x')", "ROW(NULL, NULL)", "ROW('-0', '\"(')"}},
      {"int4range", {"'empty'", "'[1,5)'"}},
      {"nummultirange", {"'{}'", "'{[1.0,2),(3,)}'"}},
      {"point", {"'(0,0)'", "'(-0,0.1)'"}},
      {"xml", {"'<a/>'", "'text'"}},
      {"tsvector", {"'a:1 b:2'", "''"}},
      {"varbit", {"B''", "B'0101'"}},
      {"money", {"1", "'-1.5'"}},
      {"char(4)", {"'a'", "''"}},
      {"inet", {"'10.0.0.1/8'", "'::1'"}},
  });
  return types;
}

constexpr std::array kNames = {"Customer", "order", "with space", "it's", "quo\"te", "per%s", "select", "日本", "n",
                               "o",        "t",     "r",          "s",    "v1",      "key",   "m_key",  "$a$",  "x.y"};

std::string quote(const std::string& name) {
  std::string quoted = "\"";
  for (const char c : name) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + "\"";
}

const std::string& any_of(Rng& rng, const Texts& texts) {
  return texts[rng.below(texts.size())];
}

bool chance(Rng& rng, std::uint64_t percent) {
  return rng.below(100) < percent;
}

const Texts& values_of(const std::vector<Type>& types, const std::string& name) {
  for (const auto& type : types) {
    if (type.name == name) {
      return type.values;
    }
  }
  static const Texts none = {"NULL"};
  return none;
}

}  // namespace

RandomSchema::RandomSchema(std::uint64_t seed) {
  Rng rng(seed);
  const auto count = 2 + rng.below(5);
  for (std::uint64_t index = 0; index < count; ++index) {
    Table table;
    table.schema = chance(rng, 30) ? "Odd \"Schema\" %s" : "public";
    table.name = kNames[rng.below(kNames.size())] + std::to_string(index);
    table.keys = 1 + (chance(rng, 40) ? rng.below(4) : 0);
    std::size_t number = 0;
    const auto fresh_name = [&] {
      return kNames[rng.below(kNames.size())] + std::string(number++ == 0 ? "" : std::to_string(number));
    };
    for (std::size_t i = 0; i < table.keys; ++i) {
      table.columns.push_back(Column{fresh_name(), key_types()[rng.below(key_types().size())].name, true});
    }
    table.partitioned = chance(rng, 20);
    table.unique_index = !table.partitioned && chance(rng, 20);
    table.deferrable = !table.partitioned && !table.unique_index && chance(rng, 15);
    const auto values = chance(rng, 10) ? 0 : chance(rng, 10) ? 100 + rng.below(60) : 1 + rng.below(10);
    for (std::uint64_t i = 0; i < values; ++i) {
      table.columns.push_back(
          Column{fresh_name(), value_types()[rng.below(value_types().size())].name, chance(rng, 20)});
    }
    if (!table.partitioned && chance(rng, 40)) {
      table.columns.push_back(Column{fresh_name(), "text", false, true});
    }
    if (chance(rng, 15)) {
      table.columns.push_back(Column{fresh_name(), "bigint", true, false, true});
    }
    if (index > 0 && chance(rng, 60)) {
      const auto parent = rng.below(index + 1);  // maybe itself
      auto& target = parent == index ? table : tables_[parent];
      if (target.keys == 1 && !target.deferrable) {
        const auto* action = std::array{"CASCADE", "SET NULL", "RESTRICT", "NO ACTION"}[rng.below(4)];
        table.columns.push_back(
            Column{fresh_name(), target.columns[0].type, false, false, false, static_cast<int>(parent), action});
        target.referenced = true;
      }
    }
    table.computed = chance(rng, 30);
    table.leftover = chance(rng, 30);
    tables_.push_back(std::move(table));
  }
}

std::string RandomSchema::qualified(const Table& table) const {
  return quote(table.schema) + "." + quote(table.name);
}

std::vector<std::string> RandomSchema::tables() const {
  std::vector<std::string> names;
  for (const auto& table : tables_) {
    names.push_back(qualified(table));
  }
  return names;
}

std::string RandomSchema::key_list(const Table& table) const {
  std::string list;
  for (std::size_t i = 0; i < table.keys; ++i) {
    list += (i == 0 ? "" : ", ") + quote(table.columns[i].name);
  }
  return list;
}

std::string RandomSchema::ddl(bool other) const {
  std::string sql = R"sql(
CREATE SCHEMA "Odd ""Schema"" %s";
CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok', 'a,b', 'ÄÖ');
CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
CREATE TYPE public.pair AS (x float8, "y z" text);
)sql";
  std::string later;
  for (const auto& table : tables_) {
    std::vector<std::string> columns;
    for (const auto& column : table.columns) {
      columns.push_back(quote(column.name) + " " + column.type + (column.not_null ? " NOT NULL" : "") +
                        (column.unique ? " UNIQUE" : "") +
                        (column.identity ? " GENERATED BY DEFAULT AS IDENTITY" : ""));
    }
    if (table.computed) {
      columns.push_back("\"computed by\" text GENERATED ALWAYS AS (" + std::string("'c' || num_nulls(") +
                        quote(table.columns.back().name) + ")) STORED");
    }
    if (table.leftover && other) {
      columns.insert(columns.begin() + static_cast<std::ptrdiff_t>(columns.size() / 2), "leftover int");
      later += "ALTER TABLE " + qualified(table) + " DROP COLUMN leftover;\n";
    }
    if (other) {
      columns = std::vector<std::string>(columns.rbegin(), columns.rend());
    }
    sql += "CREATE TABLE " + qualified(table) + " (";
    for (const auto& column : columns) {
      sql += column + ", ";
    }
    sql += (table.unique_index ? "UNIQUE (" : "PRIMARY KEY (") + key_list(table) + ")" +
           (table.deferrable ? " DEFERRABLE" : "") + ")";
    if (table.partitioned) {
      sql += " PARTITION BY HASH (" + quote(table.columns[0].name) + ")";
      for (int part = 0; part < 2; ++part) {
        const auto number = std::to_string(part);
        later = "CREATE TABLE " + quote(table.schema) + "." + quote(table.name + " part " + number) + " PARTITION OF " +
                qualified(table) + " FOR VALUES WITH (MODULUS 2, REMAINDER " + number + ");\n" + later;
      }
    }
    sql += ";\n";
  }
  sql += later;
  for (const auto& table : tables_) {
    for (const auto& column : table.columns) {
      if (column.refers_to >= 0) {
        const auto& parent = tables_[static_cast<std::size_t>(column.refers_to)];
        sql += "ALTER TABLE " + qualified(table) + " ADD FOREIGN KEY (" + quote(column.name) + ") REFERENCES " +
               qualified(parent) + " (" + key_list(parent) + ") ON UPDATE CASCADE ON DELETE " + column.on_delete +
               ";\n";
      }
    }
  }
  return sql;
}

std::string RandomSchema::value(Rng& rng, const Table& table, std::size_t index, int node) {
  const auto& column = table.columns[index];
  if (column.unique) {
    if (chance(rng, 20)) {
      return "NULL";
    }
    // One statement may write several rows, each of which must differ.
    return "'u" + std::to_string(node) + "-" + std::to_string(++fresh_) + "-' || gen_random_uuid()";
  }
  if (column.identity) {
    return std::to_string(node * 1000000) + " + " + std::to_string(++fresh_);
  }
  if (column.refers_to >= 0) {
    const auto& parent = tables_[static_cast<std::size_t>(column.refers_to)];
    return chance(rng, 20) ? "NULL"
                           : "(SELECT p." + key_list(parent) + " FROM " + qualified(parent) + " p ORDER BY md5(ROW(p." +
                                 key_list(parent) + ")::text || " + std::to_string(rng.below(100)) + ") LIMIT 1)";
  }
  if (index < table.keys) {
    return any_of(rng, values_of(key_types(), column.type));
  }
  if (!column.not_null && chance(rng, 15)) {
    return "NULL";
  }
  return any_of(rng, values_of(value_types(), column.type));
}

std::string RandomSchema::some_rows(Rng& rng, const Table& table) const {
  if (chance(rng, 15)) {
    return "";
  }
  return " WHERE md5(ROW(" + key_list(table) + ")::text || " + std::to_string(rng.below(1000)) + ") < '" +
         "123456789ab"[rng.below(11)] + "'";
}

std::string RandomSchema::statement(Rng& rng, const Table& table, int node) {
  const auto name = qualified(table);
  const auto kind = rng.below(100);
  if (kind < 40) {
    std::string names;
    std::string rows;
    std::string update;
    const auto count = 1 + rng.below(4);
    for (std::uint64_t row = 0; row < count; ++row) {
      rows += row == 0 ? "(" : ", (";
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        rows += (i == 0 ? "" : ", ") + value(rng, table, i, node);
      }
      rows += ")";
    }
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      names += (i == 0 ? "" : ", ") + quote(table.columns[i].name);
      if (i >= table.keys && chance(rng, 60)) {
        update +=
            (update.empty() ? "" : ", ") + quote(table.columns[i].name) + " = excluded." + quote(table.columns[i].name);
      }
    }
    auto sql = "INSERT INTO " + name + " (" + names + ") VALUES " + rows;
    if (!table.deferrable) {
      sql += " ON CONFLICT (" + key_list(table) + ") DO " + (update.empty() ? "NOTHING" : "UPDATE SET " + update);
    }
    return sql;
  }
  if (kind < 75 && table.columns.size() > table.keys) {
    std::string set;
    const auto count = 1 + rng.below(3);
    const auto first = table.keys + rng.below(table.columns.size() - table.keys);
    for (std::size_t i = first; i < table.columns.size() && i < first + count; ++i) {
      set += (i == first ? "" : ", ") + quote(table.columns[i].name) + " = " + value(rng, table, i, node);
    }
    return "UPDATE " + name + " SET " + set + some_rows(rng, table);
  }
  if (kind < 85) {
    // The row under its new key takes fresh unique values: the old one may come back from a write on the other node.
    std::string set;
    const auto part = rng.below(table.keys);
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      if (i == part || table.columns[i].unique) {
        set += (set.empty() ? "" : ", ") + quote(table.columns[i].name) + " = " + value(rng, table, i, node);
      }
    }
    return "UPDATE " + name + " SET " + set + some_rows(rng, table);
  }
  if (kind < 97) {
    return "DELETE FROM " + name + some_rows(rng, table);
  }
  return "TRUNCATE " + name + (table.referenced ? " CASCADE" : "");
}

std::string RandomSchema::write(Rng& rng, int node) {
  std::string sql = "BEGIN; ";
  const auto count = 1 + (chance(rng, 40) ? rng.below(4) : 0);
  for (std::uint64_t i = 0; i < count; ++i) {
    sql += statement(rng, tables_[rng.below(tables_.size())], node) + "; ";
  }
  return sql + "COMMIT";
}

}  // namespace mbsync::test
