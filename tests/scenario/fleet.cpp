#include "fleet.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <thread>

#include "free_port.h"
#include "wait_until.h"

namespace mbsync::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr seconds kReadyTimeout{30};

fs::path fresh_directory() {
  std::string path = (fs::temp_directory_path() / "mbsync-fleet-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) {
    throw std::runtime_error("cannot make a temporary directory");
  }
  return path;
}

bool is_set(const char* variable) {
  const char* given = std::getenv(variable);
  return given != nullptr && *given != '\0' && std::string_view{given} != "0";
}

std::string fresh_database(const std::string& name) {
  static int number = 0;
  return fmt::format("{}_{}", name, ++number);
}

/// Tables with a key; the rest does not take part, whatever it is.
constexpr const char* kKeyedTables =
    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('mbsync', 'pg_catalog', "
    "'information_schema') AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) ORDER BY 1";

/// Table to the number of its rows and the sum of their hashes: independent of the order, and no row is ever shipped.
std::map<std::string, std::string> digests(Node& node) {
  SqlSession session = node.connect();
  session.execute("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'");
  std::vector<std::string> parts;
  for (const auto& row : session.query(kKeyedTables).rows) {
    parts.push_back(fmt::format(
        "SELECT {0}::text, count(*) || ' rows, hash ' || coalesce(sum(hashtextextended(t::text COLLATE \"C\", "
        "0)::numeric), 0) FROM {1} t",
        "'" + row[0] + "'", row[0]));
  }
  std::map<std::string, std::string> result;
  if (!parts.empty()) {
    for (const auto& row : session.query(fmt::format("{}", fmt::join(parts, " UNION ALL "))).rows) {
      result[row[0]] = row[1];
    }
  }
  return result;
}

std::string differences(const std::vector<std::map<std::string, std::string>>& all, const std::vector<Node*>& nodes) {
  std::string text;
  std::map<std::string, bool> names;
  for (const auto& one : all) {
    for (const auto& [table, digest] : one) {
      names[table] = true;
    }
  }
  for (const auto& [table, ignored] : names) {
    std::vector<std::string> sides;
    bool equal = true;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto place = all[i].find(table);
      const auto first = all[0].find(table);
      sides.push_back(fmt::format("{}: {}", nodes[i]->name(), place == all[i].end() ? "no such table" : place->second));
      equal = equal && place != all[i].end() && first != all[0].end() && place->second == first->second;
    }
    if (!equal) {
      text += fmt::format("  {}  {}\n", table, fmt::join(sides, " | "));
    }
  }
  return text;
}

}  // namespace

bool long_form() {
  return is_set("MBSYNC_LONG");
}

bool sanitized() {
#ifdef MBSYNC_SANITIZED
  return true;
#else
  return false;
#endif
}

fs::path mbsync_program() {
  const char* given = std::getenv("MBSYNC_PROGRAM");
  return given != nullptr && *given != '\0' ? given : MBSYNC_BUILT_PROGRAM;
}

ChildOptions clean_options(std::vector<std::string> arguments,
                           std::vector<std::pair<std::string, std::string>> environment,
                           const fs::path& working_directory) {
  ChildOptions options;
  options.arguments = std::move(arguments);
  options.environment = std::move(environment);
  options.working_directory = working_directory;
  options.unset = {"DATABASE_URL",
                   "SYNC_REGISTRATION_KEY",
                   "SYNC_PORT",
                   "SYNC_INTERVAL",
                   "LOG_LEVEL",
                   "SYNC_DATA_DIR",
                   "SYNC_NODE_NAME",
                   "SYNC_PEERS",
                   "SYNC_BIND",
                   "SYNC_DISCOVERY",
                   "SYNC_REGISTRATION_KEY_NEXT",
                   "SYNC_ALLOWED_NODES",
                   "SYNC_STATUS_PORT",
                   "SYNC_STATUS_BIND",
                   "SYNC_STATUS_TOKEN",
                   "SYNC_STATUS_HOSTS",
                   "SYNC_VERIFY_INTERVAL_HOURS",
                   "SYNC_VERIFY_ROWS_PER_S"};
  return options;
}

