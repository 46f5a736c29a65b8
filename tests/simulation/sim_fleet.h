// A fleet in virtual time: who listens to whom, who asks when, what is said and what that weighs, and how writes spread
// and are forgotten. No database, no network, no clock, no threads; the same seed gives the same run.
//
// Real here: the choice of peers (choose_live), who counts as up (PeerHealth), the pace after failures (Backoff,
// AskAgainPace), every interval (tuning.h, transport_tuning.h, PeerPatience), the messages and their encoding
// (message.h, PullEncoder), and, in small fleets, the check of what is forgotten (stable_vector).
//
// Modelled, each with the place it mirrors: the steps of the run loop (Peers, PeerLoop, PullExchange, PgStore), since
// there they are threads; rows, as one line of text each that nobody else writes (how rows are merged is the business
// of tests/property); the network, as a delay and a list of who reaches whom.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "ids.h"
#include "message.h"
#include "pace.h"
#include "peer_health.h"
#include "rng.h"
#include "version_vector.h"

namespace mbsync::simulation {

using std::chrono::milliseconds;

struct FleetOptions {
  int nodes = 20;
  std::size_t live_peers = 8;
  /// Node 0 is the hub: it names all others, they name only it, and reach nobody else.
  bool hub = false;
  std::size_t hub_live_peers = 64;
  /// Peers are named, so a node learns who somebody is when he answers; else they are found, with their ids.
  bool named = false;
  milliseconds interval{30'000};  ///< SYNC_INTERVAL
  milliseconds delay{1};          ///< one way
  std::size_t row_bytes = 200;    ///< of a row's values
  std::uint64_t seed = 1;
  /// Each message against the encoding of all that a node would put into it, and what is forgotten against core's
  /// stable_vector(): for small fleets.
  bool check = false;
};

/// What one node has sent; every byte is counted where it is sent, connections where they are opened.
struct Traffic {
  std::int64_t requests = 0;
  std::int64_t answers = 0;
  std::int64_t pings = 0;
  std::int64_t connections = 0;
  std::int64_t bytes = 0;
  std::int64_t rows = 0;      ///< sent, whether the other had them by then or not
  std::int64_t repeated = 0;  ///< requests that had to be said again in full
  std::int64_t refused = 0;   ///< messages over the limit, which are not sent
};

struct Write {
  int origin = 0;
  std::int64_t counter = 0;  ///< 0: not sealed yet
  milliseconds made{0};
  int copies = 0;                  ///< nodes that have it
  milliseconds last{0};            ///< when the last of them got it
  std::vector<std::int16_t> hops;  ///< by node; -1: has it not
};

class Fleet {
 public:
  explicit Fleet(const FleetOptions& options);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  void run_for(milliseconds duration);
  /// Runs until it holds, asking every 100 ms; false if it does not within `patience`.
  bool run_until(const std::function<bool()>& condition, milliseconds patience);

  void write(int node);
  void stop(int node);  ///< its process ends; the database stays
  void start(int node);
  /// Nodes of different groups do not reach each other; what is under way is lost.
  void part(std::vector<int> group_of_node);
  void heal();

  [[nodiscard]] milliseconds now() const { return now_; }
  [[nodiscard]] int size() const { return options_.nodes; }
  [[nodiscard]] bool running(int node) const;
  [[nodiscard]] const std::vector<Write>& writes() const { return writes_; }
  [[nodiscard]] bool all_have_all() const;        ///< all that run have all writes
  [[nodiscard]] std::size_t live_writes() const;  ///< not forgotten yet, all nodes together
  [[nodiscard]] std::vector<Traffic> traffic() const;
  void reset_traffic();
  /// Who listens to whom at the moment.
  [[nodiscard]] std::vector<std::vector<int>> listeners() const;

 private:
  struct Node;
  struct Loop;
  struct Exchange;
  struct Reply;
  using Counts = std::vector<std::int64_t>;
  /// A vector as a node told it at one time; of one author's, the higher number is the later one.
  struct Told {
    Counts counts;
    std::uint64_t number = 0;
    std::uint64_t name = 0;  ///< of the contents
  };
  using Snapshot = std::shared_ptr<const Told>;

  void at(milliseconds time, std::function<void()> action);
  [[nodiscard]] bool reach(int a, int b) const;
  [[nodiscard]] bool may_know(int a, int b) const;
  [[nodiscard]] PeerHealth::Time health_time() const;
  [[nodiscard]] VersionVector vector_of(const Counts& counts) const;
  Snapshot snapshot(Node& node);
  /// The connection of a loop ends, and with it what waits over there.
  void hang_up(int node, Loop& loop);

  void look_after(int node);
  void choose(int node);
  void visit_next(int node);
  void ask(int node, const std::shared_ptr<Loop>& loop);
  void fail(int node, const std::shared_ptr<Loop>& loop);
  void fail_later(int node, const std::shared_ptr<Loop>& loop, milliseconds after);
  void accept(const std::shared_ptr<Exchange>& exchange);
  void wake(int node);
  [[nodiscard]] bool has_news(const Exchange& exchange) const;
  void answer(const std::shared_ptr<Exchange>& exchange);
  void apply(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Reply>& reply);
  void learn(int node, const std::vector<Snapshot>& reports);
  void seal(int node);
  void advance(int node, const Counts& seen, int from);
  void forget_soon(int node);
  void forget(int node);
  void check_forgetting(const Node& node, const std::vector<Snapshot>& floors, const Counts& stable) const;
  /// A node's vector as it is now, with its name.
  Snapshot tell(const Counts& counts);
  /// some_reports(), where the reports are shared and need not be copied: those that are left out become null.
  void choose_reports(std::vector<Snapshot>& reports, const Snapshot& seen, int self, bool some);
  [[nodiscard]] std::map<NodeId, VersionVector> all_of(const std::vector<Snapshot>& reports) const;
  [[nodiscard]] std::size_t request_size(const Exchange& exchange, const Told* base) const;
  [[nodiscard]] std::size_t answer_size(const Exchange& exchange, const Reply& reply) const;

  FleetOptions options_;
  mutable test::Rng random_;
  milliseconds now_{0};
  std::uint64_t events_ = 0;
  std::uint64_t told_ = 0;
  struct Event {
    milliseconds time;
    std::uint64_t number;
    std::function<void()> action;
    bool operator<(const Event& other) const { return time != other.time ? time > other.time : number > other.number; }
  };
  std::priority_queue<Event> queue_;
  std::deque<Node> nodes_;
  std::vector<Member> members_;
  std::size_t members_bytes_ = 0;  ///< of all, in a request that names them
  std::vector<int> group_;
  std::vector<Write> writes_;
  std::vector<std::vector<std::size_t>> written_;  ///< by origin, the writes in order of their counters
  Counts base_;                                    ///< what all had at the start
};

}  // namespace mbsync::simulation
