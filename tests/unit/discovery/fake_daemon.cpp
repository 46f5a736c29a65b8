#include "fake_daemon.h"

#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace mbsync::test {
namespace {

FakeDaemon* daemon_now = nullptr;

constexpr const char* kType = "_mbsync._tcp.";
constexpr const char* kDomain = "local.";

}  // namespace

struct FakeDaemon::Request {
  Request() : socket(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC)) {}
  ~Request() { close(socket); }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  int socket;
  bool counted = false;
  bool gone = false;
  DNSServiceBrowseReply browsing = nullptr;
  void* context = nullptr;
  std::deque<std::function<void()>> callbacks;
};

// The C functions, which find the daemon that is there.
struct FakeCalls {
  using Request = FakeDaemon::Request;

  static Request* request(DNSServiceRef ref) { return reinterpret_cast<Request*>(ref); }
  static DNSServiceRef ref(Request* request) { return reinterpret_cast<DNSServiceRef>(request); }

  static int socket_of(DNSServiceRef ref) { return request(ref)->socket; }

  static DNSServiceErrorType process(DNSServiceRef ref) {
    std::function<void()> callback;
    {
      const std::lock_guard lock(daemon_now->mutex_);
      auto& to = *request(ref);
      std::uint64_t count = 0;
      [[maybe_unused]] const auto taken = read(to.socket, &count, sizeof count);
      if (to.gone) {
        return kDNSServiceErr_Unknown;
      }
      callback = std::move(to.callbacks.front());
      to.callbacks.pop_front();
    }
    callback();
    return kDNSServiceErr_NoError;
  }

  static void release(DNSServiceRef ref) {
    const std::lock_guard lock(daemon_now->mutex_);
    daemon_now->requests_.erase(request(ref));
  }

  static DNSServiceErrorType register_service(DNSServiceRef* out, DNSServiceFlags /*flags*/,
                                              std::uint32_t /*interface*/, const char* name, const char* type,
                                              const char* /*domain*/, const char* /*host*/, std::uint16_t /*port*/,
                                              std::uint16_t txt_bytes, const void* txt,
                                              DNSServiceRegisterReply callback, void* context) {
    if (!daemon_now->begin()) {
      return kDNSServiceErr_Unknown;
    }
    const std::lock_guard lock(daemon_now->mutex_);
    auto* made = daemon_now->open(false);
    daemon_now->announced_.emplace_back(static_cast<const char*>(txt), txt_bytes);
    daemon_now->push(*made, [=, registered = std::string(name), of = std::string(type)] {
      callback(ref(made), 0, kDNSServiceErr_NoError, registered.c_str(), of.c_str(), kDomain, context);
    });
    *out = ref(made);
    return kDNSServiceErr_NoError;
  }

  static DNSServiceErrorType update_record(DNSServiceRef /*ref*/, DNSRecordRef /*record*/, DNSServiceFlags /*flags*/,
                                           std::uint16_t bytes, const void* data, std::uint32_t /*ttl*/) {
    if (!daemon_now->begin()) {
      return kDNSServiceErr_Unknown;
    }
    const std::lock_guard lock(daemon_now->mutex_);
    daemon_now->announced_.emplace_back(static_cast<const char*>(data), bytes);
    return kDNSServiceErr_NoError;
  }

  static DNSServiceErrorType browse(DNSServiceRef* out, DNSServiceFlags /*flags*/, std::uint32_t /*interface*/,
                                    const char* /*type*/, const char* /*domain*/, DNSServiceBrowseReply callback,
                                    void* context) {
    if (!daemon_now->begin()) {
      return kDNSServiceErr_Unknown;
    }
    const std::lock_guard lock(daemon_now->mutex_);
    auto* made = daemon_now->open(false);
    made->browsing = callback;
    made->context = context;
    for (const auto& [name, service] : daemon_now->services_) {
      daemon_now->tell(*made, name, service, true);
    }
    *out = ref(made);
    return kDNSServiceErr_NoError;
  }

  static DNSServiceErrorType resolve(DNSServiceRef* out, DNSServiceFlags /*flags*/, std::uint32_t interface,
                                     const char* name, const char* /*type*/, const char* /*domain*/,
                                     DNSServiceResolveReply callback, void* context) {
    if (!daemon_now->begin()) {
      return kDNSServiceErr_Unknown;
    }
    const std::lock_guard lock(daemon_now->mutex_);
    auto* made = daemon_now->open(true);
    if (const auto place = daemon_now->services_.find(name); place != daemon_now->services_.end()) {
      daemon_now->push(*made, [=, service = place->second, full = std::string(name)] {
        callback(ref(made), 0, interface, kDNSServiceErr_NoError, full.c_str(), service.host.c_str(),
                 htons(service.port), static_cast<std::uint16_t>(service.txt.size()),
                 reinterpret_cast<const unsigned char*>(service.txt.data()), context);
      });
    }
    *out = ref(made);
    return kDNSServiceErr_NoError;
  }

