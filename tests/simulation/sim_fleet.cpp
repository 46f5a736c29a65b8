#include "sim_fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "http_client.h"
#include "peer_plan.h"
#include "pull_stream.h"
#include "report_choice.h"
#include "stability.h"
#include "transport_tuning.h"
#include "tuning.h"
#include "wire_cost.h"

namespace mbsync::simulation {
namespace {

// What the database takes, about: to read a small answer, and to apply one.
constexpr milliseconds kReadTakes{2};
constexpr milliseconds kApplyTakes{4};
// PgStore's kReportEvery.
constexpr milliseconds kReportEvery{1000};
constexpr std::int64_t kSomeTimeUs = 1'700'000'000'000'000;

}  // namespace

/// A pull under way, from the question until its answer is applied.
struct Fleet::Exchange {
  int asker = 0;
  int server = 0;
  std::shared_ptr<Loop> loop;
  std::uint64_t number = 0;  ///< the loop's: an answer to an earlier question counts for nothing
  Snapshot seen;
  std::vector<Snapshot> reports;
  milliseconds wait{0};
  milliseconds begun{0};  ///< over there
  bool answered = false;
};

struct Fleet::Reply {
  Snapshot seen;
  Snapshot forgotten;
  std::vector<Snapshot> reports;
  std::vector<std::pair<int, std::int64_t>> rows;
};

/// PeerLoop: pulls from one peer, for as long as it is listened to or once.
struct Fleet::Loop {
  int peer = 0;
  bool visit = false;
  bool alive = true;
  bool connected = false;
  bool wait = false;
  bool backing_off = false;
  bool known = false;  ///< who it is: it has answered in this loop (PgStore's Pull::peer_)
  std::uint64_t number = 0;
  milliseconds until{0};
  bool asking = false;
  Snapshot answered;  ///< what it said in the last question that was answered
  Snapshot floor;     ///< what the peer was known to hold when it was asked; nothing: no question is under way
  Backoff backoff;
  AskAgainPace pace;
};

struct Fleet::Node {
  NodeId id;
  bool running = false;
  std::uint64_t life = 0;  ///< another one after each start
  Counts seen;
  Counts forgotten;
  Snapshot shared_seen;  ///< `seen`, while it has not changed
  std::vector<Snapshot> reports;
  std::set<std::pair<int, std::int64_t>> live;
  std::vector<std::size_t> captured;
  bool captures_pending = false;
  std::unique_ptr<PeerHealth> health = std::make_unique<PeerHealth>();
  std::set<int> identified;
  std::map<int, std::shared_ptr<Loop>> loops;
  std::shared_ptr<Loop> visiting;
  std::vector<int> to_visit;
  std::set<int> visited;
  std::uint64_t health_seen = 0;
  bool directory_changed = false;
  bool look_due = false;
  bool forget_due = false;
  milliseconds forgot{-1'000'000};
  std::vector<std::shared_ptr<Exchange>> waiting;
  std::map<int, milliseconds> last_answer;
  std::map<int, milliseconds> last_reports;
  std::deque<std::uint64_t> memory;  ///< RequestMemory: names of what has been said to it
  int connections = 0;               ///< that others have opened to it
  Traffic traffic;
};

Fleet::Fleet(const FleetOptions& options) : options_(options), random_(options.seed) {
  const auto count = static_cast<std::size_t>(options.nodes);
  std::set<std::int64_t> ids;
  while (ids.size() < count) {
    ids.insert(static_cast<std::int64_t>(random_.next() >> 1U) + 1);
  }
  // All have written at some time, all is with all, and is forgotten: the longest vectors, and nothing else.
  base_.resize(count);
  for (auto& counter : base_) {
    counter = 1'000 + static_cast<std::int64_t>(random_.below(1'000'000));
  }
  for (const auto id : ids) {
    auto& node = nodes_.emplace_back();
    node.id = NodeId{id};
    node.seen = node.forgotten = base_;
    members_.push_back({node.id, fmt::format("branch-{:04}", members_.size())});
  }
  const auto base = tell(base_);
  for (auto& node : nodes_) {
    node.shared_seen = base;
    node.reports.assign(count, base);
  }
  PullRequest naming;
  const auto bare = to_json(naming).size();
  naming.members = members_;
  members_bytes_ = to_json(naming).size() - bare;
  group_.assign(count, 0);
  written_.resize(count);
  for (int i = 0; i < options.nodes; ++i) {
    at(milliseconds(static_cast<std::int64_t>(random_.below(1000))), [this, i] { start(i); });
  }
}

Fleet::~Fleet() = default;

void Fleet::at(milliseconds time, std::function<void()> action) {
  queue_.push(Event{time, events_++, std::move(action)});
}

void Fleet::run_for(milliseconds duration) {
  const auto end = now_ + duration;
  while (!queue_.empty() && queue_.top().time <= end) {
    const auto event = std::move(const_cast<Event&>(queue_.top()));  // what orders the queue stays
    queue_.pop();
    now_ = event.time;
    event.action();
  }
  now_ = end;
}

bool Fleet::run_until(const std::function<bool()>& condition, milliseconds patience) {
  constexpr milliseconds kLook{100};
  for (const auto end = now_ + patience; now_ < end;) {
    if (condition()) {
      return true;
    }
    run_for(kLook);
  }
  return condition();
}

bool Fleet::reach(int a, int b) const {
  return group_[static_cast<std::size_t>(a)] == group_[static_cast<std::size_t>(b)] &&
         (!options_.hub || a == 0 || b == 0);
}

bool Fleet::may_know(int a, int b) const {
  return a != b && (!options_.hub || a == 0 || b == 0);
}

PeerHealth::Time Fleet::health_time() const {
  return PeerHealth::Time(now_ + milliseconds{1});
}

VersionVector Fleet::vector_of(const Counts& counts) const {
  VersionVector::Map map;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    map.emplace_hint(map.end(), nodes_[i].id, counts[i]);  // nodes stand in the order of their ids
  }
  return VersionVector(std::move(map));
}

