// Short forms for the tables of the core's tests: nodes and times are small numbers, values are texts.
#pragma once

#include <catch2/catch.hpp>

#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "row_state.h"
#include "settle.h"

namespace mbsync {

inline NodeId node(std::int64_t id) {
  return NodeId{id};
}
inline Dot dot(std::int64_t origin, std::int64_t counter) {
  return Dot{node(origin), counter};
}

inline VersionVector vector(VersionVector::Map counters) {
  return VersionVector{std::move(counters)};
}

/// A write of `values` and, unless told otherwise, of the row mark.
inline Write write(Dot name, std::int64_t at, Values values, bool marked = true) {
  Write result{name, WriteTime{at}, {}, false, std::move(values)};
  for (const auto& [column, value] : result.values) {
    result.columns.insert(column);
  }
  if (marked) {
    result.columns.insert(kRowMark);
  }
  return result;
}

/// A delete of a row that held `image`.
inline Write tombstone(Dot name, std::int64_t at, Values image) {
  Write result = write(name, at, std::move(image));
  result.deleted = true;
  return result;
}

inline RowState state(std::vector<Write> writes) {
  return RowState{std::move(writes)};
}

inline std::ostream& operator<<(std::ostream& out, const Dot& value) {
  return out << value.origin.value << ":" << value.counter;
}
inline std::ostream& operator<<(std::ostream& out, const ColumnSet& value) {
  return out << value.to_bits(0);
}
inline std::ostream& operator<<(std::ostream& out, const VersionVector& value) {
  return out << value.to_string();
}
inline std::ostream& operator<<(std::ostream& out, const Values& values) {
  out << "{";
  for (const auto& [column, value] : values) {
    out << " " << column << "=" << value.value_or("NULL");
  }
  return out << " }";
}
inline std::ostream& operator<<(std::ostream& out, const Write& value) {
  return out << value.dot << (value.deleted ? " deleted " : " ") << value.columns << " at " << value.at.micros << " "
             << value.values;
}
inline std::ostream& operator<<(std::ostream& out, const RowState& value) {
  for (const Write& one : value.writes) {
    out << "[" << one << "] ";
  }
  return out;
}
inline std::ostream& operator<<(std::ostream& out, const ColumnConflict& value) {
  out << "column " << value.column << " won by ";
  if (value.winner) {
    out << *value.winner;
  } else {
    out << "all";
  }
  out << " over";
  for (const Dot& loser : value.losers) {
    out << " " << loser;
  }
  return out;
}

}  // namespace mbsync
