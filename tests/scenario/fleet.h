// A fleet as it runs at a user's: real mbsync processes beside real PostgreSQL databases, and links that can be cut.
// Everything goes with the object; if the test fails, the ends of the nodes' logs are printed first. One thread at a
// time.
//
//   MBSYNC_PROGRAM=/path/to/mbsync   another program than the one built here, for example an installed one
//   MBSYNC_LONG=1                    the long forms of the tests
//   MBSYNC_SEED=n                    replays what a test with chance in it did
//   MBSYNC_KEEP=1                    leaves the nodes' logs, at level debug, and says where
#pragma once

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "child_process.h"
#include "link.h"
#include "sql_session.h"
#include "temp_cluster.h"

namespace mbsync::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What the issue allows between the signal and the end.
inline constexpr milliseconds kStopBound{5000};
/// Memory of a process whatever it carries.
inline constexpr std::size_t kResidentKibMax = std::size_t{200} * 1024;

bool long_form();
/// With a sanitizer everything is slower and larger: bounds of time and memory say nothing about the product then.
bool sanitized();

class Node {
 public:
  /// A database of its own in `cluster`, with `schema` run in it. Starts nothing.
  Node(TempCluster& cluster, std::string name, std::string database, std::filesystem::path directory,
       const std::string& schema);

  [[nodiscard]] TempCluster& cluster() { return cluster_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::uint16_t local_port() const { return local_port_; }
  [[nodiscard]] std::string url() const { return cluster_.url(database_); }
  [[nodiscard]] const std::string& database() const { return database_; }
  void execute(const std::string& sql) { cluster_.execute(database_, sql); }
  [[nodiscard]] std::string scalar(const std::string& sql) { return cluster_.scalar(database_, sql); }
  /// An application's connection.
  [[nodiscard]] SqlSession connect() const { return SqlSession{url()}; }

  void add_peer(std::uint16_t port) { peers_.push_back(port); }
  /// Added to, or in place of, what the node is given otherwise; an empty value takes it away.
  void set(const std::string& variable, const std::string& value);

  /// What stands in front of the program from the next start on: LanHost::launcher().
  void launch_by(std::vector<std::string> launcher) { launcher_ = std::move(launcher); }

  /// Starts `mbsync run` and returns at once.
  void start();
  /// start(), and waits until it listens. Throws if it ends before.
  void start_ready();
  void await_ready();
  /// Signals, and returns how long it took to end with exit code 0. Throws if it took more than `bound` or ended
  /// otherwise.
  milliseconds stop(int signal = SIGTERM, milliseconds bound = kStopBound);
  void kill9();
  void signal(int number);
  [[nodiscard]] bool running() { return process_ && process_->running(); }
  /// Exit code, or 128 + signal; nothing if it still runs after `timeout`.
  [[nodiscard]] std::optional<int> wait(milliseconds timeout);
  [[nodiscard]] std::size_t peak_resident_kib() { return process_ ? process_->peak_resident_kib() : 0; }
  /// The peak begins anew. Deriving the key takes 64 MiB at the start, which would hide what comes later.
  void forget_peak();

  /// What the process started last has written.
  [[nodiscard]] std::string log() const;
  [[nodiscard]] std::size_t count_in_log(std::string_view text) const;
  /// Throws with the log's end if `text` does not turn up (`times` times).
  void await_log(std::string_view text, milliseconds timeout = seconds{20}, std::size_t times = 1);
  [[nodiscard]] std::string log_end(std::size_t bytes_max = 4000) const;

 private:
  TempCluster& cluster_;
  std::string name_;
  std::string database_;
  std::filesystem::path directory_;
  std::filesystem::path log_file_;
  std::uint16_t port_;
  std::uint16_t local_port_;
  std::vector<std::uint16_t> peers_;
  std::vector<std::pair<std::string, std::string>> environment_;
  std::vector<std::string> launcher_;
  std::uintmax_t log_start_ = 0;
  std::optional<ChildProcess> process_;
};

class Fleet {
 public:
  /// Ends the program with 77 if there is no PostgreSQL here.
  Fleet();
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  /// One for all tests of the program, for those that leave the server alone.
  static TempCluster& shared_cluster();
  TempCluster& add_cluster(const TempClusterOptions& options = {});

  /// Of the fleet's own; goes with it.
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  Node& add_node(TempCluster& cluster, const std::string& name, const std::string& schema = "");
  /// Each is told the other's address, by way of the link.
  Link& connect(Node& a, Node& b);

  /// Waits until these nodes, just started, are ready and each has heard of all others.
  void await_met(const std::vector<Node*>& nodes);
  /// Waits until nothing is left to tell: all writes are sealed, everybody has them, and they are forgotten.
  void await_quiet(const std::vector<Node*>& nodes, milliseconds timeout = seconds{60});
  /// Waits until every table with a key has equal rows on all these nodes; how long that took. Throws when the time is
  /// up, with the tables that differ.
  milliseconds await_converged(const std::vector<Node*>& nodes, milliseconds timeout = seconds{30});

 private:
  std::filesystem::path directory_;
  std::vector<std::unique_ptr<TempCluster>> clusters_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

inline constexpr const char* kItemSchema = "CREATE TABLE item (id text PRIMARY KEY, note text, amount int)";

/// Two nodes with kItemSchema, "a" and "b", and a link that can be cut.
struct Pair {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", kItemSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kItemSchema);
  Link& link = fleet.connect(a, b);

  /// Returns once each has heard of the other.
  void start() {
    a.start();
    b.start();
    fleet.await_met({&a, &b});
  }
};

/// The path of mbsync and the environment without anything that a developer has set for it.
std::filesystem::path mbsync_program();
ChildOptions clean_options(std::vector<std::string> arguments,
                           std::vector<std::pair<std::string, std::string>> environment,
                           const std::filesystem::path& working_directory);

/// A registration key that mbsync takes.
inline constexpr const char* kFleetKey = "QX7T-2MKD-9VLC-4HWB-6ZRN-8PYJ";

/// Prints what a test has measured, as one line.
void report(const std::string& line);

/// The value below which this share of the samples lies; sorts them.
milliseconds::rep percentile_us(std::vector<std::chrono::microseconds>& samples, double share);

inline milliseconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
}

}  // namespace mbsync::test
