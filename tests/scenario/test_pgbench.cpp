// pgbench's built-in TPC-B on two nodes at once, with the link cut twice in between. Tellers and branches are so few
// that nearly every write of one node meets one of the other. Afterwards both hold the same, and no balance that
// anybody has ever written has vanished: a ledger that pgbench's writes fill by a trigger of the test's own says what
// there was.
//
//   short: scale 1, 10 seconds.      MBSYNC_LONG=1: scale 10, 60 seconds.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <set>

#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

// The trigger is an ordinary one: it fires for the application's writes and not for those of mbsync, which applies with
// session_replication_role = replica. The ledger has no key, so it stays where it is.
constexpr const char* kLedger = R"sql(
CREATE SCHEMA ledger;
CREATE TABLE ledger.entry (place bigserial, tab text NOT NULL, key text NOT NULL, old_value text, new_value text,
                           at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION ledger.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ledger.entry (tab, key, old_value, new_value)
  VALUES (TG_TABLE_NAME, to_jsonb(NEW) ->> TG_ARGV[0], to_jsonb(OLD) ->> TG_ARGV[1], to_jsonb(NEW) ->> TG_ARGV[1]);
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION ledger.note('aid', 'abalance');
CREATE TRIGGER note AFTER UPDATE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION ledger.note('tid', 'tbalance');
CREATE TRIGGER note AFTER UPDATE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION ledger.note('bid', 'bbalance');
)sql";

struct Entry {
  std::size_t node;
  long place;
  std::string old_value;
  std::string new_value;
};
using RowName = std::pair<std::string, std::string>;  // table, key

ChildOptions pgbench_options(Node& node, std::vector<std::string> arguments) {
  arguments.push_back(node.url());
  ChildOptions options;
  options.arguments = std::move(arguments);
  return options;
}

/// Transactions in pgbench's report.
long transactions(const std::string& text) {
  const std::string sign = "number of transactions actually processed: ";
  const auto place = text.find(sign);
  return place == std::string::npos ? 0 : std::stol(text.substr(place + sign.size()));
}

/// The transactions' times, from the log that pgbench has written in `directory`.
std::vector<std::chrono::microseconds> times(const std::filesystem::path& directory, const std::string& prefix) {
  std::vector<std::chrono::microseconds> result;
  for (const auto& entry : std::filesystem::directory_iterator{directory}) {
    if (!entry.path().filename().string().starts_with(prefix)) {
      continue;
    }
    std::ifstream file{entry.path()};
    long client = 0;
    long number = 0;
    long took_us = 0;
    for (std::string rest; file >> client >> number >> took_us && std::getline(file, rest);) {
      result.emplace_back(took_us);
    }
  }
  return result;
}

struct Balance {
  std::size_t written = 0;       ///< values in the ledger
  std::size_t unmistakable = 0;  ///< of them, those that were written to their row only once
  std::size_t final = 0;         ///< still shown
  std::size_t overwritten = 0;   ///< by a write that had seen it
  std::size_t kept = 0;          ///< lost against another and in mbsync.conflict_value
  std::vector<std::string> missing;
};

Balance check_ledger(const std::vector<Node*>& nodes) {
  std::map<RowName, std::vector<Entry>> ledger;
  std::map<RowName, std::set<std::string>> kept;
  std::map<RowName, std::string> shown;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    SqlSession session = nodes[i]->connect();
    for (const auto& row : session.query("SELECT tab, key, place, old_value, new_value FROM ledger.entry").rows) {
      ledger[{row[0], row[1]}].push_back(Entry{i, std::stol(row[2]), row[3], row[4]});
    }
    for (const auto& row : session
                               .query("SELECT table_name, key, l ->> 'value' FROM mbsync.conflict_value, "
                                      "jsonb_array_elements(losers) l WHERE column_name LIKE '%balance'")
                               .rows) {
      kept[{row[0], row[1]}].insert(row[2]);
    }
  }
  SqlSession session = nodes[0]->connect();
  for (const auto& row : session
                             .query("SELECT 'pgbench_accounts', aid::text, abalance FROM pgbench_accounts UNION ALL "
                                    "SELECT 'pgbench_tellers', tid::text, tbalance FROM pgbench_tellers UNION ALL "
                                    "SELECT 'pgbench_branches', bid::text, bbalance FROM pgbench_branches")
                             .rows) {
    shown[{row[0], row[1]}] = row[2];
  }

  Balance balance;
  for (const auto& [row, entries] : ledger) {
    std::multimap<std::string, const Entry*> by_old;
    std::map<std::string, int> times_written;
    for (const auto& entry : entries) {
      by_old.emplace(entry.old_value, &entry);
      ++times_written[entry.new_value];
    }
    for (const auto& entry : entries) {
      ++balance.written;
      balance.unmistakable += times_written[entry.new_value] == 1 ? 1 : 0;
      const auto [first, last] = by_old.equal_range(entry.new_value);
      const bool overwritten = std::any_of(first, last, [&](const auto& candidate) {
        return candidate.second->node != entry.node || candidate.second->place > entry.place;
      });
      if (overwritten) {
        ++balance.overwritten;
      } else if (kept[row].contains(entry.new_value)) {
        ++balance.kept;
      } else if (shown[row] == entry.new_value) {
        ++balance.final;
      } else {
        balance.missing.push_back(fmt::format("{} {}: {} -> {} by {}, entry {}", row.first, row.second, entry.old_value,
                                              entry.new_value, nodes[entry.node]->name(), entry.place));
      }
    }
  }
  return balance;
}

}  // namespace

