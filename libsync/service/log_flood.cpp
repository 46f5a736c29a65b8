#include "log_flood.h"

#include <fmt/format.h>

namespace mbsync {

bool FloodGate::count(Counts& counts, Key key, std::int64_t most, std::string_view text, Time now) {
  auto place = counts.find(key);
  if (place == counts.end()) {
    if (counts.size() >= kFloodLinesKept) {
      return true;
    }
    place = counts.emplace(std::move(key), Count{now, 0, 0, {}}).first;
  }
  auto& entry = place->second;
  if (entry.written < most) {
    ++entry.written;
    return true;
  }
  ++entry.held_back;
  entry.last = text;
  return false;
}

bool FloodGate::admit(LogLevel level, std::string_view domain, std::string_view text, std::string_view format,
                      Time now) {
  if (!count(lines_, {level, std::string(domain), std::string(text)}, kSameLinesMax, text, now)) {
    return false;
  }
  return level == LogLevel::kError || format.empty() ||
         count(kinds_, {level, std::string(domain), std::string(format)}, kSameKindMax, text, now);
}

void FloodGate::collect(Counts& counts, bool of_kind, Time now, bool all, std::vector<Line>& lines) {
  for (auto place = counts.begin(); place != counts.end();) {
    auto& [key, entry] = *place;
    if (!all && now - entry.since < kFloodWindow) {
      ++place;
      continue;
    }
    if (entry.held_back == 0) {
      place = counts.erase(place);
      continue;
    }
    const auto& [level, domain, text] = key;
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(now - entry.since).count();
    lines.push_back(
        {level, domain,
         of_kind ? fmt::format("{} (the last of its kind) not_shown={} in_s={}", entry.last, entry.held_back, seconds)
                 : fmt::format("{} repeated={} in_s={}", text, entry.held_back, seconds)});
    // It goes on being counted until it has been quiet for as long.
    entry.since = now;
    entry.held_back = 0;
    ++place;
  }
}

std::vector<FloodGate::Line> FloodGate::due(Time now, bool all) {
  std::vector<Line> lines;
  if (!all && now < next_) {
    return lines;
  }
  constexpr std::chrono::seconds kLookEvery{1};
  next_ = now + kLookEvery;
  collect(lines_, false, now, all, lines);
  collect(kinds_, true, now, all, lines);
  return lines;
}

}  // namespace mbsync