Fleet::Snapshot Fleet::tell(const Counts& counts) {
  std::uint64_t name = 0;
  for (const auto counter : counts) {
    name = test::Rng(name ^ static_cast<std::uint64_t>(counter)).next();
  }
  return std::make_shared<const Told>(Told{counts, ++told_, name});
}

Fleet::Snapshot Fleet::snapshot(Node& node) {
  if (!node.shared_seen) {
    node.shared_seen = tell(node.seen);
  }
  return node.shared_seen;
}

// --- who is listened to: peers.cpp ---------------------------------------------------------------------------------

// Peers::look_after(), which the heartbeat calls all the time.
void Fleet::look_after(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (node.look_due || !node.running) {
    return;
  }
  node.look_due = true;
  at(now_ + kPollCalm, [this, number, life = node.life] {
    auto& later = nodes_[static_cast<std::size_t>(number)];
    if (later.life != life) {
      return;
    }
    later.look_due = false;
    if (later.running && (later.health->version() != later.health_seen || later.directory_changed)) {
      later.health_seen = later.health->version();
      later.directory_changed = false;
      choose(number);
    }
  });
}

void Fleet::choose(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  std::vector<PeerCandidate> candidates;
  for (int i = 0; i < options_.nodes; ++i) {
    if (may_know(number, i) && node.identified.contains(i)) {
      const auto id = nodes_[static_cast<std::size_t>(i)].id;
      candidates.push_back({id, node.health->of(id).up()});
    }
  }
  const auto most = options_.hub && number == 0 ? options_.hub_live_peers : options_.live_peers;
  const auto chosen = choose_live(node.id, candidates, most);
  const std::set<NodeId> live(chosen.begin(), chosen.end());
  std::size_t unknown = 0;
  node.to_visit.clear();
  for (int i = 0; i < options_.nodes; ++i) {
    if (!may_know(number, i)) {
      continue;
    }
    const auto id = nodes_[static_cast<std::size_t>(i)].id;
    const bool listen = node.identified.contains(i) ? live.contains(id) : ++unknown <= kUnknownPeersMax;
    const auto place = node.loops.find(i);
    if (listen && place == node.loops.end()) {
      auto loop = std::make_shared<Loop>();
      loop->peer = i;
      node.loops.emplace(i, loop);
      ask(number, loop);
    } else if (listen) {
      const auto state = node.health->of(id);
      if (state.failed && state.up() && place->second->backing_off) {
        place->second->backing_off = false;
        ask(number, place->second);
      }
    } else {
      node.to_visit.push_back(i);
      if (place != node.loops.end()) {
        auto& loop = *place->second;
        loop.alive = false;
        hang_up(number, loop);
        node.loops.erase(place);
      }
    }
  }
}

// Peers::visit_in_turn().
void Fleet::visit_next(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  at(now_ + options_.interval / kVisitsEachInterval, [this, number, life = node.life] {
    auto& later = nodes_[static_cast<std::size_t>(number)];
    if (later.life != life || !later.running) {
      return;
    }
    std::vector<int> open;
    for (const int peer : later.to_visit) {
      if (!later.visited.contains(peer)) {
        open.push_back(peer);
      }
    }
    if (open.empty()) {
      later.visited.clear();
      visit_next(number);
      return;
    }
    auto loop = std::make_shared<Loop>();
    loop->peer = open[random_.below(open.size())];
    loop->visit = true;
    loop->until = now_ + kVisitFor;
    later.visited.insert(loop->peer);
    later.visiting = loop;
    ask(number, loop);
  });
}

