// kill -9 of either mbsync, of the PostgreSQL backend that applies, and of PostgreSQL itself, while applications write
// on both nodes. The writers keep a ledger of what the database has acknowledged; in the end both nodes hold the same,
// and all that was acknowledged is there.
//
//   short: 4 kills, one of each kind.      MBSYNC_LONG=1: 30 kills.
//   MBSYNC_SEED=n draws the same kills and writes again; when they meet is up to the machine.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <map>
#include <set>
#include <thread>

#include "fleet.h"
#include "rng.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kSharedRows = 20;
constexpr int kWritersPerNode = 2;
constexpr seconds kReconnectBound{60};

// An own row is written by one writer alone and always comes with its detail; shared rows are written by all.
constexpr const char* kSchema = R"sql(
CREATE TABLE own (id text PRIMARY KEY, value text NOT NULL);
CREATE TABLE detail (id text PRIMARY KEY, own text NOT NULL REFERENCES own ON DELETE CASCADE);
CREATE TABLE shared (id int PRIMARY KEY, value text NOT NULL);
CREATE TABLE marker (id text PRIMARY KEY);
)sql";

using Content = std::optional<std::string>;  // nothing: there is no such row

struct SharedWrite {
  int row;
  std::string value;
  std::string overwritten;
  bool acknowledged;  // else the connection broke in COMMIT
};

