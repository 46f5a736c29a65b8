#include "dns_sd_api.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace mbsync {
namespace {

constexpr const char* kLibrary = "libdns_sd.so.1";
constexpr const char* kInstall = "install libavahi-compat-libdnssd1 and avahi-daemon, or name the peers with --peer";
constexpr const char* kStartDaemon = "start avahi-daemon, or name the peers with --peer; it is tried again by itself";
constexpr const char* kLookAtDaemon =
    "look at the daemon's log ('journalctl -u avahi-daemon'), or name the peers with --peer; it is tried again by "
    "itself";

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

/// Avahi's dns_sd (0.8) does not set all members of a request that it makes. When the daemon goes away, it looks
/// whether one of these is a callback, and calls it: the process ends. So its memory comes zeroed, as later versions do
/// it.
void zero_memory_of_avahi(void* library) {
  struct Allocator {  // AvahiAllocator of avahi-common/malloc.h
    void* (*allocate)(std::size_t);
    void (*release)(void*);
    void* (*resize)(void*, std::size_t);
    void* (*allocate_zeroed)(std::size_t, std::size_t);
  };
  static const Allocator zeroing{[](std::size_t bytes) { return std::calloc(1, bytes); }, std::free, std::realloc,
                                 std::calloc};
  void (*set_allocator)(const Allocator*) = nullptr;
  if (find(library, "avahi_set_allocator", set_allocator)) {
    set_allocator(&zeroing);
  }
}

}  // namespace

Result<DnsSdApi> DnsSdApi::load() {
  // Avahi writes to stderr that programs should use its own interface.
  setenv("AVAHI_COMPAT_NOWARN", "1", 0);
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Error{ErrorKind::kNotFound, fmt::format("no discovery on the local network: {} is not there", kLibrary),
                 kInstall};
  }
  DnsSdApi api;
  const bool all =
      find(library, "DNSServiceRefSockFD", api.socket_of) && find(library, "DNSServiceProcessResult", api.process) &&
      find(library, "DNSServiceRefDeallocate", api.release) &&
      find(library, "DNSServiceRegister", api.register_service) &&
      find(library, "DNSServiceUpdateRecord", api.update_record) && find(library, "DNSServiceBrowse", api.browse) &&
      find(library, "DNSServiceResolve", api.resolve) && find(library, "DNSServiceQueryRecord", api.query);
  if (!all) {
    return Error{ErrorKind::kNotFound,
                 fmt::format("no discovery on the local network: {} lacks functions that are needed", kLibrary),
                 kInstall};
  }
  zero_memory_of_avahi(library);
  return api;
}

Error dns_sd_error(DNSServiceErrorType code, std::string_view doing) {
  // Avahi says "unknown" for a daemon that is not there, or has gone.
  const bool no_daemon = code == kDNSServiceErr_Unknown || code == -65563;  // kDNSServiceErr_ServiceNotRunning
  if (no_daemon) {
    return Error{ErrorKind::kTransient,
                 fmt::format("no discovery on the local network: the mDNS daemon does not answer ({})", doing),
                 kStartDaemon};
  }
  return Error{
      ErrorKind::kTransient,
      fmt::format("no discovery on the local network: {} failed with error {} of the mDNS daemon", doing, code),
      kLookAtDaemon};
}

}  // namespace mbsync