// --- the asker: peer_loop.cpp --------------------------------------------------------------------------------------

void Fleet::ask(int number, const std::shared_ptr<Loop>& loop) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (!loop->alive || !node.running) {
    return;
  }
  auto exchange = std::make_shared<Exchange>();
  exchange->asker = number;
  exchange->server = loop->peer;
  exchange->loop = loop;
  exchange->number = ++loop->number;
  exchange->seen = snapshot(node);
  exchange->reports = node.reports;
  exchange->reports[static_cast<std::size_t>(number)] = exchange->seen;
  choose_reports(exchange->reports, exchange->seen, number, false);
  exchange->wait = loop->wait ? std::min(options_.interval, milliseconds{kWaitMsMax}) : milliseconds{0};
  loop->asking = true;
  loop->floor = loop->known ? node.reports[static_cast<std::size_t>(loop->peer)]
                            : std::make_shared<const Told>(Told{Counts(node.seen.size(), 0), 0, 0});

  auto arrival = now_ + options_.delay;
  if (!loop->connected) {
    if (!reach(number, loop->peer)) {
      fail_later(number, loop, PeerPatience{}.connect);
      return;
    }
    if (!nodes_[static_cast<std::size_t>(loop->peer)].running) {
      fail_later(number, loop, 2 * options_.delay);
      return;
    }
    loop->connected = true;
    ++nodes_[static_cast<std::size_t>(loop->peer)].connections;
    ++node.traffic.connections;
    node.traffic.bytes += static_cast<std::int64_t>(connection_bytes());
    arrival += 4 * options_.delay;  // TCP's round trip, and TLS's
  }
  // PeerClient: says what is other than the last time, or, the first time, than what others are likely to have said.
  auto body = request_size(*exchange, nullptr);
  if (body >= tuning::kRequestShortenedFrom) {
    const auto& base = loop->answered ? *loop->answered : *exchange->seen;
    auto& memory = nodes_[static_cast<std::size_t>(loop->peer)].memory;
    const auto shortened = request_size(*exchange, &base);
    if (std::find(memory.begin(), memory.end(), base.name) != memory.end()) {
      body = shortened;
    } else {
      constexpr std::size_t kRefusalBytes = 150;
      ++node.traffic.repeated;
      ++node.traffic.requests;
      node.traffic.bytes += static_cast<std::int64_t>(request_bytes(shortened) + sent_bytes(kRefusalBytes));
      arrival += 2 * options_.delay;
    }
  }
  if (body > tuning::kRequestBytesMax) {
    ++node.traffic.refused;
    fail_later(number, loop, milliseconds{0});
    return;
  }
  ++node.traffic.requests;
  node.traffic.bytes += static_cast<std::int64_t>(request_bytes(body));
  at(arrival, [this, exchange] {
    if (!reach(exchange->asker, exchange->server)) {
      fail_later(exchange->asker, exchange->loop, PeerPatience{}.silence);
    } else if (!nodes_[static_cast<std::size_t>(exchange->server)].running) {
      fail_later(exchange->asker, exchange->loop, options_.delay);
    } else {
      accept(exchange);
    }
  });
}

void Fleet::fail_later(int number, const std::shared_ptr<Loop>& loop, milliseconds after) {
  at(now_ + after, [this, number, loop, asked = loop->number, life = nodes_[static_cast<std::size_t>(number)].life] {
    if (nodes_[static_cast<std::size_t>(number)].life == life && loop->number == asked && loop->asking) {
      fail(number, loop);
    }
  });
}

void Fleet::hang_up(int number, Loop& loop) {
  auto& server = nodes_[static_cast<std::size_t>(loop.peer)];
  std::erase_if(server.waiting,
                [&](const auto& exchange) { return exchange->asker == number && &*exchange->loop == &loop; });
  server.connections -= std::exchange(loop.connected, false) ? 1 : 0;
  loop.asking = false;
  loop.floor.reset();
}

// PeerLoop::give_up(), and what run() and visit() do after it.
void Fleet::fail(int number, const std::shared_ptr<Loop>& loop) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  loop->known = false;  // with the session goes what it knows
  loop->answered.reset();
  hang_up(number, *loop);
  if (!loop->alive || !node.running) {
    return;
  }
  loop->wait = false;
  loop->pace.reset();
  if (node.identified.contains(loop->peer)) {
    node.health->failed(nodes_[static_cast<std::size_t>(loop->peer)].id, health_time(),
                        Error{ErrorKind::kTransient, "no answer", ""});
    look_after(number);
  }
  if (loop->visit) {
    loop->alive = false;
    node.visiting.reset();
    visit_next(number);
    return;
  }
  loop->backing_off = true;
  at(now_ + loop->backoff.next(), [this, number, loop, asked = loop->number] {
    if (loop->backing_off && loop->number == asked) {
      loop->backing_off = false;
      ask(number, loop);
    }
  });
}

