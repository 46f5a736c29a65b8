#include "allowed_nodes.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

const Member kOffice{NodeId{0x1a}, "office"};
const Member kTill{NodeId{0x2b}, "till"};

/// Counts what comes.
class CountingSink : public PullSink {
 public:
  Result<void> header(const PullHeader&) override { return count(); }
  Result<void> table(const TableHeader&) override { return count(); }
  Result<void> rows(std::string_view) override { return count(); }
  Result<void> table_end(std::int64_t) override { return count(); }
  Result<void> footer(const PullFooter&) override { return count(); }
  int calls = 0;

 private:
  Result<void> count() {
    ++calls;
    return {};
  }
};

}  // namespace

TEST_CASE("allowed nodes: without a list all are") {
  const AllowedNodes all({});
  CHECK(all.allows(kTill.id));
  CHECK(all.check(kTill, kOffice));
}

TEST_CASE("allowed nodes: who is not on the list is refused with what is to be done, and where") {
  const AllowedNodes some({kOffice.id});
  CHECK(some.allows(kOffice.id));
  const auto refused = some.check(kTill, kOffice);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kRejected);
  CHECK(refused.error().message == "node 000000000000002b ('till') is not among those that 'office' exchanges with");
  CHECK(refused.error().hint == "if it belongs to the fleet, add 000000000000002b to SYNC_ALLOWED_NODES on 'office'");
}

TEST_CASE("allowed nodes: of an answer of one that is not, nothing gets through") {
  const AllowedNodes some({kTill.id});
  for (const NodeId sender : {kTill.id, NodeId{0x3c}}) {
    CountingSink inner;
    AllowedSink sink(inner, some, kOffice);
    PullHeader header;
    header.sender = {sender, "till"};
    const bool allowed = sender == kTill.id;
    CHECK(sink.header(header).has_value() == allowed);
    CHECK(sink.refused() == !allowed);
    CHECK(inner.calls == (allowed ? 1 : 0));
    if (allowed) {
      CHECK(sink.table({}));
      CHECK(sink.rows("x"));
      CHECK(sink.table_end(1));
      CHECK(sink.footer({}));
      CHECK(inner.calls == 5);
    }
  }
}

TEST_CASE("allowed nodes: another list holds from then on") {
  AllowedNodes allowed({kOffice.id});
  CHECK_FALSE(allowed.allows(kTill.id));
  allowed.replace({kTill.id});
  CHECK(allowed.allows(kTill.id));
  CHECK_FALSE(allowed.allows(kOffice.id));
  allowed.replace({});
  CHECK(allowed.allows(kOffice.id));
}
