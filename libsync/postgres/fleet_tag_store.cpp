#include "fleet_tag_store.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

constexpr const char* kPrefix = "fleet_tag ";

}  // namespace

Result<TagsByKey> read_fleet_tags(PgConnection& db) {
  const auto rows =
      db.exec("SELECT substr(name, length($1) + 1), value FROM mbsync.settings WHERE left(name, length($1)) = $1",
              {std::string(kPrefix)});
  MBSYNC_TRY(rows);
  TagsByKey tags;
  for (const auto& row : *rows) {
    tags.emplace(row[0].c_str(), row[1].c_str());
  }
  return tags;
}

Result<void> store_fleet_tags(PgConnection& db, const TagsByKey& tags) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto before = read_fleet_tags(db);
  MBSYNC_TRY(before);
  for (const auto& [key, tag] : *before) {
    if (!tags.contains(key)) {
      MBSYNC_TRY(db.exec("DELETE FROM mbsync.settings WHERE name = $1", {kPrefix + key}));
    }
  }
  for (const auto& [key, tag] : tags) {
    MBSYNC_TRY(
        db.exec("INSERT INTO mbsync.settings AS s (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET "
                "value = least(s.value COLLATE \"C\", excluded.value)",
                {kPrefix + key, tag}));
  }
  return db.commit();
}

}  // namespace mbsync