// --- the answerer: pull_exchange.cpp, pg_store.cpp -----------------------------------------------------------------

void Fleet::accept(const std::shared_ptr<Exchange>& exchange) {
  auto& node = nodes_[static_cast<std::size_t>(exchange->server)];
  exchange->begun = now_;
  if (std::erase(node.memory, exchange->seen->name) == 0 && node.memory.size() >= tuning::kRequestsKept) {
    node.memory.pop_back();
  }
  node.memory.push_front(exchange->seen->name);
  node.health->asked(nodes_[static_cast<std::size_t>(exchange->asker)].id, health_time());
  look_after(exchange->server);
  const auto patience = std::min(exchange->wait, tuning::kWaitMax);
  if (patience <= milliseconds{0} || has_news(*exchange)) {
    answer(exchange);
    return;
  }
  node.waiting.push_back(exchange);
  at(now_ + patience, [this, exchange] { answer(exchange); });
  // PullExchange::wait_for_news(): as long as there are more connections than threads, long polls end early.
  if (static_cast<std::size_t>(node.connections) > tuning::kServerThreadsMax) {
    at(now_ + tuning::kPatienceWhenCrowded, [this, exchange] { answer(exchange); });
  }
}

// PgStore::wait_for_news().
bool Fleet::has_news(const Exchange& exchange) const {
  const auto& node = nodes_[static_cast<std::size_t>(exchange.server)];
  if (node.captures_pending) {
    return true;
  }
  const auto last = node.last_answer.find(exchange.asker);
  const bool heard = last != node.last_answer.end() && exchange.begun - last->second < kReportEvery;
  for (std::size_t i = 0; i < node.seen.size(); ++i) {
    const bool own = heard && i == static_cast<std::size_t>(exchange.asker);
    if (!own && node.seen[i] > exchange.seen->counts[i]) {
      return true;
    }
  }
  return false;
}

void Fleet::wake(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  const auto waiting = node.waiting;
  for (const auto& exchange : waiting) {
    if (has_news(*exchange)) {
      answer(exchange);
    }
  }
}

void Fleet::answer(const std::shared_ptr<Exchange>& exchange) {
  auto& node = nodes_[static_cast<std::size_t>(exchange->server)];
  if (exchange->answered || !node.running) {
    return;
  }
  exchange->answered = true;
  std::erase(node.waiting, exchange);
  const auto pings = (now_ - exchange->begun) / tuning::kPingInterval;
  at(now_ + kReadTakes, [this, exchange, pings, life = node.life] {
    auto& server = nodes_[static_cast<std::size_t>(exchange->server)];
    if (server.life != life || !server.running) {
      return;  // whoever asked has been told by stop()
    }
    // PgStore::answer(): seals, takes over what the asker reports, reads.
    seal(exchange->server);
    learn(exchange->server, exchange->reports);
    // Timers keep the exchange for as long as its patience was, and these are most of what it holds.
    exchange->reports = {};
    server.last_answer[exchange->asker] = now_;
    auto reply = std::make_shared<Reply>();
    reply->seen = snapshot(server);
    reply->forgotten = server.forgotten == reply->seen->counts ? reply->seen : tell(server.forgotten);
    reply->reports = server.reports;
    reply->reports[static_cast<std::size_t>(exchange->server)] = reply->seen;
    for (const auto& [origin, counter] : server.live) {
      if (counter > exchange->seen->counts[static_cast<std::size_t>(origin)] && origin != exchange->asker) {
        reply->rows.emplace_back(origin, counter);
      }
    }
    const auto last = server.last_reports.find(exchange->asker);
    const bool some = last == server.last_reports.end() || now_ - last->second >= kReportEvery;
    choose_reports(reply->reports, reply->seen, exchange->server, some);
    if (some) {
      server.last_reports[exchange->asker] = now_;
    }
    ++server.traffic.answers;
    server.traffic.pings += pings;
    server.traffic.rows += static_cast<std::int64_t>(reply->rows.size());
    server.traffic.bytes += static_cast<std::int64_t>(answer_bytes(answer_size(*exchange, *reply), pings));
    at(now_ + options_.delay, [this, exchange, reply] {
      if (!reach(exchange->asker, exchange->server)) {
        fail_later(exchange->asker, exchange->loop, PeerPatience{}.silence);
        return;
      }
      at(now_ + kApplyTakes, [this, exchange, reply] { apply(exchange, reply); });
    });
  });
}

