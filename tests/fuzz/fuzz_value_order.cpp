// The order of values for max and min. The first byte chooses the kind; then three values, a line each, "NULL" for
// none.
#include "fuzz.h"
#include "value_order.h"

namespace mbsync::fuzz {

void run(std::string_view input) {
  if (input.empty()) {
    return;
  }
  constexpr int kKinds = static_cast<int>(ValueKind::kJson) + 1;
  const ColumnType type{static_cast<ValueKind>(static_cast<unsigned char>(input.front()) % kKinds),
                        {"new", "paid", ""}};
  std::vector<Value> values;
  for (const auto part : split(input.substr(1), '\n', 3)) {
    values.push_back(part == "NULL" ? Value() : Value(part));
  }
  values.resize(3);
  const auto order = [&](std::size_t a, std::size_t b) {
    const int outcome = compare_values(values[a], values[b], type);
    return (outcome > 0 ? 1 : 0) - (outcome < 0 ? 1 : 0);
  };
  for (std::size_t a = 0; a < values.size(); ++a) {
    FUZZ_EXPECT(order(a, a) == 0, "a value is not equal to itself");
    for (std::size_t b = 0; b < values.size(); ++b) {
      FUZZ_EXPECT(order(a, b) == -order(b, a), "an order is not the reverse of its reverse");
      for (std::size_t c = 0; c < values.size(); ++c) {
        FUZZ_EXPECT(order(a, b) > 0 || order(b, c) > 0 || order(a, c) <= 0, "an order that is not transitive");
        FUZZ_EXPECT(order(a, b) != 0 || order(a, c) == order(b, c), "equal values are in different places");
      }
    }
  }
}

}  // namespace mbsync::fuzz
