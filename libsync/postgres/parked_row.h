// A row that the database refuses (CONFLICTS.md C10, C21), as reports and status tell it.
#pragma once

#include <fmt/format.h>

#include <string>

namespace mbsync {

struct ParkedRow {
  std::string table;    ///< "public.a"
  std::string key;      ///< as in mbsync.change; the row's own contents, like `reason`, so not for the log
  std::string reason;   ///< what the database says
  std::string since{};  ///< ISO time; empty in a report of what has just happened

  /// "row 5 of table public.a: reason"
  [[nodiscard]] std::string text() const { return fmt::format("row {} of table {}: {}", key, table, reason); }
};

}  // namespace mbsync
