// One open connection of an application, for what TempCluster::execute() with a connection a call cannot do:
// transactions, and measuring. One thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace mbsync::test {

class SqlError : public std::runtime_error {
 public:
  SqlError(const std::string& message, std::string state, bool lost)
      : std::runtime_error(message), sqlstate(std::move(state)), connection_lost(lost) {}

  std::string sqlstate;
  bool connection_lost = false;  ///< then nobody has said whether the statement was carried out
};

struct SqlRows {
  std::vector<std::vector<std::string>> rows;  ///< NULL reads as ""
  std::size_t affected = 0;
};

class SqlSession {
 public:
  /// Throws SqlError if the server is not there.
  explicit SqlSession(const std::string& url);
  ~SqlSession();
  SqlSession(SqlSession&&) noexcept;
  SqlSession& operator=(SqlSession&&) noexcept;

  /// Any number of statements; the last one's result. Throws SqlError.
  SqlRows query(const std::string& sql);
  /// Rows affected.
  std::size_t execute(const std::string& sql) { return query(sql).affected; }
  /// First column of the first row; "" for NULL or no row.
  std::string scalar(const std::string& sql);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync::test
