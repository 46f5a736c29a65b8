#include "peer_claims.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol_limits.h"
#include "table_sql.h"

namespace mbsync {
namespace {

// A record's text as row_out writes it. Longer ones are not looked at: the expression would need four times their size.
constexpr const char* kRecord = R"sql('^\((?:[^()"\\]|\\.|"(?:[^"\\]|\\.|"")*")*\)$')sql";
constexpr std::size_t kOriginsCompared = 32;
constexpr std::int64_t kRecordLookedAtMax = std::int64_t{16} << 20;

Error corrupt(std::string message) {
  return Error{ErrorKind::kCorrupt, std::move(message), "the peer is of another version, or it is broken"};
}

Result<void> check_counters(const VersionVector& vector, const Member& sender, std::string_view what) {
  const bool sound = std::all_of(vector.counters().begin(), vector.counters().end(),
                                 [](const auto& entry) { return entry.second <= kCounterMax; });
  if (!sound) {
    return corrupt(fmt::format("{} says of {} what cannot be: a counter above {}", sender.name, what, kCounterMax));
  }
  return {};
}

Result<void> check_vectors(const VersionVector& seen, const std::map<NodeId, VersionVector>& reports,
                           const Member& sender) {
  MBSYNC_TRY(check_counters(seen, sender, "itself"));
  for (const auto& [node, report] : reports) {
    MBSYNC_TRY(check_counters(report, sender, fmt::format("node {}", to_string(node))));
  }
  return {};
}

// A head of one of the four kinds. `full`: rows that nobody knows the writes of may come.
std::string sound_head(const StagedTable& staged, bool full) {
  const auto place_of_key = staged.table->key[0] + 1;
  return fmt::format(
      "s.m_key IS NOT NULL AND CASE WHEN s.m_writes IS NOT NULL THEN num_nonnulls(s.m_origin, s.m_counter, s.m_at, "
      "s.m_cols, s.m_deleted, s.m_policy, s.m_kept) = 0 WHEN s.m_origin IS NULL THEN {} AND num_nonnulls(s.m_counter, "
      "s.m_at, s.m_cols, s.m_deleted, s.m_policy, s.m_kept) = 0 ELSE num_nulls(s.m_counter, s.m_at, s.m_cols, "
      "s.m_deleted, s.m_policy) = 0 AND s.m_counter > 0 AND s.m_policy >= 0 AND position(B'1' IN s.m_cols) > 0 AND "
      "(s.m_at = '-infinity' OR s.m_at BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00') AND "
      "(s.m_deleted OR s.m_kept IS NULL AND s.v{} IS DISTINCT FROM NULL) AND (s.m_kept IS NULL OR "
      "octet_length(s.m_kept) > {} OR s.m_kept ~ {}) END",
      full ? "true" : "false", place_of_key, kRecordLookedAtMax, kRecord);
}

}  // namespace

Result<void> check_own_counter(const VersionVector& seen, const std::map<NodeId, VersionVector>& reports,
                               const Member& sender, const Member& self, std::int64_t own) {
  auto highest = seen.counter(self.id);
  for (const auto& [node, report] : reports) {
    highest = std::max(highest, report.counter(self.id));
  }
  if (highest > own) {
    return Error{
        ErrorKind::kRejected,
        fmt::format("{} knows of writes of {} up to {}, but the database of {} only remembers {}", sender.name,
                    self.name, highest, self.name, own),
        fmt::format("the database of {} was restored from an older backup or is a copy; it must join again with a new "
                    "identity",
                    self.name)};
  }
  return {};
}

Result<void> check_claims(const PullHeader& header) {
  MBSYNC_TRY(check_vectors(header.seen, header.reports, header.sender));
  if (!header.seen.covers(header.forgotten)) {
    return corrupt(fmt::format("{} says that it has forgotten writes which it never had", header.sender.name));
  }
  return {};
}

Result<void> check_claims(const PullRequest& request) {
  return check_vectors(request.seen, request.reports, request.sender);
}

Result<void> check_growth(std::size_t members_known, std::size_t members_new, const Member& sender) {
  if (members_new > 0 && members_known + members_new > kFleetNodesMax) {
    return Error{ErrorKind::kRejected,
                 fmt::format("{} names {} nodes that are new here, and with them the fleet would have more than {}",
                             sender.name, members_new, kFleetNodesMax),
                 "look at its list of members ('mbsync status' there); a node that makes up others has to be kept out"};
  }
  return {};
}

