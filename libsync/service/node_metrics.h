// The node's figures in Prometheus' text form, by way of its C++ library, which nobody else here knows of. What is
// counted is counted here; what is read (lag, sizes) is put beside it when somebody asks. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pg_store.h"

namespace mbsync {

struct NodeStatus;

class NodeMetrics {
 public:
  explicit NodeMetrics(const std::string& version);
  ~NodeMetrics();
  NodeMetrics(const NodeMetrics&) = delete;
  NodeMetrics& operator=(const NodeMetrics&) = delete;

  // Times in seconds. `id`: of the peer, since two may have one name.
  void applied(const std::string& peer, const std::string& id, const ApplyOutcome& outcome, double took);
  void answered(const std::string& peer, const std::string& id, std::int64_t rows, std::int64_t bytes, double took);
  void pull_failed();
  void sealed(double took);
  void served(std::string_view route, int status);

  /// The whole page, text format 0.0.4.
  [[nodiscard]] std::string text(const NodeStatus& status) const;
  static constexpr const char* kType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