// PgStore's Pull::apply(), Applier::apply(), PeerLoop::apply().
void Fleet::apply(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Reply>& reply) {
  const auto number = exchange->asker;
  auto& node = nodes_[static_cast<std::size_t>(number)];
  auto& loop = *exchange->loop;
  if (!node.running || !loop.alive || loop.number != exchange->number || !loop.asking) {
    return;
  }
  loop.asking = false;
  const auto peer = exchange->server;
  const auto ended = [&] {
    if (loop.visit) {
      loop.alive = false;
      hang_up(number, loop);
      node.visiting.reset();
      visit_next(number);
    }
    return loop.visit;
  };
  node.health->answered(nodes_[static_cast<std::size_t>(peer)].id, health_time());
  if (node.identified.insert(peer).second) {
    node.directory_changed = true;
  }
  look_after(number);
  // An answer in which something is not seen that was forgotten here meanwhile is out of date.
  for (std::size_t i = 0; i < node.seen.size(); ++i) {
    if (reply->seen->counts[i] < node.forgotten[i]) {
      loop.wait = false;
      if (loop.visit && now_ >= loop.until) {
        ended();
        return;
      }
      at(now_ + loop.pace.next(health_time()).wait, [this, number, again = exchange->loop] { ask(number, again); });
      return;
    }
  }
  loop.pace.reset();
  loop.backoff.reset();
  loop.wait = true;
  loop.known = true;
  loop.answered = exchange->seen;
  loop.floor.reset();
  seal(number);
  for (const auto& [origin, counter] : reply->rows) {
    if (counter > node.seen[static_cast<std::size_t>(origin)]) {
      node.live.emplace(origin, counter);
    }
  }
  for (std::size_t i = 0; i < node.forgotten.size(); ++i) {
    node.forgotten[i] = std::max(node.forgotten[i], reply->forgotten->counts[i]);
  }
  advance(number, reply->seen->counts, peer);
  learn(number, reply->reports);
  forget_soon(number);
  if (!ended()) {
    ask(number, exchange->loop);
  }
  wake(number);
}

void Fleet::advance(int number, const Counts& seen, int from) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  const auto here = static_cast<std::size_t>(number);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (seen[i] <= node.seen[i]) {
      continue;
    }
    const auto& written = written_[i];
    auto place = std::partition_point(written.begin(), written.end(),
                                      [&](std::size_t index) { return writes_[index].counter <= node.seen[i]; });
    for (; place != written.end() && writes_[*place].counter <= seen[i]; ++place) {
      auto& write = writes_[*place];
      write.hops[here] = static_cast<std::int16_t>(write.hops[static_cast<std::size_t>(from)] + 1);
      ++write.copies;
      write.last = now_;
    }
    node.seen[i] = seen[i];
    node.shared_seen.reset();
  }
}

void Fleet::learn(int number, const std::vector<Snapshot>& reports) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  for (std::size_t i = 0; i < reports.size(); ++i) {
    if (i != static_cast<std::size_t>(number) && reports[i] && reports[i]->number > node.reports[i]->number) {
      node.reports[i] = reports[i];
    }
  }
}

// --- writes --------------------------------------------------------------------------------------------------------

void Fleet::write(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (!node.running) {
    return;
  }
  Write write;
  write.origin = number;
  write.made = write.last = now_;
  write.hops.assign(nodes_.size(), -1);
  write.hops[static_cast<std::size_t>(number)] = 0;
  write.copies = 1;
  node.captured.push_back(writes_.size());
  writes_.push_back(std::move(write));
  // PgStore::poll(), and sealing when nobody pulls.
  at(now_ + milliseconds(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(kPollCalm.count())))),
     [this, number] {
       auto& later = nodes_[static_cast<std::size_t>(number)];
       if (later.running && !later.captured.empty()) {
         later.captures_pending = true;
         wake(number);
       }
     });
  at(now_ + kSealAfter, [this, number] {
    seal(number);
    wake(number);
  });
}

void Fleet::seal(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  node.captures_pending = false;
  if (node.captured.empty() || !node.running) {
    return;
  }
  const auto place = static_cast<std::size_t>(number);
  const auto counter = ++node.seen[place];
  node.shared_seen.reset();
  node.live.emplace(number, counter);
  for (const auto index : node.captured) {
    writes_[index].counter = counter;
    written_[place].push_back(index);
  }
  node.captured.clear();
}

// --- forgetting: run_loop.cpp, forget.cpp --------------------------------------------------------------------------

void Fleet::forget_soon(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (node.forget_due || node.live.empty()) {
    return;
  }
  node.forget_due = true;
  at(std::max(now_, node.forgot + kForgetEvery), [this, number, life = node.life] {
    auto& later = nodes_[static_cast<std::size_t>(number)];
    if (later.life == life && later.running) {
      later.forget_due = false;
      later.forgot = now_;
      forget(number);
    }
  });
}