void report(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

milliseconds::rep percentile_us(std::vector<std::chrono::microseconds>& samples, double share) {
  std::sort(samples.begin(), samples.end());
  const auto index = static_cast<std::size_t>(share * static_cast<double>(samples.size()));
  return samples.at(std::min(index, samples.size() - 1)).count();
}

Node::Node(TempCluster& cluster, std::string name, std::string database, fs::path directory, const std::string& schema)
    : cluster_(cluster),
      name_(std::move(name)),
      database_(std::move(database)),
      directory_(std::move(directory)),
      log_file_(directory_ / "output"),
      port_(free_port()),
      local_port_(free_port()) {
  fs::create_directories(directory_);
  cluster_.create_database(database_);
  if (!schema.empty()) {
    execute(schema);
  }
}

void Node::set(const std::string& variable, const std::string& value) {
  environment_.emplace_back(variable, value);
}

void Node::start() {
  std::vector<std::string> arguments{"run"};
  for (const auto port : peers_) {
    arguments.emplace_back("--peer");
    arguments.push_back(fmt::format("127.0.0.1:{}", port));
  }
  std::map<std::string, std::string> environment{{"DATABASE_URL", url()},
                                                 {"SYNC_REGISTRATION_KEY", kFleetKey},
                                                 {"SYNC_PORT", std::to_string(port_)},
                                                 {"SYNC_DATA_DIR", (directory_ / "data").string()},
                                                 {"SYNC_NODE_NAME", name_},
                                                 {"SYNC_STATUS_PORT", std::to_string(local_port_)},
                                                 {"SYNC_BIND", "127.0.0.1"}};
  if (is_set("MBSYNC_KEEP")) {
    environment["LOG_LEVEL"] = "debug";
  }
  for (const auto& [variable, value] : environment_) {
    environment[variable] = value;
  }
  std::erase_if(environment, [](const auto& entry) { return entry.second.empty(); });
  auto options = clean_options(std::move(arguments), {environment.begin(), environment.end()}, directory_);
  options.output_file = log_file_;
  std::error_code missing;
  const auto size = fs::file_size(log_file_, missing);
  log_start_ = missing ? 0 : size;
  if (launcher_.empty()) {
    process_.emplace(mbsync_program(), std::move(options));
    return;
  }
  auto& all = options.arguments;
  all.insert(all.begin(), mbsync_program());
  all.insert(all.begin(), launcher_.begin() + 1, launcher_.end());
  process_.emplace(launcher_.front(), std::move(options));
}

void Node::start_ready() {
  start();
  await_ready();
}

void Node::await_ready() {
  if (!wait_until(kReadyTimeout, [&] { return count_in_log("listening address=") > 0 || !running(); }) || !running()) {
    throw std::runtime_error(fmt::format("node {} does not get ready; it printed:\n{}", name_, log_end()));
  }
}

milliseconds Node::stop(int signal, milliseconds bound) {
  const auto started = Clock::now();
  process_->signal(signal);
  const auto code = process_->wait(bound);
  const auto took = since(started);
  if (!code || *code != 0) {
    throw std::runtime_error(fmt::format("node {} asked to stop: {}; it printed:\n{}", name_,
                                         code ? fmt::format("ended with {}", *code) : "still runs", log_end()));
  }
  return took;
}

void Node::kill9() {
  if (process_) {
    process_->kill();
  }
}

void Node::signal(int number) {
  process_->signal(number);
}

std::optional<int> Node::wait(milliseconds timeout) {
  return process_ ? process_->wait(timeout) : std::nullopt;
}

void Node::forget_peak() {
  if (process_) {
    process_->forget_peak();
  }
}

std::string Node::log() const {
  std::ifstream file{log_file_, std::ios::binary};
  file.seekg(static_cast<std::streamoff>(log_start_));
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

std::size_t Node::count_in_log(std::string_view text) const {
  const std::string all = log();
  std::size_t count = 0;
  for (auto place = all.find(text); place != std::string::npos; place = all.find(text, place + text.size())) {
    ++count;
  }
  return count;
}

void Node::await_log(std::string_view text, milliseconds timeout, std::size_t times) {
  if (!wait_until(timeout, [&] { return count_in_log(text) >= times; })) {
    throw std::runtime_error(fmt::format("node {} has not said \"{}\" {} times within {} ms; it printed:\n{}", name_,
                                         text, times, timeout.count(), log_end()));
  }
}

std::string Node::log_end(std::size_t bytes_max) const {
  std::string all = log();
  return all.size() > bytes_max ? "...\n" + all.substr(all.size() - bytes_max) : all;
}

Fleet::Fleet() {
  skip_without_postgres();
  directory_ = fresh_directory();
}

Fleet::~Fleet() {
  if (std::uncaught_exceptions() > 0) {
    for (const auto& node : nodes_) {
      fmt::print(stderr, "---- end of the log of node {}\n{}\n", node->name(), node->log_end());
    }
  }
  nodes_.clear();
  if (is_set("MBSYNC_KEEP")) {
    fmt::print(stderr, "the logs are in {}\n", directory_.string());
    return;
  }
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

TempCluster& Fleet::shared_cluster() {
  static TempCluster shared;
  return shared;
}

TempCluster& Fleet::add_cluster(const TempClusterOptions& options) {
  return *clusters_.emplace_back(std::make_unique<TempCluster>(options));
}

Node& Fleet::add_node(TempCluster& cluster, const std::string& name, const std::string& schema) {
  const std::string database = fresh_database(name);
  return *nodes_.emplace_back(std::make_unique<Node>(cluster, name, database, directory_ / database, schema));
}

Link& Fleet::connect(Node& a, Node& b) {
  Link& link = *links_.emplace_back(std::make_unique<Link>(a.port(), b.port()));
  a.add_peer(link.port_of_b());
  b.add_peer(link.port_of_a());
  return link;
}

void Fleet::await_met(const std::vector<Node*>& nodes) {
  for (Node* node : nodes) {
    node->await_ready();
  }
  for (Node* node : nodes) {
    const auto reports = fmt::format("SELECT count(DISTINCT node) FROM mbsync.report");
    if (!wait_until(kReadyTimeout, [&] { return std::stoul(node->scalar(reports)) + 1 >= nodes.size(); })) {
      throw std::runtime_error(
          fmt::format("node {} has not heard of all others; it printed:\n{}", node->name(), node->log_end()));
    }
  }
}

void Fleet::await_quiet(const std::vector<Node*>& nodes, milliseconds timeout) {
  const std::string left = "SELECT (SELECT count(*) FROM mbsync.capture) + (SELECT count(*) FROM mbsync.change)";
  for (Node* node : nodes) {
    if (!wait_until(timeout, [&] { return node->scalar(left) == "0"; })) {
      throw std::runtime_error(
          fmt::format("node {} still has {} writes that it takes for news", node->name(), node->scalar(left)));
    }
  }
}

milliseconds Fleet::await_converged(const std::vector<Node*>& list, milliseconds timeout) {
  const std::vector<Node*> nodes{list};
  const auto started = Clock::now();
  std::string different;
  while (true) {
    const auto looked = Clock::now();
    try {
      std::vector<std::map<std::string, std::string>> all;
      for (Node* node : nodes) {
        all.push_back(digests(*node));
      }
      different = differences(all, nodes);
    } catch (const SqlError& error) {
      different = error.what();  // a server that is on its way up
    }
    if (different.empty()) {
      return since(started);
    }
    if (since(started) >= timeout) {
      throw std::runtime_error(fmt::format("not the same on all nodes after {} ms:\n{}", timeout.count(), different));
    }
    // Looking takes as much of the machine as the work looked at; half of the time is enough for it.
    std::this_thread::sleep_for(std::max(milliseconds{20}, since(looked)));
  }
}

}  // namespace mbsync::test
