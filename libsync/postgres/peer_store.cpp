#include "peer_store.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "fleet_tag_store.h"

namespace mbsync {
namespace {

constexpr const char* kTwoKeys = "two_registration_keys";
constexpr const char* kDiscoveryFailure = "discovery_failure";

// A time as microseconds, and back: no text form of a time depends on the session then.
constexpr const char* kTime = "'epoch'::timestamptz + ${}::bigint * interval '1 microsecond'";

std::string time_of(int param) {
  return fmt::format(fmt::runtime(kTime), param);
}

std::string micros_of(WallClockTime at) {
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count());
}

std::string iso(std::string_view column) {
  return fmt::format("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", column);
}

std::string text(const pqxx::field& field) {
  return field.is_null() ? "" : field.c_str();
}

Result<void> store_peer(PgConnection& db, const PeerNote& note) {
  std::vector<Value> params(10);
  params[0] = std::to_string(note.peer.id.value);
  params[1] = note.peer.name;
  if (note.asked) {
    params[2] = micros_of(note.asked->at);
    params[3] = note.asked->from;
    params[4] = std::string(to_string(note.asked->key));
  }
  if (note.answered) {
    params[5] = micros_of(note.answered->at);
    params[6] = std::string(to_string(note.answered->key));
  }
  if (note.failed) {
    params[7] = micros_of(note.failed->at);
    params[8] = note.failed->reason;
  }
  if (note.clock_ahead) {
    params[9] = std::to_string(note.clock_ahead->count());
  }
  MBSYNC_TRY(db.exec(
      fmt::format(
          "INSERT INTO mbsync.peer AS p (node, name, asked_at, asked_from, asked_key, answered_at, "
          "answered_key, failed_at, failure, clock_ahead_ms) "
          "VALUES ($1::bigint, $2, {}, $4, $5, {}, $7, {}, $9, $10::bigint) ON CONFLICT (node) DO UPDATE SET "
          "name = coalesce(nullif(excluded.name, ''), p.name), asked_at = coalesce(excluded.asked_at, p.asked_at), "
          "asked_from = coalesce(excluded.asked_from, p.asked_from), "
          "asked_key = coalesce(excluded.asked_key, p.asked_key), "
          "answered_at = coalesce(excluded.answered_at, p.answered_at), "
          "answered_key = coalesce(excluded.answered_key, p.answered_key), "
          "failed_at = coalesce(excluded.failed_at, p.failed_at), "
          "failure = coalesce(excluded.failure, p.failure), "
          "clock_ahead_ms = coalesce(excluded.clock_ahead_ms, p.clock_ahead_ms)",
          time_of(3), time_of(6), time_of(8)),
      params));
  return {};
}

Result<void> store_address(PgConnection& db, const AddressNote& note) {
  std::vector<Value> params(6);
  params[0] = note.address.host;
  params[1] = std::to_string(note.address.port);
  if (note.node) {
    params[2] = std::to_string(note.node->value);
  }
  if (note.answered_at) {
    params[3] = micros_of(*note.answered_at);
  }
  if (note.failed) {
    params[4] = micros_of(note.failed->at);
    params[5] = note.failed->reason;
  }
  MBSYNC_TRY(
      db.exec(fmt::format("INSERT INTO mbsync.peer_address AS a (host, port, node, answered_at, failed_at, failure) "
                          "VALUES ($1, $2::int, $3::bigint, {}, {}, $6) ON CONFLICT (host, port) DO UPDATE SET "
                          "node = coalesce(excluded.node, a.node), "
                          "answered_at = coalesce(excluded.answered_at, a.answered_at), "
                          "failed_at = coalesce(excluded.failed_at, a.failed_at), "
                          "failure = coalesce(excluded.failure, a.failure)",
                          time_of(4), time_of(5)),
              params));
  return {};
}

Result<void> store_setting(PgConnection& db, const char* name, const std::string& value) {
  MBSYNC_TRY(
      db.exec("INSERT INTO mbsync.settings (name, value) VALUES ($1, $2) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              {std::string(name), value}));
  return {};
}

}  // namespace

Result<void> begin_peer_notes(PgConnection& db, bool two_keys) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  MBSYNC_TRY(
      db.exec("UPDATE mbsync.peer SET asked_key = NULL, answered_key = NULL "
              "WHERE asked_key IS NOT NULL OR answered_key IS NOT NULL"));
  // What is named in vain is so again before long, unless it is named no more.
  MBSYNC_TRY(db.exec("DELETE FROM mbsync.peer_address WHERE answered_at IS NULL"));
  MBSYNC_TRY(store_setting(db, kTwoKeys, two_keys ? "yes" : "no"));
  MBSYNC_TRY(store_setting(db, kDiscoveryFailure, ""));
  return db.commit();
}

Result<void> store_peer_notes(PgConnection& db, const PeerNotes& notes) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  // Nothing is lost with what a crash takes along here, so nobody waits for the disk.
  MBSYNC_TRY(db.exec("SET LOCAL synchronous_commit = off"));
  for (const auto& note : notes.peers) {
    MBSYNC_TRY(store_peer(db, note));
  }
  for (const auto& note : notes.addresses) {
    MBSYNC_TRY(store_address(db, note));
  }
  if (notes.discovery) {
    MBSYNC_TRY(store_setting(db, kDiscoveryFailure, *notes.discovery));
  }
  if (!notes.addresses.empty()) {
    MBSYNC_TRY(
        db.exec(fmt::format("DELETE FROM mbsync.peer_address WHERE (host, port) IN (SELECT host, port FROM "
                            "mbsync.peer_address ORDER BY answered_at DESC NULLS LAST, failed_at DESC OFFSET {})",
                            kAddressesKept)));
  }
  return db.commit();
}

