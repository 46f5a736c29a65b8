// The functions of dns_sd.h that are used here, found at run time: a machine without Avahi or Bonjour runs mbsync all
// the same. A table of them can also be made by a test.
#pragma once

#include <dns_sd.h>

#include "result.h"

namespace mbsync {

struct DnsSdApi {
  decltype(&::DNSServiceRefSockFD) socket_of = nullptr;
  decltype(&::DNSServiceProcessResult) process = nullptr;
  decltype(&::DNSServiceRefDeallocate) release = nullptr;
  decltype(&::DNSServiceRegister) register_service = nullptr;
  decltype(&::DNSServiceUpdateRecord) update_record = nullptr;
  decltype(&::DNSServiceBrowse) browse = nullptr;
  decltype(&::DNSServiceResolve) resolve = nullptr;
  decltype(&::DNSServiceQueryRecord) query = nullptr;

  /// Loads Avahi's libdns_sd.so.1, or Bonjour's dnssd.dll. `not_found` with what to install. The library stays loaded.
  static Result<DnsSdApi> load();
};

/// What an error code means, for people.
Error dns_sd_error(DNSServiceErrorType code, std::string_view doing);

}  // namespace mbsync
