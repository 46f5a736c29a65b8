#include "membership_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "peer_claims.h"
#include "pull_reader.h"
#include "seal.h"

namespace mbsync {
namespace {

// While rows are applied, no trigger captures; so it is done by hand here, always. `change`: an INSERT or UPDATE of a
// line of mbsync.membership; `changed`: which of the columns k.name it has written, where there was a line before.
Result<void> write_captured(PgConnection& db, NodeId member, const std::string& change, const std::string& changed) {
  MBSYNC_TRY(db.exec("SELECT set_config('mbsync.applying', 'on', true)"));
  const auto written = db.exec(fmt::format(
      "WITH before AS (SELECT back_at FROM mbsync.membership WHERE node = {}), said AS ({} RETURNING node) INSERT INTO "
      "mbsync.capture (tab, op, key, cols, at) SELECT t.id, CASE WHEN b.there THEN 'U' ELSE 'I' END::\"char\", "
      "s.node::text, CASE WHEN b.there THEN (SELECT string_agg(CASE WHEN {} THEN 't' ELSE 'f' END, '' ORDER BY "
      "g.number) FROM generate_series(1, t.width - 1) g(number) LEFT JOIN mbsync.synced_column k ON k.tab = t.id AND "
      "k.number = g.number AND NOT k.dropped) END, clock_timestamp() FROM said s, mbsync.synced_table t, (SELECT "
      "count(*) > 0 AS there, max(back_at) IS NOT NULL AS wished FROM before) b WHERE t.schema_name = 'mbsync' AND "
      "t.table_name = 'membership'",
      member.value, change, changed));
  MBSYNC_TRY(written);
  if (written->affected_rows() == 0) {
    return Error{ErrorKind::kNotFound, "mbsync.membership: this database is no node yet, so it has no fleet",
                 "start it once with 'mbsync run'"};
  }
  return {};
}

Result<void> wish_back(PgConnection& db, NodeId member) {
  return write_captured(
      db, member, fmt::format("UPDATE mbsync.membership SET back_at = clock_timestamp() WHERE node = {}", member.value),
      "k.name IS NOT DISTINCT FROM 'back_at'");
}

// Why the asker, which nobody takes for away yet, cannot be answered.
Result<std::optional<std::string>> brings_back(PgConnection& db, const Fleet& fleet, const PullRequest& request) {
  const auto& membership = fleet.membership;
  const bool known =
      request.was || membership.away.contains(request.sender.id) || membership.away.contains(membership.self);
  if (known || membership.gone.empty()) {
    return std::optional<std::string>();
  }
  const auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  return brings_somebody_back(membership, versions->seen, request.seen)
             ? std::optional(why_brings_back(fleet, versions->seen, request.seen))
             : std::nullopt;
}

// Makes what a peer says of itself and the fleet ours, so that nothing is forgotten that it still needs.
Result<void> learn_from(PgConnection& db, const Fleet& fleet, const PullRequest& request) {
  std::vector<Member> fresh;
  auto heard = request.members;
  if (!request.was) {
    heard.push_back(request.sender);  // who comes back is a member only once it is let in
  }
  for (const auto& member : heard) {
    if (std::find(fleet.members.begin(), fleet.members.end(), member) == fleet.members.end()) {
      fresh.push_back(member);
    }
  }
  MBSYNC_TRY(check_growth(fleet.members.size(), count_new(fleet, fresh), request.sender));
  MBSYNC_TRY(store_members(db, fresh));
  for (const auto& [node, report] : request.reports) {
    const auto known = fleet.reports.find(node);
    if (node != fleet.membership.self && (known == fleet.reports.end() || !known->second.covers(report))) {
      MBSYNC_TRY(raise_report(db, node, report));
    }
  }
  return touch_member(db, request.sender.id);
}

Result<bool> has_unseen_of(PgConnection& db, NodeId origin) {
  const auto unseen =
      db.exec(fmt::format("SELECT EXISTS (SELECT FROM mbsync.change WHERE unseen AND origin = {})", origin.value));
  MBSYNC_TRY(unseen);
  return (*unseen)[0][0].as<bool>();
}

// Those of whom it was said here that they are away, and who turn out to be there.
Result<void> take_back(PgConnection& db, Fleet& fleet, const Member& self) {
  for (const auto node : fleet.declared) {
    const bool over = !speaks_for(fleet.membership, node);
    const bool taken_back = !over && !fleet.banned.contains(node) && !fleet.membership.gone.contains(node) &&
                            fleet.membership.wishing.contains(node);
    if (taken_back) {
      MBSYNC_TRY(say_of_member(db, node, MembershipWord{false, "it is there again", self.name}));
      fleet.membership.away.erase(node);
    }
    if (over || taken_back) {
      MBSYNC_TRY(
          db.exec(fmt::format("UPDATE mbsync.node SET declared = false, silent_days = 0 WHERE id = {}", node.value)));
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

Standing standing_of(const Fleet& fleet, const Member& asker, const PullRequest& request) {
  const auto& membership = fleet.membership;
  const bool newcomer = holds_only_own(request.seen, request.sender.id);
  if (membership.away.contains(membership.self) && (request.was || newcomer)) {
    return Standing::kElsewhere;
  }
  if (fleet.banned.contains(asker.id)) {
    return Standing::kBanned;
  }
  if (membership.gone.contains(asker.id)) {
    return request.was ? Standing::kMember : Standing::kGone;
  }
  return membership.away.contains(asker.id) || request.was ? Standing::kAway : Standing::kMember;
}

}  // namespace

bool is_settled(const Fleet& fleet) {
  const auto& away = fleet.membership.away;
  return away.size() == fleet.membership.gone.size() && fleet.agreed == fleet.membership.gone &&
         std::all_of(fleet.declared.begin(), fleet.declared.end(), [&](NodeId node) { return away.contains(node); }) &&
         std::all_of(fleet.former.begin(), fleet.former.end(), [&](NodeId node) { return away.contains(node); });
}

Result<void> say_of_member(PgConnection& db, NodeId member, const MembershipWord& word) {
  return write_captured(
      db, member,
      fmt::format("INSERT INTO mbsync.membership AS m (node, away, reason, said_by, said_at) VALUES ({}, {}, {}, {}, "
                  "clock_timestamp()) ON CONFLICT (node) DO UPDATE SET away = excluded.away, reason = excluded.reason, "
                  "said_by = excluded.said_by, said_at = excluded.said_at, back_at = NULL",
                  member.value, word.away, db.quote(word.reason), db.quote(word.said_by)),
      "k.name IN ('away', 'reason', 'said_by', 'said_at') OR k.name = 'back_at' AND b.wished");
}

Result<void> ban_member(PgConnection& db, NodeId member, bool banned) {
  return write_captured(db, member,
                        fmt::format("UPDATE mbsync.membership SET banned = {} WHERE node = {}", banned, member.value),
                        "k.name IS NOT DISTINCT FROM 'banned'");
}

Result<void> note_comeback(PgConnection& db, const Member& was, const Member& now, const VersionVector& brought) {
  auto counters = brought.counters();
  counters.try_emplace(was.id, 0);
  for (const auto& [node, counter] : counters) {
    const bool self = node == was.id;
    MBSYNC_TRY(write_captured(
        db, node,
        fmt::format("UPDATE mbsync.membership SET taken = greatest(taken, {}){} WHERE node = {}", counter,
                    self ? fmt::format(", back_as = {}", now.id.value) : std::string(), node.value),
        fmt::format("coalesce(k.name IN ('taken'{}), false)", self ? ", 'back_as'" : "")));
  }
  return {};
}

Result<void> declare_away(PgConnection& db, NodeId member, const MembershipWord& word) {
  const auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  MBSYNC_TRY(
      db.exec(fmt::format("UPDATE mbsync.version_vector v SET frozen = (SELECT r.counter FROM (VALUES {}) r(origin, "
                          "counter) WHERE r.origin = v.origin)",
                          values_of(versions->report))));
  MBSYNC_TRY(say_of_member(db, member, word));
  return db.run(fmt::format("UPDATE mbsync.node SET declared = true, agreed = false WHERE id = {}", member.value));
}

Result<Fleet> look_after_membership(PgConnection& db, const Schema& schema, const Member& self) {
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  if (is_settled(*fleet)) {
    return fleet;
  }
  MBSYNC_TRY(db.run(
      "UPDATE mbsync.node n SET agreed = false WHERE n.agreed AND NOT EXISTS (SELECT FROM mbsync.membership m WHERE "
      "m.node = n.id AND (m.away OR m.banned))"));
  MBSYNC_TRY(read_away_dots(db, fleet->membership));
  // Who is there is rather taken back than agreed upon, while that can be chosen.
  MBSYNC_TRY(take_back(db, *fleet, self));
  MBSYNC_TRY(agree(db, *fleet));
  for (const auto node : fleet->former) {
    if (!fleet->membership.away.contains(node)) {
      MBSYNC_TRY(say_of_member(db, node, MembershipWord{true, "it has come back as another", self.name}));
    }
  }
  MBSYNC_TRY(seal(db, schema, self.id));
  return read_fleet(db);
}

Result<Welcome> welcome(PgConnection& db, const Schema& schema, const Member& self, const PullRequest& request) {
  const Member asker{request.was.value_or(request.sender.id), request.sender.name};
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  const auto brings = brings_back(db, *fleet, request);
  MBSYNC_TRY(brings);
  if (*brings) {
    // It has no part in the fleet, nor have those that it names. Nobody takes that back, so it can be heard of at once.
    MBSYNC_TRY(store_members(db, {asker}));
    MBSYNC_TRY(say_of_member(db, asker.id, MembershipWord{true, **brings, self.name}));
    MBSYNC_TRY(seal(db, schema, self.id));
  } else if (!fleet->membership.gone.contains(asker.id) && !fleet->banned.contains(asker.id)) {
    MBSYNC_TRY(learn_from(db, *fleet, request));
  }
  if (*brings || !is_settled(*fleet)) {
    fleet = look_after_membership(db, schema, self);
    MBSYNC_TRY(fleet);
  }
  const auto& membership = fleet->membership;
  if (membership.away.contains(asker.id) && !membership.gone.contains(asker.id) && !fleet->banned.contains(asker.id) &&
      !membership.wishing.contains(asker.id)) {
    MBSYNC_TRY(wish_back(db, asker.id));
    MBSYNC_TRY(seal(db, schema, self.id));
    fleet = look_after_membership(db, schema, self);
    MBSYNC_TRY(fleet);
  }
  Welcome answer;
  answer.standing = standing_of(*fleet, asker, request);
  if (answer.standing == Standing::kGone || request.was) {
    const auto stay = staying(fleet->membership);
    answer.staying.assign(stay.begin(), stay.end());
  }
  answer.outside.assign(fleet->membership.gone.begin(), fleet->membership.gone.end());
  return answer;
}

Error brought_back(const Member& teller, const std::string& why) {
  return Error{
      ErrorKind::kTransient, fmt::format("{}: {}", teller.name, why),
      "nothing is lost: once it asks here, the fleet goes on without it, and it comes back by itself, with all "
      "that only it has"};
}

Error they_stay_apart(const Member& peer, const std::vector<NodeId>& staying, const Fleet& fleet) {
  if (staying.size() == 1) {
    return Error{ErrorKind::kTransient, fmt::format("{} and this node each take the other for away", peer.name),
                 fmt::format("{} is alone, so it comes back to this one by itself", peer.name)};
  }
  if (!are_two_fleets(fleet.membership, {staying.begin(), staying.end()})) {
    return Error{ErrorKind::kTransient, fmt::format("{} and this node each take the other for away", peer.name),
                 "it goes on by itself, once those who are with both have told them"};
  }
  return two_fleets(peer, fleet);
}

Error two_fleets(const Member& peer, const Fleet& fleet) {
  std::string without;
  for (const auto& member : fleet.members) {
    if (fleet.membership.away.contains(member.id) && !fleet.former.contains(member.id)) {
      without += fmt::format("{}{} ({})", without.empty() ? "" : ", ", member.name, to_string(member.id));
    }
  }
  // Of more than two this may pass: where somebody has yet to hear that he is away.
  return Error{
      ErrorKind::kTransient,
      fmt::format(
          "{} has gone on without this node, and this node without {}: these are two fleets, and either may have "
          "forgotten what the other has never had",
          peer.name, without),
      "nothing is lost, and both go on. If it does not end by itself within minutes, it never will. To make them one: "
      "choose the side that is to give way, and on each of its machines, one soon after the other, stop mbsync, DROP "
      "SCHEMA mbsync CASCADE in its database, and start it again. It joins as a new machine: rows that only it has are "
      "kept; of rows that both have the other side's stand, 'mbsync resolve list --decided --kind newcomer' shows what "
      "they had there; what was deleted there is back"};
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
  // Whoever asks or answers is there, and so is one whose report goes on by way of others (raise_report()). What a
  // clock that was ahead has left behind says nothing.
  const std::string heard_today =
      "(SELECT n.id FROM mbsync.node n LEFT JOIN mbsync.peer p ON p.node = n.id, LATERAL (VALUES (n.last_seen), "
      "(p.asked_at), (p.answered_at)) h(at) WHERE NOT n.is_self AND h.at BETWEEN current_date AND clock_timestamp())";
  const std::string is_away = "(SELECT m.node FROM mbsync.membership m WHERE m.away OR m.banned)";
  MBSYNC_TRY(
      db.run(fmt::format("UPDATE mbsync.node SET silent_days = 0 WHERE silent_days > 0 AND id IN {}", heard_today)));
  // Each is looked at once on a day on which anybody else is heard of. What is live is compared origin by origin, since
  // there may be millions of writes.
  MBSYNC_TRY(db.run(fmt::format(
      "WITH heard AS MATERIALIZED {0}, live AS MATERIALIZED (SELECT c.origin, max(c.counter) AS counter FROM "
      "mbsync.change c GROUP BY c.origin) UPDATE mbsync.node n SET silent_on = current_date, silent_days = CASE WHEN "
      "EXISTS (SELECT FROM live l LEFT JOIN mbsync.report r ON r.node = n.id AND r.origin = l.origin WHERE l.counter > "
      "coalesce(r.counter, 0)) THEN n.silent_days + 1 ELSE 0 END WHERE NOT n.is_self AND NOT n.former AND n.silent_on "
      "IS DISTINCT FROM current_date AND n.id NOT IN (SELECT id FROM heard) AND n.id NOT IN {1} AND EXISTS (SELECT "
      "FROM heard WHERE id NOT IN {1})",
      heard_today, is_away)));
  const auto rows = db.exec(fmt::format(
      "SELECT id, silent_days FROM mbsync.node WHERE silent_days > 0 AND id NOT IN {} ORDER BY id", is_away));
  MBSYNC_TRY(rows);
  std::vector<SilentMember> silent;
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  auto& membership = fleet->membership;
  // One says it; the others a day later each, if it has not by then.
  const auto before_self =
      static_cast<int>(std::count_if(membership.members.begin(), membership.members.end(),
                                     [&](NodeId node) { return node < self.id && !membership.away.contains(node); }));
  for (const auto& row : *rows) {
    const NodeId id{row[0].as<std::int64_t>()};
    const auto member = std::find_if(fleet->members.begin(), fleet->members.end(),
                                     [&](const Member& candidate) { return candidate.id == id; });
    SilentMember entry{*member, row[1].as<int>(), false};
    const bool long_enough = days_max > 0 && entry.days >= days_max + before_self - (id < self.id ? 1 : 0);
    if (long_enough && may_be_away(membership, id) && !membership.away.contains(self.id)) {
      MBSYNC_TRY(seal(db, schema, self.id));
      MBSYNC_TRY(declare_away(db, id, MembershipWord{true, fmt::format("silent for {} days", entry.days), self.name}));
      MBSYNC_TRY(seal(db, schema, self.id));
      membership.away[id];
      entry.declared = true;
    }
    silent.push_back(std::move(entry));
  }
  return silent;
}

}  // namespace mbsync
