#include "counters.h"

namespace mbsync {

namespace {

Sums sum_of(const Counters& counters, Decimal Contribution::*part) {
  Sums sums;
  for (const auto& [column, origins] : counters) {
    Decimal& sum = sums[column];
    for (const auto& [origin, contribution] : origins) {
      sum = sum + contribution.*part;
    }
  }
  return sums;
}

void shift(Values& values, ColumnNumber column, const Decimal& by) {
  const auto place = values.find(column);
  if (place == values.end() || !place->second) {
    return;
  }
  if (const auto number = Decimal::parse(*place->second)) {
    place->second = (*number + by).to_string();
  }
}

}  // namespace

Sums total_of(const Counters& counters) {
  return sum_of(counters, &Contribution::total);
}

Sums shown_of(const Counters& counters) {
  return sum_of(counters, &Contribution::shown);
}

Counters join(const Counters& mine, const Counters& theirs) {
  Counters result = mine;
  for (const auto& [column, origins] : theirs) {
    for (const auto& [origin, contribution] : origins) {
      Contribution& known = result[column][origin];
      if (known.counter < contribution.counter) {
        known.counter = contribution.counter;
        known.total = contribution.total;
      }
    }
  }
  return result;
}

void subtract_sums(Values& values, const Sums& sums) {
  for (const auto& [column, sum] : sums) {
    shift(values, column, -sum);
  }
}

void add_sums(Values& values, const Sums& sums) {
  for (const auto& [column, sum] : sums) {
    shift(values, column, sum);
  }
}

}  // namespace mbsync
