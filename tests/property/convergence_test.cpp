// Whatever happens to a fleet, once its nodes have pulled from each other they hold the same rows, and once all know it
// nothing is left but the rows. And: the tests notice when a rule is left out.
#include <catch2/catch.hpp>

#include "check_histories.h"

namespace mbsync::sim {

namespace {

/// Whether histories show what `fault` does.
void check_noticed(Fault fault) {
  CHECK_FALSE(first_failure([fault](const History& history) { return failure_of(history, fault); }).empty());
}

}  // namespace

TEST_CASE("fleet: all nodes hold the same rows after any history, and forget all they can (C1 to C16, C22)") {
  REQUIRE(check_histories("fleet converges", [] {
    const History history = *any_history();
    const std::string failure = failure_of(history);
    if (!failure.empty()) {
      RC_FAIL(failure);
    }
  }));
}

TEST_CASE("fleet: without the guard on reports, forgetting makes nodes differ (C8)") {
  check_noticed(Fault::kForgetUnguarded);
}

TEST_CASE("fleet: if reports come without the members they were made under, nodes differ (C8)") {
  check_noticed(Fault::kReportsAlone);
}

TEST_CASE("fleet: if losing values are not kept, nodes differ (C7)") {
  check_noticed(Fault::kKeepNothing);
}

TEST_CASE("fleet: if local writes are not sealed before a join, nodes differ (C2)") {
  check_noticed(Fault::kSealLate);
}

TEST_CASE("fleet: if a joining node's writes are judged as siblings, nodes differ (C9)") {
  check_noticed(Fault::kJoinAsSiblings);
}

TEST_CASE("fleet: if an answer that comes late puts back old rows, nodes differ (C1)") {
  check_noticed(Fault::kTakeStaleRows);
}

TEST_CASE("fleet: if writes that the application has not seen are reported, nodes differ (C10)") {
  check_noticed(Fault::kReportUnseen);
}

TEST_CASE("fleet: if a local write overwrites what the application has not seen, nodes differ (C10)") {
  check_noticed(Fault::kSealOverUnseen);
}

TEST_CASE("fleet: if nodes judge by the policy they have, nodes differ (C11)") {
  check_noticed(Fault::kOwnPolicy);
}

TEST_CASE("fleet: if what was added is forgotten with the writes, nodes differ (C16)") {
  check_noticed(Fault::kForgetCounters);
}

TEST_CASE("fleet: if rows travel without what counters added to them, nodes differ (C16)") {
  check_noticed(Fault::kAddAsWritten);
}

TEST_CASE("fleet: if a member is waited for no more before all have heard that it is away, nodes differ (C22)") {
  check_noticed(Fault::kAwayAtOnce);
}

TEST_CASE("fleet: if what a member that is away writes is taken, nodes differ (C22)") {
  check_noticed(Fault::kTakeFromAway);
}

TEST_CASE("fleet: if a member that was away comes back as the one it was, nodes differ (C22)") {
  check_noticed(Fault::kComeBackInStep);
}

}  // namespace mbsync::sim
