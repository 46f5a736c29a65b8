#include "capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "change_sql.h"
#include "record_text.h"
#include "schema_change.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

// Long enough to get past ordinary transactions; short enough that the application's writes, which queue up behind the
// wait, hardly notice.
constexpr const char* kTriggerLockTimeout = "250ms";

constexpr const char* kTriggerNames[] = {"mbsync_insert", "mbsync_update", "mbsync_delete", "mbsync_truncate"};

std::string settings_clause(std::uint32_t settings) {
  std::string clause = " SET search_path = pg_catalog, pg_temp";
  clause += (settings & kDateStyle) != 0 ? " SET datestyle = 'ISO, YMD'" : "";
  clause += (settings & kTimeZone) != 0 ? " SET timezone = 'UTC'" : "";
  clause += (settings & kIntervalStyle) != 0 ? " SET intervalstyle = 'postgres'" : "";
  clause += (settings & kFloatDigits) != 0 ? " SET extra_float_digits = 3" : "";
  clause += (settings & kByteaOutput) != 0 ? " SET bytea_output = 'hex'" : "";
  clause += (settings & kMonetary) != 0 ? " SET lc_monetary = 'C'" : "";
  return clause;
}

// In dollar quotes that nothing in `text` ends, whatever a column may be called.
std::string dollar_quoted(const std::string& text, std::string_view word) {
  std::string tag = fmt::format("${}$", word);
  for (int number = 1; text.find(tag) != std::string::npos; ++number) {
    tag = fmt::format("${}{}$", word, number);
  }
  return tag + text + tag;
}

// SECURITY DEFINER: roles of the application write to its tables without any right in schema mbsync, and cannot forge
// entries. The inner block: when the table is not what it was, because a column that the function names was dropped or
// renamed, or one has come that it does not know, class 42 errors are caught and the rows kept whole: a migration
// never makes the application's writes fail, and no value is missed.
std::string function_sql(const std::string& name, std::uint32_t settings, const std::string& statement,
                         const std::string& fallback) {
  const auto body = fmt::format(
      "\nBEGIN\n"
      "  IF current_setting('mbsync.applying', true) = 'on' THEN RETURN NULL; END IF;\n"
      "  BEGIN\n    {};\n"
      "  EXCEPTION WHEN syntax_error_or_access_rule_violation THEN\n    {};\n"
      "  END;\n"
      "  RETURN NULL;\n"
      "END ",
      statement, fallback);
  return fmt::format(
      "CREATE OR REPLACE FUNCTION mbsync.{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{} AS {};\n", name,
      settings_clause(settings), dollar_quoted(body, "capture"));
}

// A cascade that comes back to the table it started from adds to the rows of the same statement: the row under its new
// key is then among the old rows as well, and looks as if it had been there before. More of a key went in than came
// out.
std::string came_by_cascade(const Table& table) {
  const bool may = std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& reference) {
    return reference.schema == table.schema && reference.table == table.name &&
           std::any_of(table.key.begin(), table.key.end(), [&](std::size_t index) {
             return std::find(reference.referenced.begin(), reference.referenced.end(), table.columns[index].name) !=
                    reference.referenced.end();
           });
  });
  const TableSql sql(table);
  return !may
             ? std::string()
             : fmt::format(
                   ";\n    INSERT INTO mbsync.capture (tab, op, key, at) SELECT {}, 'I', k.key, clock_timestamp() FROM "
                   "(SELECT {} AS key, 1 AS more FROM new_rows n UNION ALL SELECT {}, -1 FROM old_rows o) k GROUP BY "
                   "k.key HAVING sum(k.more) BETWEEN 1 AND count(*) - 1",
                   table.id, sql.key_text("n"), sql.key_text("o"));
}

// A generated column that is generated no more holds values of the application's from then on, with no other column
// there than before: the number of columns tells nothing. Where there is any, they are counted, in some twenty
// microseconds.
std::string watching_generated(const Table& table, const std::string& statement) {
  const auto generated = table.columns_generated;
  return generated == 0
             ? statement
             : fmt::format(
                   "IF (SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 "
                   "AND NOT attisdropped AND attgenerated <> '') <> {} THEN RAISE syntax_error; END IF;\n    {}",
                   generated, statement);
}

