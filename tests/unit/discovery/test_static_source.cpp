#include "static_source.h"

#include <catch2/catch.hpp>
#include <vector>

#include "recorder.h"

using namespace mbsync;
using mbsync::test::Recorder;

TEST_CASE("static source: every address once, in order, and none is lost") {
  StaticSource source{{{"b", 1}, {"a", 1}, {"b", 1}, {"b", 2}}};
  Recorder recorder;
  source.stop();
  source.start(recorder);
  source.stop();
  source.stop();
  std::vector<PeerAddress> found;
  for (const auto& sighting : recorder.found()) {
    REQUIRE(sighting.addresses.size() == 1);
    CHECK_FALSE(sighting.said);
    found.push_back(sighting.addresses[0]);
  }
  CHECK(found == std::vector<PeerAddress>{{"b", 1}, {"a", 1}, {"b", 2}});
  CHECK(recorder.lost().empty());
  CHECK(recorder.works() == 1);
  CHECK(source.name() == "static");
}

TEST_CASE("static source: another list loses what is not in it, and finds what is new") {
  StaticSource source{{{"a", 1}, {"b", 1}}};
  source.replace({{"b", 1}, {"c", 1}});
  Recorder recorder;
  source.start(recorder);
  CHECK(recorder.found().size() == 2);
  source.replace({{"c", 1}, {"d", 1}, {"d", 1}});
  CHECK(recorder.lost() == std::vector<std::string>{"b:1"});
  REQUIRE(recorder.found().size() == 3);
  CHECK(recorder.found()[2].handle == "d:1");
  source.stop();
  source.replace({});
  CHECK(recorder.lost().size() == 1);
}
