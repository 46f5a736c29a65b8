// A node without a network: a database, its store, and pulls from other such nodes through the same sinks that the wire
// uses. Throws on any error, so that a test fails where it happens.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "pg_store.h"
#include "sql_session.h"
#include "temp_cluster.h"

namespace mbsync::test {

class PgNode {
 public:
  /// Creates the database and runs `schema` in it. The node starts with prepare(). With `role`, which must exist, the
  /// database and all in it belong to that role, and the node works with no more rights than it has.
  PgNode(TempCluster& cluster, std::string database, const std::string& schema, const std::string& role = "postgres");

  PrepareReport prepare();
  /// As a new process: nothing is known but what the database holds.
  PrepareReport restart();
  /// From the next restart() on.
  void choose_tables(TableChoice tables) { tables_ = std::move(tables); }
  /// Pulls from `other`; repeats while rows are locked.
  ApplyOutcome pull(PgNode& other);
  /// One pull, whose error is handed out.
  Result<ApplyOutcome> try_pull(PgNode& other);

  /// As on a new connection each time, for whatever `sql` sets is undone afterwards.
  void execute(const std::string& sql) { scalar(sql); }
  std::string scalar(const std::string& sql);
  [[nodiscard]] PgStore& store() { return *store_; }
  [[nodiscard]] const std::string& database() const { return database_; }
  [[nodiscard]] std::string url() const { return cluster_.url(database_); }
  /// All rows of a table in one text, for comparison.
  [[nodiscard]] std::string rows(const std::string& table);

 private:
  TempCluster& cluster_;
  std::string database_;
  std::string node_url_;  ///< with the role
  TableChoice tables_;
  std::unique_ptr<PgStore> store_;
  std::optional<SqlSession> application_;
  std::map<std::string, std::unique_ptr<PullSession>> pulls_;  ///< by the peer's database, as a running node has them
};

/// Everybody pulls from everybody, `rounds` times.
void exchange(std::initializer_list<PgNode*> nodes, int rounds = 2);

}  // namespace mbsync::test