std::string functions_sql(const Table& table, const ColumnSet& sums) {
  const TableSql sql(table);
  const auto raw = [&](std::string_view rows) {
    return fmt::format(
        "INSERT INTO mbsync.capture (tab, op, at, image) SELECT {}, 'R', clock_timestamp(), row_to_json(r.*)::text "
        "FROM "
        "{} r",
        table.id, rows);
  };
  std::string all;
  // It needs no more than the key, and names all columns: one that has come in place of another is to be noticed as
  // well.
  all += function_sql(
      fmt::format("capture_{}_insert", table.id), sql.key_settings(),
      watching_generated(table, fmt::format("INSERT INTO mbsync.capture (tab, op, key, at) "
                                            "SELECT {}, 'I', {}, clock_timestamp() FROM (SELECT {} FROM {} r) n",
                                            table.id, sql.key_text("n"), sql.columns("r"), sql.rows_of("new_rows"))),
      raw("new_rows"));
  // FULL JOIN: an update of the key is a delete and an insert; and it can only be planned as a hash or merge join, so a
  // plan that was made for one row does not turn quadratic for a hundred thousand. An update that changes nothing is no
  // write. A key that came or went takes every column along, those that are NULL too (cols NULL).
  all += function_sql(
      fmt::format("capture_{}_update", table.id), sql.row_settings(),
      watching_generated(
          table,
          fmt::format("INSERT INTO mbsync.capture (tab, op, key, cols, at, image{10}) "
                      "SELECT {0}, CASE WHEN NOT {1} THEN 'D' WHEN NOT {7} THEN 'I' ELSE 'U' END, "
                      "CASE WHEN {1} THEN {3} ELSE {2} END, CASE WHEN {1} AND {7} THEN {4} END, clock_timestamp(), "
                      "CASE WHEN NOT {1} THEN {5} END{11} "
                      "FROM {9} o FULL JOIN {8} n ON {6}{12}",
                      table.id, sql.present("n"), sql.key_text("o"), sql.key_text("n"),
                      sql.changed_columns("o", "n", sums), sql.record("o"), sql.key_equal("o", "n"), sql.present("o"),
                      sql.rows_of("new_rows"), sql.rows_of("old_rows"), sums.empty() ? "" : ", sums",
                      sums.empty() ? ""
                                   : fmt::format(", CASE WHEN {} AND {} THEN {} END", sql.present("n"),
                                                 sql.present("o"), sql.differences("o", "n", sums)),
                      came_by_cascade(table))),
      // Both sides, so that it is known what has changed.
      fmt::format("INSERT INTO mbsync.capture (tab, op, cols, at, image) SELECT {0}, 'R', r.side, c.at, r.image FROM "
                  "(SELECT clock_timestamp() AS at OFFSET 0) c, (SELECT 'o' AS side, row_to_json(o.*)::text AS image "
                  "FROM old_rows o UNION ALL SELECT 'n', row_to_json(n.*)::text FROM new_rows n) r",
                  table.id));
  all += function_sql(
      fmt::format("capture_{}_delete", table.id), sql.row_settings(),
      watching_generated(table, fmt::format("INSERT INTO mbsync.capture (tab, op, key, at, image) "
                                            "SELECT {}, 'D', {}, clock_timestamp(), {} FROM {} o",
                                            table.id, sql.key_text("o"), sql.record("o"), sql.rows_of("old_rows"))),
      raw("old_rows"));
  // Fires before the rows go. The statement names the relation at run time, since each partition is truncated by
  // itself.
  const auto truncate = [&](const std::string& insert) {
    return fmt::format("EXECUTE {} || format('%I.%I r', TG_TABLE_SCHEMA, TG_TABLE_NAME)",
                       dollar_quoted(insert + " FROM ", "rows"));
  };
  all += function_sql(fmt::format("capture_{}_truncate", table.id), sql.row_settings(),
                      truncate(fmt::format("INSERT INTO mbsync.capture (tab, op, key, at, image) "
                                           "SELECT {}, 'D', {}, clock_timestamp(), {}",
                                           table.id, sql.key_text("r"), sql.record("r"))),
                      truncate(fmt::format("INSERT INTO mbsync.capture (tab, op, at, image) "
                                           "SELECT {}, 'R', clock_timestamp(), row_to_json(r.*)::text",
                                           table.id)));
  return all;
}

