// A PostgreSQL cluster of the test's own, in a fresh temporary directory: reached over a Unix socket in that directory
// and over 127.0.0.1, superuser `postgres`, no password. Everything goes with the object, and if the test itself is
// killed, a watcher outside of it stops the server and removes the directory. One thread at a time may use an object.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "child_process.h"

namespace mbsync::test {

struct TempClusterOptions {
  std::vector<std::string> conf{};  ///< further lines of postgresql.conf: "max_connections = 20"
  bool fsync = false;               ///< only a crash of the whole machine can tell the difference
  std::filesystem::path bin_dir{};  ///< where initdb and postgres are; empty: looked for
  std::string locale = "C.UTF-8";
  std::vector<std::pair<std::string, std::string>> environment{};  ///< of the server
};

/// PGBIN, else the newest server that pg_config, Debian's directories or PATH lead to. Empty if there is none.
std::filesystem::path find_postgres_bin();

/// Major version of that server; 0 if there is none.
int postgres_major();
/// A pg_dump that reads it: its own, else one of PATH that is no older. Empty if there is none.
std::filesystem::path find_pg_dump();

/// Why no cluster can be made here; nothing if it can.
std::optional<std::string> postgres_missing();

/// For test programs that are nothing without a server: prints "skipped: why" and ends the program with 77 if there is
/// none.
void skip_without_postgres();

class TempCluster {
 public:
  /// Makes the cluster and starts it. Throws std::runtime_error with the server's own words if that fails.
  explicit TempCluster(const TempClusterOptions& options = {});
  TempCluster(const TempCluster&) = delete;
  TempCluster& operator=(const TempCluster&) = delete;
  ~TempCluster();

  /// Returns once the server accepts connections.
  void start();
  /// Fast shutdown: sessions are ended, everything is written. Returns once the server is gone.
  void stop();
  /// SIGKILL to the server and all its processes at once, as a power cut would; start() then recovers.
  void kill9();
  void restart();
  [[nodiscard]] bool running();

  /// Takes effect with the next start.
  void add_conf(std::string_view line);

  /// Lets this role in with its password alone, from now on. Restarts the server.
  void ask_password_of(std::string_view role);
  void create_database(std::string_view name);
  /// Any number of statements, as superuser. Throws std::runtime_error with the server's message.
  void execute(std::string_view database, std::string_view sql);
  /// First column of the first row as text; "" for NULL or no row.
  [[nodiscard]] std::string scalar(std::string_view database, std::string_view sql);

  /// postgres://postgres@127.0.0.1:PORT/DATABASE
  [[nodiscard]] std::string url(std::string_view database) const;
  /// postgres://postgres@/DATABASE?host=DIRECTORY&port=PORT
  [[nodiscard]] std::string socket_url(std::string_view database) const;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  [[nodiscard]] std::filesystem::path data_directory() const { return directory_ / "data"; }
  [[nodiscard]] const std::filesystem::path& bin_dir() const { return bin_dir_; }
  [[nodiscard]] pid_t postmaster_pid() const;
  /// What the server has logged so far.
  [[nodiscard]] std::string log() const;

 private:
  void initialise(const TempClusterOptions& options);
  bool try_start();
  void remove() noexcept;

  std::filesystem::path bin_dir_;
  std::filesystem::path directory_;
  std::optional<Account> account_;
  std::vector<std::pair<std::string, std::string>> environment_;
  std::uint16_t port_ = 0;
  int watcher_ = -1;  ///< the watcher acts when the last copy of this end of its pipe is closed
  std::optional<ChildProcess> postmaster_;
};

}  // namespace mbsync::test
