// The JSON that nodes exchange: request, header, table, footer, refusal (PROTOCOL.md).
#include "fuzz.h"
#include "message.h"
#include "protocol_limits.h"

namespace mbsync::fuzz {
namespace {

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kNodeNameBytesMax &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

void check_fleet(const Member& sender, const std::vector<Member>& members,
                 const std::map<NodeId, VersionVector>& reports) {
  FUZZ_EXPECT(sender.id.valid() && is_name(sender.name), "a sender out of bounds was taken");
  FUZZ_EXPECT(members.size() <= kMembersMax && reports.size() <= kMembersMax, "too many members were taken");
  for (const auto& member : members) {
    FUZZ_EXPECT(member.id.valid() && is_name(member.name), "a member out of bounds was taken");
  }
}

/// What was taken comes back the same when it is sent on, in no more bytes than it came in.
template <typename Message>
bool round_trip(std::string_view input, Result<Message> (*parse)(std::string_view)) {
  const auto message = parse(input);
  if (!message) {
    FUZZ_EXPECT(message.error().kind == ErrorKind::kCorrupt, "a malformed message is not called corrupt");
    FUZZ_EXPECT(message.error().text().size() < 512, "the error repeats the message");
    return false;
  }
  const std::string again = to_json(*message);
  FUZZ_EXPECT(again.size() <= input.size(), "a message is longer when it is sent on");
  const auto parsed = parse(again);
  FUZZ_EXPECT(parsed && *parsed == *message, "a message that was taken does not survive being sent on");
  FUZZ_EXPECT(to_json(*parsed) == again, "one message, two forms");
  return true;
}

}  // namespace

void run(std::string_view input) {
  int taken = 0;
  if (round_trip(input, parse_pull_request)) {
    const auto request = parse_pull_request(input);
    check_fleet(request->sender, request->members, request->reports);
    FUZZ_EXPECT(request->wait_ms >= 0 && request->wait_ms <= kWaitMsMax, "a wait out of bounds was taken");
    ++taken;
  }
  if (round_trip(input, parse_pull_header)) {
    const auto header = parse_pull_header(input);
    check_fleet(header->sender, header->members, header->reports);
    ++taken;
  }
  if (round_trip(input, parse_table_header)) {
    const auto table = parse_table_header(input);
    FUZZ_EXPECT(table->columns.size() <= kColumnsMax && table->numbers.size() == table->columns.size(),
                "columns out of bounds were taken");
    FUZZ_EXPECT(!table->key.empty() && table->key.size() <= kKeyColumnsMax, "a key out of bounds was taken");
    ++taken;
  }
  taken += round_trip(input, parse_pull_footer) ? 1 : 0;
  taken += round_trip(input, parse_refusal) ? 1 : 0;
  FUZZ_EXPECT(taken <= 1, "one text is two messages");
  // Any text at all may be a reason; what is sent of it can be read.
  const auto half = input.size() / 2;
  const auto refusal = parse_refusal(
      to_json(Refusal{ErrorKind::kRejected, std::string(input.substr(0, half)), std::string(input.substr(half))}));
  FUZZ_EXPECT(refusal.has_value(), "a refusal that is sent cannot be read");
}

}  // namespace mbsync::fuzz
