// How a node notices that an address among its peers is its own: people give every machine the same list of all. The
// database's identity cannot tell, since a copy of the database has it as well. So each process has a tag made by
// chance; its client says it in a header, and its server knows it. Nobody else can guess it.
#pragma once

#include <string>

namespace mbsync {

inline constexpr const char* kProcessTagHeader = "Mbsync-Process";
/// "Loop detected": what the server answers to its own process.
inline constexpr int kStatusOwnProcess = 508;

/// 128 random bits in hexadecimal; empty if the system has no random numbers, and then nobody recognises himself.
std::string make_process_tag();

}  // namespace mbsync
