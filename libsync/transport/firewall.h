// The firewall of this machine, as far as it can be seen without being root: what is there, whether it is on, whether a
// port is open in it, and the command that opens it. Nothing is run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace mbsync {

enum class Firewall { kNone, kUfw, kFirewalld, kNftables };

struct FirewallLook {
  Firewall firewall = Firewall::kNone;
  enum class State {
    kOff,      ///< there is none, or it is switched off
    kOpen,     ///< it lets the port in
    kShut,     ///< it is on, and has no rule for the port
    kUnknown,  ///< it is on, and only root may see its rules
  } state = State::kOff;
};

/// `root`: where the files of the system are, for tests.
FirewallLook look_at_firewall(std::uint16_t port, const std::filesystem::path& root = "/");

/// "ufw", "firewalld", "nftables", "no firewall".
std::string_view to_string(Firewall firewall);

/// What opens `port` on this machine, with the firewall that is found here; a sentence if none is.
std::string firewall_command(std::uint16_t port, std::string_view protocol = "tcp");

}  // namespace mbsync
