// An mDNS daemon of a test's own behind the table of dns_sd functions: the network is what the test says. One at a
// time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "dns_sd_api.h"

namespace mbsync::test {

class FakeDaemon {
 public:
  struct Service {
    std::uint32_t interface = 1;
    std::string host;
    std::uint16_t port = 0;
    std::string txt;
  };

  FakeDaemon();
  ~FakeDaemon();
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  [[nodiscard]] static Result<DnsSdApi> api();

  void add(const std::string& name, Service service);
  void remove(const std::string& name);
  /// Texts of IPv4 and IPv6 addresses.
  void set_addresses(const std::string& host, std::vector<std::string> addresses);
  /// Away: every call fails, and what is under way is told so.
  void go_away();
  void come_back();
  /// Calls do not come back until unhang().
  void hang();
  void unhang();

  [[nodiscard]] std::vector<std::string> announced() const;  ///< the TXT records, in order
  [[nodiscard]] std::size_t requests_max() const;            ///< at a time, besides announcing and browsing
  [[nodiscard]] int calls() const;                           ///< that began, also those that hang

 private:
  friend struct FakeCalls;
  struct Request;
  bool begin();  // false: away
  Request* open(bool counted);
  void push(Request& request, std::function<void()> callback);
  void tell(Request& browser, const std::string& name, const Service& service, bool added);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool away_ = false;
  bool hangs_ = false;
  int calls_ = 0;
  std::map<std::string, Service> services_;
  std::map<std::string, std::vector<std::string>> addresses_;
  std::vector<std::string> announced_;
  std::map<Request*, std::unique_ptr<Request>> requests_;
  std::size_t requests_max_ = 0;
};

}  // namespace mbsync::test
