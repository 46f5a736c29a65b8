#include "firewall.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

using namespace mbsync;

namespace {

struct Root {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mbsync-firewall-" + std::to_string(::getpid()));
  ~Root() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text = "") const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream{path / name} << text;
  }
  [[nodiscard]] FirewallLook look(std::uint16_t port = 8765) const { return look_at_firewall(port, path); }
};

}  // namespace

TEST_CASE("firewall: none, or one that is switched off") {
  const Root root;
  CHECK(root.look().firewall == Firewall::kNone);
  root.write("usr/sbin/nft");
  CHECK(root.look().firewall == Firewall::kNftables);
  CHECK(root.look().state == FirewallLook::State::kOff);
  root.write("usr/bin/firewall-cmd");
  CHECK(root.look().firewall == Firewall::kFirewalld);
  CHECK(root.look().state == FirewallLook::State::kOff);
  root.write("run/firewalld/x");
  CHECK(root.look().state == FirewallLook::State::kUnknown);
}

TEST_CASE("firewall: ufw, by the rules that it has written down") {
  const Root root;
  root.write("usr/sbin/ufw");
  root.write("etc/ufw/ufw.conf", "# x\nENABLED=no\nLOGLEVEL=low\n");
  CHECK(root.look().state == FirewallLook::State::kOff);
  root.write("etc/ufw/ufw.conf", "ENABLED=yes\n");
  CHECK(root.look().state == FirewallLook::State::kUnknown);
  const std::string ssh = "*filter\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n";
  root.write("etc/ufw/user.rules", ssh + "-A ufw-user-input -p udp --dport 8765 -j ACCEPT\n" +
                                       "-A ufw-user-input -p tcp --dport 87650 -j ACCEPT\n" +
                                       "-A ufw-user-input -p tcp --dport 8765 -j DROP\n");
  CHECK(root.look().state == FirewallLook::State::kShut);
  CHECK(root.look(22).state == FirewallLook::State::kOpen);
  root.write("etc/ufw/user.rules", ssh + "-A ufw-user-input -p tcp -m multiport --dports 80,8765 -j ACCEPT\n");
  CHECK(root.look().state == FirewallLook::State::kOpen);
}
