// The network between two nodes, as far as a test wants to break it: TCP forwarders inside the test process that can be
// cut and restored.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace mbsync::test {

/// Listens on 127.0.0.1:port() and passes everything on to 127.0.0.1:target, both ways. Any thread may call anything.
class Forwarder {
 public:
  explicit Forwarder(std::uint16_t target);
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// Closes all connections and refuses new ones. Returns when that is done.
  void cut();
  /// Listens again on the same port. Returns when that is done.
  void restore();
  /// What has been passed on so far, both ways.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  struct Connection;
  void run();
  void demand(bool open);
  void accept_one();
  void close_all();

  const std::uint16_t target_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  int wake_ = -1;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::atomic<std::uint64_t> bytes_{0};

  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  bool wanted_open_ = true;
  bool is_open_ = true;
  bool stop_ = false;

  std::thread thread_;
};

/// The way from each of two nodes to the other.
class Link {
 public:
  Link(std::uint16_t a, std::uint16_t b) : to_a_(a), to_b_(b) {}

  [[nodiscard]] std::uint16_t port_of_a() const { return to_a_.port(); }
  [[nodiscard]] std::uint16_t port_of_b() const { return to_b_.port(); }
  void cut();
  void restore();
  [[nodiscard]] std::uint64_t bytes() const { return to_a_.bytes() + to_b_.bytes(); }

 private:
  Forwarder to_a_;
  Forwarder to_b_;
};

}  // namespace mbsync::test