Result<PeersStatus> read_peer_notes(PgConnection& db) {
  PeersStatus status;
  const auto settings = db.exec(
      "SELECT EXISTS (SELECT FROM mbsync.settings WHERE name = $1 AND value = 'yes'), "
      "coalesce((SELECT value FROM mbsync.settings WHERE name = $2), '')",
      {std::string(kTwoKeys), std::string(kDiscoveryFailure)});
  MBSYNC_TRY(settings);
  status.two_keys = (*settings)[0][0].as<bool>();
  status.discovery_failure = (*settings)[0][1].c_str();
  auto tags = read_fleet_tags(db);
  MBSYNC_TRY(tags);
  status.fleet_tags = std::move(*tags);
  const auto peers = db.exec(fmt::format(
      "SELECT node, name, {}, asked_from, asked_key, {}, answered_key, {}, failure, "
      "coalesce(failed_at > answered_at, failed_at IS NOT NULL), clock_ahead_ms FROM mbsync.peer ORDER BY name, node",
      iso("asked_at"), iso("answered_at"), iso("failed_at")));
  MBSYNC_TRY(peers);
  std::map<std::int64_t, std::size_t> places;
  for (const auto& row : *peers) {
    const NodeId node{row[0].as<std::int64_t>()};
    places[node.value] = status.peers.size();
    status.peers.push_back(
        {Member{node, row[1].c_str()},
         text(row[2]),
         text(row[3]),
         text(row[4]),
         text(row[5]),
         text(row[6]),
         text(row[7]),
         text(row[8]),
         row[9].as<bool>(),
         {},
         row[10].is_null() ? std::nullopt : std::optional(std::chrono::milliseconds(row[10].as<std::int64_t>()))});
  }
  const auto addresses = db.exec(fmt::format(
      "SELECT node, host, port, {}, {}, failure FROM mbsync.peer_address ORDER BY answered_at DESC NULLS LAST, host, "
      "port",
      iso("answered_at"), iso("failed_at")));
  MBSYNC_TRY(addresses);
  for (const auto& row : *addresses) {
    PeerStatus::Address address{to_string(PeerAddress{row[1].c_str(), row[2].as<std::uint16_t>()}), text(row[3]),
                                text(row[4]), text(row[5])};
    const auto owner = row[0].is_null() ? places.end() : places.find(row[0].as<std::int64_t>());
    (owner == places.end() ? status.without_owner : status.peers[owner->second].addresses)
        .push_back(std::move(address));
  }
  return status;
}

Result<std::vector<AddressNote>> read_remembered_addresses(PgConnection& db) {
  const auto rows = db.exec(fmt::format(
      "SELECT a.host, a.port, a.node FROM mbsync.peer_address a JOIN mbsync.node n ON n.id = a.node WHERE "
      "NOT n.is_self AND a.answered_at > clock_timestamp() - interval '{} hours' ORDER BY a.answered_at DESC",
      kAddressesGoodFor.count()));
  MBSYNC_TRY(rows);
  std::vector<AddressNote> notes;
  for (const auto& row : *rows) {
    AddressNote note;
    note.address = PeerAddress{row[0].c_str(), row[1].as<std::uint16_t>()};
    note.node = NodeId{row[2].as<std::int64_t>()};
    notes.push_back(std::move(note));
  }
  return notes;
}

}  // namespace mbsync
