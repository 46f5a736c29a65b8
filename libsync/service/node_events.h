// What has happened at this node lately, in plain words: for a person who looks, not for the record (that is the log).
// A bounded ring in memory; it begins anew with the process. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "peer_note.h"

namespace mbsync {

struct NodeEvent {
  std::string id;  ///< "START-NUMBER": numbers rise by one; START tells one process from the next
  WallClockTime at;
  std::string kind;  ///< node_started, peer_connected, ...: openapi.json lists them
  std::string peer;  ///< name, or empty
  std::string text;  ///< one sentence
  nlohmann::ordered_json details = nlohmann::ordered_json::object();
};
nlohmann::ordered_json to_json(const NodeEvent& event);
/// As a server-sent event.
std::string to_sse(const NodeEvent& event);

class NodeEvents {
 public:
  static constexpr std::size_t kKept = 1'000;

  explicit NodeEvents(WallClockTime started);
  void add(WallClockTime at, std::string kind, std::string peer, std::string text,
           nlohmann::ordered_json details = nlohmann::ordered_json::object());
  /// Those after `id`, waiting up to `patience` for the first. An id that is empty, of another process, or too old to
  /// be there any more: from the oldest on.
  std::vector<NodeEvent> after(std::string_view id, std::chrono::milliseconds patience);
  /// The latest, the oldest of them first.
  std::vector<NodeEvent> latest(std::size_t count);

 private:
  [[nodiscard]] std::uint64_t number_of(std::string_view id) const;

  const std::string start_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable added_;
  std::deque<NodeEvent> events_;
  std::uint64_t last_ = 0;
};

/// "2026-01-31T10:00:00Z"
std::string iso_of(WallClockTime at);

}  // namespace mbsync
