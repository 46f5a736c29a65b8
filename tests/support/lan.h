// A local network of the test's own: hosts that are network namespaces, joined by a wire in this process that loses,
// delays and cuts as it is told. Each host has an address, and an mDNS daemon (Avahi with a D-Bus) if it is started.
// Nothing of it touches the machine's own network, and everything goes with the object. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "child_process.h"

namespace mbsync::test {

class Lan;

class LanHost {
 public:
  LanHost(Lan& lan, int number, const std::filesystem::path& directory);
  ~LanHost();
  LanHost(const LanHost&) = delete;
  LanHost& operator=(const LanHost&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& address() const { return address_; }
  /// In front of a program and its arguments, so that it runs on this host.
  [[nodiscard]] std::vector<std::string> launcher() const;
  /// What programs on this host have to have in their environment, to find its mDNS daemon.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> environment() const;

  /// Gives the host another IPv4 address in place of the one it has.
  void move_to(const std::string& address);
  /// Takes the cable out, or puts it in.
  void plug(bool in);

  /// Records all that passes the host's end of the wire, until the process is asked to end (SIGINT). Returns once it
  /// has begun.
  [[nodiscard]] ChildProcess record(const std::filesystem::path& file) const;

  /// Returns once the daemon answers.
  void start_mdns();
  void stop_mdns();
  /// As a power failure does: nobody says goodbye.
  void kill_mdns();

 private:
  void ip(const std::string& arguments) const;

  Lan& lan_;
  int number_;
  std::string name_;
  std::string address_;
  std::filesystem::path directory_;
  std::optional<ChildProcess> bus_;
  std::optional<ChildProcess> mdns_;
};

class Lan {
 public:
  /// What this machine lacks for it, for a test that says why it is skipped; nothing if it can be made.
  static std::optional<std::string> missing();
  /// The same for the mDNS daemon of a host.
  static std::optional<std::string> missing_mdns();
  /// The same for record().
  static std::optional<std::string> missing_recorder();

  Lan();
  ~Lan();
  Lan(const Lan&) = delete;
  Lan& operator=(const Lan&) = delete;

  /// With the address 10.77.0.n, counted from 1.
  LanHost& add_host();
  [[nodiscard]] LanHost& host(std::size_t index) { return *hosts_.at(index); }

  struct Quality {
    double loss = 0;                     ///< the share of packets that do not arrive
    std::chrono::milliseconds delay{0};  ///< one way
    bool cut = false;
  };
  /// Of packets from one host to another, that way only.
  void set(const LanHost& from, const LanHost& to, Quality quality);
  /// Of all, both ways.
  void set_all(Quality quality);

 private:
  friend class LanHost;
  class Wire;
  [[nodiscard]] std::size_t index_of(const LanHost& host) const;

  std::filesystem::path directory_;
  std::unique_ptr<Wire> wire_;
  std::vector<std::unique_ptr<LanHost>> hosts_;
};

}  // namespace mbsync::test
