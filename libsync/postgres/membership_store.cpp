#include "membership_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "pull_reader.h"
#include "seal.h"

namespace mbsync {
namespace {

// While rows are applied, no trigger captures; so it is done by hand here, always. `changed`: which of the columns {}.
constexpr const char* kCapture =
    "INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT t.id, CASE WHEN b.there THEN 'U' ELSE 'I' "
    "END::\"char\", "
    "s.node::text, CASE WHEN b.there THEN (SELECT string_agg(CASE WHEN {} THEN 't' ELSE 'f' END, '' ORDER BY g.number) "
    "FROM generate_series(1, t.width - 1) g(number) LEFT JOIN mbsync.synced_column k ON k.tab = t.id AND k.number = "
    "g.number AND NOT k.dropped) END, clock_timestamp() FROM said s, mbsync.synced_table t, (SELECT count(*) > 0 AS "
    "there, max(back_at) IS NOT NULL AS wished FROM before) b WHERE t.schema_name = 'mbsync' AND t.table_name = "
    "'membership'";

Result<void> captured(const Result<pqxx::result>& written) {
  MBSYNC_TRY(written);
  if (written->affected_rows() == 0) {
    return Error{ErrorKind::kNotFound, "mbsync.membership: this database is no node yet, so it has no fleet",
                 "start it once with 'mbsync run'"};
  }
  return {};
}

Result<void> wish_back(PgConnection& db, NodeId member) {
  MBSYNC_TRY(db.exec("SELECT set_config('mbsync.applying', 'on', true)"));
  return captured(db.exec(fmt::format(
      "WITH before AS (SELECT back_at FROM mbsync.membership WHERE node = {0}), said AS (UPDATE mbsync.membership SET "
      "back_at = clock_timestamp() WHERE node = {0} RETURNING node) {1}",
      member.value, fmt::format(kCapture, "k.name IS NOT DISTINCT FROM 'back_at'"))));
}

// Why the asker, which nobody takes for away yet, cannot be answered.
Result<std::optional<std::string>> brings_back(PgConnection& db, const Fleet& fleet, const PullRequest& request) {
  const auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  const auto& membership = fleet.membership;
  const bool known =
      request.was || membership.away.contains(request.sender.id) || membership.away.contains(membership.self);
  return !known && brings_somebody_back(membership, versions->seen, request.seen)
             ? std::optional(why_brings_back(fleet, versions->seen, request.seen))
             : std::nullopt;
}

Result<bool> has_unseen_of(PgConnection& db, NodeId origin) {
  const auto unseen =
      db.exec(fmt::format("SELECT EXISTS (SELECT FROM mbsync.change WHERE unseen AND origin = {})", origin.value));
  MBSYNC_TRY(unseen);
  return (*unseen)[0][0].as<bool>();
}

// Nothing is under way: all that is said is agreed, and this node's own former names are among it.
bool is_settled(const Fleet& fleet) {
  const auto& away = fleet.membership.away;
  return away.size() == fleet.membership.gone.size() && fleet.agreed == fleet.membership.gone &&
         std::all_of(fleet.declared.begin(), fleet.declared.end(), [&](NodeId node) { return away.contains(node); }) &&
         std::all_of(fleet.former.begin(), fleet.former.end(), [&](NodeId node) { return away.contains(node); });
}

// Those of whom it was said here that they are away, and who turn out to be there.
Result<void> take_back(PgConnection& db, Fleet& fleet, const Member& self) {
  for (const auto node : fleet.declared) {
    const bool over = !speaks_for(fleet.membership, node);
    const bool taken_back = !over && !fleet.membership.gone.contains(node) && fleet.wants_back.contains(node);
    if (taken_back) {
      MBSYNC_TRY(say_of_member(db, node, MembershipWord{false, false, "it is there again", self.name}));
      fleet.membership.away.erase(node);
    }
    if (over || taken_back) {
      MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.node SET declared = false WHERE id = {}", node.value)));
    }
  }
  return {};
}

Result<void> agree(PgConnection& db, const Fleet& fleet) {
  const auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  for (const auto node : agreed_away(fleet.membership, versions->seen, fleet.reports)) {
    if (fleet.membership.gone.contains(node)) {
      continue;
    }
    const auto waits = has_unseen_of(db, node);
    MBSYNC_TRY(waits);
    if (!*waits) {
      MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.node SET agreed = true WHERE id = {}", node.value)));
    }
  }
  return {};
}

}  // namespace

Result<void> say_of_member(PgConnection& db, NodeId member, const MembershipWord& word) {
  MBSYNC_TRY(db.exec("SELECT set_config('mbsync.applying', 'on', true)"));
  return captured(db.exec(fmt::format(
      "WITH before AS (SELECT back_at FROM mbsync.membership WHERE node = {0}), said AS (INSERT INTO mbsync.membership "
      "AS m (node, away, banned, reason, said_by, said_at) VALUES ({0}, {1}, {2}, {3}, {4}, clock_timestamp()) ON "
      "CONFLICT (node) DO UPDATE SET away = excluded.away, banned = excluded.banned, reason = excluded.reason, said_by "
      "= excluded.said_by, said_at = excluded.said_at, back_at = NULL RETURNING node) {5}",
      member.value, word.away, word.banned, db.quote(word.reason), db.quote(word.said_by),
      fmt::format(kCapture,
                  "k.name IN ('away', 'banned', 'reason', 'said_by', 'said_at') OR k.name = 'back_at' AND b.wished"))));
}

Result<void> declare_away(PgConnection& db, NodeId member, const MembershipWord& word) {
  const auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  MBSYNC_TRY(
      db.exec(fmt::format("UPDATE mbsync.version_vector v SET frozen = (SELECT r.counter FROM (VALUES {}) r(origin, "
                          "counter) WHERE r.origin "
                          "= v.origin)",
                          values_of(versions->report))));
  MBSYNC_TRY(say_of_member(db, member, word));
  return db.run(fmt::format("UPDATE mbsync.node SET declared = true, agreed = false WHERE id = {}", member.value));
}

Result<std::optional<Fleet>> look_after_membership(PgConnection& db, const Schema& schema, const Member& self) {
  const auto said = db.exec_cached("SELECT EXISTS (SELECT FROM mbsync.membership)");
  MBSYNC_TRY(said);
  if (!(*said)[0][0].as<bool>()) {
    return std::optional<Fleet>();
  }
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  if (is_settled(*fleet)) {
    return std::optional(std::move(*fleet));
  }
  MBSYNC_TRY(db.run(
      "UPDATE mbsync.node n SET agreed = false WHERE n.agreed AND NOT EXISTS (SELECT FROM mbsync.membership m WHERE "
      "m.node = n.id AND m.away)"));
  MBSYNC_TRY(read_away_dots(db, fleet->membership));
  // Who is there is rather taken back than agreed upon, while that can be chosen.
  MBSYNC_TRY(take_back(db, *fleet, self));
  MBSYNC_TRY(agree(db, *fleet));
  for (const auto node : fleet->former) {
    if (!fleet->membership.away.contains(node)) {
      MBSYNC_TRY(say_of_member(db, node, MembershipWord{true, false, "it has come back as another", self.name}));
    }
  }
  MBSYNC_TRY(seal(db, schema, self.id));
  fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  return std::optional(std::move(*fleet));
}

Result<Welcome> welcome(PgConnection& db, const Schema& schema, const Member& self, const PullRequest& request) {
  const auto asker = request.was.value_or(request.sender.id);
  auto fleet = look_after_membership(db, schema, self);
  MBSYNC_TRY(fleet);
  Welcome answer;
  if (!*fleet) {
    answer.standing = request.was ? Standing::kAway : Standing::kMember;
    return answer;
  }
  const auto is_away = [&] { return (*fleet)->membership.away.contains(asker); };
  const auto is_gone = [&] { return (*fleet)->membership.gone.contains(asker); };
  auto brings = brings_back(db, **fleet, request);
  MBSYNC_TRY(brings);
  if (*brings && may_be_away((*fleet)->membership, asker)) {
    // Nobody takes that back, so it can be heard of at once.
    MBSYNC_TRY(say_of_member(db, asker, MembershipWord{true, false, **brings, self.name}));
    MBSYNC_TRY(seal(db, schema, self.id));
    fleet = look_after_membership(db, schema, self);
    MBSYNC_TRY(fleet);
  }
  if (is_away() && !is_gone() && !(*fleet)->banned.contains(asker) && !(*fleet)->wants_back.contains(asker)) {
    MBSYNC_TRY(wish_back(db, asker));
    MBSYNC_TRY(seal(db, schema, self.id));
    fleet = look_after_membership(db, schema, self);
    MBSYNC_TRY(fleet);
  }

  const auto& membership = (*fleet)->membership;
  answer.alone = is_alone(membership);
  answer.outside.assign(membership.gone.begin(), membership.gone.end());
  const bool newcomer = holds_only_own(request.seen, request.sender.id);
  if (membership.away.contains(self.id) && (request.was || newcomer)) {
    answer.standing = Standing::kElsewhere;
  } else if ((*fleet)->banned.contains(asker)) {
    answer.standing = Standing::kBanned;
  } else if (is_gone()) {
    answer.standing = request.was ? Standing::kMember : Standing::kGone;
  } else if (is_away() || request.was) {
    answer.standing = Standing::kAway;
  } else if (*brings) {
    answer.refusal = brought_back(request.sender, **brings);
  }
  return answer;
}

Error brought_back(const Member& teller, const std::string& why) {
  return Error{
      ErrorKind::kTransient, fmt::format("{}: {}", teller.name, why),
      "nothing is lost: the fleet goes on without it, as soon as more than half of the others are known to stay, "
      "and it then comes back by itself, with all that only it has"};
}

std::string why_brings_back(const Fleet& fleet, const VersionVector& seen, const VersionVector& told) {
  for (const auto& member : fleet.members) {
    if (fleet.membership.gone.contains(member.id) && seen.counter(member.id) < told.counter(member.id)) {
      return fmt::format("it has writes of {} ({}) that nobody else has, and the fleet has gone on without that node",
                         member.name, to_string(member.id));
    }
  }
  return "";
}

Result<std::vector<SilentMember>> look_after_silent(PgConnection& db, const Schema& schema, const Member& self,
                                                    int days_max) {
  // Whoever asks or answers is there, and so is one whose report goes on by way of others (raise_report()).
  MBSYNC_TRY(db.run(
      "UPDATE mbsync.node n SET silent_days = 0 WHERE n.silent_days > 0 AND (n.last_seen >= current_date OR EXISTS "
      "(SELECT FROM mbsync.peer p WHERE p.node = n.id AND greatest(p.asked_at, p.answered_at) >= current_date))"));
  MBSYNC_TRY(db.run(
      "UPDATE mbsync.node n SET silent_days = n.silent_days + 1, silent_on = current_date WHERE NOT n.is_self AND NOT "
      "n.former AND n.silent_on IS DISTINCT FROM current_date AND NOT EXISTS (SELECT FROM mbsync.membership m WHERE "
      "m.node = n.id AND m.away) AND coalesce(n.last_seen, '-infinity') < current_date AND NOT EXISTS (SELECT FROM "
      "mbsync.peer p WHERE p.node = n.id AND greatest(p.asked_at, p.answered_at) >= current_date) AND EXISTS (SELECT "
      "FROM mbsync.change c LEFT JOIN mbsync.report r ON r.node = n.id AND r.origin = c.origin WHERE c.counter > "
      "coalesce(r.counter, 0)) AND EXISTS (SELECT FROM mbsync.node o LEFT JOIN mbsync.peer p ON p.node = o.id WHERE "
      "NOT "
      "o.is_self AND o.id <> n.id AND greatest(o.last_seen, p.asked_at, p.answered_at) >= current_date)"));
  const auto rows = db.exec("SELECT id, silent_days FROM mbsync.node WHERE silent_days > 0 ORDER BY id");
  MBSYNC_TRY(rows);
  std::vector<SilentMember> silent;
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  MBSYNC_TRY(read_away_dots(db, fleet->membership));
  // One says it; the others a day later each, if it has not by then.
  const auto before_self = static_cast<int>(
      std::count_if(fleet->membership.members.begin(), fleet->membership.members.end(),
                    [&](NodeId node) { return node < self.id && !fleet->membership.away.contains(node); }));
  for (const auto& row : *rows) {
    const NodeId id{row[0].as<std::int64_t>()};
    const auto member = std::find_if(fleet->members.begin(), fleet->members.end(),
                                     [&](const Member& candidate) { return candidate.id == id; });
    SilentMember entry{*member, row[1].as<int>(), false};
    const bool long_enough = days_max > 0 && entry.days >= days_max + before_self - (id < self.id ? 1 : 0);
    if (long_enough && may_be_away(fleet->membership, id) && !fleet->membership.away.contains(self.id)) {
      MBSYNC_TRY(seal(db, schema, self.id));
      MBSYNC_TRY(
          declare_away(db, id, MembershipWord{true, false, fmt::format("silent for {} days", entry.days), self.name}));
      MBSYNC_TRY(seal(db, schema, self.id));
      fleet->membership.away[id];
      entry.declared = true;
    }
    silent.push_back(std::move(entry));
  }
  return silent;
}

}  // namespace mbsync
