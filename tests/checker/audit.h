// Questions to what a node shows, has on record and lets wait, where the model cannot tell what its rows must be:
// whether all that was written is accounted for, and whether what mbsync did by itself was right and had to be
// (libsync/core/CONFLICTS.md C9, C10, C15, C18 to C21). A wrong answer is a Failure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "lab.h"
#include "model.h"
#include "schema.h"

namespace mbsync::checker {

using Waiting = std::map<RowId, std::string>;

/// Whether a version of a row lives on under another key (C15).
bool is_kept_apart(const Recorded& one);

std::string text_of(const Schema& schema, const Rows& rows);
/// Throws where they differ.
void compare(const Schema& schema, std::size_t node, const Rows& found, const Rows& expected, const std::string& when);

/// A node at one moment.
struct Look {
  std::size_t node = 0;
  Rows rows{};
  std::vector<Recorded> record{};
  Waiting waiting{};  ///< with the reasons
};

class Audit {
 public:
  Audit(const Schema& schema, const Model& model) : schema_(schema), model_(model) {}

  /// Everything accounts for every write that the node has heard of, and what mbsync did by itself is what the rules
  /// say.
  void check(const Look& look);
  /// What mbsync has just written by itself into rows that were `before` as the writes of all others would have them:
  /// it changed something, and all that it changed is on record as it was.
  void check_mends(const Look& look, const Rows& before, const std::vector<Mend>& mends) const;
  /// Conflicts that this node was the first to find, just now: there was something to mend.
  void check_needed(const Look& look);
  /// What either side showed before a newcomer joined is shown or on record (C9).
  void check_overruled(const Look& look) const;
  /// Rows wait for a reason (C10, C21), and where the model knows it all, no others. `tried`: those that could not be
  /// written just now; `refused`: last characters of markers that the database does not take.
  void check_waiting(const Look& look, const std::set<RowId>& tried, const std::string& refused) const;

 private:
  void check_nothing_lost(const Look& look) const;
  void check_mending(const Look& look) const;
  void check_gave_way(const Look& look, const Recorded& winner, const Recorded& loser) const;
  void check_reference(const Look& look, const Recorded& one) const;

  [[nodiscard]] bool goes_along(const Table& table, std::size_t column) const;
  [[nodiscard]] bool has_action(std::size_t table, const std::string& column, const std::string& action) const;
  [[nodiscard]] bool clash(const Recorded& a, const Recorded& b) const;
  [[nodiscard]] bool clashes(const Look& look, const RowId& row, const Values& values) const;
  [[nodiscard]] bool leads_nowhere(const Look& look, const Recorded& child, const ForeignKey& reference) const;
  [[nodiscard]] bool is_held_up(const Look& look, const Rows& expected, std::size_t table, const Values& values) const;
  [[nodiscard]] bool is_referred_to(const Look& look, const RowId& row) const;
  [[noreturn]] void wrong(const Look& look, const Recorded& one, const std::string& what) const;

  const Schema& schema_;
  const Model& model_;
  std::set<std::string> known_{};  ///< conflicts, by id, that some node has had on record
};

}  // namespace mbsync::checker
