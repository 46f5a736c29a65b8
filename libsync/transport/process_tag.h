// How a node notices that an address among its peers is its own: people give every machine the same list of all. The
// database's identity cannot tell, since a copy of the database has it as well. So each process has a tag made by
// chance; its client says it in a header, and its server knows it. Nobody else can guess it.
#pragma once

#include <cstdint>
#include <string>

namespace mbsync {

class FleetTags;

inline constexpr const char* kProcessTagHeader = "Mbsync-Process";
/// "Loop detected": what the server answers to its own process.
inline constexpr int kStatusOwnProcess = 508;

/// Where the asking process listens itself: so a peer that is named by this one alone finds the way back.
inline constexpr const char* kPortHeader = "Mbsync-Port";

/// What a client says of the process that it belongs to.
struct OwnProcess {
  std::string tag;                  ///< empty: nothing
  std::uint16_t port = 0;           ///< 0: nothing
  FleetTags* fleet_tags = nullptr;  ///< what it says of its fleet, and where it keeps what it hears; none: nothing
};

/// 128 random bits in hexadecimal; empty if the system has no random numbers, and then nobody recognises himself.
std::string make_process_tag();

}  // namespace mbsync
