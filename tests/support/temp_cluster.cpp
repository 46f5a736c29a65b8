#include "temp_cluster.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "free_port.h"
#include "wait_until.h"

namespace mbsync::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr seconds kInitdbTimeout{120};
constexpr seconds kStartTimeout{60};
constexpr seconds kStopTimeout{60};
constexpr int kPortAttempts = 5;
constexpr int kSkipped = 77;

bool has_server(const fs::path& directory) {
  return !directory.empty() && ::access((directory / "initdb").c_str(), X_OK) == 0 &&
         ::access((directory / "postgres").c_str(), X_OK) == 0;
}

std::string read_file(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

/// The server refuses to run as root.
std::optional<Account> unprivileged_account() {
  if (::geteuid() != 0) {
    return std::nullopt;
  }
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* entry = ::getpwnam(name); entry != nullptr) {
      return Account{entry->pw_uid, entry->pw_gid};
    }
  }
  throw std::runtime_error("PostgreSQL does not run as root, and there is neither an account 'postgres' nor 'nobody'");
}

/// Short, since the path of a Unix socket has room for 107 bytes.
fs::path fresh_directory() {
  constexpr std::size_t kBaseMax = 60;
  const char* base = std::getenv("TMPDIR");
  std::string path = base != nullptr && *base != '\0' && std::strlen(base) <= kBaseMax ? base : "/tmp";
  path += "/mbsync-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) {
    throw std::runtime_error(fmt::format("mkdtemp {}: {}", path, std::strerror(errno)));
  }
  return path;
}

/// Stops the server and removes the directory once the test program is gone, however it went. It is nobody's child, so
/// that whoever kills a test with all its children misses it.
int start_watcher(const fs::path& directory) {
  // The server is known by its working directory, so that a process number used again hits nobody else.
  static constexpr const char* kScript =
      "trap '' INT TERM HUP; read _; "
      "pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null); "
      "if [ -n \"$pid\" ] && [ \"$(readlink \"/proc/$pid/cwd\")\" = \"$1/data\" ]; then "
      "  kill -QUIT \"$pid\"; "
      "  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 \"$pid\" || break; sleep 0.2; done; "
      "fi; rm -rf \"$1\"";
  const std::string path = directory.string();
  const std::array<const char*, 6> argv{"sh", "-c", kScript, "sh", path.c_str(), nullptr};
  std::array<int, 2> pipe{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    if (::fork() != 0) {
      ::_exit(0);
    }
    ::dup2(pipe[0], STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    ::execv("/bin/sh", const_cast<char* const*>(argv.data()));
    ::_exit(1);
  }
  ::close(null);
  ::close(pipe[0]);
  if (child < 0) {
    ::close(pipe[1]);
    throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  }
  ::waitpid(child, nullptr, 0);
  return pipe[1];
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> result;
  std::istringstream pids{read_file(fmt::format("/proc/{0}/task/{0}/children", parent))};
  std::copy(std::istream_iterator<pid_t>{pids}, std::istream_iterator<pid_t>{}, std::back_inserter(result));
  return result;
}

std::string percent_encoded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using QueryResult = std::unique_ptr<PGresult, decltype(&PQclear)>;

QueryResult run_sql(const std::string& url, std::string_view sql) {
  const Connection connection{PQconnectdb(url.c_str()), &PQfinish};
  if (PQstatus(connection.get()) != CONNECTION_OK) {
    throw std::runtime_error(PQerrorMessage(connection.get()));
  }
  QueryResult result{PQexec(connection.get(), std::string{sql}.c_str()), &PQclear};
  if (const auto status = PQresultStatus(result.get()); status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    throw std::runtime_error(fmt::format("{}in: {}", PQerrorMessage(connection.get()), sql));
  }
  return result;
}

}  // namespace

