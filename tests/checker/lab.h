// The real thing: up to five nodes of mbsync on databases of one cluster. The databases stay, and so do the stores and
// their sessions; between two histories only what is in the tables is put back. One thread at a time.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "pg_store.h"
#include "schema.h"
#include "sql_session.h"
#include "temp_cluster.h"

namespace mbsync::checker {

/// Something that must not happen did; the text says what.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a conflict on record says of one of its versions.
struct Recorded {
  RowId about;  ///< the row whose conflict it is; `table` as in the schema
  RowId row;    ///< whose version it is: another one where two rows could not stand together
  std::size_t node = 0;
  std::int64_t at = 0;
  bool deleted = false;
  std::string kind;
  std::map<std::string, Value> values{};  ///< by column
  // Of the conflict:
  std::string id{};
  std::string existence{};  ///< the rule that decided whether the row exists, if one had to
  std::string digest{};     ///< MD5 of the key of the row that it is about
  struct Decision {
    std::string rule;
    Value value;
  };
  std::map<std::string, Decision> decisions{};  ///< by column, of those that this version has a value of
};

/// What has happened so far, to see that a run was worth it.
struct Counts {
  std::uint64_t taken = 0;    ///< transactions of the application
  std::uint64_t refused = 0;  ///< by a constraint
  std::uint64_t pulls = 0;
  std::uint64_t outdated = 0;  ///< answers that came too late
  std::uint64_t crashes = 0;
  std::uint64_t published = 0;                       ///< policies
  std::uint64_t cut = 0;                             ///< pulls whose connection was lost
  std::uint64_t cut_late = 0;                        ///< of these, after all was done
  std::uint64_t held = 0;                            ///< transactions that stayed open for some steps
  std::uint64_t waited = 0;                          ///< rows that had to wait: held, or refused by the database
  std::uint64_t joined = 0;                          ///< newcomers
  std::map<std::string, std::uint64_t> conflicts{};  ///< on record in the end, by kind and rule

  void add(const Counts& other);
  [[nodiscard]] std::string text() const;
};

class Lab {
 public:
  static constexpr std::size_t kNodesMax = 5;

  Lab(mbsync::test::TempCluster& cluster, const std::string& name);

  /// From now on the databases have this schema.
  void use(const Schema& schema);
  /// As if `nodes` nodes had always known each other, and had no writes but what is in `first_rows`, which all have and
  /// nobody remembers the origin of. Statements that are not taken are left out. With a `newcomer` the last node is one
  /// that has never met the others, and has `own_rows` from before mbsync; of two, neither has met the other, and
  /// the first one has `first_rows` in the same way.
  void reset(std::size_t nodes, const std::vector<std::string>& first_rows, bool newcomer,
             const std::vector<std::string>& own_rows);

  /// One transaction. False if the database did not take it. `rows_after` gets the rows after each statement.
  /// What is captured is given `at`, one microsecond later with each statement, in place of the real time.
  bool write(std::size_t node, const std::vector<std::string>& statements, std::int64_t at,
             std::vector<Rows>& rows_after);
  /// The same, but the transaction stays open until release(). One a node.
  bool hold(std::size_t node, const std::vector<std::string>& statements, std::int64_t at,
            std::vector<Rows>& rows_after);
  /// False if it was rolled back.
  bool release(std::size_t node, bool commit);
  /// From now on the database takes no rows of some tables (Table::refuses) whose marker ends with one of these digits.
  void refuse(std::size_t node, const std::string& digits);
  void ask(std::size_t node, std::size_t other);
  [[nodiscard]] bool has_answer(std::size_t node, std::size_t other) const;
  /// False if nothing was done: the answer was out of date, or has to wait as a whole for rows that are held.
  bool deliver(std::size_t node, std::size_t other);
  /// The same, but the connection is cut a moment after it has begun. Whether that was before or after COMMIT, the
  /// database tells.
  bool deliver_and_cut(std::size_t node, std::size_t other, std::chrono::microseconds after);
  void seal(std::size_t node);
  void forget(std::size_t node);
  /// As it comes from kPolicies, whose numbers are its serial numbers: a store keeps what it has read once.
  void publish(std::size_t node, std::size_t policy);
  /// Tries again what was set aside.
  void settle(std::size_t node);
  /// Has capture take counters for counters, or not any more, as the policy says by now. Returns the tables where it
  /// still does what it did.
  std::set<std::size_t> renew_capture(std::size_t node, bool counted);
  void crash(std::size_t node);
  /// Statements that neither triggers nor constraints see.
  void sabotage(std::size_t node, const std::string& sql);

  /// Where a node's own writes stand, to tell afterwards what mbsync has added to them by itself.
  struct Mark {
    std::int64_t counter = 0;
    bool captures = false;  ///< there are some that are no writes yet
  };
  Mark mark(std::size_t node);
  /// What mbsync has written by itself in the one thing that it has done since then.
  std::vector<Mend> mends(std::size_t node, const Mark& since);

  Rows rows(std::size_t node);
  /// One line each.
  std::vector<std::string> broken_constraints(std::size_t node);
  /// Rows whose news wait, with the reason.
  std::map<RowId, std::string> waiting(std::size_t node);
  std::vector<Recorded> record(std::size_t node);
  /// The whole record in one text, for comparison.
  std::string record_text(std::size_t node);
  void count_conflicts(std::size_t node);
  void count_newcomer() { ++counts_.joined; }
  [[nodiscard]] const Counts& counts() const { return counts_; }
  std::int64_t live_writes(std::size_t node);
  bool has_captures(std::size_t node);
  std::string vector_text(std::size_t node);

 private:
  struct Node {
    std::string database;
    std::unique_ptr<PgStore> store;
    std::unique_ptr<mbsync::test::SqlSession> application;
    std::unique_ptr<mbsync::test::SqlSession> holder;  ///< the application's other session
    bool holds = false;                                ///< it has a transaction that stays open
    bool counted = false;                              ///< capture takes counters for counters
    std::map<std::size_t, std::unique_ptr<PullSession>> pulls;
    std::set<std::size_t> answered;  ///< pulls that have an answer which is not applied
  };

  void start(Node& node);
  std::unique_ptr<mbsync::test::SqlSession> application_session(const Node& node);
  /// False, and rolled back, if the database takes a statement not.
  bool execute(mbsync::test::SqlSession& session, const std::vector<std::string>& statements, std::int64_t at,
               std::vector<Rows>& rows_after);
  /// What an application may meet; anything else is a failure.
  void check_refusal(const mbsync::test::SqlError& error);
  /// Rows that a database has before mbsync comes to it.
  void make_own_rows(Node& node, const std::vector<std::string>& rows);
  Rows to_rows(const mbsync::test::SqlRows& result) const;
  [[nodiscard]] std::size_t table_number(const std::string& name) const;

  mbsync::test::TempCluster& cluster_;
  std::vector<Node> nodes_;
  std::optional<Schema> schema_;
  std::string function_hash_;
  Counts counts_;
};

}  // namespace mbsync::checker
