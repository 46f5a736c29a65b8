// What nftables does with what comes in, read from its own JSON (libnftables-json(5)). The names of tables and chains
// are free, so those that count are found by their hook.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

/// A chain that all that comes in goes through.
struct NftChain {
  std::string family;  ///< "inet", "ip", "ip6"
  std::string table;
  std::string name;
};

/// `said`: of 'nft -j list chains'. `internal` if it is not that.
Result<std::vector<NftChain>> input_chains(std::string_view said);

/// Whether a chain lets in what comes to `port` over `protocol` ("tcp", "udp"). A rule that accepts the port under
/// further conditions (from this network, by that interface) was made by somebody who thought of it, and does. Other
/// rules with conditions beyond protocol and port, and other chains that are jumped to, are passed over. `said`: of
/// 'nft -j list chain ...'; `internal` if it is not that.
Result<bool> lets_in(std::string_view said, std::string_view protocol, std::uint16_t port);

}  // namespace mbsync