// 64-bit FNV-1a: tells whether functions have to be made again, nothing more.
std::string fingerprint_of(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return fmt::format("{:016x}", hash);
}

// "mbsync_insert/capture_5_insert" and so on, per relation, of the triggers that exist.
Result<std::map<std::string, std::vector<std::string>>> existing_triggers(PgConnection& db) {
  const auto rows = db.exec(
      "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, t.tgname, p.proname "
      "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
      "JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace "
      "WHERE pn.nspname = 'mbsync' AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')");
  MBSYNC_TRY(rows);
  std::map<std::string, std::vector<std::string>> triggers;
  for (const auto& row : *rows) {
    triggers[row[0].c_str()].push_back(fmt::format("{}/{}", row[1].c_str(), row[2].c_str()));
  }
  return triggers;
}

struct Trigger {
  std::string relation;
  int event = 0;  // index into kTriggerNames
  std::string function;
};

std::string trigger_sql(const Trigger& trigger) {
  static constexpr const char* kClauses[] = {
      "AFTER INSERT ON {} REFERENCING NEW TABLE AS new_rows",
      "AFTER UPDATE ON {} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
      "AFTER DELETE ON {} REFERENCING OLD TABLE AS old_rows", "BEFORE TRUNCATE ON {}"};
  const auto name = kTriggerNames[trigger.event];
  return fmt::format(
      "DROP TRIGGER IF EXISTS {0} ON {1}; CREATE TRIGGER {0} {2} FOR EACH STATEMENT EXECUTE FUNCTION "
      "mbsync.{3}();\n",
      name, trigger.relation, fmt::format(fmt::runtime(kClauses[trigger.event]), trigger.relation), trigger.function);
}

bool is_there(const Schema& schema, const std::pair<std::string, std::string>& name) {
  const auto same = [&](const auto& table) { return table.schema == name.first && table.name == name.second; };
  return std::any_of(schema.tables.begin(), schema.tables.end(), same) ||
         std::any_of(schema.refused.begin(), schema.refused.end(), same);
}

Result<void> register_table(PgConnection& db, Table& table) {
  std::vector<std::string> key_names;
  for (const auto index : table.key) {
    key_names.push_back(table.columns[index].name);
  }
  const auto id = db.exec(
      "INSERT INTO mbsync.synced_table (schema_name, table_name, key_columns, width, all_columns) "
      "VALUES ($1, $2, $3::text[], 1, B'1') RETURNING id",
      {table.schema, table.name, format_array(key_names)});
  MBSYNC_TRY(id);
  table.id = (*id)[0][0].as<int>();
  return {};
}

