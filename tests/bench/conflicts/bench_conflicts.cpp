// What conflicts cost a pull: two nodes in clusters of their own, the same rows changed on A and on a share of them on
// B, and B pulls from A. README.md says how it is run and what came out.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "pg_node.h"
#include "policy_desk.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

constexpr const char* kSchema =
    "CREATE TABLE item (id text PRIMARY KEY, customer text NOT NULL, number int NOT NULL, amount numeric(12,2) NOT "
    "NULL, note text NOT NULL, created timestamptz NOT NULL DEFAULT now())";

// As application servers are set up, but for the disk: what is measured is work, not fsync.
const TempClusterOptions kCluster{
    .conf = {"shared_buffers = 256MB", "max_wal_size = 8GB", "synchronous_commit = off", "jit = off"}};
constexpr const char* kStatements = "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = 'all'";
constexpr int kStatementsShown = 12;

struct Case {
  std::string_view rules;
  std::string_view policy;  ///< none: the built-in rules
  int conflicts_percent;

  [[nodiscard]] std::string name() const { return fmt::format("{}, {} %", rules, conflicts_percent); }
};

constexpr std::string_view kBuiltIn = "last-writer-wins";
constexpr std::string_view kMax = "max";
constexpr std::string_view kMaxPolicy = "[[table]]\nname = \"public.item\"\n\n[table.columns]\namount = \"max\"\n";
constexpr Case kCases[] = {{kBuiltIn, "", 0},     {kBuiltIn, "", 1},     {kBuiltIn, "", 100},
                           {kMax, kMaxPolicy, 0}, {kMax, kMaxPolicy, 1}, {kMax, kMaxPolicy, 100}};

struct Measured {
  double read = 0;     ///< A reads, B stages
  double apply = 0;    ///< B merges and writes
  double own_cpu = 0;  ///< of both, CPU of this process: what is not PostgreSQL's
  double in_step = 0;  ///< from the start of the pull until nobody has anything to tell
  std::int64_t conflicts = 0;
  std::string records;

  [[nodiscard]] double pull() const { return read + apply; }
};

template <typename T>
T must(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

double own_cpu() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  constexpr double kMicro = 1e-6;
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * kMicro;
}

// The pull as a running node makes it, but for the network, and with a look at the clock in between.
Measured timed_pull(PgNode& to, PgNode& from) {
  Measured measured;
  const auto cpu = own_cpu();
  const auto start = Clock::now();
  const auto session = must(to.store().open_pull(from.database()));
  const auto request = must(session->ask(std::chrono::milliseconds{0}));
  must(from.store().accept(request));
  must(from.store().answer(request, session->sink()));
  const auto staged = Clock::now();
  const auto outcome = must(session->apply());
  measured.read = Seconds(staged - start).count();
  measured.apply = Seconds(Clock::now() - staged).count();
  measured.own_cpu = own_cpu() - cpu;
  measured.conflicts = outcome.conflicts;
  return measured;
}

class Bench {
 public:
  Bench(int rows, bool statements) : rows_(rows), statements_(statements) {
    if (statements_) {
      for (auto* cluster : {&cluster_a_, &cluster_b_}) {
        cluster->add_conf(kStatements);
        cluster->restart();
        cluster->execute("postgres", "CREATE EXTENSION pg_stat_statements");
      }
    }
  }

  Measured run(const Case& which) {
    ++runs_;
    PgNode a(cluster_a_, fmt::format("a{}", runs_), kSchema);
    PgNode b(cluster_b_, fmt::format("b{}", runs_), kSchema);
    prepare(a, b, which);
    change(a, b, which.conflicts_percent);
    if (statements_) {
      cluster_b_.execute("postgres", "SELECT pg_stat_statements_reset()");
    }

    const auto start = Clock::now();
    auto measured = timed_pull(b, a);
    if (statements_) {
      show_statements(which);
    }
    for (bool news = true; news;) {
      news = a.pull(b).rows > 0;
      news = b.pull(a).rows > 0 || news;
    }
    measured.in_step = Seconds(Clock::now() - start).count();
    check(a, b, which, measured);
    measured.records = b.scalar("SELECT count(*) FROM mbsync.conflict_record");
    return measured;
  }

 private:
  void prepare(PgNode& a, PgNode& b, const Case& which) const {
    a.execute(
        fmt::format("INSERT INTO item SELECT 'c' || left(md5(i::text), 24), md5((i % 5000)::text), i, i % 1000, "
                    "repeat(md5(i::text), 3) FROM generate_series(1, {}) i",
                    rows_));
    a.prepare();
    b.prepare();
    exchange({&a, &b});
    if (!which.policy.empty()) {
      must(must(PolicyDesk::open(must(parse_database_url(a.url()))))->publish(which.policy));
      exchange({&a, &b});
      must(a.store().refresh());
      must(b.store().refresh());
    }
    for (auto* node : {&a, &b}) {
      must(node->store().forget_stable());
      node->execute("VACUUM ANALYZE");
    }
  }

