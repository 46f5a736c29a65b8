#include "connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>

#include "error_map.h"
#include "lone_thread.h"

namespace mbsync {
namespace {

// Every type's output must read the same on every node, so what the role or the database sets is overridden.
constexpr const char* kSessionSettings =
    "SET client_encoding = 'UTF8';"
    "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';"
    "SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET xmloption = 'content';"
    "SET standard_conforming_strings = on; SET check_function_bodies = off;"
    "SET search_path = pg_catalog, pg_temp; SET row_security = off;"
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0;"
    "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;"
    "SET default_transaction_deferrable = off; SET client_min_messages = 'warning'; SET jit = off;"
    // Few rows at a time are the rule; bulk work turns these on for its transaction (see planner_for).
    "SET max_parallel_workers_per_gather = 0";

// A server that is gone without a word must not be waited for without end. What DATABASE_URL says comes after this and
// counts more.
constexpr const char* kConnectionDefaults =
    "connect_timeout=10 keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=60000";
constexpr std::chrono::milliseconds kLookForStop{20};

// PQconnectdb() can be neither interrupted nor, for several hosts, taken apart; so it has a thread of its own, which is
// left alone when nobody wants its connection any more. Nothing if `stop` was true.
PGconn* connect(const std::string& conninfo, const std::function<bool()>& stop) {
  struct Attempt {
    std::mutex mutex;
    std::condition_variable changed;
    PGconn* connection = nullptr;
    bool done = false;
    bool abandoned = false;
  };
  const auto attempt = std::make_shared<Attempt>();
  start_lone_thread([attempt, conninfo] {
    PGconn* connection = PQconnectdb(conninfo.c_str());
    const std::lock_guard lock(attempt->mutex);
    if (attempt->abandoned) {
      PQfinish(connection);
      return;
    }
    attempt->connection = connection;
    attempt->done = true;
    attempt->changed.notify_all();
  });
  std::unique_lock lock(attempt->mutex);
  while (!attempt->changed.wait_for(lock, kLookForStop, [&] { return attempt->done; })) {
    if (stop && stop()) {
      attempt->abandoned = true;
      return nullptr;
    }
  }
  return attempt->connection;
}

// libpqxx keeps its PGconn to itself; a connection policy is the documented way to see it being made.
class DirectPolicy : public pqxx::connect_direct {
 public:
  DirectPolicy(const std::string& conninfo, std::function<bool()> stop)
      : connect_direct(conninfo), stop_(std::move(stop)) {}
  handle do_startconnect(handle original) override {
    if (original != nullptr) {
      return original;
    }
    PGconn* connection = connect(options(), stop_);
    if (connection == nullptr) {
      throw pqxx::broken_connection("given up");
    }
    if (PQstatus(connection) != CONNECTION_OK) {
      const std::string message = PQerrorMessage(connection);
      PQfinish(connection);
      throw pqxx::broken_connection(message);
    }
    raw_ = connection;
    return raw_;
  }
  [[nodiscard]] PGconn* raw() const { return raw_; }

 private:
  std::function<bool()> stop_;
  PGconn* raw_ = nullptr;
};

class SessionStopper : public PgConnection::Stopper {
 public:
  explicit SessionStopper(PGconn* connection)
      : cancel_(PQgetCancel(connection), &PQfreeCancel), socket_(PQsocket(connection)) {}

  void give_up() noexcept override {
    given_up_ = true;
    request_cancel();
  }
  // PQcancel() waits for the server, however long that takes.
  void request_cancel() noexcept {
    try {
      start_lone_thread([cancel = cancel_] {
        char reason[256];
        PQcancel(cancel.get(), reason, sizeof reason);
      });
    } catch (const std::system_error&) {
      cut();  // not even a thread is to be had
    }
  }
  void cut() noexcept override {
    const std::lock_guard lock(mutex_);
    if (socket_ >= 0) {
      ::shutdown(socket_, SHUT_RDWR);
    }
  }
  // Before the socket is closed, whose number may then be somebody else's.
  void forget_socket() {
    const std::lock_guard lock(mutex_);
    socket_ = -1;
  }
  [[nodiscard]] bool given_up() const { return given_up_; }

