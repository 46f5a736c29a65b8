#include <algorithm>

#include "node_status.h"
#include "peer_trouble.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kServerVersionParts = 10'000;

Json or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

Json or_null(const std::optional<double>& number) {
  return number ? Json(*number) : Json();
}

Json member_of(const Member& member) {
  return {{"id", member.id.valid() ? Json(to_string(member.id)) : Json()}, {"name", member.name}};
}

Json peer_facts_json(const PeerFacts& peer) {
  return {{"id", to_string(peer.peer.id)},
          {"name", peer.peer.name},
          {"address", or_null(peer.address)},
          {"up", peer.up},
          {"since", peer.since},
          {"heard_at", or_null(peer.heard_at)},
          {"heard_ago_seconds", or_null(peer.heard_ago_s)},
          {"failure", or_null(peer.failure)},
          {"rows_in", peer.rows_in},
          {"rows_out", peer.rows_out}};
}

Json view_json(const PeerView& peer) {
  return {{"id", to_string(peer.peer.id)},
          {"name", peer.peer.name},
          {"address", or_null(peer.address)},
          {"state", to_string(peer.state)},
          {"why_not", or_null(peer.why)},
          {"reason", or_null(peer.why_word)},
          {"last_exchange", or_null(peer.last_exchange)},
          {"lag",
           {{"outgoing", {{"rows", peer.outgoing_rows}, {"seconds", or_null(peer.outgoing_s)}}},
            {"incoming", {{"rows", peer.incoming_rows}, {"seconds", or_null(peer.incoming_s)}}}}},
          {"rows_in", peer.rows_in},
          {"rows_out", peer.rows_out}};
}

Json cause_json(const Cause& cause) {
  return {{"kind", cause.kind},
          {"text", cause.text},
          {"next", or_null(cause.next)},
          {"peer", or_null(cause.peer)},
          {"reason", or_null(cause.reason)},
          {"count", cause.count},
          {"seconds", cause.seconds}};
}

Json clocks_json(const PeersStatus& peers) {
  auto document = Json::array();
  for (const auto& peer : peers.peers) {
    if (peer.clock_ahead) {
      document.push_back(
          {{"id", to_string(peer.peer.id)}, {"name", peer.peer.name}, {"ahead_ms", peer.clock_ahead->count()}});
    }
  }
  return document;
}

/// Of each table with its result; rows that differ are counted here and listed in /api/sync/verify.
Json verified_json(const std::vector<VerifyNote>& notes) {
  auto document = Json::array();
  for (const auto& note : notes) {
    const auto sums = note.sums();
    Json entry{
        {"id", to_string(note.peer.id)}, {"name", note.peer.name},           {"finished_at", or_null(note.finished_at)},
        {"rows_compared", sums.rows},    {"rows_different", sums.different}, {"rows_undecided", sums.undecided},
        {"tables", Json::array()}};
    for (const auto& table : note.tables) {
      entry["tables"].push_back({{"table", table.table},
                                 {"result", table.state},
                                 {"rows_compared", table.rows},
                                 {"rows_different", table.differing},
                                 {"rows_changing", table.changing},
                                 {"rows_waiting", table.waiting},
                                 {"why_not", or_null(table.why)},
                                 {"at", table.at}});
    }
    document.push_back(std::move(entry));
  }
  return document;
}

void add_store(const StoreStatus& store, Json& document) {
  document["schema_version"] = store.schema_version;
  document["pending_captures"] = store.captures;
  document["pending_captures_seconds"] = or_null(store.captures_oldest_s);
  document["live_writes"] = store.live_writes;
  document["conflicts"] = store.conflicts;
  document["open_conflicts"] = store.open_conflicts;
  document["resolved_conflicts"] = store.resolved_conflicts;
  document["held_rows"] = store.unseen_rows;
  document["parked_rows"] = store.parked_rows;
  document["parked"] = Json::array();
  for (const auto& row : store.parked) {
    document["parked"].push_back(
        {{"table", row.table}, {"key", row.key}, {"reason", row.reason}, {"since", row.since}});
  }
  document["policy_trouble"] = store.policy_trouble;
  document["members"] = Json::array();
  for (const auto& entry : store.members) {
    document["members"].push_back(member_json(entry));
  }
  document["peers"] = Json::array();
  for (const auto& peer : store.peers.peers) {
    document["peers"].push_back(peer_json(peer));
  }
  document["addresses_without_answer"] = Json::array();
  for (const auto& address : store.peers.without_owner) {
    document["addresses_without_answer"].push_back(address_json(address));
  }
  document["discovery_failure"] = or_null(store.peers.discovery_failure);
  const auto keys = keys_in_use(store);
  document["registration_keys"] = {
      {"two", store.peers.two_keys}, {"current", keys.current}, {"next", keys.next}, {"unknown", keys.unknown}};
  document["clocks"] = clocks_json(store.peers);
  document["verified"] = verified_json(store.verified);
  document["tables"] = store.tables;
  document["not_synchronised"] = Json::array();
  for (const auto& [table, reason] : store.refused) {
    document["not_synchronised"].push_back({{"table", table}, {"reason", reason}});
  }
}

