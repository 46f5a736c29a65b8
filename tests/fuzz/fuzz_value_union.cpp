// Arrays, JSON and texts put together: up to three values, between zero bytes.
#include "fuzz.h"
#include "value_union.h"

namespace mbsync::fuzz {
namespace {

using Unite = std::optional<std::string> (*)(const std::vector<std::string>&);

/// What has to hold for both unions. `is_set`: the order of time makes no difference to what is in it.
void check_union(Unite unite, const std::vector<std::string>& values) {
  const auto united = unite(values);
  if (!united) {
    return;
  }
  FUZZ_EXPECT(unite({*united}) == united, "a union is not of the form that it is written in");
  FUZZ_EXPECT(unite({*united, *united}) == united, "a union with itself is something else");
  for (const auto& value : values) {
    const auto plain = unite({value});
    FUZZ_EXPECT(plain.has_value(), "a value was united that cannot be read");
    FUZZ_EXPECT(unite({value, *plain}) == plain, "a value and what is made of it differ");
  }
  if (values.size() == 3) {
    const auto first = unite({values[0], values[1]});
    FUZZ_EXPECT(first && unite({*first, values[2]}) == united, "it makes a difference what is united first");
  }
  auto backwards = values;
  std::reverse(backwards.begin(), backwards.end());
  const auto reversed = unite(backwards);
  FUZZ_EXPECT(reversed.has_value(), "it makes a difference in which order values are read");
  FUZZ_EXPECT(!united->starts_with('[') || united->size() == reversed->size(), "elements depend on the order of time");
}

}  // namespace

void run(std::string_view input) {
  std::vector<std::string> values;
  for (const auto part : split(input, '\0', 3)) {
    values.emplace_back(part);
  }
  check_union(unite_arrays, values);
  check_union(unite_json, values);
  const std::string text = append_texts(values);
  FUZZ_EXPECT(append_texts({text}) == text, "a text is not of the form that it is written in");
  FUZZ_EXPECT(append_texts({text, text}) == text, "a text with itself is something else");
  std::size_t most = values.size();
  for (const auto& value : values) {
    most += value.size();
  }
  FUZZ_EXPECT(text.size() <= most, "text was made up");
}

}  // namespace mbsync::fuzz
