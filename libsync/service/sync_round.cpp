#include "sync_round.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "tuning.h"

namespace mbsync {

std::vector<PeerRound> run_sync_round(PeerContext& context, const std::stop_token& stop) {
  struct Visit {
    std::unique_ptr<PeerLoop> loop;
    PeerRound round;
    bool own = false;
  };
  // What nobody has pulled yet is to go along.
  if (const auto sealed = context.shared.store.seal_pending(); !sealed) {
    return {PeerRound{Member{}, "", false, 0, 0, sealed.error()}};
  }
  std::vector<Visit> visits;
  for (auto& peer : context.directory.peers()) {
    if (peer.addresses.empty() || (peer.node && !context.allowed.allows(*peer.node))) {
      continue;
    }
    Visit visit;
    visit.round.peer.id = peer.node.value_or(NodeId{});
    visit.round.address = to_string(peer.addresses.front());
    visit.loop = std::make_unique<PeerLoop>(context, peer);
    visits.push_back(std::move(visit));
  }
  const std::stop_callback give_up(stop, std::function<void()>([&] {
                                     for (auto& visit : visits) {
                                       visit.loop->stop();
                                     }
                                   }));
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (auto place = next++; place < visits.size() && !stop.stop_requested(); place = next++) {
      auto& [loop, round, own] = visits[place];
      loop->visit(stop, kVisitFor);
      const auto outcome = loop->visited();
      own = outcome.own;
      round.in_step = outcome.in_step;
      round.rows = outcome.rows;
      round.conflicts = outcome.conflicts;
      round.failure = outcome.failure;
      if (outcome.peer) {
        round.peer = *outcome.peer;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    const auto count = std::min(visits.size(), kRoundPeersAtOnce);
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      threads.emplace_back(work);
    }
  }
  std::vector<PeerRound> rounds;
  for (auto& visit : visits) {
    if (!visit.own) {
      rounds.push_back(std::move(visit.round));
    }
  }
  return rounds;
}

}  // namespace mbsync
