// Generated histories of a fleet: writes, deletes, pulls (also repeated, delayed, across partitions), forgetting, and
// nodes that join late. A history is a setup and a list of numbers, each of which decodes to one step, so that
// RapidCheck can shrink it by leaving steps out.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "sim_node.h"

namespace mbsync::sim {

enum class StepKind {
  kWrite,
  kDelete,
  kSeal,
  kPull,
  kPullTwice,
  kAsk,
  kDeliver,
  kForget,
  kPartition,
  kJoin,
  kHold,
  kRelease,
  kPublish,
  kIncrease,
  kAway
};

struct Step {
  StepKind kind;
  std::size_t node;
  std::size_t other;
  Key key;
  Values values;         ///< of a write
  std::int64_t jitter;   ///< added to the time of a write, so that times collide
  std::uint32_t groups;  ///< of a partition: bit i is the side of node i
};

struct History {
  std::uint32_t setup = 0;
  std::vector<std::uint32_t> steps;
};
std::ostream& operator<<(std::ostream& out, const History& history);

/// The bit of `setup` that lets some of the nodes join late (if the number drawn for them is not 0).
inline constexpr std::uint32_t kLateJoiners = 4;

std::size_t node_count(const History& history);
Step decode_step(const History& history, std::uint32_t bits);

/// A fleet in the middle of a history.
class Fleet {
 public:
  explicit Fleet(const History& history, Fault fault = Fault::kNone);

  void run_steps();
  /// One step, now.
  void run(const Step& step);
  /// Ends partitions, joins who has not joined, and lets everybody pull until all have everything.
  void heal();
  /// Pulls and forgets until nothing can be left to forget.
  void forget_all();

  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  std::vector<Node>& nodes() { return nodes_; }
  /// Whether the node has been part of the fleet from the start, or has joined since.
  [[nodiscard]] bool joined(std::size_t node) const { return joined_[node]; }

 private:
  [[nodiscard]] bool is_out(std::size_t node) const;
  [[nodiscard]] bool connected(std::size_t a, std::size_t b) const;
  void deliver(std::size_t node);
  bool pull(std::size_t node, std::size_t other);
  void join_fleet(std::size_t node, std::size_t other);
  /// Whether all got what they asked for.
  bool pull_round();
  [[nodiscard]] WriteTime time_at(std::size_t node, std::int64_t jitter) const;

  const History& history_;
  Fault fault_;
  std::vector<Node> nodes_;
  std::vector<bool> joined_;
  std::vector<std::vector<PullAnswer>> delayed_;  ///< by asker
  std::vector<std::int64_t> skew_;
  std::int64_t now_ = 0;
  std::uint32_t groups_ = 0;
  bool away_ = false;  ///< some node was said to be away: then it may be what holds a chain together
};

/// Runs the history to its end; what went wrong, or nothing if all nodes agree and nothing is left to forget.
std::string failure_of(const History& history, Fault fault = Fault::kNone);

}  // namespace mbsync::sim