fs::path find_postgres_bin() {
  if (const char* given = std::getenv("PGBIN"); given != nullptr && *given != '\0') {
    return has_server(given) ? fs::path{given} : fs::path{};
  }
  try {
    std::string directory = run_program("pg_config", {.arguments = {"--bindir"}}).out;
    directory.erase(directory.find_last_not_of('\n') + 1);
    if (has_server(directory)) {
      return directory;
    }
  } catch (const std::runtime_error&) {
    // Not installed: the places below remain.
  }
  fs::path newest;
  int newest_version = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator{"/usr/lib/postgresql", ignored}) {
    const std::string name = entry.path().filename().string();
    int version = 0;
    std::from_chars(name.data(), name.data() + name.size(), version);
    if (version > newest_version && has_server(entry.path() / "bin")) {
      newest_version = version;
      newest = entry.path() / "bin";
    }
  }
  if (!newest.empty()) {
    return newest;
  }
  const char* path = std::getenv("PATH");
  std::istringstream directories{path != nullptr ? path : ""};
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (has_server(directory)) {
      return directory;
    }
  }
  return {};
}

namespace {

/// "postgres (PostgreSQL) 15.18 (Debian ...)"
int major_of(const fs::path& program) {
  const auto said = run_program(program, {.arguments = {"--version"}}).out;
  const auto number = said.find_first_of("0123456789");
  int major = 0;
  if (number != std::string::npos) {
    std::from_chars(said.data() + number, said.data() + said.size(), major);
  }
  return major;
}

}  // namespace

int postgres_major() {
  const auto directory = find_postgres_bin();
  return directory.empty() ? 0 : major_of(directory / "postgres");
}

fs::path find_pg_dump() {
  const auto own = find_postgres_bin() / "pg_dump";
  if (fs::exists(own)) {
    return own;
  }
  try {
    return major_of("pg_dump") >= postgres_major() ? fs::path{"pg_dump"} : fs::path{};
  } catch (const std::runtime_error&) {
    return {};  // there is none
  }
}

std::optional<std::string> postgres_missing() {
  if (!find_postgres_bin().empty()) {
    return std::nullopt;
  }
  if (const char* given = std::getenv("PGBIN"); given != nullptr && *given != '\0') {
    return fmt::format("no initdb and postgres in PGBIN '{}'", given);
  }
  return "no PostgreSQL server is installed (packaging/install-dependencies installs one; PGBIN names another)";
}

void skip_without_postgres() {
  if (const auto reason = postgres_missing()) {
    std::printf("skipped: %s\n", reason->c_str());
    std::fflush(stdout);
    std::_Exit(kSkipped);
  }
}

TempCluster::TempCluster(const TempClusterOptions& options)
    : bin_dir_(options.bin_dir.empty() ? find_postgres_bin() : options.bin_dir),
      account_(unprivileged_account()),
      environment_(options.environment) {
  if (!has_server(bin_dir_)) {
    throw std::runtime_error(options.bin_dir.empty() ? *postgres_missing()
                                                     : "no initdb and postgres in " + bin_dir_.string());
  }
  directory_ = fresh_directory();
  try {
    watcher_ = start_watcher(directory_);
    initialise(options);
    start();
  } catch (...) {
    remove();
    throw;
  }
}

TempCluster::~TempCluster() {
  remove();
}

void TempCluster::initialise(const TempClusterOptions& options) {
  if (account_ && ::chown(directory_.c_str(), account_->user, account_->group) != 0) {
    throw std::runtime_error(fmt::format("chown {}: {}", directory_.string(), std::strerror(errno)));
  }
  fs::permissions(directory_, fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  const Finished initdb = run_program(bin_dir_ / "initdb",
                                      {.arguments = {"-D", data_directory().string(), "-U", "postgres", "-A", "trust",
                                                     "-E", "UTF8", "--locale=" + options.locale, "--no-sync"},
                                       .working_directory = directory_,
                                       .run_as = account_},
                                      kInitdbTimeout);
  if (initdb.exit_code != 0) {
    throw std::runtime_error(fmt::format("initdb ended with {}:\n{}{}", initdb.exit_code, initdb.out, initdb.err));
  }
  // Small, since several run at once on a developer's machine.
  add_conf("shared_buffers = 64MB");
  add_conf("listen_addresses = '127.0.0.1'");
  add_conf(fmt::format("unix_socket_directories = '{}'", directory_.string()));
  add_conf("log_line_prefix = '%m [%p] %d '");
  if (!options.fsync) {
    add_conf("fsync = off");
    add_conf("full_page_writes = off");
  }
  for (const auto& line : options.conf) {
    add_conf(line);
  }
}

void TempCluster::add_conf(std::string_view line) {
  std::ofstream{data_directory() / "postgresql.conf", std::ios::app} << line << '\n';
}

void TempCluster::start() {
  if (running()) {
    return;
  }
  if (port_ != 0) {  // clients know it: it must stay
    if (!try_start()) {
      throw std::runtime_error("PostgreSQL does not start; its log:\n" + log());
    }
    return;
  }
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    port_ = free_port();
    if (try_start()) {
      return;
    }
    if (log().find("Address already in use") == std::string::npos) {
      break;
    }
  }
  throw std::runtime_error("PostgreSQL does not start; its log:\n" + log());
}