// Within one relation a column is known by its attribute number, whatever it is called now: one that was renamed keeps
// its number, and one that has taken over its name gets another. One that was dropped and added anew under its name
// goes on, since the triggers capture it under that. What is known becomes what the columns are called now. Whether any
// is gone.
Result<bool> match_columns(PgConnection& db, const Table& table, std::uint32_t relation,
                           std::map<std::string, ColumnNumber>& columns, std::map<std::string, int>& attnums) {
  if (relation == 0 || relation != table.oid) {
    return false;
  }
  const auto known = [&](int attnum) {
    return std::any_of(attnums.begin(), attnums.end(), [&](const auto& entry) { return entry.second == attnum; });
  };
  std::vector<std::string> lost;
  std::vector<std::tuple<ColumnNumber, std::string, std::string>> renamed;  // from, to
  std::map<std::string, ColumnNumber> columns_now;
  std::map<std::string, int> attnums_now;
  for (const auto& [name, number] : columns) {
    const auto attnum = attnums.at(name);
    auto same = std::find_if(table.columns.begin(), table.columns.end(),
                             [&](const Column& column) { return attnum != 0 && column.attnum == attnum; });
    if (same == table.columns.end()) {
      same = std::find_if(table.columns.begin(), table.columns.end(), [&, &name = name](const Column& column) {
        return column.name == name && (attnum == 0 || !known(column.attnum));
      });
    }
    if (same == table.columns.end()) {
      lost.push_back(std::to_string(number));
      continue;
    }
    if (same->name != name) {
      renamed.emplace_back(number, name, same->name);
    }
    columns_now[same->name] = number;
    attnums_now[same->name] = same->attnum;
  }
  if (!lost.empty()) {
    MBSYNC_TRY(
        db.exec("UPDATE mbsync.synced_column SET dropped = true WHERE tab = $1::int AND number = ANY ($2::int[])",
                {std::to_string(table.id), format_array(lost)}));
  }
  // Names may be exchanged, so all are taken away before the first is given.
  for (const bool given : {false, true}) {
    for (const auto& [number, from, to] : renamed) {
      MBSYNC_TRY(
          db.exec("UPDATE mbsync.synced_column SET name = $3 WHERE tab = $1::int AND number = $2::int",
                  {std::to_string(table.id), std::to_string(number), given ? to : fmt::format("\x01{}", number)}));
    }
  }
  // Rows kept whole (op R) were written under one name or the other.
  for (const auto& [number, from, to] : renamed) {
    MBSYNC_TRY(
        db.exec("UPDATE mbsync.capture SET image = (image::jsonb - $2 || jsonb_build_object($3, image::jsonb -> "
                "$2))::text WHERE tab = $1::int AND op = 'R' AND image::jsonb ? $2 AND NOT image::jsonb ? $3",
                {std::to_string(table.id), from, to}));
  }
  columns = std::move(columns_now);
  attnums = std::move(attnums_now);
  return !lost.empty();
}

}  // namespace

