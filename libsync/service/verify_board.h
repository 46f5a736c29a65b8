// Where it is asked for comparisons of rows, and where the thread that makes them says how far it is: between the local
// port and the verifier. Outlives a restart of the run loop. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "verify_report.h"

namespace mbsync {

class VerifyBoard {
 public:
  struct Order {
    std::uint64_t id = 0;
    VerifyOrder what;
  };

  /// Of whoever wants to know: the number of the run. `transient`: nobody is there who could do it, or one is under way
  /// that somebody else has asked for. One that is merely due is put off.
  Result<std::uint64_t> order(VerifyOrder what);
  /// Ends the one that was asked for last, or is under way. Whether there is one.
  bool cancel();
  /// What runs; what came of the last one, and of the last one that somebody has asked for.
  [[nodiscard]] nlohmann::ordered_json document() const;

  // Of the verifier.

  /// Whether there is one, and what ends its questions that are under way, from other threads. The latter is not called
  /// any more once this has returned.
  void open(bool is_open, std::function<void()> give_up = {});
  /// The next order, waited for up to `patience`.
  std::optional<Order> take(std::chrono::milliseconds patience, const std::stop_token& stop);
  /// One that is due begins, if nobody has asked for another.
  std::optional<std::uint64_t> begin_scheduled();
  /// False: it is to be given up.
  bool wait(std::chrono::milliseconds pause, const std::stop_token& stop);
  [[nodiscard]] bool given_up() const;
  void at_peer(const std::string& peer, std::size_t tables);
  void at_table(const std::string& table, std::size_t done);
  void progress(std::int64_t rows, std::int64_t estimate);
  void finished(VerifyReport report);

 private:
  void give_up_now();
  void end_unbegun(const char* why);
  struct Running {
    std::uint64_t id = 0;
    bool scheduled = false;
    std::string peer{};
    std::string table{};
    std::size_t tables = 0;
    std::size_t tables_done = 0;
    std::int64_t rows = 0;
    std::int64_t estimate = 0;
  };

  std::mutex giving_up_;  // guards give_up_asking_; before mutex_
  std::function<void()> give_up_asking_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  bool open_ = false;
  std::uint64_t last_id_ = 0;
  std::optional<Order> next_;
  std::optional<Running> running_;
  bool give_up_ = false;
  std::optional<VerifyReport> last_;
  std::optional<VerifyReport> last_asked_;  ///< that somebody has asked for
};

}  // namespace mbsync