Result<void> check_growth(const VersionVector& known, const VersionVector& told, const Member& sender) {
  std::size_t origins = known.counters().size();
  for (const auto& [origin, counter] : told.counters()) {
    origins += known.counter(origin) == 0 ? 1 : 0;
  }
  if (origins > kFleetOriginsMax && origins > known.counters().size()) {
    return Error{ErrorKind::kRejected,
                 fmt::format("{} has writes of nodes that are new here, and with them there would be more than {}",
                             sender.name, kFleetOriginsMax),
                 "look at what it has; a node that makes up others has to be kept out"};
  }
  return {};
}

Result<StagedFacts> check_staged(PgConnection& db, StagedTable& staged, const PullHeader& header) {
  const auto table = staged.table->display();
  const TableSql sql(*staged.table);
  // Of few origins a comparison each is cheapest; of many, a join.
  const auto covered =
      header.seen.counters().size() <= kOriginsCompared
          ? covered_by(header.seen, "s", "m_")
          : fmt::format(
                "EXISTS (SELECT FROM (VALUES {}) v(origin, counter) WHERE v.origin = s.m_origin AND v.counter >= "
                "s.m_counter)",
                values_of(header.seen));
  const auto facts = db.exec(fmt::format(
      "SELECT coalesce(bool_or(s.m_deleted OR s.m_writes IS NOT NULL), false), coalesce(min(length(s.m_cols)), 0), "
      "coalesce(max(length(s.m_cols)), 0), coalesce(bool_and(({}) IS TRUE), true), coalesce(bool_and(({}) IS NOT "
      "FALSE), true), coalesce(max(s.m_policy), 0), coalesce(bool_and(s.m_origin IS NULL OR {}), true) FROM {} s",
      sound_head(staged, header.full), sql.staged_key_match("s", "s.m_key"), covered, staged.name));
  if (!facts) {
    return facts.error().in(fmt::format("looking at the rows of table {}", table));
  }
  const auto& row = (*facts)[0];
  if (!row[3].as<bool>()) {
    return corrupt(fmt::format("table {}: {} sends a row whose writes are not of a form that there is", table,
                               header.sender.name));
  }
  if (row[1].as<std::size_t>() != row[2].as<std::size_t>()) {
    return corrupt(fmt::format("table {}: {} sends bit strings of different lengths", table, header.sender.name));
  }
  if (!row[4].as<bool>()) {
    return corrupt(fmt::format("table {}: {} sends a row under the key of another", table, header.sender.name));
  }
  if (!row[6].as<bool>()) {
    return corrupt(fmt::format("table {}: {} sends a write that it says it does not have", table, header.sender.name));
  }
  staged.policies.clear();
  if (row[5].as<PolicyVersion>() > kBuiltInPolicy) {
    const auto policies =
        db.exec(fmt::format("SELECT DISTINCT m_policy FROM {} WHERE m_policy > 0 LIMIT 10000", staged.name));
    MBSYNC_TRY(policies);
    for (const auto& version : *policies) {
      staged.policies.push_back(version[0].as<PolicyVersion>());
    }
  }
  return StagedFacts{row[0].as<bool>(), row[2].as<std::size_t>()};
}

Result<void> check_writes(const WireRow& row, const VersionVector& seen, NodeId self, const std::set<NodeId>& away,
                          const Table& table) {
  for (const auto& write : row.writes) {
    if (!seen.covers(write.dot)) {
      return corrupt(fmt::format("table {}: a write comes from a peer that says it does not have it", table.display()));
    }
  }
  for (const auto& counter : row.counters) {
    // An origin that nobody has writes of stands for a row that became one with this (CONFLICTS.md C19).
    const bool made = seen.counter(counter.origin) == 0 && counter.origin != self;
    // What a node had added when it came back as another stays under its old name (CONFLICTS.md C22).
    if (away.contains(counter.origin) && counter.counter <= kCounterMax) {
      continue;
    }
    if (counter.counter > (made ? kCounterMax : seen.counter(counter.origin))) {
      return corrupt(
          fmt::format("table {}: a counter comes from a peer that says it does not have it", table.display()));
    }
  }
  return {};
}

}  // namespace mbsync