 private:
  std::shared_ptr<PGcancel> cancel_;
  std::atomic<bool> given_up_{false};
  std::mutex mutex_;  // guards socket_
  int socket_;
};

Error given_up() {
  return Error{ErrorKind::kCancelled, "mbsync is stopping", ""};
}

// What libpq says of a log-in that waiting does not mend; it has no SQLSTATE, and these words have been the same for
// twenty years.
constexpr const char* kCheckUrl = "check DATABASE_URL";
constexpr const char* kCheckLogin = "check the user's name and the password in DATABASE_URL";

/// What no waiting helps against, and what does.
constexpr std::pair<const char*, const char*> kPermanent[] = {
    {"authentication failed", kCheckLogin},
    {"does not exist", "check the names in DATABASE_URL"},
    {"no pg_hba.conf entry",
     "on the database's machine let this user in from here: a line in pg_hba.conf, then SELECT pg_reload_conf()"},
    {"no password supplied", kCheckLogin},
    {"permission denied", kCheckUrl},
    {"server does not support SSL", kCheckUrl},
    {"SSL error: certificate", kCheckUrl},
    {"certificate verify failed", kCheckUrl},
    {"root certificate file", kCheckUrl},
    {"definition of service", kCheckUrl},
    {"invalid connection option", kCheckUrl},
    {"invalid integer value", kCheckUrl},
    {" value: \"", kCheckUrl}};
constexpr const char* kUnknownHost = "could not translate host name";

// Several addresses give several lines; the last one from a server that answered says most.
std::string telling_line(const std::string& text) {
  std::string chosen;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool answered = line.find("FATAL:") != std::string::npos;
    if (chosen.empty() || answered) {
      chosen = line;
    }
  }
  return chosen;
}

std::string error_text(PGconn* connection) {
  std::string text = PQerrorMessage(connection);
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

}  // namespace

struct PgConnection::Impl {
  Impl(const std::string& conninfo, std::function<bool()> stop)
      : policy(conninfo, std::move(stop)),
        connection(policy),
        session_stopper(std::make_shared<SessionStopper>(policy.raw())) {}
  ~Impl() { session_stopper->forget_socket(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  struct Session final : pqxx::connection_base {
    explicit Session(pqxx::connectionpolicy& p) : connection_base(p) { init(); }
    ~Session() { close(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };

  DirectPolicy policy;
  Session connection;
  std::shared_ptr<SessionStopper> session_stopper;
  std::unique_ptr<pqxx::nontransaction> session;

  std::map<std::string, std::string> temporary_tables;  // name to definition
  std::map<std::string, std::string> prepared;          // statement to name
  std::string search_path;                              // as the application has it
  std::string sqlstate;                                 // of the latest error

  [[nodiscard]] PGconn* raw() const { return policy.raw(); }
};

PgConnection::PgConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PgConnection::~PgConnection() = default;

Result<std::unique_ptr<PgConnection>> PgConnection::open(const DatabaseUrl& url, std::string_view purpose,
                                                         const std::function<bool()>& stop) {
  try {
    auto impl = std::make_unique<Impl>(
        fmt::format("{} {} fallback_application_name='mbsync {}'", kConnectionDefaults, url.to_conninfo(), purpose),
        stop);
    // A session that libpqxx opens again behind our back would lack the settings below.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    impl->connection.inhibit_reactivation(true);
#pragma GCC diagnostic pop
    impl->session = std::make_unique<pqxx::nontransaction>(impl->connection);
    std::unique_ptr<PgConnection> connection(new PgConnection(std::move(impl)));
    const auto path = connection->exec("SHOW search_path");
    MBSYNC_TRY(path);
    connection->impl_->search_path = (*path)[0][0].c_str();
    MBSYNC_TRY(connection->exec(kSessionSettings));
    return connection;
  } catch (const std::exception& failure) {
    const std::string text = failure.what();
    if (stop && stop()) {
      return given_up();
    }
    const auto line = telling_line(text);
    for (const auto& [sign, next] : kPermanent) {
      if (text.find(sign) != std::string::npos && text.find(".s.PGSQL") == std::string::npos) {
        return Error{ErrorKind::kConfig, fmt::format("database {}: {}", url.display, line), next, ErrorArea::kDatabase};
      }
    }
    const bool unknown_host = text.find(kUnknownHost) != std::string::npos;
    return Error{ErrorKind::kTransient, fmt::format("database {}: {}", url.display, line),
                 unknown_host
                     ? "check the host's name in DATABASE_URL; if it is right, this machine cannot look it up now"
                     : "is the PostgreSQL server running and reachable?",
                 ErrorArea::kDatabase};
  }
}

Result<pqxx::result> PgConnection::exec(const std::string& sql) {
  // A request to cancel that comes between two statements is lost, so each looks for itself.
  if (impl_->session_stopper->given_up()) {
    return given_up();
  }
  try {
    return impl_->session->exec(sql);
  } catch (...) {
    impl_->sqlstate = sqlstate_of_current_exception();
    return error_from_current_exception();
  }
}

Result<pqxx::result> PgConnection::exec(const std::string& sql, const std::vector<Value>& params) {
  if (impl_->session_stopper->given_up()) {
    return given_up();
  }
  try {
    std::vector<const char*> pointers;
    pointers.reserve(params.size());
    for (const auto& param : params) {
      pointers.push_back(param ? param->c_str() : nullptr);
    }
    return impl_->session->exec_params(sql, pqxx::prepare::make_dynamic_params(pointers));
  } catch (...) {
    return error_from_current_exception();
  }
}

Result<pqxx::result> PgConnection::exec_cached(const std::string& sql) {
  if (impl_->session_stopper->given_up()) {
    return given_up();
  }
  try {
    const auto [entry, fresh] = impl_->prepared.try_emplace(sql, fmt::format("mbsync_{}", impl_->prepared.size()));
    if (fresh) {
      impl_->connection.prepare(entry->second, sql);
    }
    return impl_->session->exec_prepared(entry->second);
  } catch (...) {
    return error_from_current_exception();
  }
}

Result<void> PgConnection::run(const std::string& sql) {
  MBSYNC_TRY(exec(sql));
  return {};
}

Result<void> PgConnection::begin(Isolation isolation) {
  const auto result = exec(isolation == Isolation::kRepeatableRead ? "BEGIN ISOLATION LEVEL REPEATABLE READ"
                                                                   : "BEGIN ISOLATION LEVEL READ COMMITTED");
  MBSYNC_TRY(result);
  return {};
}

Result<void> PgConnection::commit() {
  auto result = exec("COMMIT");
  if (result) {
    return {};
  }
  auto error = result.error();
  if (broken()) {
    error.kind = ErrorKind::kInDoubt;
  }
  return error;
}

void PgConnection::rollback() {
  if (!broken() && in_transaction()) {
    // A rollback fails only with its connection, which the next statement reports.
    (void)exec("ROLLBACK");
  }
}

bool PgConnection::in_transaction() const {
  return PQtransactionStatus(impl_->raw()) != PQTRANS_IDLE;
}

Result<void> PgConnection::copy_out(const std::string& sql, const std::function<Result<void>(std::string_view)>& sink) {
  if (impl_->session_stopper->given_up()) {
    return given_up();
  }
  PGconn* raw = impl_->raw();
  {
    const std::unique_ptr<PGresult, decltype(&PQclear)> start(PQexec(raw, sql.c_str()), &PQclear);
    if (PQresultStatus(start.get()) != PGRES_COPY_OUT) {
      const char* state = PQresultErrorField(start.get(), PG_DIAG_SQLSTATE);
      return error_from_sqlstate(state != nullptr ? state : "", error_text(raw));
    }
  }
  std::optional<Error> failure;
  char* buffer = nullptr;
  int bytes = 0;
  while ((bytes = PQgetCopyData(raw, &buffer, 0)) > 0) {
    if (!failure) {
      if (auto taken = sink(std::string_view(buffer, static_cast<std::size_t>(bytes))); !taken) {
        failure = taken.error();
        impl_->session_stopper->request_cancel();  // the rest would be read for nothing
      }
    }
    PQfreemem(buffer);
  }
  std::unique_ptr<PGresult, decltype(&PQclear)> end(PQgetResult(raw), &PQclear);
  const bool good = bytes == -1 && PQresultStatus(end.get()) == PGRES_COMMAND_OK;
  Error server_error;
  if (!good) {
    const char* state = PQresultErrorField(end.get(), PG_DIAG_SQLSTATE);
    server_error = error_from_sqlstate(state != nullptr ? state : "", error_text(raw));
  }
  while (end) {
    end.reset(PQgetResult(raw));
  }
  if (failure) {
    return *failure;
  }
  if (!good) {
    return server_error;
  }
  return {};
}

Result<void> PgConnection::copy_in_begin(const std::string& sql) {
  if (impl_->session_stopper->given_up()) {
    return given_up();
  }
  PGconn* raw = impl_->raw();
  const std::unique_ptr<PGresult, decltype(&PQclear)> start(PQexec(raw, sql.c_str()), &PQclear);
  if (PQresultStatus(start.get()) != PGRES_COPY_IN) {
    const char* state = PQresultErrorField(start.get(), PG_DIAG_SQLSTATE);
    return error_from_sqlstate(state != nullptr ? state : "", error_text(raw));
  }
  return {};
}

Result<void> PgConnection::copy_in(std::string_view bytes) {
  // libpq collects what the socket does not take at once; small pieces keep that collection small.
  constexpr std::size_t kPieceBytes = 64UL * 1024;
  while (!bytes.empty()) {
    const auto piece = bytes.substr(0, kPieceBytes);
    if (PQputCopyData(impl_->raw(), piece.data(), static_cast<int>(piece.size())) != 1) {
      return Error{ErrorKind::kTransient, error_text(impl_->raw()), "the database went away; mbsync connects again"};
    }
    bytes.remove_prefix(piece.size());
  }
  return {};
}

Result<std::int64_t> PgConnection::copy_in_end() {
  PGconn* raw = impl_->raw();
  if (PQputCopyEnd(raw, nullptr) != 1) {
    return Error{ErrorKind::kTransient, error_text(raw), "the database went away; mbsync connects again"};
  }
  std::unique_ptr<PGresult, decltype(&PQclear)> end(PQgetResult(raw), &PQclear);
  const bool good = PQresultStatus(end.get()) == PGRES_COMMAND_OK;
  const std::int64_t rows = good ? std::atoll(PQcmdTuples(end.get())) : 0;
  Error failure;
  if (!good) {
    const char* state = PQresultErrorField(end.get(), PG_DIAG_SQLSTATE);
    failure = error_from_sqlstate(state != nullptr ? state : "", error_text(raw));
  }
  while (end) {
    end.reset(PQgetResult(raw));
  }
  if (!good) {
    return failure;
  }
  return rows;
}

void PgConnection::copy_in_abort() {
  PGconn* raw = impl_->raw();
  PQputCopyEnd(raw, "given up by mbsync");
  std::unique_ptr<PGresult, decltype(&PQclear)> end(PQgetResult(raw), &PQclear);
  while (end) {
    end.reset(PQgetResult(raw));
  }
}

Result<void> PgConnection::ensure_temporary_table(const std::string& name, const std::string& definition,
                                                  const std::vector<std::string>& uncompressed) {
  const auto known = impl_->temporary_tables.find(name);
  if (known != impl_->temporary_tables.end() && known->second == definition) {
    return clear_temporary_table(name);
  }
  MBSYNC_TRY(exec(fmt::format("DROP TABLE IF EXISTS pg_temp.{0}; CREATE TEMPORARY TABLE {0} ({1})", name, definition)));
  for (const auto& column : uncompressed) {
    MBSYNC_TRY(exec(fmt::format("ALTER TABLE pg_temp.{} ALTER {} SET STORAGE EXTERNAL", name, column)));
  }
  impl_->temporary_tables[name] = definition;
  return {};
}

Result<void> PgConnection::clear_temporary_table(const std::string& name) {
  // TRUNCATE makes a new file each time; for the few rows of a usual pull DELETE is cheaper, until pages pile up, for
  // nobody vacuums a temporary table.
  const auto pages = exec_cached(fmt::format("SELECT pg_relation_size('pg_temp.{}') > 256 * 1024", name));
  MBSYNC_TRY(pages);
  if ((*pages)[0][0].as<bool>()) {
    return run(fmt::format("TRUNCATE pg_temp.{}", name));
  }
  MBSYNC_TRY(exec_cached(fmt::format("DELETE FROM pg_temp.{}", name)));
  return {};
}

std::shared_ptr<PgConnection::Stopper> PgConnection::stopper() const {
  return impl_->session_stopper;
}

const std::string& PgConnection::application_search_path() const {
  return impl_->search_path;
}

bool PgConnection::clashed() const {
  return impl_->sqlstate == "23505" || impl_->sqlstate == "23P01";
}

bool PgConnection::refused_by_others() const {
  return clashed() || impl_->sqlstate == "23503";
}

bool PgConnection::broken() const {
  return PQstatus(impl_->raw()) != CONNECTION_OK;
}

std::string PgConnection::user() const {
  const char* name = PQuser(impl_->raw());
  return name == nullptr ? "" : name;
}

int PgConnection::server_version() const {
  return PQserverVersion(impl_->raw());
}

std::string PgConnection::quote(std::string_view text) const {
  return impl_->session->quote(std::string(text));
}

std::string PgConnection::quote_name(std::string_view identifier) {
  std::string quoted = "\"";
  for (const char c : identifier) {
    quoted += c;
    if (c == '"') {
      quoted += '"';
    }
  }
  quoted += '"';
  return quoted;
}

}  // namespace mbsync
