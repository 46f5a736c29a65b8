// Where a pull's answer goes, piece by piece: on the sender from the database into the wire, on the receiver from the
// wire into the database's staging tables. Both ends speak the same interface, so a test can join them without a
// network. One thread; calls come in the order header (table rows* table_end)* footer. An error ends the pull.
#pragma once

#include "message.h"

namespace mbsync {

class PullSink {
 public:
  virtual ~PullSink() = default;
  virtual Result<void> header(const PullHeader& header) = 0;
  virtual Result<void> table(const TableHeader& table) = 0;
  /// COPY text of the table's rows, cut anywhere; the bytes are the caller's. One line holds: key, origin, counter, at,
  /// bits, deleted, kept, writes, then the values of the header's columns (PROTOCOL.md "rows").
  virtual Result<void> rows(std::string_view copy_text) = 0;
  virtual Result<void> table_end(std::int64_t rows) = 0;
  virtual Result<void> footer(const PullFooter& footer) = 0;
};

}  // namespace mbsync
