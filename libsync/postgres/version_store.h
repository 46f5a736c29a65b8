// Who this node is, which members it knows, and how far it and they have everything: the small tables of schema mbsync.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "connection.h"
#include "membership.h"
#include "message.h"
#include "version_vector.h"

namespace mbsync {

/// SQL for a new node's id: positive, and random enough that no other node has it.
inline constexpr const char* kRandomNodeId =
    "(('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint & 9223372036854775807)";

/// The node that this database says it belongs to; a new random one is drawn and kept when there is none. The name is
/// brought up to date.
Result<Member> ensure_self(PgConnection& db, const std::string& name);

/// Advances the own counter by one and returns it. Its row stays locked until the transaction ends.
Result<std::int64_t> next_counter(PgConnection& db, NodeId self);

struct Versions {
  VersionVector seen;
  VersionVector forgotten;  ///< up to here, writes that everybody had are gone from mbsync.change
  /// What this node may vouch for: `seen` without the writes that wait for rows which the application holds
  /// (CONFLICTS.md C10), and without what came since it was said here of a member that it is away, until all others
  /// have heard that (C22). Never goes back.
  VersionVector report;
  bool unseen = false;  ///< there are writes that the application has not seen
};
Result<Versions> read_versions(PgConnection& db);

struct Fleet {
  std::vector<Member> members;  ///< this node among them
  std::map<NodeId, VersionVector> reports;
  /// Who is away, without the writes that say so (read_away_dots()).
  Membership membership;
  std::set<NodeId> banned;
  std::set<NodeId> declared;  ///< it was said here that they are away
  std::set<NodeId> agreed;    ///< that was agreed of them; perhaps they are not away any more
  std::set<NodeId> former;    ///< this node itself, before it came back as another
};
Result<Fleet> read_fleet(PgConnection& db);
/// Reads the writes that say of members that they are away. Waits for nobody and may be left out where only the names
/// count.
Result<void> read_away_dots(PgConnection& db, Membership& fleet);
/// How many of `heard` are no members yet.
std::size_t count_new(const Fleet& fleet, const std::vector<Member>& heard);

/// Maximum per origin. Returns at once if there is nothing to raise.
Result<void> raise_seen(PgConnection& db, const VersionVector& seen);
/// Records that writes up to here may be gone from mbsync.change.
Result<void> raise_forgotten(PgConnection& db, const VersionVector& stable);
Result<void> raise_report(PgConnection& db, NodeId node, const VersionVector& report);
/// Adds members that are not known yet and brings names up to date.
Result<void> store_members(PgConnection& db, const std::vector<Member>& members);
Result<void> touch_member(PgConnection& db, NodeId node);  ///< last_seen = now

/// "(1,5),(2,7)" as VALUES of (origin, counter); one impossible row for an empty vector, since VALUES needs one.
std::string values_of(const VersionVector& vector);

/// "(c.origin = 5 AND c.counter <= 17) OR ...": whether `vector` covers the dot in `alias`.`prefix`origin and counter.
std::string covered_by(const VersionVector& vector, std::string_view alias, std::string_view prefix);

}  // namespace mbsync
