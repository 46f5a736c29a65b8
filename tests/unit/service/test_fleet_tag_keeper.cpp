#include "fleet_tag_keeper.h"

#include <catch2/catch.hpp>
#include <optional>

#include "tuning.h"

using namespace mbsync;

namespace {

const FleetKey& one_key() {
  static const FleetKey kKey = FleetKey::derive("0f9c1e7b52d84a63").value();
  return kKey;
}
const FleetKey& another_key() {
  static const FleetKey kKey = FleetKey::derive("7d1b60fae3c58492").value();
  return kKey;
}

/// A database that can be away.
struct Database {
  TagsByKey tags;
  bool away = false;
  int writes = 0;

  FleetTagKeeper::Store store() {
    return {[this]() -> Result<TagsByKey> { return away ? Result<TagsByKey>(lost()) : Result<TagsByKey>(tags); },
            [this](const TagsByKey& now) -> Result<void> {
              ++writes;
              if (away) {
                return lost();
              }
              tags = now;
              return {};
            }};
  }
  static Error lost() { return {ErrorKind::kTransient, "the database is away", ""}; }
};

const FleetTagKeeper::Time kStart{std::chrono::hours{1'000}};
constexpr const char* kSmall = "0000000000000001";

}  // namespace

TEST_CASE("fleet tag keeper: a tag is made once for a key, and another one for another key") {
  Database database;
  FleetTagKeeper first(one_key(), database.store());
  const auto tag = first.announced();
  CHECK(is_fleet_tag(tag));
  CHECK_FALSE(first.look_after(kStart));  // stored, and announced from the start
  CHECK(database.tags == TagsByKey{{one_key().identity(), tag}});
  // Nothing of the key is in it.
  CHECK(FleetTagKeeper(one_key(), Database().store()).announced() != tag);

  CHECK(FleetTagKeeper(one_key(), database.store()).announced() == tag);
  FleetTagKeeper changed(another_key(), database.store());
  CHECK(changed.announced() != tag);
  changed.look_after(kStart);
  CHECK(database.tags == TagsByKey{{another_key().identity(), changed.announced()}});
}

TEST_CASE("fleet tag keeper: with two keys the current one's is announced, and both are kept") {
  Database database;
  FleetTagKeeper before(one_key(), database.store());
  before.look_after(kStart);
  const auto old_tag = before.announced();

  FleetTagKeeper both(FleetKeys(one_key(), another_key()), database.store());
  both.look_after(kStart);
  CHECK(both.announced() == old_tag);
  CHECK(database.tags.size() == 2);
  const auto new_tag = both.tags().of(KeyUse::kNext);
  CHECK(is_fleet_tag(new_tag));
  CHECK(new_tag != old_tag);

  FleetTagKeeper turned(FleetKeys(another_key(), one_key()), database.store());
  CHECK(turned.announced() == new_tag);
  CHECK(turned.tags().has(old_tag));
}

TEST_CASE("fleet tag keeper: what is heard is stored and announced, with pauses, and after a failure again") {
  Database database;
  FleetTagKeeper keeper(one_key(), database.store());
  auto now = kStart;
  CHECK_FALSE(keeper.look_after(now));
  keeper.tags().heard(KeyUse::kCurrent, kSmall);
  CHECK_FALSE(keeper.look_after(now + kFleetTagPause / 2));
  CHECK(database.writes == 1);
  now += kFleetTagPause;
  CHECK(keeper.look_after(now));
  CHECK(keeper.announced() == kSmall);
  CHECK(database.tags[one_key().identity()] == kSmall);
  CHECK_FALSE(keeper.look_after(now + 10 * kFleetTagPause));
  CHECK(database.writes == 2);

  database.away = true;
  keeper.tags().heard(KeyUse::kCurrent, "0000000000000000");
  now += kFleetTagPause;
  CHECK(keeper.look_after(now));  // announced all the same
  database.away = false;
  now += kFleetTagPause;
  CHECK_FALSE(keeper.look_after(now));
  CHECK(database.tags[one_key().identity()] == "0000000000000000");
}

TEST_CASE("fleet tag keeper: where the database cannot be read, or holds nonsense, one is made") {
  Database database;
  database.away = true;
  CHECK(is_fleet_tag(FleetTagKeeper(one_key(), database.store()).announced()));
  database.away = false;
  database.tags = {{one_key().identity(), "nonsense"}};
  CHECK(is_fleet_tag(FleetTagKeeper(one_key(), database.store()).announced()));
}
