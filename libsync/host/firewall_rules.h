// What lets peers through the firewall of this system: the commands, and whether they are needed. Recognising the
// firewall without being root is transport/firewall.h; here everything takes root.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

struct FirewallRule {
  std::string what;                                  ///< "TCP 8765"
  std::vector<std::vector<std::string>> commands{};  ///< in this order
  bool present = false;                              ///< the firewall lets it in already
};

/// For `firewall` ("ufw", "firewalld", "nftables"; others have no rules): the port of peers over TCP, and mDNS, by
/// which machines find each other, over UDP 5353. `config` if its program cannot be asked.
Result<std::vector<FirewallRule>> firewall_rules(std::string_view firewall, std::uint16_t port);

/// Runs the commands of the rules that are not present; the first failure ends it.
Result<void> apply(const std::vector<FirewallRule>& rules);

/// What a person has to do besides, for it to last; empty as a rule.
std::string_view what_lasts_not(std::string_view firewall);

}  // namespace mbsync