  static DNSServiceErrorType query(DNSServiceRef* out, DNSServiceFlags /*flags*/, std::uint32_t interface,
                                   const char* host, std::uint16_t type, std::uint16_t record_class,
                                   DNSServiceQueryRecordReply callback, void* context) {
    if (!daemon_now->begin()) {
      return kDNSServiceErr_Unknown;
    }
    const std::lock_guard lock(daemon_now->mutex_);
    auto* made = daemon_now->open(true);
    for (const auto& text : daemon_now->addresses_[host]) {
      const bool ipv6 = text.find(':') != std::string::npos;
      if (ipv6 != (type == kDNSServiceType_AAAA)) {
        continue;
      }
      std::string bytes(ipv6 ? sizeof(in6_addr) : sizeof(in_addr), '\0');
      inet_pton(ipv6 ? AF_INET6 : AF_INET, text.c_str(), bytes.data());
      daemon_now->push(*made, [=, name = std::string(host)] {
        callback(ref(made), kDNSServiceFlagsAdd, interface, kDNSServiceErr_NoError, name.c_str(), type, record_class,
                 static_cast<std::uint16_t>(bytes.size()), bytes.data(), 120, context);
      });
    }
    *out = ref(made);
    return kDNSServiceErr_NoError;
  }
};

FakeDaemon::FakeDaemon() {
  daemon_now = this;
}

FakeDaemon::~FakeDaemon() {
  daemon_now = nullptr;
}

Result<DnsSdApi> FakeDaemon::api() {
  return DnsSdApi{FakeCalls::socket_of,     FakeCalls::process, FakeCalls::release, FakeCalls::register_service,
                  FakeCalls::update_record, FakeCalls::browse,  FakeCalls::resolve, FakeCalls::query};
}

bool FakeDaemon::begin() {
  std::unique_lock lock(mutex_);
  ++calls_;
  changed_.wait(lock, [this] { return !hangs_; });
  return !away_;
}

FakeDaemon::Request* FakeDaemon::open(bool counted) {
  auto made = std::make_unique<Request>();
  auto* request = made.get();
  request->counted = counted;
  requests_.emplace(request, std::move(made));
  const auto open =
      std::count_if(requests_.begin(), requests_.end(), [](const auto& it) { return it.second->counted; });
  requests_max_ = std::max(requests_max_, static_cast<std::size_t>(open));
  return request;
}

void FakeDaemon::push(Request& request, std::function<void()> callback) {
  request.callbacks.push_back(std::move(callback));
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(request.socket, &one, sizeof one);
}

void FakeDaemon::tell(Request& browser, const std::string& name, const Service& service, bool added) {
  push(browser, [&browser, name, interface = service.interface, added] {
    browser.browsing(FakeCalls::ref(&browser), added ? kDNSServiceFlagsAdd : 0, interface, kDNSServiceErr_NoError,
                     name.c_str(), kType, kDomain, browser.context);
  });
}

void FakeDaemon::add(const std::string& name, Service service) {
  const std::lock_guard lock(mutex_);
  services_[name] = std::move(service);
  for (const auto& [request, owned] : requests_) {
    if (request->browsing != nullptr) {
      tell(*request, name, services_[name], true);
    }
  }
}

void FakeDaemon::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto service = services_[name];
  services_.erase(name);
  for (const auto& [request, owned] : requests_) {
    if (request->browsing != nullptr) {
      tell(*request, name, service, false);
    }
  }
}

void FakeDaemon::set_addresses(const std::string& host, std::vector<std::string> addresses) {
  const std::lock_guard lock(mutex_);
  addresses_[host] = std::move(addresses);
}

void FakeDaemon::go_away() {
  const std::lock_guard lock(mutex_);
  away_ = true;
  for (const auto& [request, owned] : requests_) {
    request->gone = true;
    push(*request, [] {});
  }
}

void FakeDaemon::come_back() {
  const std::lock_guard lock(mutex_);
  away_ = false;
}

void FakeDaemon::hang() {
  const std::lock_guard lock(mutex_);
  hangs_ = true;
}

void FakeDaemon::unhang() {
  const std::lock_guard lock(mutex_);
  hangs_ = false;
  changed_.notify_all();
}

std::vector<std::string> FakeDaemon::announced() const {
  const std::lock_guard lock(mutex_);
  return announced_;
}

std::size_t FakeDaemon::requests_max() const {
  const std::lock_guard lock(mutex_);
  return requests_max_;
}

int FakeDaemon::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

}  // namespace mbsync::test
