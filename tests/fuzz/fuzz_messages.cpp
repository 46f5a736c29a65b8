// The JSON that nodes exchange: request, header, table, footer, refusal, digests (PROTOCOL.md).
#include "digest_message.h"
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

/// A short message may stand for a long one, but not for one without end.
std::size_t entries_of(const std::map<NodeId, VersionVector>& reports) {
  std::size_t entries = 0;
  for (const auto& [node, report] : reports) {
    entries += report.counters().size();
  }
  return entries;
}

/// What was taken comes back the same when it is sent on.
template <typename Parse>
bool round_trip(std::string_view input, Parse parse) {
  const auto message = parse(input);
  if (!message) {
    FUZZ_EXPECT(message.error().kind == ErrorKind::kCorrupt || message.error().kind == ErrorKind::kNotFound,
                "a malformed message is not called corrupt");
    FUZZ_EXPECT(message.error().text().size() < 512, "the error repeats the message");
    return false;
  }
  const std::string again = to_json(*message);
  const auto parsed = parse(again);
  FUZZ_EXPECT(parsed && *parsed == *message, "a message that was taken does not survive being sent on");
  FUZZ_EXPECT(to_json(*parsed) == again, "one message, two forms");
  return true;
}

}  // namespace

void run(std::string_view input) {
  int taken = 0;
  // Both may say only what is other than in a request that is known here.
  static const PullRequest kKnown = [] {
    PullRequest request;
    request.sender = {NodeId{0x1a}, "kasse-1"};
    request.seen = VersionVector({{NodeId{0x1a}, 17}, {NodeId{0x2b}, 4}});
    request.members = {request.sender, {NodeId{0x2b}, "b\u00fcro"}};
    return request;
  }();
  const auto parse_request = [](std::string_view text) {
    return parse_pull_request(text, [](std::string_view name) { return name == "known" ? &kKnown : nullptr; });
  };
  if (round_trip(input, parse_request)) {
    const auto request = parse_request(input);
    const auto shortened = parse_request(to_json(*request, kKnown, "known"));
    // A member cannot be left out in short: whoever builds upon a request knows all that it named.
    const bool knows_all = std::all_of(kKnown.members.begin(), kKnown.members.end(), [&](const Member& known) {
      return std::any_of(request->members.begin(), request->members.end(),
                         [&](const Member& member) { return member.id == known.id; });
    });
    FUZZ_EXPECT(!shortened || !knows_all || *shortened == *request, "a request says something else in short");
    FUZZ_EXPECT(entries_of(request->reports) <= kReportEntriesMax, "a message stands for too much");
    check_fleet(request->sender, request->members, request->reports);
    FUZZ_EXPECT(request->wait_ms >= 0 && request->wait_ms <= kWaitMsMax, "a wait out of bounds was taken");
    ++taken;
  }
  if (round_trip(input, [](std::string_view text) { return parse_pull_header(text); })) {
    const auto header = parse_pull_header(input);
    FUZZ_EXPECT(entries_of(header->reports) <= kReportEntriesMax, "a message stands for too much");
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
  if (round_trip(input, parse_digest_request)) {
    const auto request = parse_digest_request(input);
    FUZZ_EXPECT(request->limit >= 0 && request->limit <= kDigestRowsMax && request->keys.size() <= kDigestKeysMax,
                "a digest out of bounds was taken");
    FUZZ_EXPECT(request->kind == DigestKind::kTables || (!request->key.empty() && !request->columns.empty()),
                "a digest of no table was taken");
    ++taken;
  }
  if (round_trip(input, parse_digest_answer)) {
    const auto answer = parse_digest_answer(input);
    FUZZ_EXPECT(answer->list.size() <= std::size_t{kDigestRowsMax} && answer->looks.size() <= kDigestKeysMax,
                "more rows than may be were taken");
    for (const auto& look : answer->looks) {
      FUZZ_EXPECT(look.present == !look.hash.empty() && (look.present || look.columns.empty()),
                  "a row that is not there has values");
      FUZZ_EXPECT(std::is_sorted(look.writes.begin(), look.writes.end()), "writes out of order were taken");
    }
    ++taken;
  }
  FUZZ_EXPECT(taken <= 1, "one text is two messages");
  // Any text at all may be a reason; what is sent of it can be read.
  const auto half = input.size() / 2;
  const auto refusal = parse_refusal(
      to_json(Refusal{ErrorKind::kRejected, std::string(input.substr(0, half)), std::string(input.substr(half))}));
  FUZZ_EXPECT(refusal.has_value(), "a refusal that is sent cannot be read");
}

}  // namespace mbsync::fuzz
