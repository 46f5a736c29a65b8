// The routes of the local port: what each answers. What is behind them comes in as LocalApiBasis, so that they can be
// tried without a node. openapi.json beside this file says the same in full, and a test compares the two.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "database_url.h"
#include "local_http.h"
#include "node_activity.h"
#include "node_control.h"
#include "node_status.h"
#include "verify_board.h"

namespace mbsync {

struct LocalApiBasis {
  /// What of it comes from the database was read at `since` or later.
  std::function<NodeStatus(std::chrono::steady_clock::time_point since)> status;
  NodeActivity& activity;
  NodeControl& control;
  DatabaseUrl database;
  VerifyBoard& verify;
};

class LocalApi {
 public:
  explicit LocalApi(LocalApiBasis basis);
  ~LocalApi();
  LocalApi(const LocalApi&) = delete;
  LocalApi& operator=(const LocalApi&) = delete;

  /// They refer to this object.
  [[nodiscard]] std::vector<LocalRoute> routes();
  /// Gives up what is under way in the database. Returns at once; to be called again until all answers are made.
  void interrupt();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The description of the routes (OpenAPI 3.0), as it is served.
std::string_view openapi_document();

}  // namespace mbsync