Result<void> register_tables(PgConnection& db, Schema& schema, NodeId self) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto run = [&]() -> Result<void> {
    const auto tables = db.exec(
        "SELECT id, schema_name, table_name, relation, adopted, fingerprint, key_definition FROM "
        "mbsync.synced_table");
    MBSYNC_TRY(tables);
    const auto columns = db.exec("SELECT tab, number, name, attnum FROM mbsync.synced_column WHERE NOT dropped");
    MBSYNC_TRY(columns);
    const auto highest = db.exec("SELECT tab, max(number) FROM mbsync.synced_column GROUP BY tab");
    MBSYNC_TRY(highest);

    struct Known {
      int id = 0;
      bool adopted = false;
      std::string fingerprint;
      std::string key_definition;
      std::uint32_t relation = 0;
      std::map<std::string, ColumnNumber> columns;
      std::map<std::string, int> attnums;
      ColumnNumber highest = 0;
    };
    std::map<std::pair<std::string, std::string>, Known> known;
    std::map<int, Known*> by_id;
    for (const auto& row : *tables) {
      auto& entry = known[{row[1].c_str(), row[2].c_str()}];
      entry.id = row[0].as<int>();
      entry.adopted = row[4].as<bool>();
      entry.fingerprint = row[5].c_str();
      entry.key_definition = row[6].c_str();
      entry.relation = row[3].is_null() ? 0 : row[3].as<std::uint32_t>();
      by_id[entry.id] = &entry;
    }
    for (const auto& row : *columns) {
      auto& entry = *by_id[row[0].as<int>()];
      entry.columns[row[2].c_str()] = row[1].as<ColumnNumber>();
      entry.attnums[row[2].c_str()] = row[3].is_null() ? 0 : row[3].as<int>();
    }
    for (const auto& row : *highest) {
      by_id[row[0].as<int>()]->highest = row[1].as<ColumnNumber>();
    }

    // A table that was renamed keeps what is known of it.
    for (const auto& table : schema.tables) {
      const std::pair<std::string, std::string> name{table.schema, table.name};
      const auto same = std::find_if(known.begin(), known.end(), [&](const auto& candidate) {
        return candidate.second.relation == table.oid && candidate.second.id != 0;
      });
      if (known.contains(name) || same == known.end() || is_there(schema, same->first)) {
        continue;
      }
      MBSYNC_TRY(db.exec("UPDATE mbsync.synced_table SET schema_name = $2, table_name = $3 WHERE id = $1::int",
                         {std::to_string(same->second.id), table.schema, table.name}));
      auto node = known.extract(same);
      node.key() = name;
      known.insert(std::move(node));
    }

    // Dropped tables leave with everything about them; refused ones stay, they may come back.
    std::vector<std::string> dropped;
    for (const auto& [name, entry] : known) {
      if (!is_there(schema, name)) {
        dropped.push_back(std::to_string(entry.id));
      }
    }
    if (!dropped.empty()) {
      const auto ids = format_array(dropped);
      MBSYNC_TRY(db.exec("DELETE FROM mbsync.capture WHERE tab = ANY ($1::int[])", {ids}));
      MBSYNC_TRY(db.exec("DELETE FROM mbsync.change WHERE tab = ANY ($1::int[])", {ids}));
      MBSYNC_TRY(db.exec("DELETE FROM mbsync.synced_table WHERE id = ANY ($1::int[])", {ids}));
    }
    for (auto& table : schema.tables) {
      auto& entry = known[{table.schema, table.name}];
      table.id = entry.id;
      table.adopted = entry.adopted;
      table.fingerprint = entry.fingerprint;
      if (table.id == 0) {
        MBSYNC_TRY(register_table(db, table));
      }
      const auto lost = match_columns(db, table, entry.relation, entry.columns, entry.attnums);
      MBSYNC_TRY(lost);
      std::vector<std::string> fresh;
      for (auto& column : table.columns) {
        if (const auto place = entry.columns.find(column.name); place != entry.columns.end()) {
          column.number = place->second;
        } else {
          fresh.push_back(column.name);
        }
      }
      std::vector<std::string> gone;
      for (const auto& [name, number] : entry.columns) {
        if (table.find(name) == nullptr) {
          gone.push_back(name);
        }
      }
      std::sort(fresh.begin(), fresh.end());
      auto number = entry.highest;
      for (const auto& name : fresh) {
        ++number;
        std::find_if(table.columns.begin(), table.columns.end(), [&](const Column& c) {
          return c.name == name;
        })->number = number;
      }
      table.width = number + 1;
      if (!fresh.empty()) {
        MBSYNC_TRY(
            db.exec("INSERT INTO mbsync.synced_column (tab, number, name) "
                    "SELECT $1::int, $2::int + place, name FROM unnest($3::text[]) WITH ORDINALITY n(name, place)",
                    {std::to_string(table.id), std::to_string(entry.highest), format_array(fresh)}));
      }
      if (!gone.empty()) {
        MBSYNC_TRY(
            db.exec("UPDATE mbsync.synced_column SET dropped = true WHERE tab = $1::int AND name = ANY ($2::text[])",
                    {std::to_string(table.id), format_array(gone)}));
      }
      // Columns travel in the order of their numbers; the key keeps pointing at its columns.
      std::vector<std::string> key_names;
      for (const auto index : table.key) {
        key_names.push_back(table.columns[index].name);
      }
      std::sort(table.columns.begin(), table.columns.end(),
                [](const Column& a, const Column& b) { return a.number < b.number; });
      for (std::size_t i = 0; i < table.key.size(); ++i) {
        table.key[i] = static_cast<std::size_t>(table.find(key_names[i]) - table.columns.data());
      }
      bool moved = entry.relation != table.oid;
      std::vector<std::string> names;
      std::vector<std::string> attnums;
      for (const auto& column : table.columns) {
        const auto place = entry.attnums.find(column.name);
        moved = moved || place == entry.attnums.end() || place->second != column.attnum;
        names.push_back(column.name);
        attnums.push_back(std::to_string(column.attnum));
      }
      if (moved) {
        MBSYNC_TRY(db.exec("UPDATE mbsync.synced_table SET relation = $2::oid WHERE id = $1::int",
                           {std::to_string(table.id), std::to_string(table.oid)}));
        MBSYNC_TRY(
            db.exec("UPDATE mbsync.synced_column c SET attnum = n.attnum FROM unnest($2::text[], $3::int[]) n(name, "
                    "attnum) WHERE c.tab = $1::int AND NOT c.dropped AND c.name = n.name",
                    {std::to_string(table.id), format_array(names), format_array(attnums)}));
      }
      std::string key_definition;
      for (const auto index : table.key) {
        key_definition += fmt::format("{} {};", table.columns[index].number, table.columns[index].type);
      }
      if (key_definition != entry.key_definition) {
        // What waits is known by the old key. The rows as they are take its place, as those from before mbsync did;
        // only deletions that nobody has heard of are lost, which is said.
        if (!entry.key_definition.empty()) {
          MBSYNC_TRY(db.exec("DELETE FROM mbsync.capture WHERE tab = $1::int", {std::to_string(table.id)}));
          MBSYNC_TRY(db.exec("DELETE FROM mbsync.change WHERE tab = $1::int", {std::to_string(table.id)}));
          MBSYNC_TRY(db.exec("DELETE FROM mbsync.counter WHERE tab = $1::int", {std::to_string(table.id)}));
          MBSYNC_TRY(
              db.exec("UPDATE mbsync.synced_table SET adopted = false WHERE id = $1::int", {std::to_string(table.id)}));
          table.adopted = false;
          table.rekeyed = true;
        }
        MBSYNC_TRY(db.exec("UPDATE mbsync.synced_table SET key_definition = $2 WHERE id = $1::int",
                           {std::to_string(table.id), key_definition}));
      }
      if (!fresh.empty() || !gone.empty() || *lost) {
        MBSYNC_TRY(db.exec(
            "UPDATE mbsync.synced_table SET width = $2::int, all_columns = $3::varbit, key_columns = $4::text[] "
            "WHERE id = $1::int",
            {std::to_string(table.id), std::to_string(table.width), TableSql(table).all_bits(),
             format_array(key_names)}));
        // Bit strings of one table all have the same length.
        MBSYNC_TRY(
            db.exec("UPDATE mbsync.change SET cols = cols || repeat('0', $2::int - length(cols))::varbit "
                    "WHERE tab = $1::int AND length(cols) < $2::int",
                    {std::to_string(table.id), std::to_string(table.width)}));
      }
    }
    return keep_decisions(db, schema, self);
  };
  if (auto done = run(); !done) {
    db.rollback();
    return done.error().in("registering tables");
  }
  return db.commit();
}

