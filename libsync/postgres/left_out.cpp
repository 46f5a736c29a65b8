#include "left_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "glob.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

constexpr const char* kSetting = "left_out";
// The application may be at work on the table; it is tried again at the next look.
constexpr const char* kLockTimeout = "SET LOCAL lock_timeout = '250ms'";

std::string text_of(const LeftOut& tables) {
  Json list = Json::array();
  for (const auto& [name, reason] : tables) {
    list.push_back({name.first, name.second, reason});
  }
  return list.dump();
}

Result<void> store(PgConnection& db, const LeftOut& tables) {
  MBSYNC_TRY(
      db.exec("INSERT INTO mbsync.settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
              {std::string(kSetting), text_of(tables)}));
  return {};
}

/// The application's tables, without partitions, which go with theirs.
Result<std::vector<std::pair<std::string, std::string>>> application_tables(PgConnection& db) {
  const auto rows = db.exec(
      "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN "
      "('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', "
      "'information_schema', 'mbsync') AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1, 2");
  MBSYNC_TRY(rows);
  std::vector<std::pair<std::string, std::string>> tables;
  for (const auto& row : *rows) {
    tables.emplace_back(row[0].c_str(), row[1].c_str());
  }
  return tables;
}

/// "" once the table has left; else why it has to stay for now. In the caller's transaction.
Result<std::string> leave(PgConnection& db, const std::string& schema, const std::string& table) {
  const auto known =
      db.exec("SELECT id FROM mbsync.synced_table WHERE schema_name = $1 AND table_name = $2", {schema, table});
  MBSYNC_TRY(known);
  if (known->empty()) {
    return std::string();  // it has never taken part
  }
  const auto id = std::string((*known)[0][0].c_str());
  const auto waiting = [&]() -> Result<std::string> {
    const auto writes = db.exec(
        "SELECT (SELECT count(*) FROM mbsync.capture WHERE tab = $1::int) + (SELECT count(*) FROM mbsync.change WHERE "
        "tab = $1::int)",
        {id});
    MBSYNC_TRY(writes);
    const auto count = (*writes)[0][0].as<std::int64_t>();
    return count == 0 ? "" : fmt::format("it has {} writes that not all members are known to have", count);
  };
  if (auto first = waiting(); !first || !first->empty()) {
    return first;  // without a lock on the table
  }
  MBSYNC_TRY(db.exec(kLockTimeout));
  const auto quoted = fmt::format("{}.{}", PgConnection::quote_name(schema), PgConnection::quote_name(table));
  // From here on nobody writes to it, so what is captured is all there is.
  if (const auto locked = db.exec(fmt::format("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", quoted)); !locked) {
    if (locked.error().kind == ErrorKind::kTransient && !db.broken()) {
      return std::string("an application transaction holds it");
    }
    return locked.error();
  }
  if (auto last = waiting(); !last || !last->empty()) {
    return last;
  }
  const auto triggers = db.exec(
      "SELECT t.tgname, n.nspname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN "
      "pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = "
      "p.pronamespace WHERE pn.nspname = 'mbsync' AND NOT t.tgisinternal AND p.proname LIKE 'capture\\_' || $1 || "
      "'\\_%'",
      {id});
  MBSYNC_TRY(triggers);
  for (const auto& row : *triggers) {
    MBSYNC_TRY(
        db.exec(fmt::format("DROP TRIGGER {} ON {}.{}", PgConnection::quote_name(row[0].c_str()),
                            PgConnection::quote_name(row[1].c_str()), PgConnection::quote_name(row[2].c_str()))));
  }
  MBSYNC_TRY(db.exec("DELETE FROM mbsync.counter WHERE tab = $1::int", {id}));
  MBSYNC_TRY(db.exec("UPDATE mbsync.synced_table SET adopted = false, fingerprint = '' WHERE id = $1::int", {id}));
  return std::string();
}

}  // namespace

Result<LeftOut> read_left_out(PgConnection& db) {
  LeftOut tables;
  const auto there = db.exec("SELECT to_regclass('mbsync.settings') IS NOT NULL");
  MBSYNC_TRY(there);
  if (!(*there)[0][0].as<bool>()) {
    return tables;
  }
  const auto value = db.exec("SELECT value FROM mbsync.settings WHERE name = $1", {std::string(kSetting)});
  MBSYNC_TRY(value);
  if (value->empty()) {
    return tables;
  }
  for (const auto& entry : Json::parse((*value)[0][0].c_str(), nullptr, false)) {
    if (entry.is_array() && entry.size() == 3) {
      tables.emplace(std::pair(entry[0].get<std::string>(), entry[1].get<std::string>()), entry[2].get<std::string>());
    }
  }
  return tables;
}

Result<LeftOutReport> update_left_out(PgConnection& db, const TableChoice& choice) {
  LeftOutReport report;
  const auto names = application_tables(db);
  MBSYNC_TRY(names);
  for (const auto* patterns : {&choice.in, &choice.except}) {
    for (const auto& pattern : *patterns) {
      if (pattern != "*" && std::none_of(names->begin(), names->end(), [&](const auto& name) {
            return table_glob_matches(pattern, name.first, name.second);
          })) {
        report.unmatched.push_back(pattern);
      }
    }
  }
  const auto before = read_left_out(db);
  MBSYNC_TRY(before);
  LeftOut now;
  LeftOut leaving;
  for (const auto& name : *names) {
    if (auto reason = why_left_out(choice, name.first, name.second)) {
      (before->contains(name) ? now : leaving).emplace(name, std::move(*reason));
    }
  }
  if (now != *before) {
    MBSYNC_TRY(store(db, now));
  }
  for (const auto& [name, reason] : leaving) {
    MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
    const auto stays = leave(db, name.first, name.second);
    if (!stays || !stays->empty()) {
      db.rollback();
      MBSYNC_TRY(stays);
      report.still_in.push_back(fmt::format("{}.{}: {}", name.first, name.second, *stays));
      continue;
    }
    now.emplace(name, reason);
    MBSYNC_TRY(store(db, now));
    MBSYNC_TRY(db.commit());
  }
  return report;
}

}  // namespace mbsync
