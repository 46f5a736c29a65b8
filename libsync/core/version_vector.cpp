#include "version_vector.h"

#include <algorithm>
#include <utility>

namespace mbsync {

VersionVector::VersionVector(Map counters) : counters_(std::move(counters)) {
  std::erase_if(counters_, [](const auto& entry) { return entry.second <= 0; });
}

std::int64_t VersionVector::counter(NodeId origin) const {
  const auto found = counters_.find(origin);
  return found == counters_.end() ? 0 : found->second;
}

bool VersionVector::covers(const Dot& dot) const {
  return counter(dot.origin) >= dot.counter;
}

bool VersionVector::covers(const VersionVector& other) const {
  return std::all_of(other.counters_.begin(), other.counters_.end(),
                     [this](const auto& entry) { return counter(entry.first) >= entry.second; });
}

void VersionVector::advance(const Dot& dot) {
  if (dot.counter > 0) {
    std::int64_t& counter = counters_[dot.origin];
    counter = std::max(counter, dot.counter);
  }
}

void VersionVector::merge(const VersionVector& other) {
  for (const auto& [origin, counter] : other.counters_) {
    advance({origin, counter});
  }
}

std::string VersionVector::to_string() const {
  std::string text;
  for (const auto& [origin, counter] : counters_) {
    if (!text.empty()) {
      text += ' ';
    }
    text += mbsync::to_string(origin) + ':' + std::to_string(counter);
  }
  return text;
}

VersionVector common(const VersionVector& a, const VersionVector& b) {
  VersionVector result;
  for (const auto& [origin, counter] : a.counters()) {
    result.advance({origin, std::min(counter, b.counter(origin))});
  }
  return result;
}

}  // namespace mbsync