/// Whoever has the port can say anything, and it is shown at a terminal.
std::string text_at(const nlohmann::json& object, const char* name) {
  const auto place = object.find(name);
  auto text = place != object.end() && place->is_string() ? place->get<std::string>() : "";
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

template <typename Number>
Number number_at(const nlohmann::json& object, const char* name) {
  const auto place = object.find(name);
  return place != object.end() && place->is_number() ? place->get<Number>() : Number{};
}

Member member_at(const nlohmann::json& object) {
  const auto id = parse_node_id(text_at(object, "id"));
  return Member{id.value_or(NodeId{}), text_at(object, "name")};
}

}  // namespace

Json address_json(const PeerStatus::Address& address) {
  return {{"address", address.address},
          {"answered", or_null(address.answered_at)},
          {"failed", or_null(address.failed_at)},
          {"failure", or_null(address.failure)}};
}

Json peer_json(const PeerStatus& peer) {
  Json document{{"id", to_string(peer.peer.id)},
                {"name", peer.peer.name},
                {"asked", or_null(peer.asked_at)},
                {"asked_from", or_null(peer.asked_from)},
                {"asked_key", or_null(peer.asked_key)},
                {"answered", or_null(peer.answered_at)},
                {"answered_key", or_null(peer.answered_key)},
                {"failing", peer.failing},
                {"failed", or_null(peer.failed_at)},
                {"failure", or_null(peer.failure)},
                {"reason", peer.failing ? or_null(std::string(to_string(trouble_of(peer.failure)))) : Json()},
                {"clock_ahead_ms", peer.clock_ahead ? Json(peer.clock_ahead->count()) : Json()},
                {"addresses", Json::array()}};
  for (const auto& address : peer.addresses) {
    document["addresses"].push_back(address_json(address));
  }
  return document;
}

Json member_json(const StoreStatus::MemberStatus& entry) {
  const auto& standing = entry.standing;
  return {{"id", to_string(entry.member.id)},
          {"name", entry.member.name},
          {"self", entry.self},
          {"last_seen", or_null(entry.last_seen)},
          {"behind_writes", entry.behind_writes},
          {"away", standing.away},
          {"agreed", standing.agreed},
          {"banned", standing.banned},
          {"reason", or_null(standing.reason)},
          {"said_by", or_null(standing.said_by)},
          {"said_at", or_null(standing.said_at)},
          {"back_as", or_null(standing.back_as)},
          {"silent_days", standing.silent_days}};
}

Json to_json(const ProcessFacts& facts) {
  Json document{{"pid", facts.pid},
                {"version", facts.version},
                {"node", member_of(facts.node)},
                {"started_at", facts.started_at},
                {"uptime_seconds", facts.uptime_s},
                {"phase", facts.phase},
                {"phase_reason", or_null(facts.phase_reason)},
                {"phase_seconds", facts.phase_s},
                {"heartbeat_age_seconds", facts.beat_age_s},
                {"port", facts.port},
                {"rows_in", facts.rows_in},
                {"rows_out", facts.rows_out},
                {"conflicts", facts.conflicts},
                {"rows_in_per_second", facts.rows_in_per_s},
                {"rows_out_per_second", facts.rows_out_per_s},
                {"peers", Json::array()}};
  for (const auto& peer : facts.peers) {
    document["peers"].push_back(peer_facts_json(peer));
  }
  return document;
}