// A partition that was attached with its rows, or a table that was built anew under its name: nobody knows when they
// were written, as with rows that were there before mbsync. Those that have a write are known.
std::string capture_unseen(const Table& table, const std::string& relation) {
  return fmt::format(
      "INSERT INTO mbsync.capture (tab, op, key, at) SELECT {0}, 'I', k.key, '-infinity' FROM (SELECT {1} COLLATE "
      "\"C\" "
      "AS key FROM {2} t) k WHERE NOT EXISTS (SELECT FROM mbsync.change c WHERE c.tab = {0} AND {3});\n",
      table.id, TableSql(table).key_text("t"), relation, has_key("c", "k.key"));
}

Result<CaptureReport> install_capture(PgConnection& db, Schema& schema) {
  const auto existing = existing_triggers(db);
  MBSYNC_TRY(existing);
  MBSYNC_TRY(schema.rules->read(db));
  const auto policy = policy_in_force(db);
  MBSYNC_TRY(policy);
  CaptureReport report;
  report.policy = *policy;
  for (auto& table : schema.tables) {
    const auto* rules = schema.rules->find(*policy, table);
    const auto functions = functions_sql(table, rules == nullptr ? ColumnSet() : rules->sums());
    const auto fingerprint = fingerprint_of(functions);

    // TRUNCATE of a partitioned table fires the triggers of each partition, which hold the rows.
    std::vector<Trigger> missing;
    std::string unseen;  // captures what has been written where nothing captured it
    const auto want = [&](const std::string& relation, bool holds_rows) {
      static constexpr const char* kEvents[] = {"insert", "update", "delete", "truncate"};
      const auto place = existing->find(relation);
      for (int event = 0; event < 4; ++event) {
        if (event == 3 && !holds_rows) {
          continue;
        }
        const auto function = fmt::format("capture_{}_{}", table.id, kEvents[event]);
        const auto entry = fmt::format("{}/{}", kTriggerNames[event], function);
        if (place == existing->end() ||
            std::find(place->second.begin(), place->second.end(), entry) == place->second.end()) {
          missing.push_back(Trigger{relation, event, function});
          unseen += event == 0 && holds_rows && table.adopted ? capture_unseen(table, relation) : "";
        }
      }
    };
    const auto name = db.exec("SELECT quote_ident($1) || '.' || quote_ident($2)", {table.schema, table.name});
    MBSYNC_TRY(name);
    want((*name)[0][0].c_str(), !table.partitioned);
    for (const auto& partition : table.partitions) {
      want(partition, true);
    }
    if (missing.empty() && table.fingerprint == fingerprint) {
      continue;
    }

    MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
    std::string sql = fmt::format("SET LOCAL lock_timeout = '{}';\n", kTriggerLockTimeout) + functions;
    for (const auto& trigger : missing) {
      sql += trigger_sql(trigger);
    }
    sql += unseen;
    sql += fmt::format("UPDATE mbsync.synced_table SET fingerprint = '{}' WHERE id = {};", fingerprint, table.id);
    if (auto done = db.exec(sql); !done) {
      db.rollback();
      if (done.error().kind == ErrorKind::kTransient && !db.broken()) {
        report.waiting.push_back(table.display());
        continue;
      }
      return done.error().in(fmt::format("triggers of table {}", table.display()));
    }
    MBSYNC_TRY(db.commit());
    table.fingerprint = fingerprint;
    report.installed += table.internal ? 0 : 1;
  }
  return report;
}

