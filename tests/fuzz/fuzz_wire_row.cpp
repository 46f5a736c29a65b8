// The writes field of a row: live writes and counters as JSON (PROTOCOL.md "Rows").
#include <set>

#include "decimal.h"
#include "fuzz.h"
#include "message.h"
#include "protocol_limits.h"

namespace mbsync::fuzz {

void run(std::string_view input) {
  const auto row = parse_wire_row(input);
  if (!row) {
    FUZZ_EXPECT(row.error().kind == ErrorKind::kCorrupt, "a malformed field is not called corrupt");
    return;
  }
  FUZZ_EXPECT(!row->writes.empty() || !row->counters.empty(), "a field without content was taken");
  for (std::size_t i = 0; i < row->writes.size(); ++i) {
    const auto& write = row->writes[i];
    FUZZ_EXPECT(write.dot.origin.valid() && write.dot.counter > 0, "a dot out of bounds was taken");
    FUZZ_EXPECT(i == 0 || row->writes[i - 1].dot < write.dot, "writes out of order were taken");
    FUZZ_EXPECT(!write.columns.empty() && write.columns.numbers().back() <= kColumnNumberMax,
                "columns out of bounds were taken");
    for (const auto& [number, sum] : write.sums) {
      FUZZ_EXPECT(number != kRowMark && Decimal::parse(sum), "a sum that is no number was taken");
    }
  }
  std::set<std::pair<ColumnNumber, NodeId>> shares;
  for (const auto& counter : row->counters) {
    FUZZ_EXPECT(shares.emplace(counter.number, counter.origin).second, "one share was taken twice");
    FUZZ_EXPECT(Decimal::parse(counter.total) && Decimal::parse(counter.shown), "a share that is no number was taken");
  }
  const auto again = to_json(*row, 0);
  FUZZ_EXPECT(again.has_value(), "a row that was taken cannot be sent on");
  const auto parsed = parse_wire_row(*again);
  FUZZ_EXPECT(parsed && *parsed == *row, "a row that was taken does not survive being sent on");
}

}  // namespace mbsync::fuzz
