// What came of comparing rows with a member, as it is kept in the database. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "message.h"

namespace mbsync {

struct TableNote {
  std::string table;  ///< schema.table
  std::string state;  ///< "equal", "different", "undecided" or "not compared"
  std::string why{};
  std::int64_t rows = 0;
  std::int64_t changing = 0;
  std::int64_t waiting = 0;
  std::string differences = "[]";  ///< JSON: key, what, columns of each row
  std::int64_t differing = 0;      ///< how many these are
  std::string at{};                ///< ISO; filled in when it is read
};

/// Of one member, the latest of each table.
struct VerifyNote {
  Member peer;
  bool complete = false;      ///< when it is stored: all tables were compared, so that others are none any more
  std::string finished_at{};  ///< ISO: when all were compared last; empty: never
  double age_s = 0;           ///< since then
  std::vector<TableNote> tables{};

  struct Sums {
    std::int64_t rows = 0;  ///< that were compared
    std::int64_t different = 0;
    std::int64_t undecided = 0;  ///< rows that kept changing or waited
    std::int64_t tables_left = 0;
  };
  [[nodiscard]] Sums sums() const {
    Sums all;
    for (const auto& table : tables) {
      all.rows += table.rows;
      all.different += table.differing;
      all.undecided += table.changing + table.waiting;
      all.tables_left += table.why.empty() ? 0 : 1;
    }
    return all;
  }
};

}  // namespace mbsync
