// What a peer lacks, read in one snapshot.
#pragma once

#include <cstdint>
#include <optional>

#include "pull_sink.h"
#include "schema.h"

namespace mbsync {

/// In the open REPEATABLE READ transaction, after seal(): writes everything into `sink` that `request.seen` lacks, row
/// by row with all its live writes (join needs them all), and the row's values. If writes were forgotten that the asker
/// lacks, every row of every table is sent. Streams; at most one piece of a value is held in memory.
/// So it is for an asker that comes back as another (`request.was`), on top of whose rows goes what `outside` says.
/// `chance`: of others' reports (some_reports()).
struct PullContext {
  Member self;
  std::vector<NodeId> staying = {};  ///< PullHeader::staying
  std::vector<NodeId> outside = {};  ///< PullHeader::outside
  std::optional<std::uint64_t> chance;
};
Result<void> read_pull(PgConnection& db, const Schema& schema, const PullContext& context, const PullRequest& request,
                       PullSink& sink);

/// Whether a node with this vector has never taken anything from another: it is new to any fleet.
bool holds_only_own(const VersionVector& seen, NodeId node);

/// A row's live writes, and its counters if the table has any, as one JSON text that parse_wire_row() reads; NULL if
/// there are none. `key` is a text expression.
std::string row_json(int tab, std::string_view key, bool counters);
/// Whether any row of the table has counters.
Result<bool> has_counters(PgConnection& db, int tab);

}  // namespace mbsync
