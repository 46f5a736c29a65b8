#include "value_order.h"

#include "core_literals.h"

namespace mbsync {

namespace {

// Each group is equal and less than the next.
struct Order {
  ColumnType type;
  std::vector<std::vector<Value>> rising;
};

const ColumnType kMood{ValueKind::kEnum, {"sad", "ok", "happy"}};

const std::vector<Order> kOrders{
    {{ValueKind::kBoolean, {}}, {{std::nullopt}, {"f"}, {"t"}, {""}, {"F"}, {"false"}, {"true"}}},
    {{ValueKind::kNumber, {}},
     {{std::nullopt},
      {"-Infinity"},
      {"-10"},
      {"-9.5", "-9.50"},
      {"0", "-0", "0.00"},
      {"2"},
      {"10", "10.0"},
      {"9223372036854775807"},
      {"9223372036854775808"},
      {"Infinity"},
      {"NaN"},
      {""},
      {"1e5"},
      {"nan"},
      {"ten"}}},
    {{ValueKind::kFloat, {}},
     {{std::nullopt},
      {"-Infinity"},
      {"-1e+20"},
      {"-1.5"},
      {"0", "-0", "0e0"},
      {"5e-324"},
      {"1e-05", "0.00001"},
      {"9"},
      {"10", "1e1", "1e+01"},
      {"1.7976931348623157e+308"},
      {"Infinity"},
      {"NaN"},
      {""},
      {"+1"},
      {"-"},
      {"1 "},
      {"1e"},
      {"1e999"},
      {"INF"},
      {"inf"},
      {"infinity"},
      {"nan"}}},
    {{ValueKind::kTimestamp, {}},
     {{std::nullopt},
      {"-infinity"},
      {"4713-01-01 BC"},
      {"0044-03-14 23:59:59.5 BC"},
      {"0044-03-15 BC", "0044-03-15 00:00:00 BC", "0044-03-15 00:00:00+00 BC"},
      {"0001-12-31 BC"},
      {"0001-01-01"},
      {"0999-12-31"},
      {"2024-02-29", "2024-02-29 00:00:00", "2024-02-29 00:00:00.000+00"},
      {"2024-02-29 10:00:00+00", "2024-02-29 10:00:00"},
      {"2024-02-29 10:00:00.000001+00"},
      {"2024-02-29 10:00:00.45+00"},
      {"2024-02-29 10:00:00.5+00", "2024-02-29 10:00:00.500000+00", "2024-02-29 10:00:00.50"},
      {"2024-02-29 10:00:01"},
      {"9999-12-31 23:59:59.999999"},
      {"10000-01-01"},
      {"294276-12-31 23:59:59.999999+00"},
      {"5874897-12-31"},
      {"99999999999999999999999-01-01"},
      {"infinity"},
      {""},
      {" BC"},
      {"-2024-01-01"},
      {"0000-01-01"},
      {"0001-01-01 AD"},
      {"2024-00-10"},
      {"2024-01-01 10:00"},
      {"2024-01-01 10:00:00+01"},
      {"2024-01-01 10:00:00."},
      {"2024-01-01 10:00:00.+00"},
      {"2024-01-01 24:00:00"},
      {"2024-01-01+00"},
      {"2024-01-01T10:00:00"},
      {"2024-13-01"},
      {"29/02/2024"},
      {"999-01-01"},
      {"Infinity"}}},
    {kMood, {{std::nullopt}, {""}, {"Happy"}, {"merry"}, {"sad"}, {"ok"}, {"happy"}}},
    {{ValueKind::kText, {}}, {{std::nullopt}, {""}, {"B"}, {"a"}, {"a "}, {"ab"}, {"z"}, {"ä"}}},
    {{ValueKind::kTime, {}}, {{std::nullopt}, {"09:00:00"}, {"10:00:00"}, {"10:00:00.45"}, {"10:00:00.5"}}},
    {{ValueKind::kOther, {}}, {{std::nullopt}, {"10"}, {"9"}}},
    {{ValueKind::kArray, {}}, {{std::nullopt}, {"{10}"}, {"{9}"}}},
    {{ValueKind::kJson, {}}, {{std::nullopt}, {"10"}, {"9"}}}};

std::string shown(const Value& value) {
  return value ? '"' + *value + '"' : "NULL";
}

int sign(int number) {
  return (number > 0 ? 1 : 0) - (number < 0 ? 1 : 0);
}

}  // namespace

// Where every pair of a list stands as the list says, the order is antisymmetric and transitive over all its triples.
TEST_CASE("value order: each kind as PostgreSQL orders it, and malformed texts behind, by bytes") {
  for (const Order& order : kOrders) {
    for (std::size_t i = 0; i < order.rising.size(); ++i) {
      for (std::size_t j = 0; j < order.rising.size(); ++j) {
        for (const Value& a : order.rising[i]) {
          for (const Value& b : order.rising[j]) {
            INFO("kind " << static_cast<int>(order.type.kind) << ": " << shown(a) << " and " << shown(b));
            CHECK(sign(compare_values(a, b, order.type)) == (i < j ? -1 : (i > j ? 1 : 0)));
          }
        }
      }
    }
  }
}

TEST_CASE("value order: total for texts of any kind under any type") {
  std::vector<Value> values;
  for (const Order& order : kOrders) {
    for (const std::vector<Value>& group : order.rising) {
      values.insert(values.end(), group.begin(), group.end());
    }
  }
  for (const Order& order : kOrders) {
    std::vector<std::vector<int>> found(values.size(), std::vector<int>(values.size()));
    for (std::size_t a = 0; a < values.size(); ++a) {
      for (std::size_t b = 0; b < values.size(); ++b) {
        found[a][b] = sign(compare_values(values[a], values[b], order.type));
      }
    }
    std::size_t broken = 0;
    for (std::size_t a = 0; a < values.size(); ++a) {
      for (std::size_t b = 0; b < values.size(); ++b) {
        broken += found[a][b] == -found[b][a] ? 0U : 1U;
        for (std::size_t c = 0; c < values.size(); ++c) {
          broken += found[a][b] <= 0 && found[b][c] <= 0 && found[a][c] > 0 ? 1U : 0U;
        }
      }
    }
    INFO("kind " << static_cast<int>(order.type.kind));
    CHECK(broken == 0);
  }
}

TEST_CASE("value order: an enum without labels is ordered by bytes") {
  CHECK(compare_values("a", "b", {ValueKind::kEnum, {}}) < 0);
  CHECK(compare_values("b", "a", {ValueKind::kEnum, {}}) > 0);
}

}  // namespace mbsync
