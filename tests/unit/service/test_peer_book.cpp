#include "peer_book.h"

#include <atomic>
#include <catch2/catch.hpp>

#include "tuning.h"
#include "wait_until.h"

using namespace mbsync;
using std::chrono::seconds;

namespace {

const PeerPages::Time kStart{std::chrono::hours{1'000'000}};
const Member kTill{NodeId{0x1a}, "till"};
const PeerAddress kAddress{"192.168.1.5", 8765};
const Error kAway{ErrorKind::kTransient, "cannot connect", "is it on?"};

}  // namespace

TEST_CASE("peer book: news are due at once, the same again now and then") {
  PeerPages pages;
  CHECK(pages.due(kStart).empty());
  pages.asked(kTill, "192.168.1.5", KeyUse::kCurrent, kStart);
  auto notes = pages.due(kStart);
  REQUIRE(notes.peers.size() == 1);
  CHECK(notes.addresses.empty());
  CHECK(notes.peers[0].peer == kTill);
  CHECK(notes.peers[0].asked->from == "192.168.1.5");
  CHECK_FALSE(notes.peers[0].answered);
  CHECK(pages.due(kStart).empty());

  // It asks twice a second, and that is written down once in a while.
  std::size_t stored = 0;
  for (int half = 1; half <= 120; ++half) {
    const auto now = kStart + std::chrono::milliseconds{500} * half;
    pages.asked(kTill, "192.168.1.5", KeyUse::kCurrent, now);
    stored += pages.due(now).peers.size();
  }
  CHECK(stored == static_cast<std::size_t>(seconds{60} / kPeerNotesEvery));

  const auto later = kStart + seconds{61};
  pages.asked(kTill, "192.168.1.5", KeyUse::kNext, later);
  notes = pages.due(later);
  REQUIRE(notes.peers.size() == 1);
  CHECK(notes.peers[0].asked->key == KeyUse::kNext);
  pages.asked(kTill, "192.168.1.6", KeyUse::kNext, later);
  CHECK(pages.due(later).peers.size() == 1);
  pages.asked({kTill.id, "till of the shop"}, "192.168.1.6", KeyUse::kNext, later);
  CHECK(pages.due(later).peers.at(0).peer.name == "till of the shop");
}

TEST_CASE("peer book: that peers are not found by themselves is due when it changes, and again if it was not stored") {
  PeerPages pages;
  pages.discovery("");
  CHECK(pages.due(kStart).empty());  // nothing else has been noted down before
  pages.discovery("no daemon");
  auto notes = pages.due(kStart);
  CHECK(notes.discovery == "no daemon");
  CHECK(pages.due(kStart).empty());
  pages.put_back(notes);
  pages.discovery("no daemon");
  CHECK(pages.due(kStart).discovery == "no daemon");
  pages.discovery("");
  CHECK(pages.due(kStart).discovery == "");
}

TEST_CASE("peer book: who answers and who does not, by node and by address") {
  PeerPages pages;
  pages.failed(std::nullopt, kAddress, kAway, kStart);
  auto notes = pages.due(kStart);
  CHECK(notes.peers.empty());
  REQUIRE(notes.addresses.size() == 1);
  CHECK(notes.addresses[0].address == kAddress);
  CHECK_FALSE(notes.addresses[0].node);
  CHECK(notes.addresses[0].failed->reason == kAway.text());
  pages.failed(std::nullopt, kAddress, kAway, kStart + seconds{1});
  CHECK(pages.due(kStart + seconds{1}).empty());

  pages.answered(kTill, kAddress, KeyUse::kNext, kStart + seconds{2});
  notes = pages.due(kStart + seconds{2});
  REQUIRE(notes.peers.size() == 1);
  CHECK(notes.peers[0].answered->key == KeyUse::kNext);
  REQUIRE(notes.addresses.size() == 1);
  CHECK(notes.addresses[0].node == kTill.id);
  CHECK(notes.addresses[0].answered_at == kStart + seconds{2});

  // Away and back again: each is news, though the reason is the same each time.
  for (int second = 3; second < 9; second += 2) {
    pages.failed(kTill, kAddress, kAway, kStart + seconds{second});
    CHECK(pages.due(kStart + seconds{second}).peers.size() == 1);
    pages.answered(kTill, kAddress, KeyUse::kNext, kStart + seconds{second + 1});
    CHECK(pages.due(kStart + seconds{second + 1}).peers.size() == 1);
  }
  // Of one that was only announced no name is known, which is no reason to forget it.
  pages.failed(Member{kTill.id, ""}, kAddress, kAway, kStart + seconds{20});
  CHECK(pages.due(kStart + seconds{20}).peers.at(0).peer.name == "till");
}

