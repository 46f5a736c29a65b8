#include "sql_session.h"

#include <libpq-fe.h>

#include <charconv>
#include <cstring>

namespace mbsync::test {

struct SqlSession::Impl {
  explicit Impl(const std::string& url) : connection(PQconnectdb(url.c_str()), &PQfinish) {}
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection;
};

SqlSession::SqlSession(const std::string& url) : impl_(std::make_unique<Impl>(url)) {
  if (PQstatus(impl_->connection.get()) != CONNECTION_OK) {
    throw SqlError{PQerrorMessage(impl_->connection.get()), "", true};
  }
  // What matters is an error; a server that is being killed says more than a test's output should.
  PQsetNoticeProcessor(
      impl_->connection.get(), [](void*, const char*) {}, nullptr);
}

SqlSession::~SqlSession() = default;
SqlSession::SqlSession(SqlSession&&) noexcept = default;
SqlSession& SqlSession::operator=(SqlSession&&) noexcept = default;

SqlRows SqlSession::query(const std::string& sql) {
  PGconn* connection = impl_->connection.get();
  const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(connection, sql.c_str()), &PQclear};
  const auto status = PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
    throw SqlError{PQerrorMessage(connection) + ("in: " + sql.substr(0, 200)), state != nullptr ? state : "",
                   PQstatus(connection) != CONNECTION_OK};
  }
  SqlRows rows;
  const char* affected = PQcmdTuples(result.get());
  std::from_chars(affected, affected + std::strlen(affected), rows.affected);
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    auto& fields = rows.rows.emplace_back();
    for (int column = 0; column < PQnfields(result.get()); ++column) {
      fields.emplace_back(PQgetvalue(result.get(), row, column),
                          static_cast<std::size_t>(PQgetlength(result.get(), row, column)));
    }
  }
  return rows;
}

std::string SqlSession::scalar(const std::string& sql) {
  const SqlRows result = query(sql);
  return result.rows.empty() || result.rows[0].empty() ? std::string{} : result.rows[0][0];
}

}  // namespace mbsync::test
