#include "node_events.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace mbsync {

std::string iso_of(WallClockTime at) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(at)));
}

nlohmann::ordered_json to_json(const NodeEvent& event) {
  return {{"id", event.id},
          {"at", iso_of(event.at)},
          {"kind", event.kind},
          {"peer", event.peer.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(event.peer)},
          {"text", event.text},
          {"details", event.details}};
}

std::string to_sse(const NodeEvent& event) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.kind,
                     to_json(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

NodeEvents::NodeEvents(WallClockTime started)
    : start_(fmt::format("{:x}",
                         std::chrono::duration_cast<std::chrono::microseconds>(started.time_since_epoch()).count())) {}

void NodeEvents::add(WallClockTime at, std::string kind, std::string peer, std::string text,
                     nlohmann::ordered_json details) {
  const std::lock_guard lock(mutex_);
  ++last_;
  events_.push_back(
      {fmt::format("{}-{}", start_, last_), at, std::move(kind), std::move(peer), std::move(text), std::move(details)});
  if (events_.size() > kKept) {
    events_.pop_front();
  }
  added_.notify_all();
}

std::uint64_t NodeEvents::number_of(std::string_view id) const {
  const auto dash = id.find('-');
  if (dash == std::string_view::npos || id.substr(0, dash) != start_) {
    return 0;
  }
  std::uint64_t number = 0;
  const auto text = id.substr(dash + 1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

std::vector<NodeEvent> NodeEvents::after(std::string_view id, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  auto number = number_of(id);
  number = number > last_ ? 0 : number;
  added_.wait_for(lock, patience, [&] { return last_ > number; });
  const auto fresh = std::min<std::uint64_t>(last_ - number, events_.size());
  return {events_.end() - static_cast<std::ptrdiff_t>(fresh), events_.end()};
}

std::vector<NodeEvent> NodeEvents::latest(std::size_t count) {
  const std::lock_guard lock(mutex_);
  return {events_.end() - static_cast<std::ptrdiff_t>(std::min(count, events_.size())), events_.end()};
}

}  // namespace mbsync
