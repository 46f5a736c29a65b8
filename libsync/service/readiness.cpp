#include "readiness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "dns_sd_source.h"
#include "firewall.h"
#include "fleet_key.h"
#include "local_port.h"
#include "look_around.h"
#include "peer_probe.h"
#include "socket.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kClockTolerated{5'000};
/// A daemon that is not there says so at once; one that is there is heard of within this.
constexpr milliseconds kDiscoveryPatience{300};
constexpr std::uintmax_t kMegabyte = 1024UL * 1024;
constexpr std::uintmax_t kDiskFailed = 50 * kMegabyte;
constexpr std::uintmax_t kDiskWarned = 1024 * kMegabyte;

Check port_check(std::string name, Verdict verdict, std::string what, std::string next = {}) {
  return {std::move(name), verdict, std::move(what), std::move(next), CheckArea::kPort};
}

/// The nearest that is there: a data directory is made at the first start.
std::filesystem::path existing(std::filesystem::path path) {
  std::error_code error;
  path = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) {
    path = path.parent_path();
  }
  return path;
}

bool is_in_use(const Error& error) {
  return error.message.find("in use") != std::string::npos;
}

Result<Socket> listen_as_node(const Config& config, std::uint16_t port) {
  auto socket = listen_on(config.bind_address, port);
  if (!socket && config.source(ConfigKey::kBindAddress) == "default" && !is_in_use(socket.error())) {
    return listen_on("0.0.0.0", port);  // a machine without IPv6, as the node does
  }
  return socket;
}

/// Where this machine's own programs reach what listens on the address.
std::string own_address(const Config& config) {
  return config.bind_address == "::" || config.bind_address == "0.0.0.0" ? "127.0.0.1" : config.bind_address;
}

/// Who holds the port: nothing if it is the mbsync of this node, else what to say.
std::optional<std::string> who_listens(const Config& config, const std::optional<Member>& self, std::string& ours) {
  const auto keys = FleetKeys::derive(config.registration_key.reveal(), config.next_key.reveal());
  if (!keys) {
    return "it is in use, and without a registration key nobody can be asked whether that is mbsync";
  }
  // Where the node itself can be asked, nobody is asked in its name: it would take that for a copy, and say so.
  const bool at_work = self && config.local_port() != 0 && is_at_local_port(self->id, config);
  std::optional<PullRequest> request;
  if (self && !at_work) {
    request.emplace().sender = *self;
  }
  const auto report = probe_peer({own_address(config), config.port}, *keys, request);
  const bool says_so =
      report.trouble == PeerTrouble::kSameIdentity || (self && report.node && report.node->id == self->id);
  if (self && (at_work ? report.trouble != PeerTrouble::kOtherKey : says_so)) {
    ours = fmt::format("held by this node's own mbsync, which is running ({})", to_string(self->id));
    return std::nullopt;
  }
  if (report.key && !self) {
    ours = "held by an mbsync with this registration key";
    return std::nullopt;
  }
  if (report.node) {
    return fmt::format("it is held by the mbsync of another node, {} ({})", report.node->name,
                       to_string(report.node->id));
  }
  if (report.key) {
    return "it is held by an mbsync with this registration key, and another database";
  }
  return report.trouble == PeerTrouble::kOtherKey ? "it is held by another program, or an mbsync with another key"
                                                  : "it is held by another program";
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kSkipped:
      return "skipped";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kFailed:
      break;
  }
  return "failed";
}

std::optional<CheckArea> worst_area(const std::vector<Check>& checks) {
  for (const auto area : {CheckArea::kConfig, CheckArea::kDatabase, CheckArea::kPort, CheckArea::kOther}) {
    if (std::any_of(checks.begin(), checks.end(),
                    [&](const Check& check) { return check.verdict == Verdict::kFailed && check.area == area; })) {
      return area;
    }
  }
  return std::nullopt;
}

Check check_environment(const Config& config) {
  Check check{"environment", Verdict::kOk, "", "", CheckArea::kConfig};
  if (config.database_url.conninfo.empty()) {
    check.verdict = Verdict::kFailed;
    check.what = "Missing DATABASE_URL";
    check.next = "set it in the environment or service.env, or database_url in mbsync.toml";
  } else if (!config.warnings.empty()) {
    check.verdict = Verdict::kWarning;
    check.what = fmt::format("{}", fmt::join(config.warnings, "; "));
    check.next = "'mbsync config' shows what is set, and from where";
  } else {
    check.what = fmt::format("DATABASE_URL is set ({})", config.source(ConfigKey::kDatabaseUrl));
  }
  return check;
}