  // Each side wins half of the conflicts, by either rule: the later write has the greater amount.
  static void change(PgNode& a, PgNode& b, int percent) {
    const auto on_b = [&](int half) {
      if (percent > 0) {
        b.execute(fmt::format("UPDATE item SET amount = amount + {} WHERE number % {} = 0 AND number / {} % 2 = {}",
                              half == 0 ? 1 : 3, 100 / percent, 100 / percent, half));
      }
    };
    on_b(0);
    a.execute("UPDATE item SET amount = amount + 2");
    on_b(1);
    for (auto* node : {&a, &b}) {
      must(node->store().seal_pending());  // as a running node does all the time
    }
    // What the server owes from before is not to be paid during the measurement.
    for (auto* node : {&a, &b}) {
      node->execute("CHECKPOINT");
    }
  }

  void check(PgNode& a, PgNode& b, const Case& which, const Measured& measured) const {
    const char* const sum = "SELECT md5(string_agg(i::text, ' ' ORDER BY id)) FROM item i";
    const auto expected = static_cast<std::int64_t>(rows_) * which.conflicts_percent / 100;
    if (a.scalar(sum) != b.scalar(sum) || measured.conflicts != expected) {
      throw std::runtime_error(
          fmt::format("the nodes differ, or {} conflicts are not the {} that were made", measured.conflicts, expected));
    }
  }

  void show_statements(const Case& which) {
    SqlSession session(cluster_b_.url("postgres"));
    const auto top = session.query(
        fmt::format("SELECT round(total_exec_time), calls, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 160) "
                    "FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT {}",
                    kStatementsShown));
    fmt::print("\n{}: statements on B during the pull (ms, calls, rows)\n", which.name());
    for (const auto& row : top.rows) {
      fmt::print("{:>8} {:>8} {:>8}  {}\n", row[0], row[1], row[2], row[3]);
    }
  }

  int rows_;
  bool statements_;
  int runs_ = 0;
  TempCluster cluster_a_{kCluster};
  TempCluster cluster_b_{kCluster};
};

template <typename Field>
double median(const std::vector<Measured>& runs, Field field) {
  std::vector<double> values;
  std::transform(runs.begin(), runs.end(), std::back_inserter(values), field);
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string load() {
  std::string first;
  std::ifstream("/proc/loadavg") >> first;
  return first;
}

void measure(int rows, int repeats, bool statements, int percent_max) {
  Bench bench(rows, statements);
  const auto load_before = load();
  std::vector<Case> cases;
  std::copy_if(std::begin(kCases), std::end(kCases), std::back_inserter(cases),
               [&](const Case& which) { return which.conflicts_percent <= percent_max; });
  std::vector<std::vector<Measured>> results(cases.size());
  // Round by round, so that what else the machine does meets all cases alike.
  for (int round = 0; round < repeats; ++round) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      results[i].push_back(bench.run(cases[i]));
      fmt::print(stderr, "round {}: {}: read {:.2f} s, apply {:.2f} s, in step {:.2f} s\n", round + 1, cases[i].name(),
                 results[i].back().read, results[i].back().apply, results[i].back().in_step);
    }
  }

  fmt::print("\n{} rows, median of {}, load {} before and {} after, {} cores\n\n", rows, repeats, load_before, load(),
             std::thread::hardware_concurrency());
  fmt::print(
      "| rules | conflicts | rows/s | slowest to fastest | ratio | read s | apply s | own CPU s | in step s | records "
      "|\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  std::map<std::string_view, double> free;  // of conflicts: seconds by rules
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& runs = results[i];
    const auto pull = median(runs, [](const Measured& run) { return run.pull(); });
    const auto [fastest, slowest] = std::minmax_element(
        runs.begin(), runs.end(), [](const Measured& x, const Measured& y) { return x.pull() < y.pull(); });
    free.try_emplace(cases[i].rules, pull);
    fmt::print("| {} | {} % | {:.0f} | {:.0f} to {:.0f} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {} |\n",
               cases[i].rules, cases[i].conflicts_percent, rows / pull, rows / slowest->pull(), rows / fastest->pull(),
               free.at(cases[i].rules) / pull, median(runs, [](const Measured& run) { return run.read; }),
               median(runs, [](const Measured& run) { return run.apply; }),
               median(runs, [](const Measured& run) { return run.own_cpu; }),
               median(runs, [](const Measured& run) { return run.in_step; }), runs.back().records);
  }
}

}  // namespace

int main(int count, char** arguments) {
  constexpr int kRows = 100'000;
  constexpr int kRepeats = 3;
  try {
    std::vector<std::string_view> words(arguments + 1, arguments + count);
    const auto statements = std::erase(words, std::string_view("--statements")) > 0;
    int percent_max = 100;
    if (const auto option = std::find(words.begin(), words.end(), "--up-to");
        option != words.end() && option + 1 != words.end()) {
      percent_max = std::atoi(option[1].data());
      words.erase(option, option + 2);
    }
    const auto number = [&](std::size_t index, int fallback) {
      return index < words.size() ? std::max(1, std::atoi(words[index].data())) : fallback;
    };
    skip_without_postgres();
    measure(number(0, kRows), number(1, kRepeats), statements, percent_max);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_conflicts: {}\n", error.what());
    return EXIT_FAILURE;
  }
}