std::optional<ProcessFacts> process_facts(const nlohmann::json& document) {
  if (!document.is_object() || text_at(document, "started_at").empty()) {
    return std::nullopt;
  }
  ProcessFacts facts;
  facts.pid = number_at<std::int64_t>(document, "pid");
  facts.version = text_at(document, "version");
  if (const auto node = document.find("node"); node != document.end() && node->is_object()) {
    facts.node = member_at(*node);
  }
  facts.started_at = text_at(document, "started_at");
  facts.uptime_s = number_at<double>(document, "uptime_seconds");
  facts.phase = text_at(document, "phase");
  facts.phase_reason = text_at(document, "phase_reason");
  facts.phase_s = number_at<double>(document, "phase_seconds");
  facts.beat_age_s = number_at<double>(document, "heartbeat_age_seconds");
  facts.port = number_at<std::uint16_t>(document, "port");
  facts.rows_in = number_at<std::int64_t>(document, "rows_in");
  facts.rows_out = number_at<std::int64_t>(document, "rows_out");
  facts.conflicts = number_at<std::int64_t>(document, "conflicts");
  facts.rows_in_per_s = number_at<double>(document, "rows_in_per_second");
  facts.rows_out_per_s = number_at<double>(document, "rows_out_per_second");
  if (const auto peers = document.find("peers"); peers != document.end() && peers->is_array()) {
    for (const auto& entry : *peers) {
      if (!entry.is_object()) {
        continue;
      }
      PeerFacts peer;
      peer.peer = member_at(entry);
      peer.address = text_at(entry, "address");
      peer.up = entry.contains("up") && entry["up"].is_boolean() && entry["up"].get<bool>();
      peer.since = text_at(entry, "since");
      peer.heard_at = text_at(entry, "heard_at");
      if (entry.contains("heard_ago_seconds") && entry["heard_ago_seconds"].is_number()) {
        peer.heard_ago_s = entry["heard_ago_seconds"].get<double>();
      }
      peer.failure = text_at(entry, "failure");
      peer.rows_in = number_at<std::int64_t>(entry, "rows_in");
      peer.rows_out = number_at<std::int64_t>(entry, "rows_out");
      facts.peers.push_back(std::move(peer));
    }
  }
  return facts;
}

Json to_json(const NodeStatus& status) {
  const auto judged = status.judge();
  const auto& settings = status.settings;
  Json document{{"status", to_string(judged.verdict)},
                {"reasons", Json::array()},
                {"causes", Json::array()},
                {"uptime", status.process ? Json(status.process->uptime_s) : Json()},
                {"node", member_of(status.self())},
                {"version", settings.version},
                {"service",
                 {{"installed", status.service ? Json(status.service->installed) : Json()},
                  {"enabled", status.service ? Json(status.service->enabled) : Json()},
                  {"state", status.service ? Json(status.service->state) : Json()},
                  {"restarts", status.service ? Json(status.service->restarts) : Json()},
                  {"running", status.runs()},
                  {"since", status.process                            ? Json(status.process->started_at)
                            : status.store && status.store->node_runs ? or_null(status.store->node_connected_since)
                                                                      : Json()}}},
                {"configuration", settings.configuration},
                {"database", {{"address", settings.database}, {"reachable", status.store.has_value()}}},
                {"network",
                 {{"port", settings.port},
                  {"bind", settings.bind},
                  {"local_port", settings.local_port},
                  {"local_bind", settings.local_bind},
                  {"local_trouble", or_null(status.local_trouble)},
                  {"discovery", settings.discovery},
                  {"named_peers", settings.named_peers}}},
                {"peers_connected", status.connected()},
                {"fleet", Json::array()},
                {"process", status.process ? to_json(*status.process) : Json()}};
  if (status.store) {
    const auto version = status.store->server_version;
    document["database"]["server_version"] =
        std::to_string(version / kServerVersionParts) + "." + std::to_string(version % kServerVersionParts);
  } else {
    document["database"]["error"] = status.store_error;
  }
  for (const auto& cause : judged.causes) {
    document["reasons"].push_back(cause.text);
    document["causes"].push_back(cause_json(cause));
  }
  for (const auto& peer : status.peers()) {
    document["fleet"].push_back(view_json(peer));
  }
  if (status.store) {
    add_store(*status.store, document);
  }
  return document;
}

}  // namespace mbsync
