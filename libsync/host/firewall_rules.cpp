#include "firewall_rules.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <utility>

#include "command.h"
#include "nft_chains.h"

namespace mbsync {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::uint16_t kMdnsPort = 5353;

struct Opening {
  std::string protocol;
  std::uint16_t port = 0;
};

/// "8765/tcp", as ufw and firewalld have it.
std::string slashed(const Opening& opening) {
  return fmt::format("{}/{}", opening.port, opening.protocol);
}

std::string name_of(const Opening& opening) {
  return fmt::format("{} {}", opening.protocol == "tcp" ? "TCP" : "UDP", opening.port);
}

Result<FirewallRule> with_ufw(const Opening& opening) {
  const auto said = run_or_fail({"ufw", "show", "added"}, kPatience);
  MBSYNC_TRY(said);
  const bool there = said->find("ufw allow " + slashed(opening) + "\n") != std::string::npos ||
                     said->find("ufw allow " + slashed(opening) + " ") != std::string::npos;
  return FirewallRule{name_of(opening), {{"ufw", "allow", slashed(opening), "comment", "mbsync"}}, there};
}

Result<FirewallRule> with_firewalld(const Opening& opening) {
  const auto has = [&](bool permanent) -> Result<bool> {
    std::vector<std::string> words{"firewall-cmd"};
    if (permanent) {
      words.emplace_back("--permanent");
    }
    words.push_back("--query-port=" + slashed(opening));
    const auto said = run_command(words, kPatience);
    MBSYNC_TRY(said);
    if (said->exit_code > 1) {
      return Error{ErrorKind::kConfig, fmt::format("'{}' failed: {}", as_typed(words), said->output),
                   "look at 'systemctl status firewalld'"};
    }
    return said->exit_code == 0;
  };
  const auto now = has(false);
  MBSYNC_TRY(now);
  const auto later = has(true);
  MBSYNC_TRY(later);
  const auto add = "--add-port=" + slashed(opening);
  return FirewallRule{name_of(opening), {{"firewall-cmd", "--permanent", add}, {"firewall-cmd", add}}, *now && *later};
}

Result<FirewallRule> with_nftables(const Opening& opening) {
  const auto said = run_or_fail({"nft", "-j", "list", "chains"}, kPatience);
  MBSYNC_TRY(said);
  const auto chains = input_chains(*said);
  MBSYNC_TRY(chains);
  FirewallRule rule{name_of(opening), {}, true};
  // Each may refuse what the others let in.
  for (const auto& chain : *chains) {
    const auto listed = run_or_fail({"nft", "-j", "list", "chain", chain.family, chain.table, chain.name}, kPatience);
    MBSYNC_TRY(listed);
    const auto open = lets_in(*listed, opening.protocol, opening.port);
    MBSYNC_TRY(open);
    if (!*open) {
      rule.present = false;
      // In front of all others: what comes behind a rule that refuses is not reached.
      rule.commands.push_back({"nft", "insert", "rule", chain.family, chain.table, chain.name, opening.protocol,
                               "dport", std::to_string(opening.port), "accept"});
    }
  }
  return rule;
}

}  // namespace

Result<std::vector<FirewallRule>> firewall_rules(std::string_view firewall, std::uint16_t port) {
  using Make = Result<FirewallRule> (*)(const Opening&);
  constexpr std::array<std::pair<std::string_view, Make>, 3> kKnown{
      {{"ufw", with_ufw}, {"firewalld", with_firewalld}, {"nftables", with_nftables}}};
  std::vector<FirewallRule> rules;
  for (const auto& [name, make] : kKnown) {
    if (name != firewall) {
      continue;
    }
    for (const auto& opening : {Opening{"tcp", port}, Opening{"udp", kMdnsPort}}) {
      auto rule = make(opening);
      MBSYNC_TRY(rule);
      rules.push_back(std::move(*rule));
    }
  }
  return rules;
}

Result<void> apply(const std::vector<FirewallRule>& rules) {
  for (const auto& rule : rules) {
    for (const auto& command : rule.commands) {
      if (!rule.present) {
        MBSYNC_TRY(run_or_fail(command, kPatience));
      }
    }
  }
  return {};
}

std::string_view what_lasts_not(std::string_view firewall) {
  return firewall == "nftables" ? "these rules last until the machine is switched off: put them into /etc/nftables.conf"
                                : "";
}

}  // namespace mbsync
