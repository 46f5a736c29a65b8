// The nodes that this one exchanges with, where the configuration has a list of them. It keeps out machines that have
// the key and are not meant to take part. It does not keep out somebody who has the key and lies: what a node says of
// its id is proved by nothing but the key, which all have.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "message.h"
#include "pull_sink.h"

namespace mbsync {

class AllowedNodes {
 public:
  /// Empty: all.
  explicit AllowedNodes(const std::vector<NodeId>& nodes) : nodes_(nodes.begin(), nodes.end()) {}

  /// Any thread, as is all else here.
  void replace(const std::vector<NodeId>& nodes) {
    const std::lock_guard lock(mutex_);
    nodes_ = {nodes.begin(), nodes.end()};
  }
  [[nodiscard]] bool allows(NodeId node) const {
    const std::lock_guard lock(mutex_);
    return nodes_.empty() || nodes_.contains(node);
  }
  /// `rejected`, in words for both sides: which node has to be told what.
  [[nodiscard]] Result<void> check(const Member& peer, const Member& self) const;

 private:
  mutable std::mutex mutex_;
  std::set<NodeId> nodes_;  // guarded by mutex_
};

/// Passes on an answer of a node that is allowed, and nothing of others. Takes down what its clock said.
class AllowedSink : public PullSink {
 public:
  using Clock = std::chrono::system_clock;
  struct Stamp {
    NodeId sender;
    Clock::time_point sent;  ///< by the sender's clock
    Clock::time_point came;  ///< by this one's
  };

  /// Borrows all but `self`.
  AllowedSink(PullSink& sink, const AllowedNodes& allowed, Member self)
      : sink_(sink), allowed_(allowed), self_(std::move(self)) {}

  Result<void> header(const PullHeader& header) override;
  Result<void> table(const TableHeader& table) override { return sink_.table(table); }
  Result<void> rows(std::string_view copy_text) override { return sink_.rows(copy_text); }
  Result<void> table_end(std::int64_t rows) override { return sink_.table_end(rows); }
  Result<void> footer(const PullFooter& footer) override { return sink_.footer(footer); }

  /// It came from one that is not.
  [[nodiscard]] bool refused() const { return refused_; }
  /// Once the header is there.
  [[nodiscard]] const std::optional<Stamp>& stamp() const { return stamp_; }

 private:
  PullSink& sink_;
  const AllowedNodes& allowed_;
  Member self_;
  bool refused_ = false;
  std::optional<Stamp> stamp_;
};

}  // namespace mbsync