// As stable_vector() has it, but only for origins of which something is left to forget: a fleet of a thousand has a
// million numbers to look at otherwise.
void Fleet::forget(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  std::vector<Snapshot> floors;
  for (const auto& [peer, loop] : node.loops) {
    if (loop->floor) {
      floors.push_back(loop->floor);
    }
  }
  if (node.visiting && node.visiting->floor) {
    floors.push_back(node.visiting->floor);
  }
  std::set<std::size_t> origins;
  for (const auto& [origin, counter] : node.live) {
    origins.insert(static_cast<std::size_t>(origin));
  }
  bool usable = true;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    usable = usable && (i == static_cast<std::size_t>(number) || node.seen[i] >= node.reports[i]->counts[i]);
  }
  Counts stable(node.seen.size(), 0);
  for (const auto origin : origins) {
    auto least = usable ? node.seen[origin] : 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      least = i == static_cast<std::size_t>(number) ? least : std::min(least, node.reports[i]->counts[origin]);
    }
    for (const auto& floor : floors) {
      least = std::min(least, floor->counts[origin]);
    }
    stable[origin] = least;
  }
  if (options_.check) {
    check_forgetting(node, floors, stable);
  }
  for (auto place = node.live.begin(); place != node.live.end();) {
    const auto origin = static_cast<std::size_t>(place->first);
    if (place->second <= stable[origin]) {
      // The rule itself: nobody forgets what somebody lacks.
      for (const auto& other : nodes_) {
        if (other.seen[origin] < place->second) {
          throw std::logic_error("a write was forgotten that a member has not got");
        }
      }
      node.forgotten[origin] = std::max(node.forgotten[origin], stable[origin]);
      place = node.live.erase(place);
    } else {
      ++place;
    }
  }
}

void Fleet::check_forgetting(const Node& node, const std::vector<Snapshot>& floors, const Counts& stable) const {
  std::set<NodeId> members;
  std::map<NodeId, VersionVector> reports;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    members.insert(nodes_[i].id);
    reports[nodes_[i].id] = vector_of(node.reports[i]->counts);
  }
  auto real = stable_vector(node.id, vector_of(node.seen), members, reports);
  for (const auto& floor : floors) {
    real = common(real, vector_of(floor->counts));
  }
  for (const auto& [origin, counter] : node.live) {
    const auto place = static_cast<std::size_t>(origin);
    if (real.counter(nodes_[place].id) != stable[place]) {
      throw std::logic_error("the simulation forgets by another rule than core does");
    }
  }
}

// --- what is said ----------------------------------------------------------------------------------------------------

void Fleet::choose_reports(std::vector<Snapshot>& reports, const Snapshot& seen, int self, bool some) {
  const auto numbers_of = [&](const Snapshot& report) {
    std::size_t different = 0;
    for (std::size_t i = 0; report->name != seen->name && i < seen->counts.size(); ++i) {
      different += report->counts[i] != seen->counts[i] ? 1 : 0;
    }
    return different;
  };
  std::size_t numbers = 0;
  for (std::size_t i = 0; i < reports.size() && numbers <= kReportNumbersMax; ++i) {
    const auto different = numbers_of(reports[i]);
    numbers += different == 0 ? 0 : different + 1;
  }
  if (numbers <= kReportNumbersMax) {
    return;
  }
  std::vector<Snapshot> chosen(reports.size());
  const auto own = static_cast<std::size_t>(self);
  chosen[own] = reports[own];
  numbers = 0;
  const auto first = static_cast<std::size_t>(random_.below(reports.size()));
  for (std::size_t i = 0; some && i < reports.size(); ++i) {
    const auto place = (first + i) % reports.size();
    if (place == own) {
      continue;
    }
    const auto needed = numbers_of(reports[place]) + 1;
    if (numbers > 0 && numbers + needed > kReportNumbersMax) {
      break;
    }
    numbers += needed;
    chosen[place] = reports[place];
  }
  reports = std::move(chosen);
}

// The text is the real one, but made without those parts of a large fleet's knowledge that it does not mention: what
// both sides know, and reports that are as others' (message.cpp, put_reports()).
namespace {

using Numbers = std::vector<std::int64_t>;

template <typename Snapshots>
std::vector<std::size_t> mentioned(const Numbers& seen, std::uint64_t name, const std::vector<const Numbers*>& bases,
                                   const Snapshots& reports) {
  std::vector<const Numbers*> others = bases;
  for (const auto& report : reports) {
    if (report && report->name != name) {
      others.push_back(&report->counts);
    }
  }
  std::vector<std::size_t> origins;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (std::any_of(others.begin(), others.end(), [&](const Numbers* other) { return (*other)[i] != seen[i]; })) {
      origins.push_back(i);
    }
  }
  return origins;
}