TEST_CASE("pgbench: TPC-B on both nodes at once ends equal, and every overwritten balance is kept") {
  const int scale = long_form() ? 10 : 1;
  const int duration = long_form() ? 60 : 10;
  Fleet fleet;
  TempCluster& cluster_a = fleet.add_cluster();
  TempCluster& cluster_b = fleet.add_cluster();
  const auto pgbench = cluster_a.bin_dir() / "pgbench";
  if (!std::filesystem::exists(pgbench)) {
    WARN("skipped: there is no pgbench beside the server");
    return;
  }
  Node& a = fleet.add_node(cluster_a, "a");
  Node& b = fleet.add_node(cluster_b, "b");
  Link& link = fleet.connect(a, b);
  for (Node* node : {&a, &b}) {
    const Finished made =
        run_program(pgbench, pgbench_options(*node, {"-i", "-q", "-s", std::to_string(scale)}), seconds{300});
    INFO(made.err);
    REQUIRE(made.exit_code == 0);
    node->execute(kLedger);
  }
  const auto started = Clock::now();
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  a.forget_peak();
  b.forget_peak();
  // The rows are equal from the start; what is waited for is that both have compared them.
  for (Node* node : {&a, &b}) {
    REQUIRE(
        wait_until(seconds{300}, [&] { return node->scalar("SELECT count(*) FROM mbsync.version_vector") == "2"; }));
  }
  const auto joined = since(started);
  fleet.await_converged({&a, &b});
  for (Node* node : {&a, &b}) {
    for (const char* table : {"public.pgbench_history", "ledger.entry"}) {
      node->await_log(fmt::format("table not synchronised table={}", table));
    }
    // Equal rows on both sides are no conflict.
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
  }

  const auto run_on = [&](Node& node) {
    auto options = pgbench_options(
        node, {"-n", "-c", "2", "-j", "1", "-T", std::to_string(duration), "-l", "--log-prefix=" + node.name()});
    options.working_directory = fleet.directory();
    return ChildProcess{pgbench, std::move(options)};
  };
  ChildProcess bench_a = run_on(a);
  ChildProcess bench_b = run_on(b);
  // Cut after one sixth and two thirds of the time, for a sixth each: told by the ledger's clock, since the benchmark
  // itself is what is being waited for.
  const auto running_for = [&](int sixths) {
    return wait_until(
        seconds{10 * duration},
        [&] {
          return a.scalar(fmt::format("SELECT coalesce(max(at) - min(at) >= interval '{} ms', false) FROM ledger.entry",
                                      duration * 1000 * sixths / 6)) == "t" ||
                 !bench_a.running();
        },
        milliseconds{50});
  };
  REQUIRE(running_for(1));
  link.cut();
  REQUIRE(running_for(2));
  link.restore();
  REQUIRE(running_for(4));
  link.cut();
  REQUIRE(running_for(5));
  link.restore();
  for (ChildProcess* bench : {&bench_a, &bench_b}) {
    const auto code = bench->wait(seconds{duration + 60});
    INFO(bench->out() << bench->err());
    REQUIRE(code.value_or(-1) == 0);  // no transaction of the application failed
    CHECK_THAT(bench->out(), Catch::Contains("number of failed transactions: 0"));
  }
  const auto ended = Clock::now();
  fleet.await_converged({&a, &b}, seconds{300});
  const auto settled = since(ended);

  const Balance balance = check_ledger({&a, &b});
  INFO(fmt::format("{} of {} values are nowhere, the first: {}", balance.missing.size(), balance.written,
                   balance.missing.empty() ? "" : balance.missing.front()));
  CHECK(balance.missing.empty());
  CHECK(balance.kept > 0);  // else the test has not tested conflicts
  CHECK(a.scalar("SELECT count(*) FROM pgbench_history") == std::to_string(transactions(bench_a.out())));
  auto all_times = times(fleet.directory(), "a.");
  const auto times_b = times(fleet.directory(), "b.");
  all_times.insert(all_times.end(), times_b.begin(), times_b.end());
  const auto time_ms = [&](double share) { return static_cast<double>(percentile_us(all_times, share)) / 1000; };
  report(fmt::format(
      "pgbench scale {}: first exchange {} ms; {} s of TPC-B, {} + {} transactions, p50 {:.1f} ms p99 {:.1f} ms "
      "longest {:.1f} ms; converged {} ms after the end; {} balances written ({} of them only once): {} overwritten "
      "knowingly, {} kept as losers, {} shown, {} missing; peak resident {} + {} MiB",
      scale, joined.count(), duration, transactions(bench_a.out()), transactions(bench_b.out()), time_ms(0.5),
      time_ms(0.99), time_ms(1.0), settled.count(), balance.written, balance.unmistakable, balance.overwritten,
      balance.kept, balance.final, balance.missing.size(), a.peak_resident_kib() / 1024, b.peak_resident_kib() / 1024));
  if (!sanitized()) {
    CHECK(a.peak_resident_kib() < kResidentKibMax);
    CHECK(b.peak_resident_kib() < kResidentKibMax);
  }
  a.stop();
  b.stop();
}