bool TempCluster::try_start() {
  postmaster_.emplace(bin_dir_ / "postgres",
                      ChildOptions{.arguments = {"-D", data_directory().string(), "-p", std::to_string(port_)},
                                   .environment = environment_,
                                   .working_directory = directory_,
                                   .output_file = directory_ / "log",
                                   .run_as = account_});
  const std::string target = socket_url("postgres");
  const bool settled =
      wait_until(kStartTimeout, [&] { return !postmaster_->running() || PQping(target.c_str()) == PQPING_OK; });
  return settled && postmaster_->running();
}

void TempCluster::stop() {
  if (!running()) {
    return;
  }
  postmaster_->signal(SIGINT);
  if (!postmaster_->wait(kStopTimeout)) {
    const std::string text = log();
    kill9();
    throw std::runtime_error("PostgreSQL did not stop and was killed; its log:\n" + text);
  }
}

void TempCluster::kill9() {
  if (!running()) {
    return;
  }
  // The server's own processes would notice its death only after a while and keep its shared memory until then. Stopped
  // first, it cannot make further ones while they are listed.
  postmaster_->signal(SIGSTOP);
  const std::vector<pid_t> children = children_of(postmaster_->pid());
  postmaster_->kill();
  for (const pid_t child : children) {
    ::kill(child, SIGKILL);
  }
  const bool gone = wait_until(kStopTimeout, [&] {
    return std::all_of(children.begin(), children.end(), [](pid_t child) {
      const std::string stat = read_file(fmt::format("/proc/{}/stat", child));
      return stat.empty() || stat.find(") Z ") != std::string::npos;
    });
  });
  if (!gone) {
    throw std::runtime_error("processes of the killed PostgreSQL do not end");
  }
}

void TempCluster::restart() {
  stop();
  start();
}

bool TempCluster::running() {
  return postmaster_ && postmaster_->running();
}

pid_t TempCluster::postmaster_pid() const {
  return postmaster_ ? postmaster_->pid() : -1;
}

std::string TempCluster::log() const {
  return read_file(directory_ / "log");
}

void TempCluster::ask_password_of(std::string_view role) {
  // The first line that fits counts.
  const auto hba = data_directory() / "pg_hba.conf";
  const auto rules = read_file(hba);
  std::ofstream{hba} << fmt::format("host all {} 127.0.0.1/32 scram-sha-256\n", role) << rules;
  restart();
}

void TempCluster::create_database(std::string_view name) {
  std::string quoted;
  for (const char c : name) {
    quoted.append(c == '"' ? 2 : 1, c);
  }
  execute("postgres", fmt::format("CREATE DATABASE \"{}\"", quoted));
}

void TempCluster::execute(std::string_view database, std::string_view sql) {
  run_sql(socket_url(database), sql);
}

std::string TempCluster::scalar(std::string_view database, std::string_view sql) {
  const QueryResult result = run_sql(socket_url(database), sql);
  if (PQntuples(result.get()) == 0 || PQnfields(result.get()) == 0) {
    return {};
  }
  return PQgetvalue(result.get(), 0, 0);
}

std::string TempCluster::url(std::string_view database) const {
  return fmt::format("postgres://postgres@127.0.0.1:{}/{}", port_, percent_encoded(database));
}

std::string TempCluster::socket_url(std::string_view database) const {
  return fmt::format("postgres://postgres@/{}?host={}&port={}", percent_encoded(database), directory_.string(), port_);
}

void TempCluster::remove() noexcept {
  try {
    kill9();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "temporary cluster %s: %s\n", directory_.c_str(), error.what());
  }
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
  if (watcher_ >= 0) {
    ::close(watcher_);
    watcher_ = -1;
  }
}

}  // namespace mbsync::test
