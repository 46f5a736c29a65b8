#include "dns_sd_source.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "lone_thread.h"

namespace mbsync {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// How long an answer about one peer may take. Daemons answer from what they have heard, or ask the network once a
/// second.
constexpr milliseconds kResolveFor{5'000};
constexpr milliseconds kAddressesFor{1'500};
/// When one kind of addresses has been answered, the other comes soon or not at all: many networks have only IPv4. When
/// both have, more of them come at once.
constexpr milliseconds kOtherKindFor{400};
constexpr milliseconds kQuietFor{150};
/// What is known is looked up again after this: an address that changes is not told by itself. So long for each peer
/// that a large fleet keeps the daemon no busier than a small one.
constexpr milliseconds kRefreshEvery{60'000};
constexpr milliseconds kRefreshEveryForEach{200};
/// After a failure: doubled, up to kRefreshEvery.
constexpr milliseconds kResolveAgain{2'000};
/// Each is a thread and a connection to the daemon with Avahi.
constexpr int kAtATimeMax = 8;
/// Services of strangers are kept up to here; a network has fewer machines.
constexpr std::size_t kInstancesMax = 2'000;
/// A daemon that is away is looked for again: first, and doubled up to the longest.
constexpr milliseconds kDaemonFirst{500};
constexpr milliseconds kDaemonMax{15'000};
/// How long stop() waits for the thread, so that the network is told that this node goes. A daemon that hangs is left.
constexpr milliseconds kGoodbyeFor{1'000};
constexpr std::size_t kNameMax = 63;  // bytes, RFC 6763, section 4.1.1

std::string cut_name(std::string name) {
  if (name.size() > kNameMax) {
    auto end = kNameMax;
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U) {
      --end;
    }
    name.resize(end);
  }
  return name;
}

std::string interface_name(std::uint32_t index) {
  char name[IF_NAMESIZE] = {};
  return if_indextoname(index, name) == nullptr ? fmt::format("interface {}", index) : std::string(name);
}

bool is_link_local(const in6_addr& address) {
  return IN6_IS_ADDR_LINKLOCAL(&address);
}

/// The text of a record's address; of a link-local one with the interface, without which it leads nowhere. Empty if it
/// is none.
std::string address_text(std::uint16_t type, const void* data, std::size_t bytes, std::uint32_t interface) {
  char text[INET6_ADDRSTRLEN] = {};
  if (type == kDNSServiceType_A && bytes == sizeof(in_addr)) {
    return inet_ntop(AF_INET, data, text, sizeof text) == nullptr ? "" : text;
  }
  if (type == kDNSServiceType_AAAA && bytes == sizeof(in6_addr)) {
    in6_addr address{};
    std::memcpy(&address, data, sizeof address);
    if (inet_ntop(AF_INET6, data, text, sizeof text) == nullptr) {
      return "";
    }
    return is_link_local(address) ? fmt::format("{}%{}", text, interface_name(interface)) : std::string(text);
  }
  return "";
}

/// IPv4 first: what a firewall lets through is most often set up for it. Then IPv6, link-local last.
int rank(const PeerAddress& address) {
  return address.host.find(':') == std::string::npos ? 0 : address.host.find('%') == std::string::npos ? 1 : 2;
}

}  // namespace

struct DnsSdSource::Shared {
  explicit Shared(Options given) : options(std::move(given)), wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Shared() {
    if (wake >= 0) {
      close(wake);
    }
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  const Options options;
  const int wake;  // readable when there is something to look at

  std::mutex mutex;
  std::condition_variable finished_changed;
  bool stopping = false;                     // guarded by mutex, as are the following
  bool finished = true;                      // no thread is under way
  std::optional<Announcement> announcement;  // a new one to be said
  std::set<std::string> look_again;

  std::mutex calls;                  // held during a call to the listener
  PeerListener* listener = nullptr;  // guarded by calls; nullptr: nobody wants to hear any more

  template <typename Call>
  void tell(Call call) {
    const std::lock_guard lock(calls);
    if (listener != nullptr) {
      call(*listener);
    }
  }

  void rouse() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake, &one, sizeof one);  // full: it is readable anyway
  }
  void quiet() const {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = read(wake, &count, sizeof count);
  }
  bool is_stopping() {
    const std::lock_guard lock(mutex);
    return stopping;
  }
};

/// One connection to the daemon, from the announcement to the end of the daemon or of the source.
class DnsSdSource::Session {
 public:
  Session(Shared& shared, const DnsSdApi& api, Announcement announcement)
      : shared_(shared), api_(api), announcement_(std::move(announcement)) {}
  ~Session() {
    instances_.clear();
    browse_.reset();
    service_.reset();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Why it ended; nothing if the source is stopping.
  std::optional<Error> run() {
    auto error = begin();
    while (!error && !shared_.is_stopping()) {
      error = step();
    }
    for (const auto& [key, instance] : instances_) {
      lose(*instance);
    }
    return error;
  }

  [[nodiscard]] const Announcement& announcement() const { return announcement_; }
  [[nodiscard]] bool worked() const { return worked_; }

 private:
  using InstanceKey = std::tuple<std::uint32_t, std::string, std::string>;  // interface, name, domain

  /// A request to the daemon, with what it has answered.
  struct Request {
    Request(const DnsSdApi& table, Session& owner) : api(&table), session(&owner) {}
    ~Request() {
      if (ref != nullptr) {
        api->release(ref);
      }
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    const DnsSdApi* api;
    Session* session;
    DNSServiceRef ref = nullptr;
    std::uint32_t interface = 0;
    DNSServiceErrorType error = kDNSServiceErr_NoError;
    bool answered = false;
    // of a resolved service
    std::string host;
    std::uint16_t port = 0;
    std::string txt;
    // of addresses
    std::set<std::string> addresses;
  };

  struct Instance {
    std::uint32_t interface = 0;
    std::string name;
    std::string type;
    std::string domain;
    std::string handle;
    std::unique_ptr<Request> resolving;
    std::unique_ptr<Request> ipv4;
    std::unique_ptr<Request> ipv6;
    Clock::time_point due;       // when it is looked up next
    Clock::time_point deadline;  // of what is under way
    milliseconds again = kResolveAgain;
    std::string host;
    std::uint16_t port = 0;
    std::optional<Announcement> said;
    bool own = false;  // this very process's
    std::optional<Sighting> told;
    [[nodiscard]] bool busy() const { return resolving || ipv4 || ipv6; }
  };

  struct Change {
    bool added;
    InstanceKey key;
    std::string type;
  };

  std::optional<Error> begin() {
    if (announces()) {
      if (auto error = begin_to_announce()) {
        return error;
      }
    }
    browse_ = std::make_unique<Request>(api_, *this);
    if (const auto code = api_.browse(&browse_->ref, 0, 0, kServiceType.data(), nullptr, on_browsed, browse_.get());
        code != kDNSServiceErr_NoError) {
      return dns_sd_error(code, "looking for peers");
    }
    return std::nullopt;
  }

  [[nodiscard]] bool announces() const { return shared_.options.port != 0; }

  std::optional<Error> begin_to_announce() {
    service_ = std::make_unique<Request>(api_, *this);
    const auto txt = to_txt(announcement_);
    const auto name = cut_name(shared_.options.name);
    if (const auto code = api_.register_service(
            &service_->ref, 0, 0, name.c_str(), kServiceType.data(), nullptr, nullptr, htons(shared_.options.port),
            static_cast<std::uint16_t>(txt.size()), txt.data(), on_registered, service_.get());
        code != kDNSServiceErr_NoError) {
      return dns_sd_error(code, "announcing this node");
    }
    return std::nullopt;
  }

  std::optional<Error> step() {
    std::vector<pollfd> sockets{{shared_.wake, POLLIN, 0}};
    std::vector<Request*> requests{nullptr};
    const auto add = [&](const std::unique_ptr<Request>& request) {
      if (request && request->ref != nullptr) {
        sockets.push_back({api_.socket_of(request->ref), POLLIN, 0});
        requests.push_back(request.get());
      }
    };
    add(service_);
    add(browse_);
    auto next = Clock::now() + kRefreshEvery;
    int under_way = 0;
    for (const auto& [key, instance] : instances_) {
      add(instance->resolving);
      add(instance->ipv4);
      add(instance->ipv6);
      under_way += instance->busy() ? 1 : 0;
    }
    for (const auto& [key, instance] : instances_) {
      next = instance->busy() ? std::min(next, instance->deadline)
                              : (under_way < kAtATimeMax ? std::min(next, instance->due) : next);
    }
    const auto wait = std::max(milliseconds{0}, std::chrono::ceil<milliseconds>(next - Clock::now()));
    if (poll(sockets.data(), static_cast<nfds_t>(sockets.size()), static_cast<int>(wait.count())) < 0 &&
        errno != EINTR) {
      return Error{ErrorKind::kTransient, "no discovery on the local network: waiting for the mDNS daemon failed", ""};
    }
    if (sockets[0].revents != 0) {
      shared_.quiet();
    }
    for (std::size_t i = 1; i < sockets.size(); ++i) {
      if (sockets[i].revents == 0) {
        continue;
      }
      if (const auto code = api_.process(requests[i]->ref); code != kDNSServiceErr_NoError) {
        return dns_sd_error(code, "listening");
      }
    }
    if (service_ && service_->error != kDNSServiceErr_NoError) {
      return dns_sd_error(service_->error, "announcing this node");
    }
    if (const auto code = browse_->error; code != kDNSServiceErr_NoError) {
      return dns_sd_error(code, "looking for peers");
    }
    if ((!service_ || service_->answered) && !worked_) {
      worked_ = true;
      shared_.tell([](PeerListener& listener) { listener.source_works(kName); });
    }
    take_changes();
    if (auto error = take_orders()) {
      return error;
    }
    advance_all();
    return std::nullopt;
  }

  // What the daemon has said of services that come and go.
  void take_changes() {
    for (auto& [added, key, type] : std::exchange(changes_, {})) {
      const auto place = instances_.find(key);
      if (!added) {
        if (place != instances_.end()) {
          lose(*place->second);
          instances_.erase(place);
        }
        continue;
      }
      if (place != instances_.end()) {
        place->second->due = Clock::now();  // it has been said anew
        continue;
      }
      if (instances_.size() >= kInstancesMax) {
        continue;
      }
      auto instance = std::make_unique<Instance>();
      std::tie(instance->interface, instance->name, instance->domain) = key;
      instance->type = type;
      instance->handle = fmt::format("{} ({})", instance->name, interface_name(instance->interface));
      instance->due = Clock::now();
      instances_.emplace(key, std::move(instance));
    }
  }

  // What the owner wants.
  std::optional<Error> take_orders() {
    std::optional<Announcement> news;
    std::set<std::string> again;
    {
      const std::lock_guard lock(shared_.mutex);
      // A daemon that has not taken the first one yet may refuse a change of it.
      if (service_ && service_->answered) {
        news = std::exchange(shared_.announcement, std::nullopt);
      }
      again = std::exchange(shared_.look_again, {});
    }
    if (!again.empty()) {
      for (const auto& [key, instance] : instances_) {
        if (again.contains(instance->handle)) {
          instance->due = Clock::now();
        }
      }
    }
    if (news) {
      announcement_ = std::move(*news);
      const auto txt = to_txt(announcement_);
      if (const auto code =
              api_.update_record(service_->ref, nullptr, 0, static_cast<std::uint16_t>(txt.size()), txt.data(), 0);
          code != kDNSServiceErr_NoError) {
        return dns_sd_error(code, "announcing this node anew");
      }
    }
    return std::nullopt;
  }

  void advance_all() {
    const auto now = Clock::now();
    int under_way = 0;
    for (const auto& [key, instance] : instances_) {
      if (instance->busy()) {
        advance(*instance, now);
      }
      under_way += instance->busy() ? 1 : 0;
    }
    for (const auto& [key, instance] : instances_) {
      if (under_way >= kAtATimeMax) {
        return;
      }
      if (!instance->busy() && instance->due <= now) {
        look_up(*instance, now);
        under_way += instance->busy() ? 1 : 0;
      }
    }
  }

  void look_up(Instance& instance, Clock::time_point now) {
    instance.resolving = std::make_unique<Request>(api_, *this);
    instance.deadline = now + kResolveFor;
    const auto code =
        api_.resolve(&instance.resolving->ref, 0, instance.interface, instance.name.c_str(), instance.type.c_str(),
                     instance.domain.c_str(), on_resolved, instance.resolving.get());
    if (code != kDNSServiceErr_NoError) {
      put_off(instance, now);
    }
  }

  void advance(Instance& instance, Clock::time_point now) {
    if (instance.resolving) {
      const auto& answer = *instance.resolving;
      if (answer.error != kDNSServiceErr_NoError || (!answer.answered && now >= instance.deadline)) {
        put_off(instance, now);
      } else if (answer.answered) {
        instance.host = answer.host;
        instance.port = answer.port;
        const auto said = parse_txt(answer.txt);
        instance.said = said ? std::optional(*said) : std::nullopt;
        instance.own = said && said->node == announcement_.node && said->start == announcement_.start;
        instance.resolving.reset();
        if (instance.own) {
          finish(instance, now, {});
        } else {
          ask_for_addresses(instance, now);
        }
      }
      return;
    }
    const auto done = [](const std::unique_ptr<Request>& request) {
      return !request || request->answered || request->error != kDNSServiceErr_NoError;
    };
    if (done(instance.ipv4) || done(instance.ipv6)) {
      const bool both = done(instance.ipv4) && done(instance.ipv6);
      instance.deadline = std::min(instance.deadline, now + (both ? kQuietFor : kOtherKindFor));
    }
    if (now < instance.deadline) {
      return;
    }
    std::set<std::string> addresses;
    for (const auto* request : {instance.ipv4.get(), instance.ipv6.get()}) {
      if (request != nullptr) {
        addresses.insert(request->addresses.begin(), request->addresses.end());
      }
    }
    finish(instance, now, addresses);
  }

  void ask_for_addresses(Instance& instance, Clock::time_point now) {
    instance.deadline = now + kAddressesFor;
    for (const auto& [type, place] : {std::pair{std::uint16_t{kDNSServiceType_A}, &instance.ipv4},
                                      std::pair{std::uint16_t{kDNSServiceType_AAAA}, &instance.ipv6}}) {
      *place = std::make_unique<Request>(api_, *this);
      (*place)->interface = instance.interface;
      const auto code = api_.query(&(*place)->ref, 0, instance.interface, instance.host.c_str(), type,
                                   kDNSServiceClass_IN, on_address, place->get());
      if (code != kDNSServiceErr_NoError) {
        (*place)->error = code;
      }
    }
  }

  void finish(Instance& instance, Clock::time_point now, const std::set<std::string>& addresses) {
    instance.ipv4.reset();
    instance.ipv6.reset();
    if (instance.own) {
      instance.due = now + kRefreshEvery;
      lose(instance);
      return;
    }
    Sighting sighting{instance.handle, {}, instance.said, instance.name};
    for (const auto& host : addresses) {
      sighting.addresses.push_back(PeerAddress{host, instance.port});
    }
    std::stable_sort(sighting.addresses.begin(), sighting.addresses.end(),
                     [](const PeerAddress& a, const PeerAddress& b) { return rank(a) < rank(b); });
    if (addresses.empty()) {
      put_off(instance, now);
      if (instance.told) {
        return;  // what was known before is better than nothing
      }
    } else {
      instance.again = kResolveAgain;
      instance.due = now + kRefreshEvery + kRefreshEveryForEach * static_cast<int>(instances_.size());
    }
    if (!instance.told || *instance.told != sighting) {
      instance.told = sighting;
      shared_.tell([&](PeerListener& listener) { listener.peer_found(kName, sighting); });
    }
  }

  void put_off(Instance& instance, Clock::time_point now) {
    instance.resolving.reset();
    instance.due = now + instance.again;
    instance.again = std::min(instance.again * 2, kRefreshEvery);
  }

  void lose(Instance& instance) {
    if (instance.told) {
      instance.told.reset();
      shared_.tell([&](PeerListener& listener) { listener.peer_lost(kName, instance.handle); });
    }
  }

  static void DNSSD_API on_registered(DNSServiceRef /*ref*/, DNSServiceFlags /*flags*/, DNSServiceErrorType error,
                                      const char* /*name*/, const char* /*type*/, const char* /*domain*/,
                                      void* context) {
    auto& request = *static_cast<Request*>(context);
    request.error = error;
    request.answered = true;
  }

  static void DNSSD_API on_browsed(DNSServiceRef /*ref*/, DNSServiceFlags flags, std::uint32_t interface,
                                   DNSServiceErrorType error, const char* name, const char* type, const char* domain,
                                   void* context) {
    auto& request = *static_cast<Request*>(context);
    request.error = error;
    if (error == kDNSServiceErr_NoError) {
      request.session->changes_.push_back(
          {(flags & kDNSServiceFlagsAdd) != 0, InstanceKey{interface, name, domain}, type});
    }
  }

  static void DNSSD_API on_resolved(DNSServiceRef /*ref*/, DNSServiceFlags /*flags*/, std::uint32_t /*interface*/,
                                    DNSServiceErrorType error, const char* /*name*/, const char* host,
                                    std::uint16_t port, std::uint16_t txt_bytes, const unsigned char* txt,
                                    void* context) {
    auto& request = *static_cast<Request*>(context);
    request.error = error;
    if (error == kDNSServiceErr_NoError) {
      request.answered = true;
      request.host = host;
      request.port = ntohs(port);
      request.txt.assign(reinterpret_cast<const char*>(txt), txt_bytes);
    }
  }

  static void DNSSD_API on_address(DNSServiceRef /*ref*/, DNSServiceFlags flags, std::uint32_t interface,
                                   DNSServiceErrorType error, const char* /*name*/, std::uint16_t type,
                                   std::uint16_t /*record_class*/, std::uint16_t bytes, const void* data,
                                   std::uint32_t /*ttl*/, void* context) {
    auto& request = *static_cast<Request*>(context);
    request.error = error;
    if (error != kDNSServiceErr_NoError) {
      return;
    }
    request.answered = true;
    const auto text = address_text(type, data, bytes, interface != 0 ? interface : request.interface);
    if (text.empty()) {
      return;
    }
    if ((flags & kDNSServiceFlagsAdd) != 0) {
      request.addresses.insert(text);
    } else {
      request.addresses.erase(text);
    }
  }

  Shared& shared_;
  const DnsSdApi& api_;
  Announcement announcement_;
  std::unique_ptr<Request> service_;
  std::unique_ptr<Request> browse_;
  std::map<InstanceKey, std::unique_ptr<Instance>> instances_;
  std::vector<Change> changes_;  // not taken yet
  bool worked_ = false;
};

DnsSdSource::DnsSdSource(Options options) : shared_(std::make_shared<Shared>(std::move(options))) {}

DnsSdSource::~DnsSdSource() {
  stop();
}

void DnsSdSource::start(PeerListener& listener) {
  {
    const std::lock_guard lock(shared_->calls);
    shared_->listener = &listener;
  }
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = false;
    shared_->finished = false;
  }
  // Whatever it uses is its own: it may be left behind in a call to a daemon that hangs.
  start_lone_thread([shared = shared_] {
    auto announcement = shared->options.announcement;
    auto wait = kDaemonFirst;
    std::optional<DnsSdApi> api;
    while (!shared->is_stopping()) {
      std::optional<Error> error;
      if (!api) {
        auto loaded = shared->options.load();
        error = loaded ? std::nullopt : std::optional(loaded.error());
        api = loaded ? std::optional(*loaded) : std::nullopt;
      }
      if (api) {
        Session session(*shared, *api, announcement);
        error = session.run();
        announcement = session.announcement();
        wait = session.worked() ? kDaemonFirst : wait;
      }
      if (error) {
        shared->tell([&](PeerListener& to) { to.source_fails(kName, *error); });
        const auto until = Clock::now() + wait;
        while (Clock::now() < until && !shared->is_stopping()) {
          pollfd woken{shared->wake, POLLIN, 0};
          poll(&woken, 1, static_cast<int>(std::chrono::ceil<milliseconds>(until - Clock::now()).count()));
          shared->quiet();
        }
        wait = std::min(wait * 2, kDaemonMax);
        const std::lock_guard lock(shared->mutex);
        if (shared->announcement) {
          announcement = *std::exchange(shared->announcement, std::nullopt);
        }
      }
    }
    const std::lock_guard lock(shared->mutex);
    shared->finished = true;
    shared->finished_changed.notify_all();
  });
}

void DnsSdSource::stop() {
  {
    const std::lock_guard lock(shared_->calls);
    shared_->listener = nullptr;
  }
  std::unique_lock lock(shared_->mutex);
  shared_->stopping = true;
  shared_->rouse();
  shared_->finished_changed.wait_for(lock, kGoodbyeFor, [this] { return shared_->finished; });
}

void DnsSdSource::announce(const Announcement& announcement) {
  const std::lock_guard lock(shared_->mutex);
  shared_->announcement = announcement;
  shared_->rouse();
}

void DnsSdSource::look_again(const std::string& handle) {
  const std::lock_guard lock(shared_->mutex);
  shared_->look_again.insert(handle);
  shared_->rouse();
}

}  // namespace mbsync