VersionVector part_of(const Numbers& counts, const std::vector<std::size_t>& origins,
                      const std::vector<Member>& members) {
  VersionVector::Map map;
  for (const auto origin : origins) {
    map.emplace_hint(map.end(), members[origin].id, counts[origin]);
  }
  return VersionVector(std::move(map));
}

template <typename Message, typename Snapshots>
void put_reports(Message& message, const Snapshots& reports, std::uint64_t name,
                 const std::vector<std::size_t>& origins, const std::vector<Member>& members) {
  const bool all = std::all_of(reports.begin(), reports.end(), [](const auto& report) { return report != nullptr; });
  bool one_has_all = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const bool has_all = reports[i] && reports[i]->name == name;
    if (reports[i] && (!all || !has_all || !one_has_all)) {
      one_has_all = one_has_all || has_all;
      message.reports.emplace(members[i].id, part_of(reports[i]->counts, origins, members));
      if (all) {
        message.members.push_back(members[i]);
      }
    }
  }
}

/// A vector in full, as JSON, without its braces.
std::size_t text_bytes(const Numbers& counts) {
  constexpr std::size_t kIdBytes = 16 + 2 + 1 + 1;  // with quotes, a colon and a comma
  std::size_t bytes = 0;
  for (const auto counter : counts) {
    bytes += kIdBytes + std::to_string(counter).size();
  }
  return bytes - 1;
}

}  // namespace

std::map<NodeId, VersionVector> Fleet::all_of(const std::vector<Snapshot>& reports) const {
  std::map<NodeId, VersionVector> all;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    if (reports[i]) {
      all.emplace(members_[i].id, vector_of(reports[i]->counts));
    }
  }
  return all;
}

std::size_t Fleet::request_size(const Exchange& exchange, const Told* base) const {
  constexpr std::string_view kName = "0123456789abcdef0123456789abcdef";
  const auto& seen = exchange.seen->counts;
  const auto& known_seen = base != nullptr ? base->counts : seen;
  const auto origins = mentioned(seen, exchange.seen->name, {&known_seen}, exchange.reports);
  PullRequest request;
  request.sender = members_[static_cast<std::size_t>(exchange.asker)];
  request.seen = part_of(seen, origins, members_);
  put_reports(request, exchange.reports, exchange.seen->name, origins, members_);
  request.wait_ms = exchange.wait.count();
  request.sent_at_us = kSomeTimeUs + now_.count();
  PullRequest known;
  known.members = request.members;
  known.seen = part_of(known_seen, origins, members_);
  const auto size = to_json(request, known, kName).size();
  if (options_.check) {
    auto full = request;
    full.seen = vector_of(seen);
    full.members = members_;
    full.reports = all_of(exchange.reports);
    PullRequest full_base;
    full_base.seen = vector_of(known_seen);
    full_base.members = members_;
    if (base != nullptr ? to_json(full, full_base, kName) != to_json(request, known, kName)
                        : to_json(full).size() != size - kName.size() + members_bytes_ + text_bytes(seen)) {
      throw std::logic_error("the simulation says another request than a node would");
    }
  }
  return base != nullptr ? size : size - kName.size() + members_bytes_ + text_bytes(seen);
}

std::size_t Fleet::answer_size(const Exchange& exchange, const Reply& reply) const {
  const auto& seen = reply.seen->counts;
  const auto origins =
      mentioned(seen, reply.seen->name, {&exchange.seen->counts, &reply.forgotten->counts}, reply.reports);
  PullHeader header;
  header.sender = members_[static_cast<std::size_t>(exchange.server)];
  header.seen = part_of(seen, origins, members_);
  header.forgotten = part_of(reply.forgotten->counts, origins, members_);
  put_reports(header, reply.reports, reply.seen->name, origins, members_);
  header.sent_at_us = kSomeTimeUs + now_.count();
  PullRequest asked;
  asked.seen = part_of(exchange.seen->counts, origins, members_);
  asked.members = header.members;
  if (options_.check) {
    auto full = header;
    full.seen = vector_of(seen);
    full.forgotten = vector_of(reply.forgotten->counts);
    full.members = members_;
    full.reports = all_of(reply.reports);
    PullRequest full_asked;
    full_asked.seen = vector_of(exchange.seen->counts);
    full_asked.members = members_;
    if (to_json(full, full_asked) != to_json(header, asked)) {
      throw std::logic_error("the simulation says another header than a node would");
    }
  }
  std::size_t bytes = 0;
  PullEncoder encoder(
      [&bytes](std::string_view piece) -> Result<void> {
        bytes += piece.size();
        return {};
      },
      asked);
  bool fine = encoder.header(header).has_value();
  PullFooter footer;
  if (!reply.rows.empty()) {
    TableHeader table{"public", "OrderItem", {"id"}, {}, {}};
    for (const auto* name : {"id", "orderId", "productId", "quantity", "price", "note", "createdAt", "updatedAt"}) {
      table.columns.push_back({name, "text"});
      table.numbers.push_back(static_cast<ColumnNumber>(table.numbers.size() + 1));
    }
    fine = fine && encoder.table(table).has_value();
    for (const auto& [origin, counter] : reply.rows) {
      std::string values;
      while (values.size() < options_.row_bytes) {
        values += fmt::format("{:016x}", random_.next());
      }
      const auto line =
          fmt::format("c{0:024x}\t{1}\t{2}\t2023-11-14 22:13:20.123456+00\t111111111\tf\t0\t\\N\t\\N\tc{0:024x}\t{3}\n",
                      counter * 7919, nodes_[static_cast<std::size_t>(origin)].id.value, counter,
                      values.substr(0, options_.row_bytes));
      fine = fine && encoder.rows(line).has_value();
    }
    footer = PullFooter{1, static_cast<std::int64_t>(reply.rows.size())};
    fine = fine && encoder.table_end(footer.rows).has_value();
  }
  if (!fine || !encoder.footer(footer)) {
    throw std::logic_error("an answer cannot be encoded");
  }
  return bytes;
}

