// The TXT record of DNS-SD: anybody on the network can say anything in it.
#include "announcement.h"
#include "fuzz.h"

namespace mbsync::fuzz {

void run(std::string_view input) {
  constexpr std::size_t kRecordMax = 400;
  constexpr std::size_t kTagMax = 64;
  const auto announcement = parse_txt(input);
  if (!announcement) {
    FUZZ_EXPECT(announcement.error().text().size() < 200, "the error repeats the record");
    return;
  }
  FUZZ_EXPECT(announcement->protocol > 0, "a version out of bounds was taken");
  // They go into log lines and status.
  for (const auto& tag : {announcement->fleet, announcement->start}) {
    FUZZ_EXPECT(tag.size() <= kTagMax && tag.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz") == tag.npos,
                "a tag that is none was taken");
  }
  const std::string record = to_txt(*announcement);
  FUZZ_EXPECT(record.size() <= kRecordMax, "a record over its limit");
  const auto again = parse_txt(record);
  FUZZ_EXPECT(again && *again == *announcement, "what was taken does not survive being announced");
}

}  // namespace mbsync::fuzz
