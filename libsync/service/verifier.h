// Compares this node's rows with those of other members, in a thread of its own: when somebody asks for it, and now and
// then by itself. How a table is compared is in verify_table.h.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "peer_loop.h"
#include "verify_board.h"

namespace mbsync {

struct VerifySettings {
  std::chrono::hours interval{24};  ///< between comparisons that nobody asks for; 0: none
  std::int64_t rows_per_s = 5'000;  ///< of each side; 0: as fast as it goes
};

class Verifier {
 public:
  /// Borrows both.
  Verifier(PeerContext& context, VerifyBoard& board, VerifySettings settings);
  ~Verifier();  ///< stops
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  /// From now on; also for one that is under way. Any thread.
  void adopt(VerifySettings settings);
  /// Does not wait.
  void ask_to_stop();

 private:
  class Pace;
  class Way;
  void run(const std::stop_token& stop);
  void run_scheduled(std::uint64_t id, const std::stop_token& stop);
  void run_order(const VerifyBoard::Order& order, const std::stop_token& stop);
  Result<std::vector<Member>> members_in(const std::vector<std::string>& names);
  PeerVerdict compare_with(const Member& peer, const VerifyOrder& order, bool scheduled, const std::stop_token& stop);
  [[nodiscard]] std::vector<PeerAddress> addresses_of(NodeId node);
  void finish(VerifyReport report);
  void give_up_asking();
  void tell(const PeerVerdict& verdict, bool scheduled);
  bool is_due();
  void report_failure(const Error& error, std::string_view what);

  PeerContext& context_;
  VerifyBoard& board_;
  std::atomic<std::chrono::hours> interval_;
  std::atomic<std::int64_t> rows_per_s_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point next_try_;  // when it is looked again whether it is time
  Announcer failures_;
  std::mutex mutex_;
  std::vector<PeerClient*> asking_;  // guarded by mutex_; to be stopped with the rest
  std::stop_source ending_;
  std::jthread thread_;
};

/// Of `members`, in the order in which one that is at work by itself tries them: those behind its own id first, and
/// then from the beginning. So each node compares itself with the next one, and with no more than that, if all are
/// there: twenty nodes make twenty comparisons a day and not four hundred, and what any of them has lost is seen by
/// two.
std::vector<Member> in_turn(std::vector<Member> members, NodeId self);

}  // namespace mbsync
