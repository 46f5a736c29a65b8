// Small things that come from outside: addresses of peers, ids of nodes, UTF-8.
#include "fuzz.h"
#include "ids.h"
#include "peer_address.h"
#include "utf8.h"

namespace mbsync::fuzz {

void run(std::string_view input) {
  if (const auto address = parse_peer_address(input)) {
    FUZZ_EXPECT(!address->host.empty() && address->port > 0, "an address without host or port was taken");
    const auto again = parse_peer_address(to_string(*address));
    FUZZ_EXPECT(again && *again == *address, "an address that was taken does not survive being written");
  }
  if (const auto id = parse_node_id(input)) {
    FUZZ_EXPECT(id->valid() && parse_node_id(to_string(*id)) == id, "an id that was taken does not survive");
  }
  const auto valid = valid_utf8_length(input);
  FUZZ_EXPECT(valid <= input.size(), "more UTF-8 than there is text");
  FUZZ_EXPECT(valid_utf8_length(input.substr(0, valid)) == valid, "what is valid is not valid by itself");
  FUZZ_EXPECT(valid == input.size() || valid_utf8_length(input.substr(valid)) == 0, "it stopped too early");
}

}  // namespace mbsync::fuzz
