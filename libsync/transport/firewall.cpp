#include "firewall.h"

#include <fmt/format.h>

#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>

namespace mbsync {
namespace {

using State = FirewallLook::State;

bool is_there(const std::filesystem::path& root, std::initializer_list<const char*> places) {
  for (const char* place : places) {
    std::error_code error;
    if (std::filesystem::exists(root / place, error)) {
      return true;
    }
  }
  return false;
}

Firewall find_firewall(const std::filesystem::path& root) {
  if (is_there(root, {"usr/sbin/ufw", "sbin/ufw"})) {
    return Firewall::kUfw;
  }
  if (is_there(root, {"usr/bin/firewall-cmd", "bin/firewall-cmd"})) {
    return Firewall::kFirewalld;
  }
  return is_there(root, {"usr/sbin/nft", "sbin/nft"}) ? Firewall::kNftables : Firewall::kNone;
}

std::optional<std::string> read(const std::filesystem::path& path) {
  std::ifstream file{path};
  if (!file) {
    return std::nullopt;
  }
  return std::string{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

/// user.rules as ufw writes it: "-A ufw-user-input -p tcp --dport 8765 -j ACCEPT", of several ports "--dports 80,8765".
State ufw_state(std::uint16_t port, const std::filesystem::path& root) {
  const auto conf = read(root / "etc/ufw/ufw.conf");
  if (!conf) {
    return State::kUnknown;
  }
  if (conf->find("ENABLED=yes") == std::string::npos) {
    return State::kOff;
  }
  const auto rules = read(root / "etc/ufw/user.rules");
  if (!rules) {
    return State::kUnknown;
  }
  const auto number = std::to_string(port);
  std::size_t begin = 0;
  while (begin < rules->size()) {
    const auto end = rules->find('\n', begin);
    const auto line = rules->substr(begin, end - begin);
    begin = end == std::string::npos ? rules->size() : end + 1;
    const auto ports = line.find("--dport");
    if (!line.starts_with("-A ufw-user-input") || line.find("-j ACCEPT") == std::string::npos ||
        line.find("-p udp") != std::string::npos || ports == std::string::npos) {
      continue;
    }
    const auto list = line.find(' ', ports);
    const auto text = fmt::format(",{},", line.substr(list + 1, line.find(' ', list + 1) - list - 1));
    if (text.find("," + number + ",") != std::string::npos) {
      return State::kOpen;
    }
  }
  return State::kShut;
}

}  // namespace

FirewallLook look_at_firewall(std::uint16_t port, const std::filesystem::path& root) {
  FirewallLook look{find_firewall(root), State::kOff};
  switch (look.firewall) {
    case Firewall::kUfw:
      look.state = ufw_state(port, root);
      break;
    case Firewall::kFirewalld:
      look.state = is_there(root, {"run/firewalld", "run/firewalld.pid"}) ? State::kUnknown : State::kOff;
      break;
    case Firewall::kNftables:
      // A service that loads rules at the start of the machine; by hand they may be there without it.
      look.state =
          is_there(root, {"etc/systemd/system/sysinit.target.wants/nftables.service"}) ? State::kUnknown : State::kOff;
      break;
    case Firewall::kNone:
      break;
  }
  return look;
}

std::string_view to_string(Firewall firewall) {
  switch (firewall) {
    case Firewall::kUfw:
      return "ufw";
    case Firewall::kFirewalld:
      return "firewalld";
    case Firewall::kNftables:
      return "nftables";
    case Firewall::kNone:
      break;
  }
  return "no firewall";
}

std::string firewall_command(std::uint16_t port, std::string_view protocol) {
  switch (find_firewall("/")) {
    case Firewall::kUfw:
      return fmt::format("sudo ufw allow {}/{}", port, protocol);
    case Firewall::kFirewalld:
      return fmt::format("sudo firewall-cmd --permanent --add-port={}/{} && sudo firewall-cmd --reload", port,
                         protocol);
    case Firewall::kNftables:
      // Its chains have any name, and only root may look at them.
      return fmt::format("sudo mbsync install --firewall (it finds the chains of nftables that refuse {} port {})",
                         protocol == "udp" ? "UDP" : "TCP", port);
    case Firewall::kNone:
      break;
  }
  return fmt::format("(no firewall of this kind was found here: allow {} port {} in whatever stands before it)",
                     protocol == "udp" ? "UDP" : "TCP", port);
}

}  // namespace mbsync
