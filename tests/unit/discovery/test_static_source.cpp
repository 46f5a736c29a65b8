#include <catch2/catch.hpp>
#include <vector>

#include "static_source.h"

using namespace mbsync;

namespace {

struct Recorder : PeerListener {
  void peer_found(const SeenPeer& peer) override { found.push_back(peer.address); }
  void peer_lost(const SeenPeer& peer) override { lost.push_back(peer.address); }
  std::vector<PeerAddress> found;
  std::vector<PeerAddress> lost;
};

}  // namespace

TEST_CASE("static source: every address once, in order, and none is lost") {
  StaticSource source{{{"b", 1}, {"a", 1}, {"b", 1}, {"b", 2}}};
  Recorder recorder;
  source.stop();
  REQUIRE(source.start(recorder));
  source.stop();
  source.stop();
  CHECK(recorder.found == std::vector<PeerAddress>{{"b", 1}, {"a", 1}, {"b", 2}});
  CHECK(recorder.lost.empty());
  CHECK(source.name() == "static");
}