Check check_key(const Config& config) {
  Check check{"key", Verdict::kOk, "SYNC_REGISTRATION_KEY is strong enough", "", CheckArea::kConfig};
  if (config.registration_key.empty()) {
    return {"key", Verdict::kFailed, "Missing SYNC_REGISTRATION_KEY",
            "'mbsync keygen' makes one; it is the same on every machine of the fleet", CheckArea::kConfig};
  }
  auto good = check_registration_key(config.registration_key.reveal());
  if (good && !config.next_key.empty()) {
    good = check_registration_key(config.next_key.reveal(), KeyUse::kNext);
    check.what = "SYNC_REGISTRATION_KEY and SYNC_REGISTRATION_KEY_NEXT are strong enough";
  }
  if (!good) {
    check.verdict = Verdict::kFailed;
    check.what = good.error().message;
    check.next = good.error().hint;
  }
  return check;
}

/// The port for status, health and metrics: nothing that stops the node, which goes on without it.
Check check_local_port(const Config& config, bool node_runs) {
  const auto port = config.local_port();
  std::optional<Error> taken;
  for (const auto& address : config.status_bind) {
    const auto free = listen_on(address, port);
    const bool no_ipv6 = address == "::1" && !listen_on(address, 0);
    if (!free && !no_ipv6) {
      taken = free.error();
      break;
    }
  }
  if (!taken) {
    return port_check("health port", Verdict::kOk, fmt::format("{} is free", port));
  }
  if (!is_in_use(*taken)) {
    return port_check("health port", Verdict::kWarning, taken->message, taken->hint);
  }
  const auto next =
      fmt::format("set SYNC_STATUS_PORT to a free port; 'sudo ss -ltnp sport = :{}' names who has it", port);
  const auto node = node_at_local_port(port);
  if (node_runs && !node.empty()) {
    return port_check("health port", Verdict::kOk, fmt::format("{} is held by {}", port, node));
  }
  return port_check("health port", Verdict::kWarning,
                    fmt::format("{} is held by {}", port, node.empty() ? "another program" : node), next);
}

std::vector<Check> check_ports(const Config& config, const std::optional<Member>& self) {
  std::vector<Check> checks;
  bool node_runs = false;
  if (const auto free = listen_as_node(config, config.port); free) {
    checks.push_back(port_check("port", Verdict::kOk, fmt::format("{} is free", config.port)));
  } else if (!is_in_use(free.error())) {
    checks.push_back(port_check("port", Verdict::kFailed, free.error().message, free.error().hint));
  } else {
    std::string ours;
    const auto stranger = who_listens(config, self, ours);
    node_runs = !stranger;
    checks.push_back(stranger ? port_check("port", Verdict::kFailed, fmt::format("{}: {}", config.port, *stranger),
                                           fmt::format("'sudo ss -ltnp sport = :{}' names it: stop it, or set "
                                                       "SYNC_PORT to a free port",
                                                       config.port))
                              : port_check("port", Verdict::kOk, fmt::format("{} is {}", config.port, ours)));
  }
  if (config.local_port() != 0) {
    checks.push_back(check_local_port(config, node_runs));
  }
  return checks;
}

Check check_discovery(const Config& config, const std::optional<Member>& self) {
  if (!config.discovers()) {
    return {"discovery", Verdict::kSkipped, "peers are not looked for on the network (SYNC_DISCOVERY, SYNC_BIND)", ""};
  }
  DnsSdSource source(DnsSdSource::Options{});
  const auto around = look_around(source, kDiscoveryPatience, [](const auto& seen) { return !seen.empty(); });
  if (around.failure) {
    return {"discovery", Verdict::kWarning, around.failure->message,
            fmt::format("{}{}peers that are named (SYNC_PEERS) are found without it", around.failure->hint,
                        around.failure->hint.empty() ? "" : "; ")};
  }
  // A node is seen on each of its networks.
  std::set<NodeId> others;
  for (const auto& sighting : around.seen) {
    if (sighting.said && !(self && sighting.said->node == self->id)) {
      others.insert(sighting.said->node);
    }
  }
  return {"discovery", Verdict::kOk,
          others.empty() ? "the mDNS daemon is there; no other node is advertised that can be seen at once"
                         : fmt::format("the mDNS daemon answers, {} other {} seen at once", others.size(),
                                       others.size() == 1 ? "node" : "nodes"),
          ""};
}