TEST_CASE("peer book: that a clock goes wrong, or right again, is news; by how much is not") {
  using std::chrono::milliseconds;
  PeerPages pages;
  const auto ahead = [&](milliseconds by) {
    pages.clock_ahead(kTill, by);
    const auto notes = pages.due(kStart);
    return notes.peers.empty() ? std::nullopt : notes.peers[0].clock_ahead;
  };
  CHECK(ahead(milliseconds{20}) == milliseconds{20});
  CHECK(ahead(milliseconds{30}) == std::nullopt);
  CHECK(ahead(milliseconds{-86'400'000}) == milliseconds{-86'400'000});
  CHECK(ahead(milliseconds{-86'400'007}) == std::nullopt);
  CHECK(ahead(milliseconds{-10}) == milliseconds{-10});
}

TEST_CASE("peer book: what could not be stored is due again, with what came meanwhile") {
  PeerPages pages;
  pages.asked(kTill, "192.168.1.5", KeyUse::kCurrent, kStart);
  const auto notes = pages.due(kStart);
  pages.asked(kTill, "192.168.1.5", KeyUse::kCurrent, kStart + seconds{1});
  pages.put_back(notes);
  const auto again = pages.due(kStart + seconds{1});
  REQUIRE(again.peers.size() == 1);
  CHECK(again.peers[0].asked->at == kStart + seconds{1});
}

TEST_CASE("peer book: it is bounded, and a clock that is set back stops nothing") {
  PeerPages pages;
  for (std::int64_t i = 1; i <= 10'000; ++i) {
    pages.asked({NodeId{i}, "x"}, "192.168.1.5", KeyUse::kCurrent, kStart);
    pages.failed(std::nullopt, {"host" + std::to_string(i), 1}, kAway, kStart);
  }
  const auto notes = pages.due(kStart);
  CHECK(notes.peers.size() == kPeersNoted);
  CHECK(notes.addresses.size() == kAddressesKept);
  const auto before = kStart - std::chrono::hours{24};
  pages.asked({NodeId{1}, "x"}, "192.168.1.5", KeyUse::kCurrent, before);
  CHECK(pages.due(before).peers.size() == 1);
}

TEST_CASE("peer book: it begins before it writes, and goes on when the database is back") {
  std::atomic<int> begins = 0;
  std::atomic<int> writes = 0;
  std::atomic<bool> away = true;
  std::atomic<bool> in_order = true;
  PeerBook book({[&]() -> Result<void> {
                   ++begins;
                   return away ? Result<void>(kAway) : Result<void>();
                 },
                 [&](const PeerNotes& notes) -> Result<void> {
                   in_order = in_order && !away && notes.peers.size() == 1;
                   ++writes;
                   return {};
                 }});
  book.asked(kTill, "192.168.1.5", KeyUse::kCurrent);
  REQUIRE(test::wait_until(seconds{10}, [&] { return begins >= 1; }));
  CHECK(writes == 0);
  away = false;
  REQUIRE(test::wait_until(seconds{10}, [&] { return writes == 1; }));
  CHECK(in_order);
}