/// One application: writes as fast as the database lets it, connects again when the server was gone.
class Writer {
 public:
  Writer(Node& node, std::string name, std::uint64_t seed, std::atomic<long>& acknowledged)
      : url_(node.url()), name_(std::move(name)), rng_(seed), acknowledged_(acknowledged), thread_([this] { run(); }) {}
  ~Writer() { finish(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void finish() {
    stop_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  // Only after finish():
  std::map<std::string, std::set<Content>> own;  ///< what each row may hold; more than one if a COMMIT got no answer
  std::vector<SharedWrite> shared;
  std::vector<std::string> complaints;

 private:
  void run() {
    try {
      while (!stop_) {
        if (!session_ && !connect()) {
          return;
        }
        try {
          write();
        } catch (const SqlError& error) {
          if (!error.connection_lost && !error.sqlstate.starts_with("57")) {
            complaints.push_back(name_ + ": " + error.what());  // mbsync must never make a write fail
          }
          session_.reset();
        }
      }
    } catch (const std::exception& error) {
      complaints.push_back(name_ + ": " + error.what());
    }
  }

  bool connect() {
    const bool connected = wait_until(
        kReconnectBound,
        [&] {
          try {
            session_.emplace(url_);
          } catch (const SqlError&) {
            return stop_.load();  // the server is on its way up
          }
          return true;
        },
        milliseconds{20});
    if (!connected) {
      complaints.push_back(name_ + ": the server does not come back");
    }
    return session_.has_value();
  }

  void write() {
    const auto dice = rng_.below(100);
    if (dice < 40 || mine_.empty()) {
      insert();
    } else if (dice < 65) {
      change(fmt::format("{}-value-{}", name_, ++number_));
    } else if (dice < 75) {
      change(std::nullopt);
    } else {
      write_shared();
    }
  }

  void insert() {
    const std::string id = fmt::format("{}-{}", name_, ++number_);
    const std::string value = fmt::format("{}-first-{}", name_, number_);
    auto& may_hold = own[id];
    may_hold = {std::nullopt, value};
    mine_.push_back(id);
    session_->execute(fmt::format(
        "WITH parent AS (INSERT INTO own VALUES ('{0}', '{1}')) INSERT INTO detail VALUES ('{0}', '{0}')", id, value));
    may_hold = {value};
    ++acknowledged_;
  }

  void change(const Content& value) {
    const auto index = rng_.below(mine_.size());
    const std::string id = mine_[index];
    if (!value) {
      mine_.erase(mine_.begin() + static_cast<std::ptrdiff_t>(index));
    }
    auto& may_hold = own[id];
    const auto before = may_hold;
    may_hold.insert(value);
    const auto affected =
        session_->execute(value ? fmt::format("UPDATE own SET value = '{}' WHERE id = '{}'", *value, id)
                                : fmt::format("DELETE FROM own WHERE id = '{}'", id));
    if (affected == 1) {
      may_hold = {value};
    } else if (before.contains(std::nullopt)) {
      may_hold = {std::nullopt};  // the insert that got no answer has not happened
    } else {
      complaints.push_back(fmt::format("{}: row {} is gone from the writer's own node", name_, id));
    }
    ++acknowledged_;
  }

  void write_shared() {
    const auto row = static_cast<int>(rng_.below(kSharedRows));
    const std::string value = fmt::format("{}-shared-{}", name_, ++number_);
    session_->execute("BEGIN");
    const std::string before = session_->scalar(fmt::format("SELECT value FROM shared WHERE id = {} FOR UPDATE", row));
    session_->execute(fmt::format("UPDATE shared SET value = '{}' WHERE id = {}", value, row));
    shared.push_back(SharedWrite{row, value, before, false});
    session_->execute("COMMIT");
    shared.back().acknowledged = true;
    ++acknowledged_;
  }

  const std::string url_;
  const std::string name_;
  Rng rng_;
  std::atomic<long>& acknowledged_;
  std::atomic<bool> stop_{false};
  std::optional<SqlSession> session_;
  std::vector<std::string> mine_;
  long number_ = 0;
  std::thread thread_;  // last: it uses the others
};

enum class Kill { kMbsync, kEndBackend, kKillBackend, kPostgres };
constexpr std::size_t kKinds = 4;

/// Like TempCluster::scalar, but waits for a server that is on its way up.
std::string patient_scalar(Node& node, const std::string& sql) {
  std::string result;
  std::string trouble;
  const bool answered = wait_until(seconds{60}, [&] {
    try {
      result = node.scalar(sql);
      return true;
    } catch (const std::runtime_error& error) {
      trouble = error.what();
      return false;
    }
  });
  if (!answered) {
    throw std::runtime_error("node " + node.name() + ": " + trouble);
  }
  return result;
}

/// A backend of mbsync, if there is one that is at work on a pull, and any other if that does not happen soon.
long backend_of_mbsync(Node& node) {
  const std::string sql = fmt::format(
      "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'mbsync%' ", node.database());
  std::string pid;
  const auto find = [&](milliseconds patience, const std::string& condition) {
    return wait_until(
        patience, [&] { return !(pid = patient_scalar(node, sql + condition)).empty(); }, milliseconds{1});
  };
  if (!find(seconds{2}, "AND application_name LIKE 'mbsync pull%' AND state <> 'idle' LIMIT 1") &&
      !find(seconds{20}, "LIMIT 1")) {
    throw std::runtime_error("mbsync of node " + node.name() + " does not connect to its database");
  }
  return std::stol(pid);
}

/// Rows written now on either side are soon on the other, whatever else goes on.
milliseconds exchange_markers(Node& a, Node& b, const std::string& id) {
  const auto started = Clock::now();
  const auto insert = [&](Node& node) {
    patient_scalar(node, fmt::format("INSERT INTO marker VALUES ('{} {}') ON CONFLICT DO NOTHING", node.name(), id));
  };
  const auto arrived = [&](Node& from, Node& to) {
    return patient_scalar(to, fmt::format("SELECT 1 FROM marker WHERE id = '{} {}'", from.name(), id)) == "1";
  };
  insert(a);
  insert(b);
  if (!wait_until(seconds{60}, [&] { return arrived(a, b) && arrived(b, a); })) {
    throw std::runtime_error("the nodes have not exchanged anything for a minute");
  }
  return since(started);
}

void strike(Kill kill, Node& node) {
  switch (kill) {
    case Kill::kMbsync:
      node.kill9();
      node.start();
      return;
    case Kill::kEndBackend:
      patient_scalar(node, fmt::format("SELECT pg_terminate_backend({})", backend_of_mbsync(node)));
      return;
    case Kill::kKillBackend:
      ::kill(static_cast<pid_t>(backend_of_mbsync(node)), SIGKILL);  // the server then ends all sessions and recovers
      return;
    case Kill::kPostgres:
      node.cluster().kill9();
      node.cluster().start();
      return;
  }
}

std::map<std::string, std::string> rows_of(Node& node, const std::string& table) {
  SqlSession session = node.connect();
  std::map<std::string, std::string> rows;
  for (const auto& row : session.query("SELECT id, value FROM " + table).rows) {
    rows[row[0]] = row[1];
  }
  return rows;
}

/// The first few are enough to look into.
void complain(std::vector<std::string>& complaints, const std::string& text) {
  constexpr std::size_t kMost = 20;
  if (complaints.size() < kMost) {
    complaints.push_back(text);
  }
}

}  // namespace

TEST_CASE("crash: after kills of anything at any moment all converges and no acknowledged write is missing") {
  const std::size_t kills = long_form() ? 30 : 4;
  const std::uint64_t seed = seed_from_environment();
  report(fmt::format("crash: MBSYNC_SEED={}", seed));
  Rng rng{seed};

  Fleet fleet;
  // With fsync and full pages, as in production: a killed server must find a log that it can recover from.
  TempCluster& cluster_a = fleet.add_cluster({.fsync = true});
  TempCluster& cluster_b = fleet.add_cluster({.fsync = true});
  Node& a = fleet.add_node(cluster_a, "a", kSchema);
  Node& b = fleet.add_node(cluster_b, "b", kSchema);
  fleet.connect(a, b);
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  a.execute(fmt::format("INSERT INTO shared SELECT i, 'initial ' || i FROM generate_series(0, {}) i", kSharedRows - 1));
  fleet.await_converged({&a, &b});

  std::atomic<long> acknowledged{0};
  std::vector<std::unique_ptr<Writer>> writers;
  for (Node* node : {&a, &b}) {
    for (int i = 0; i < kWritersPerNode; ++i) {
      writers.push_back(
          std::make_unique<Writer>(*node, fmt::format("{}{}", node->name(), i), rng.next(), acknowledged));
    }
  }

  std::vector<std::string> complaints;
  std::map<Kill, int> struck;
  milliseconds slowest{0};
  const auto first_kind = rng.below(kKinds);
  for (std::size_t i = 0; i < kills; ++i) {
    // Every kind turns up; otherwise moment and place are chance.
    const auto kind = static_cast<Kill>((first_kind + (long_form() && i >= kKinds ? rng.below(kKinds) : i)) % kKinds);
    Node& node = rng.below(2) == 0 ? a : b;
    // Mostly in the middle of the exchange, now and then while all is still reeling from the kill before.
    if (rng.below(4) != 0) {
      slowest = std::max(slowest, exchange_markers(a, b, std::to_string(i)));
    }
    const long target = acknowledged + static_cast<long>(rng.below(400));
    REQUIRE(wait_until(
        seconds{120}, [&] { return acknowledged >= target; }, milliseconds{1}));
    strike(kind, node);
    ++struck[kind];
    CHECK(a.running());
    CHECK(b.running());
    // A pull arrives whole or not at all, also when it was cut short.
    for (Node* side : {&a, &b}) {
      if (patient_scalar(
              *side, "SELECT count(*) FROM own o WHERE NOT EXISTS (SELECT FROM detail d WHERE d.own = o.id)") != "0") {
        complain(complaints, fmt::format("on {} a row stands without its detail after kill {}", side->name(), i + 1));
      }
    }
  }
  const long enough = acknowledged + 200;
  REQUIRE(wait_until(seconds{120}, [&] { return acknowledged >= enough; }));
  for (const auto& writer : writers) {
    writer->finish();
  }
  const auto ended = Clock::now();
  fleet.await_converged({&a, &b}, seconds{120});
  const auto settled = since(ended);

  std::size_t own_rows = 0;
  std::size_t in_doubt = 0;
  for (Node* node : {&a, &b}) {
    const auto rows = rows_of(*node, "own");
    for (const auto& writer : writers) {
      for (const auto& [id, may_hold] : writer->own) {
        const auto place = rows.find(id);
        const Content holds = place == rows.end() ? Content{} : Content{place->second};
        if (!may_hold.contains(holds)) {
          complain(complaints, fmt::format("{}: row {} is {}, acknowledged was {}", node->name(), id,
                                           holds.value_or("absent"), may_hold.begin()->value_or("its delete")));
        }
        own_rows += node == &a ? 1 : 0;
        in_doubt += node == &a && may_hold.size() > 1 ? 1 : 0;
      }
    }
  }

  const auto shown = rows_of(a, "shared");
  std::map<int, std::set<std::string>> overwritten;
  std::map<int, std::set<std::string>> kept;
  for (const auto& writer : writers) {
    for (const auto& write : writer->shared) {
      overwritten[write.row].insert(write.overwritten);
    }
    for (const auto& text : writer->complaints) {
      complain(complaints, text);
    }
  }
  for (Node* node : {&a, &b}) {
    SqlSession session = node->connect();
    for (const auto& row :
         session
             .query("SELECT key, l ->> 'value' FROM mbsync.conflict_value, jsonb_array_elements(losers) l "
                    "WHERE table_name = 'shared' AND column_name = 'value'")
             .rows) {
      kept[std::stoi(row[0])].insert(row[1]);
    }
  }
  std::size_t shared_writes = 0;
  std::size_t lost = 0;
  for (const auto& writer : writers) {
    for (const auto& write : writer->shared) {
      if (!write.acknowledged) {
        continue;
      }
      ++shared_writes;
      const bool loser = kept[write.row].contains(write.value);
      lost += loser ? 1 : 0;
      if (!loser && !overwritten[write.row].contains(write.value) &&
          shown.at(std::to_string(write.row)) != write.value) {
        complain(complaints, fmt::format("shared row {}: {} was acknowledged and is nowhere", write.row, write.value));
      }
    }
  }
  INFO(fmt::format("{} complaints (at most 20 are kept)", complaints.size()));
  for (const auto& text : complaints) {
    UNSCOPED_INFO(text);
  }
  CHECK(complaints.empty());
  report(fmt::format(
      "crash: {} kills (mbsync {}, backend ended {}, backend killed {}, PostgreSQL {}); {} writes acknowledged; {} own "
      "rows, {} of them in doubt; {} writes of shared rows, {} of them kept as losers; in step again at most {} ms "
      "after a kill, converged {} ms after the end",
      kills, struck[Kill::kMbsync], struck[Kill::kEndBackend], struck[Kill::kKillBackend], struck[Kill::kPostgres],
      acknowledged.load(), own_rows, in_doubt, shared_writes, lost, slowest.count(), settled.count()));
  // A server needs a moment to recover, a node that backs off at most five seconds more.
  if (!sanitized()) {
    CHECK(slowest < seconds{15});
  }
  a.stop();
  b.stop();
}