// --- what happens to the fleet
// -----------------------------------------------------------------------------------------

void Fleet::stop(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (!node.running) {
    return;
  }
  node.running = false;
  ++node.life;
  for (const auto& [peer, loop] : node.loops) {
    loop->alive = false;
    hang_up(number, *loop);
  }
  if (node.visiting) {
    node.visiting->alive = false;
    hang_up(number, *node.visiting);
  }
  node.loops.clear();
  node.visiting.reset();
  node.waiting.clear();
  node.connections = 0;
  node.look_due = node.forget_due = false;
  // Whoever is connected to it sees the connection end.
  for (int i = 0; i < options_.nodes; ++i) {
    auto& other = nodes_[static_cast<std::size_t>(i)];
    for (const auto& loop : {other.loops.contains(number) ? other.loops.at(number) : nullptr, other.visiting}) {
      if (loop && loop->peer == number && loop->connected) {
        loop->connected = false;
        fail_later(i, loop, reach(i, number) ? options_.delay : PeerPatience{}.silence);
      }
    }
  }
}

void Fleet::start(int number) {
  auto& node = nodes_[static_cast<std::size_t>(number)];
  if (node.running) {
    return;
  }
  node.running = true;
  ++node.life;
  node.health = std::make_unique<PeerHealth>();
  node.health_seen = 0;
  node.visited.clear();
  node.last_answer.clear();
  node.last_reports.clear();
  node.memory.clear();
  node.identified.clear();
  if (!options_.named) {
    for (int i = 0; i < options_.nodes; ++i) {
      node.identified.insert(i);
    }
  }
  node.directory_changed = true;
  look_after(number);
  visit_next(number);
}

void Fleet::part(std::vector<int> group_of_node) {
  group_ = std::move(group_of_node);
  for (int i = 0; i < options_.nodes; ++i) {
    auto& node = nodes_[static_cast<std::size_t>(i)];
    std::erase_if(node.waiting, [&](const auto& exchange) { return !reach(i, exchange->asker); });
    auto loops = node.loops;
    if (node.visiting) {
      loops.emplace(-1, node.visiting);
    }
    for (const auto& [peer, loop] : loops) {
      if (!reach(i, loop->peer) && loop->asking) {
        fail_later(i, loop, PeerPatience{}.silence);
      }
    }
  }
}

void Fleet::heal() {
  group_.assign(nodes_.size(), 0);
}

bool Fleet::running(int node) const {
  return nodes_[static_cast<std::size_t>(node)].running;
}

bool Fleet::all_have_all() const {
  const Node* first = nullptr;
  for (const auto& node : nodes_) {
    if (!node.running) {
      continue;
    }
    if (!node.captured.empty() || (first != nullptr && node.seen != first->seen)) {
      return false;
    }
    first = &node;
  }
  return true;
}

std::size_t Fleet::live_writes() const {
  std::size_t count = 0;
  for (const auto& node : nodes_) {
    count += node.live.size() + node.captured.size();
  }
  return count;
}

std::vector<Traffic> Fleet::traffic() const {
  std::vector<Traffic> all;
  for (const auto& node : nodes_) {
    all.push_back(node.traffic);
  }
  return all;
}

void Fleet::reset_traffic() {
  for (auto& node : nodes_) {
    node.traffic = {};
  }
}

std::vector<std::vector<int>> Fleet::listeners() const {
  std::vector<std::vector<int>> all;
  for (const auto& node : nodes_) {
    auto& peers = all.emplace_back();
    for (const auto& [peer, loop] : node.loops) {
      peers.push_back(peer);
    }
  }
  return all;
}

}  // namespace mbsync::simulation