Check check_clock(const DatabaseFacts* facts) {
  const auto ahead = facts != nullptr ? facts->clock_ahead : milliseconds{0};
  if (std::chrono::abs(ahead) > kClockTolerated) {
    return {"clock", Verdict::kWarning,
            fmt::format("the database server's clock is {} s {} this machine's",
                        std::chrono::round<std::chrono::seconds>(std::chrono::abs(ahead)).count(),
                        ahead < milliseconds{0} ? "behind" : "ahead of"),
            "set both by the network (NTP): of two writes at once the later one stands"};
  }
  timex state{};
  const bool known = ::adjtimex(&state) >= 0;
  if (known && (state.status & STA_UNSYNC) != 0) {
    return {"clock", Verdict::kWarning, "nothing sets this machine's clock by the network",
            "sudo timedatectl set-ntp true; if that is done outside of this machine (a container), it is well"};
  }
  return {
      "clock", Verdict::kOk,
      fmt::format("{}{}", known ? "set by the network" : "whether it is set by the network is not known",
                  facts == nullptr ? "" : fmt::format(", {} ms from the database's", std::chrono::abs(ahead).count())),
      ""};
}

Check check_disk(const Config& config, const DatabaseFacts* facts) {
  Check check{"disk", Verdict::kOk, "", ""};
  const auto place = existing(config.data_dir);
  if (::access(place.c_str(), W_OK) != 0) {
    return {"disk", Verdict::kFailed, fmt::format("this user may not write to {}", place.string()),
            "set SYNC_DATA_DIR to a directory that it may write to, or start mbsync as the user that owns it",
            CheckArea::kConfig};
  }
  std::vector<std::pair<std::string, std::filesystem::path>> places{{"SYNC_DATA_DIR", place}};
  if (facts != nullptr && facts->on_this_machine && !facts->data_directory.empty()) {
    places.emplace_back("the database", facts->data_directory);
  }
  std::vector<std::string> said;
  for (const auto& [name, path] : places) {
    std::error_code error;
    const auto space = std::filesystem::space(path, error);
    if (error) {
      continue;  // a directory that only the database server may look into
    }
    said.push_back(fmt::format("{} MB free for {} ({})", space.available / kMegabyte, name, path.string()));
    if (space.available < kDiskWarned) {
      const bool little = space.available < kDiskFailed;
      check.verdict = std::max(check.verdict, little ? Verdict::kFailed : Verdict::kWarning);
      check.next = "make room: answers are spooled there, and what the database cannot write it refuses";
    }
  }
  check.what = fmt::format("{}", fmt::join(said, ", "));
  return check;
}

Check check_firewall(const Config& config) {
  const auto look = look_at_firewall(config.port);
  const auto name = to_string(look.firewall);
  switch (look.state) {
    case FirewallLook::State::kOff:
      return {"firewall", Verdict::kOk,
              look.firewall == Firewall::kNone ? "none was found on this machine"
                                               : fmt::format("{} is there, and switched off", name),
              ""};
    case FirewallLook::State::kOpen:
      return {"firewall", Verdict::kOk, fmt::format("{} lets port {} in", name, config.port), ""};
    case FirewallLook::State::kShut:
      return {"firewall", Verdict::kWarning, fmt::format("{} is on, and has no rule for port {}", name, config.port),
              firewall_command(config.port)};
    case FirewallLook::State::kUnknown:
      break;
  }
  return {"firewall", Verdict::kWarning,
          fmt::format("{} is on, and whether it lets port {} in is for root to see (sudo mbsync smoke-check)", name,
                      config.port),
          fmt::format("if the others cannot reach this machine: {}", firewall_command(config.port))};
}

std::vector<Check> smoke_check(const Config& config, const std::function<std::optional<Check>()>& ask_firewall,
                               milliseconds patience) {
  std::vector<Check> checks{check_environment(config), check_key(config)};
  std::optional<DatabaseFacts> facts;
  if (config.skip_db_precheck) {
    checks.push_back({"database", Verdict::kSkipped, "SKIP_DB_PRECHECK or --skip-db", "", CheckArea::kDatabase});
  } else if (!config.database_url.conninfo.empty()) {
    auto read = read_database_facts(config.database_url, config.tables, patience);
    auto found = check_database(config, read);
    checks.insert(checks.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
    if (read) {
      facts = std::move(*read);
    }
  }
  auto ports = check_ports(config, facts ? facts->self : std::nullopt);
  checks.insert(checks.end(), std::make_move_iterator(ports.begin()), std::make_move_iterator(ports.end()));
  checks.push_back(check_discovery(config, facts ? facts->self : std::nullopt));
  checks.push_back(check_clock(facts ? &*facts : nullptr));
  checks.push_back(check_disk(config, facts ? &*facts : nullptr));
  auto firewall = ask_firewall ? ask_firewall() : std::nullopt;
  checks.push_back(firewall ? std::move(*firewall) : check_firewall(config));
  return checks;
}

}  // namespace mbsync
