// How far a database has everything, per origin. A plain value; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ids.h"

namespace mbsync {

class VersionVector {
 public:
  using Map = std::map<NodeId, std::int64_t>;

  VersionVector() = default;
  explicit VersionVector(Map counters);  ///< entries of 0 or less are left out

  [[nodiscard]] std::int64_t counter(NodeId origin) const;  ///< 0 where nothing is known
  [[nodiscard]] bool covers(const Dot& dot) const;
  [[nodiscard]] bool covers(const VersionVector& other) const;  ///< everything in `other` is in this one
  void advance(const Dot& dot);                                 ///< to at least this dot; never back
  void merge(const VersionVector& other);                       ///< the maximum per origin
  [[nodiscard]] bool empty() const { return counters_.empty(); }
  [[nodiscard]] const Map& counters() const { return counters_; }
  /// "05f3...:17 0a22...:4", for logs.
  [[nodiscard]] std::string to_string() const;
  bool operator==(const VersionVector&) const = default;

 private:
  Map counters_;
};

/// The minimum per origin: what both hold.
VersionVector common(const VersionVector& a, const VersionVector& b);

}  // namespace mbsync
