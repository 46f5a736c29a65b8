#include "membership_desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "connection.h"
#include "engine_lock.h"
#include "membership_store.h"
#include "migrate.h"

namespace mbsync {
namespace {

// A node that runs asks at least this often (SYNC_INTERVAL, 30 s by default).
constexpr std::chrono::seconds kHeardOfLately{60};
// What the engine does with its lock takes a moment; a copy of all rows may take longer.
constexpr const char* kLockTimeout = "SET lock_timeout = '30s'";

}  // namespace

struct MembershipDesk::Impl {
  explicit Impl(std::unique_ptr<PgConnection> session) : connection(std::move(session)), db(*connection) {}

  std::unique_ptr<PgConnection> connection;
  PgConnection& db;

  // Runs `work` as the only engine on this database; what it has written stays only if it succeeded.
  template <typename Work>
  Result<Said> as_engine(const Work& work) {
    MBSYNC_TRY(db.run(kLockTimeout));
    if (auto locked = db.run(fmt::format("SELECT pg_advisory_lock({})", kEngineLock)); !locked) {
      if (locked.error().kind == ErrorKind::kTransient && !db.broken()) {
        return Error{ErrorKind::kTransient, "the node on this database has been busy for half a minute",
                     "nothing was changed; try again"};
      }
      return locked.error();
    }
    MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
    auto said = work();
    if (said) {
      if (auto committed = db.commit(); !committed) {
        said = committed.error();
      }
    }
    db.rollback();
    if (!db.broken()) {
      MBSYNC_TRY(db.run(fmt::format("SELECT pg_advisory_unlock({})", kEngineLock)));
    }
    return said;
  }

  static std::string describe(const Member& member) {
    return fmt::format("{} ({})", member.name, to_string(member.id));
  }

  // By id or name. Of several with one name, those that are `preferred`, since a node that has come back as another has
  // the name that it had.
  static Result<Member> find(const Fleet& fleet, std::string_view node, const std::set<NodeId>& preferred) {
    const auto id = parse_node_id(node);
    std::vector<Member> found;
    std::vector<Member> others;
    for (const auto& member : fleet.members) {
      if (member.name == node || id == member.id) {
        (preferred.contains(member.id) || id == member.id ? found : others).push_back(member);
      }
    }
    if (found.empty()) {
      found = std::move(others);
    }
    if (found.empty()) {
      return Error{ErrorKind::kNotFound, fmt::format("mbsync.node: no member of the fleet is called \"{}\"", node),
                   "'mbsync peers' shows all by name and id"};
    }
    if (found.size() > 1) {
      std::vector<std::string> ids;
      ids.reserve(found.size());
      for (const auto& member : found) {
        ids.push_back(to_string(member.id));
      }
      return Error{ErrorKind::kRejected, fmt::format("{} members are called \"{}\"", found.size(), node),
                   fmt::format("say which one by its id: {}", fmt::join(ids, ", "))};
    }
    return found.front();
  }

  static Result<void> check(const Fleet& fleet, const Member& member) {
    const auto& membership = fleet.membership;
    if (member.id == membership.self) {
      return Error{ErrorKind::kRejected, fmt::format("{} is the node of this database itself", describe(member)),
                   "say it on another node"};
    }
    if (membership.away.contains(membership.self)) {
      return Error{ErrorKind::kRejected, "the fleet goes on without this node, so it has no say in it",
                   "say it on another node, or wait until this one has come back ('mbsync status')"};
    }
    if (!may_be_away(membership, member.id)) {
      return Error{
          ErrorKind::kRejected,
          fmt::format("{} cannot be left out: of {} nodes that are waited for, more than half have to stay",
                      describe(member), membership.members.size() - membership.gone.size()),
          "let those that are away already be agreed upon first ('mbsync peers'), or switch on one of the others"};
    }
    return {};
  }

  // How many seconds ago it was heard of, by itself.
  Result<std::optional<std::int64_t>> heard_of(NodeId node) {
    const auto row = db.exec(fmt::format(
        "SELECT extract(epoch FROM clock_timestamp() - greatest(n.last_seen, p.asked_at, p.answered_at))::bigint FROM "
        "mbsync.node n LEFT JOIN mbsync.peer p ON p.node = n.id WHERE n.id = {}",
        node.value));
    MBSYNC_TRY(row);
    const auto seconds = (*row)[0][0].as<std::int64_t>(-1);
    return seconds < 0 ? std::optional<std::int64_t>() : seconds;  // in the future: by a clock that was ahead
  }

