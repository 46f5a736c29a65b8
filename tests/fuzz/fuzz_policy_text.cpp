// The policy document: written by a person, or published by any node and then read by all.
#include "fuzz.h"
#include "glob.h"
#include "policy_text.h"

namespace mbsync::fuzz {
namespace {

/// The same question asked in the plainest way there is.
bool matches(std::string_view pattern, std::string_view name) {
  std::vector<bool> here(name.size() + 1, false);
  here[0] = true;
  for (const char letter : pattern) {
    std::vector<bool> next(name.size() + 1, false);
    for (std::size_t at = 0; at <= name.size(); ++at) {
      next[at] = letter == '*' ? here[at] || (at > 0 && next[at - 1])
                               : at > 0 && here[at - 1] && (letter == '?' || letter == name[at - 1]);
    }
    here = next;
  }
  return here[name.size()];
}

}  // namespace

void run(std::string_view input) {
  const auto reading = read_policy_text(input);
  const auto lines = std::count(input.begin(), input.end(), '\n') + 1;
  for (std::size_t i = 0; i < reading.faults.size(); ++i) {
    const auto& fault = reading.faults[i];
    FUZZ_EXPECT(fault.line >= 0 && fault.line <= lines + 1, "a fault on a line that is not there");
    FUZZ_EXPECT(i == 0 || reading.faults[i - 1].line <= fault.line, "faults out of order");
    FUZZ_EXPECT(!fault.message.empty(), "a fault without words");
  }
  if (reading.faults.empty()) {
    const std::string text = to_text(reading.policy);
    FUZZ_EXPECT(text.size() <= kStoredPolicyBytesMax, "a document over its limit");
    const auto again = read_policy_text(text, kStoredPolicyBytesMax);
    FUZZ_EXPECT(again.faults.empty(), "a document that was taken cannot be published");
    FUZZ_EXPECT(to_text(again.policy) == text, "one policy, two documents");
    FUZZ_EXPECT(next_policy_version(7, text) > 7, "a version that does not follow");
  }
  const auto parts = split(input.substr(0, 200), '\n', 2);
  const bool ascii = std::none_of(input.begin(), input.end(), [](char c) { return (c & 0x80) != 0; });
  if (parts.size() == 2 && ascii) {
    FUZZ_EXPECT(glob_matches(parts[0], parts[1]) == matches(parts[0], parts[1]),
                "a pattern matches what it should not");
  }
}

}  // namespace mbsync::fuzz
