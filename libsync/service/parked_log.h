// How a row that the database refuses is told to the log: which row it is and why is shown by status, and by debug
// lines.
#pragma once

#include <string_view>

#include "log.h"
#include "parked_row.h"

namespace mbsync {

/// `peer` is empty where the row's news had waited here.
inline void log_parked(LogDomain domain, const ParkedRow& row, std::string_view peer) {
  log_warning(domain,
              "a row cannot be written here and is parked, it is tried again; 'mbsync status' shows it table={}{}{}",
              log_value(row.table), peer.empty() ? "" : " peer=", peer);
  log_debug(domain, "a row is parked what={}", log_value(row.text()));
}

}  // namespace mbsync
