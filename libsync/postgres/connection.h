// One session with PostgreSQL, set up the same way whoever opens it: text forms pinned, nothing taken from the role's
// search path, no silent row filtering. Internal to this folder; other folders see named operations (pg_store.h).
//
// libpqxx runs statements and classifies errors; COPY goes through libpq itself, because it must be fed and drained in
// pieces smaller than a row (a row may be 100 MB). One thread at a time, except cancel().
#pragma once

#include <functional>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <string_view>
#include <vector>

#include "database_url.h"
#include "result.h"
#include "row_state.h"

namespace mbsync {

class PgConnection {
 public:
  /// `purpose` shows up in pg_stat_activity as "mbsync <purpose>". Errors: `transient` when the server is not there or
  /// still starting, `config` for a wrong password, database or right.
  /// `stop`: whether to give up; asked every few milliseconds while the server has not answered.
  static Result<std::unique_ptr<PgConnection>> open(const DatabaseUrl& url, std::string_view purpose,
                                                    const std::function<bool()>& stop = {});
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  /// One or more statements; the result is the last one's.
  Result<pqxx::result> exec(const std::string& sql);
  Result<pqxx::result> exec(const std::string& sql, const std::vector<Value>& params);
  Result<void> run(const std::string& sql);  ///< exec() where nobody asks for the result
  /// One statement that is run again and again in this session, always the same text: parsed and planned once. Only for
  /// statements whose plan is the right one however many rows there are.
  Result<pqxx::result> exec_cached(const std::string& sql);

  enum class Isolation { kReadCommitted, kRepeatableRead };
  Result<void> begin(Isolation isolation);
  /// `in_doubt` when the connection broke while committing.
  Result<void> commit();
  void rollback();  ///< harmless when no transaction is open
  [[nodiscard]] bool in_transaction() const;

  /// COPY ... TO STDOUT; `sink` gets one line (with its newline) a call.
  Result<void> copy_out(const std::string& sql, const std::function<Result<void>(std::string_view)>& sink);

  /// COPY ... FROM STDIN: begin, then data cut anywhere, then end. After an error the COPY is over.
  Result<void> copy_in_begin(const std::string& sql);
  Result<void> copy_in(std::string_view bytes);
  Result<std::int64_t> copy_in_end();  ///< rows
  void copy_in_abort();

  /// An empty temporary table of this session with these columns, made or emptied. Outside a transaction.
  /// `uncompressed`: columns whose large values pass through and are not worth the time.
  Result<void> ensure_temporary_table(const std::string& name, const std::string& definition,
                                      const std::vector<std::string>& uncompressed = {});
  /// Empties one, in or outside a transaction. Space that deleted rows took comes back now and then.
  Result<void> clear_temporary_table(const std::string& name);

  /// Ends what this session is doing, and with it the session. From any thread, also after the session is gone.
  class Stopper {
   public:
    virtual ~Stopper() = default;
    /// Every further statement fails with `cancelled`, and the server is asked to give up the one under way. Returns
    /// at once.
    virtual void give_up() noexcept = 0;
    /// For a server that does not answer: the connection is cut.
    virtual void cut() noexcept = 0;
  };
  [[nodiscard]] std::shared_ptr<Stopper> stopper() const;

  /// The search path that the application has: what role, database and DATABASE_URL say.
  [[nodiscard]] const std::string& application_search_path() const;

  [[nodiscard]] bool broken() const;
  /// Whether the latest exec() of plain SQL that failed did so because another row has the value of a unique key, or
  /// excludes this one.
  [[nodiscard]] bool clashed() const;
  /// The same, or for a foreign key.
  [[nodiscard]] bool refused_by_others() const;
  [[nodiscard]] std::string user() const;    ///< the role that this session belongs to
  [[nodiscard]] int server_version() const;  ///< 150020 for 15.20

  [[nodiscard]] std::string quote(std::string_view text) const;              ///< as a string literal
  [[nodiscard]] static std::string quote_name(std::string_view identifier);  ///< always in double quotes

 private:
  struct Impl;
  explicit PgConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