  static Member self_of(const Fleet& fleet) {
    return *std::find_if(fleet.members.begin(), fleet.members.end(),
                         [&](const Member& member) { return member.id == fleet.membership.self; });
  }

  Result<Fleet> fleet_here() {
    auto fleet = read_fleet(db);
    MBSYNC_TRY(fleet);
    if (!fleet->membership.self.valid()) {
      return Error{ErrorKind::kNotFound, "mbsync.node: this database is no node yet, so it has no fleet",
                   "start it once with 'mbsync run'"};
    }
    return fleet;
  }

  Result<Said> forget(std::string_view node) {
    const auto fleet = fleet_here();
    MBSYNC_TRY(fleet);
    const auto member = find(*fleet, node, who_is_waited_for(*fleet));
    MBSYNC_TRY(member);
    if (fleet->membership.away.contains(member->id)) {
      return Said{*member, false};
    }
    MBSYNC_TRY(check(*fleet, *member));
    const auto seconds = heard_of(member->id);
    MBSYNC_TRY(seconds);
    if (*seconds && **seconds < kHeardOfLately.count()) {
      return Error{
          ErrorKind::kRejected, fmt::format("{} is there: it was heard of {} s ago", describe(*member), **seconds),
          fmt::format("stop mbsync on it first, and say it again after {} s; a node that is there and is not to be "
                      "is kept out with 'mbsync peers ban'",
                      kHeardOfLately.count())};
    }
    MBSYNC_TRY(declare_away(db, member->id, MembershipWord{true, "forgotten", self_of(*fleet).name}));
    auto after = fleet->membership;
    after.away[member->id];
    return Said{*member, true, is_alone(after)};
  }

  Result<Said> ban(std::string_view node) {
    const auto fleet = fleet_here();
    MBSYNC_TRY(fleet);
    const auto member = find(*fleet, node, who_is_waited_for(*fleet));
    MBSYNC_TRY(member);
    if (fleet->banned.contains(member->id)) {
      return Said{*member, false};
    }
    if (!fleet->membership.away.contains(member->id)) {
      MBSYNC_TRY(check(*fleet, *member));
      MBSYNC_TRY(declare_away(db, member->id, MembershipWord{true, "banned", self_of(*fleet).name}));
    }
    MBSYNC_TRY(ban_member(db, member->id, true));
    return Said{*member, true};
  }

  // That it is away stays, as does whose word that is: who has said it takes it back if there is still time.
  Result<Said> unban(std::string_view node) {
    const auto fleet = fleet_here();
    MBSYNC_TRY(fleet);
    const auto member = find(*fleet, node, fleet->banned);
    MBSYNC_TRY(member);
    if (!fleet->banned.contains(member->id)) {
      return Said{*member, false};
    }
    MBSYNC_TRY(ban_member(db, member->id, false));
    return Said{*member, true};
  }

  static std::set<NodeId> who_is_waited_for(const Fleet& fleet) {
    std::set<NodeId> members;
    for (const auto& member : fleet.members) {
      if (!fleet.membership.away.contains(member.id)) {
        members.insert(member.id);
      }
    }
    return members;
  }
};

MembershipDesk::MembershipDesk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MembershipDesk::~MembershipDesk() = default;

Result<std::unique_ptr<MembershipDesk>> MembershipDesk::open(const DatabaseUrl& url) {
  auto session = open_node_database(url, "peers");
  MBSYNC_TRY(session);
  return std::unique_ptr<MembershipDesk>(new MembershipDesk(std::make_unique<Impl>(std::move(*session))));
}

Result<Said> MembershipDesk::forget(std::string_view node) {
  return impl_->as_engine([&] { return impl_->forget(node); });
}

Result<Said> MembershipDesk::ban(std::string_view node) {
  return impl_->as_engine([&] { return impl_->ban(node); });
}

Result<Said> MembershipDesk::unban(std::string_view node) {
  return impl_->as_engine([&] { return impl_->unban(node); });
}

}  // namespace mbsync
