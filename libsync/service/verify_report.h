// What came of a comparison of rows with other members, and how it is told. Plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "verdict_note.h"
#include "verify_table.h"

namespace mbsync {

/// What is to be compared.
struct VerifyOrder {
  std::vector<std::string> peers{};          ///< ids or names; empty: all members
  std::vector<std::string> tables{};         ///< globs over schema.table; empty: all
  bool repair = false;                       ///< what differs is given to the rules
  std::optional<std::int64_t> rows_per_s{};  ///< 0: as fast as it goes; nothing: as the configuration says
};

struct PeerVerdict {
  Member peer;
  std::string address{};           ///< at which it was reached
  std::optional<Error> failure{};  ///< it could not be compared with, or not to the end
  std::vector<TableVerdict> tables{};
  std::int64_t repaired = 0;                  ///< rows that were given to the rules
  std::vector<std::string> repair_trouble{};  ///< what could not be, and why; no contents of rows

  [[nodiscard]] std::int64_t rows() const;          ///< that were compared
  [[nodiscard]] std::int64_t differences() const;   ///< rows that differ
  [[nodiscard]] std::int64_t undecided() const;     ///< rows that were left
  [[nodiscard]] std::int64_t not_compared() const;  ///< tables
  /// All was compared, and is the same.
  [[nodiscard]] bool equal() const;
};

/// One run, with every member that was asked for.
struct VerifyReport {
  std::uint64_t id = 0;
  bool scheduled = false;  ///< nobody has asked for it
  std::string begun_at{};
  std::string finished_at{};
  std::optional<Error> failure{};  ///< of the run as a whole
  std::vector<PeerVerdict> peers{};
  /// "equal", "different", or "incomplete": nothing is known to differ, and not all was compared.
  [[nodiscard]] std::string_view result() const;
};

nlohmann::ordered_json to_json(const TableVerdict& verdict);
nlohmann::ordered_json to_json(const VerifyReport& report);
/// As it is kept.
TableNote note_of(const TableVerdict& verdict);

}  // namespace mbsync