Result<std::int64_t> adopt_rows(PgConnection& db, Schema& schema, NodeId self) {
  std::int64_t rows = 0;
  for (auto& table : schema.tables) {
    if (table.adopted || table.fingerprint.empty()) {
      continue;
    }
    const TableSql sql(table);
    MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
    const auto run = [&]() -> Result<std::int64_t> {
      MBSYNC_TRY(db.exec(fmt::format("SET LOCAL lock_timeout = '{}'", kTriggerLockTimeout)));
      if (table.rekeyed) {  // by functions that were still the old ones
        MBSYNC_TRY(db.exec(fmt::format("DELETE FROM mbsync.capture WHERE tab = {}", table.id)));
      }
      const auto counter = next_counter(db, self);
      MBSYNC_TRY(counter);
      const auto adopted = db.exec(
          fmt::format("INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted) "
                      "SELECT {0}, k.key, {1}, {2}, '-infinity', B'{3}', false FROM (SELECT {4} AS key FROM {5} t) k "
                      "WHERE NOT EXISTS (SELECT FROM mbsync.change c WHERE c.tab = {0} AND {6})",
                      table.id, self.value, *counter, sql.all_bits(), sql.key_text("t"), table.quoted(),
                      has_key("c", "k.key COLLATE \"C\"")));
      MBSYNC_TRY(adopted);
      MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.synced_table SET adopted = true WHERE id = {}", table.id)));
      return static_cast<std::int64_t>(adopted->affected_rows());
    };
    auto adopted = run();
    if (!adopted) {
      db.rollback();
      if (adopted.error().kind == ErrorKind::kTransient && !db.broken()) {
        continue;  // the application holds the table as a whole; its rows are taken in at the next look
      }
      return adopted.error().in(fmt::format("taking in the rows of table {}", table.display()));
    }
    MBSYNC_TRY(db.commit());
    table.adopted = true;
    rows += *adopted;
  }
  return rows;
}

}  // namespace mbsync
