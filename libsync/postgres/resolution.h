// Conflicts as a person meets them: which there are, what one is about, and the decision. Public beside pg_store.h, for
// commands that work while a node runs: nothing is claimed, and no lock is held between two calls.
//
// A decision is an ordinary write of the application's row, which is captured and travels like any other, in one
// transaction with the update of mbsync.conflict_record; also one that leaves the row as it is. So two people who
// decide one conflict on two nodes make a conflict like any other, the later decision stands, and both rows converge.
//
// Errors of decisions: `not_found` (no such conflict), `rejected` (the row is not what it was, or the request does not
// fit the conflict), `conflict` (a constraint of the database says no), `transient` (somebody holds the row; the
// database went away). After any error nothing is changed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "database_url.h"
#include "result.h"
#include "row_state.h"

namespace mbsync {

/// Column values in the table's order, in PostgreSQL's text form under mbsync's settings.
using NamedValues = std::vector<std::pair<std::string, Value>>;

enum class ConflictState {
  kOpen,      ///< a person must decide
  kDecided,   ///< the rules have decided, and nobody since
  kResolved,  ///< a person has decided
};
std::string_view to_string(ConflictState state);

/// Which conflicts; what is empty does not restrict.
struct ConflictFilter {
  std::vector<ConflictState> states;  ///< empty: all
  std::string table;                  ///< "Order*" or "public.Order": * and ? are wild
  std::string key;                    ///< as text, the record text of a composite key
  std::string node;                   ///< name or id of one who wrote a version
  std::string rule;                   ///< that decided on a column, or on the row's existence
  std::string kind;                   ///< as in ConflictSummary
  std::string since;  ///< recorded here since: a time as PostgreSQL reads it, or "90m", "24h", "7d", "2w" ago
  std::optional<std::size_t> limit;
};

struct ConflictSummary {
  std::string id;
  std::string kind;  ///< values, existence, unique, reference, newcomer
  std::string schema;
  std::string table;
  std::string key;
  std::vector<std::string> columns;  ///< that differ; none where only the row's existence is at stake
  std::vector<std::string> nodes;    ///< names of those who wrote the versions
  std::vector<std::string> rules;
  std::string at;           ///< ISO, of the latest version; empty if nobody knows
  std::string recorded_at;  ///< ISO, when this node heard of it
  ConflictState state = ConflictState::kDecided;
  nlohmann::json resolution;  ///< null, or as mbsync.conflict_record has it
  /// The decisions that are nested in `resolution`, in the order in which they were made. They point into it.
  [[nodiscard]] std::vector<const nlohmann::json*> decisions() const;
  /// Changes with every decision: compared, it tells that somebody has decided meanwhile.
  [[nodiscard]] std::string stamp() const { return resolution.dump(); }
};

struct ConflictCounts {
  std::int64_t open = 0;
  std::int64_t decided = 0;   ///< by rules; above ten thousand, lines that a wider one supersedes are counted as well
  std::int64_t resolved = 0;  ///< by people
};

struct ConflictList {
  std::vector<ConflictSummary> conflicts;  ///< the latest first
  bool more = false;                       ///< the limit left some out
  ConflictCounts counts;                   ///< of all there are, whatever the filter
};

struct ConflictVersionSeen {
  int version = 0;
  std::string node;  ///< the id in hexadecimal, or "fleet"
  std::string name;  ///< the node's, or its id if it is unknown here
  std::int64_t counter = 0;
  std::string at;  ///< ISO, or empty
  bool deleted = false;
  std::string key;  ///< of its row, where the versions are of several rows; else empty
  std::map<std::string, Value> values;
};

struct ConflictOutcome {
  bool exists = true;
  std::string rule;  ///< what decided on that; empty if it was not in question
  std::optional<int> version;
  struct Decided {
    std::string rule;
    std::optional<int> version;  ///< nothing: computed
    Value value;                 ///< of that version, or what was computed
    std::string note;            ///< why the rule did not decide as it says; mostly empty
  };
  std::map<std::string, Decided> columns;
};

struct Conflict {
  ConflictSummary summary;
  std::vector<ConflictVersionSeen> versions;
  ConflictOutcome outcome;
  [[nodiscard]] const ConflictVersionSeen* find(int version) const;
};

/// The application's row as it is.
struct RowNow {
  std::string unreadable;  ///< why it cannot be looked at (its table takes no part any more); else empty
  bool exists = false;
  NamedValues values;
  bool operator==(const RowNow&) const = default;
};

struct LaterWrite {
  std::string node;
  std::string name;
  std::optional<std::int64_t> counter;  ///< nothing: captured and not sealed yet
  std::string at;
  std::vector<std::string> columns;  ///< that it wrote; none if it deleted the row
  bool deleted = false;
};

struct ConflictDetails {
  Conflict conflict;
  RowNow row;
  std::vector<LaterWrite> writes;          ///< live writes of the row that are not among the versions
  std::vector<ConflictSummary> conflicts;  ///< later ones of the row
};

struct Decision {
  enum class How { kAccept, kKeep, kSet, kUndo };
  How how = How::kAccept;
  /// kKeep: the version, or the name or id of the node whose version it is (if it has only one).
  std::optional<int> version;
  std::string node;
  NamedValues values;  ///< kSet
  bool force = false;  ///< also if the row is not what the conflict left
  /// The row as it was shown to the person who decides: then that is what it must still be, in the columns concerned.
  std::optional<RowNow> shown;
  /// ConflictSummary::stamp() as it was shown: `rejected` if somebody has decided meanwhile.
  std::optional<std::string> stamp;
};
std::string_view to_string(Decision::How how);

struct DecisionReport {
  std::string id;
  std::string table;
  std::string key;
  std::string how;
  std::string row;  ///< updated, inserted, deleted, unchanged
  struct Change {
    std::string column;
    Value from;
    Value to;
  };
  std::vector<Change> changed;
  std::vector<std::string> notes;  ///< what a person should know beside it
};

/// One session with the database. One thread.
class ConflictDesk {
 public:
  /// Errors as PgConnection::open() has them; `not_found` without a schema mbsync.
  /// `stop`: whether to give up while the server has not answered.
  static Result<std::unique_ptr<ConflictDesk>> open(const DatabaseUrl& url, const std::function<bool()>& stop = {});
  ~ConflictDesk();
  ConflictDesk(const ConflictDesk&) = delete;
  ConflictDesk& operator=(const ConflictDesk&) = delete;

  Result<ConflictList> list(const ConflictFilter& filter);
  /// The whole id from one or its beginning, at least four hexadecimal digits. `rejected` if several begin so.
  Result<std::string> find(const std::string& beginning);
  Result<ConflictDetails> show(const std::string& id);
  Result<DecisionReport> decide(const std::string& id, const Decision& decision);

  /// From any thread: gives up what is under way, and from then on everything fails. Returns at once; `cut`: also if
  /// the database does not answer.
  void interrupt(bool cut);

 private:
  struct Impl;
  explicit ConflictDesk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
