// What a source sees within a short while: for commands, which do not stay.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "peer_source.h"

namespace mbsync {

struct Surroundings {
  std::vector<Sighting> seen;    ///< by handle; with addresses or, as yet, without
  std::optional<Error> failure;  ///< the source does not work here
};

/// Starts the source, and stops it when `enough` says so of what is seen, and nothing more has come for a moment; when
/// the source says that it does not work; or when `patience` is over. Who is not there is not seen however long one
/// waits.
Surroundings look_around(PeerSource& source, std::chrono::milliseconds patience,
                         const std::function<bool(const std::vector<Sighting>&)>& enough);

}  // namespace mbsync
