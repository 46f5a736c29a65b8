// All that is known of a node at one moment: what its database says, and what the running process knows besides. From
// this, and nothing else, 'mbsync status', /health and /api/sync/service say what they say. Pure but for the JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node_activity.h"
#include "pg_store.h"

namespace mbsync {

struct Config;

enum class Health {
  kHealthy,   ///< it does what it is for
  kDegraded,  ///< it does, and something wants a person
  kDown,      ///< it does not: no node runs, its database does not answer, or it stands still
};
/// "healthy", "degraded", "down".
std::string_view to_string(Health verdict);

/// A peer that has not been heard of for longer is not connected, unless the fleet is so large that it is visited more
/// seldom.
inline constexpr double kConnectedForS = 90;
/// What a member lacks for longer than this is worth a word.
inline constexpr double kLagTolerableS = 300;
/// Captured writes are sealed within a second or two.
inline constexpr double kBacklogTolerableS = 60;
/// What the database says takes some milliseconds to read, with a large backlog seconds.
inline constexpr double kStoreAgeTolerableS = 60;
/// The heartbeat is seen many times a second, but for what may take long: a table to be looked at, rows to be
/// forgotten.
inline constexpr double kBeatTolerableS = 60;
/// One that was seen so lately says that the database answers the node.
inline constexpr double kBeatFreshS = 10;

enum class PeerState { kConnected, kUnreachable, kSilent, kNotMet, kAway, kBanned };
/// "connected", "unreachable", "silent", "not met", "away", "banned".
std::string_view to_string(PeerState state);

/// A peer with all that is known of it.
struct PeerView {
  Member peer;
  bool member = false;  ///< of the fleet, as far as this node knows; others have been announced or met
  std::string address;  ///< the one that works, or empty
  PeerState state = PeerState::kNotMet;
  std::string why;                   ///< it is not connected; a sentence, or empty
  std::string why_word;              ///< the same as a word for programs (PeerTrouble), or empty
  std::string last_exchange;         ///< ISO, or empty
  std::int64_t outgoing_rows = 0;    ///< row writes here that it is not known to have
  std::optional<double> outgoing_s;  ///< age of the oldest of these
  std::int64_t incoming_rows = 0;    ///< that it is known to have and this node has not: at least so many
  std::optional<double> incoming_s;  ///< since this node last had all that the peer had; nothing: never
  std::int64_t rows_in = 0;          ///< since the process began
  std::int64_t rows_out = 0;
};

/// Of the configuration, what a person who looks at a node wants to see. No secrets.
struct NodeSettings {
  std::string version;        ///< of the program that says it
  std::string configuration;  ///< where it comes from
  std::string node_name;
  std::string database;  ///< without the password
  std::uint16_t port = 0;
  std::string bind;
  std::uint16_t local_port = 0;  ///< 0: none
  std::vector<std::string> local_bind;
  std::string discovery;  ///< on or off
  std::vector<std::string> named_peers;
  double interval_s = 30;
};
NodeSettings settings_of(const Config& config);

/// What the service manager of this machine says of the service that `mbsync install` makes.
struct ServiceFacts {
  bool installed = false;
  bool enabled = false;  ///< it starts with the machine
  std::string state;     ///< "stopped", "starting", "running", "stopping" or "failed"
  std::string since;     ///< of `state`, ISO; empty: not since the machine was started
  std::int64_t pid = 0;  ///< 0: none
  int restarts = 0;      ///< after failures, since somebody started it
};

/// Why a node is not healthy: in a sentence, and in parts for programs that say it in words of their own.
struct Cause {
  std::string kind;        ///< "peer_unreachable", ...: openapi.json lists them
  std::string text;        ///< one sentence
  std::string next{};      ///< what to do; may be empty
  std::string peer{};      ///< whom it is about, or empty
  std::string reason{};    ///< PeerTrouble as a word, or empty
  std::int64_t count = 0;  ///< of rows, conflicts or writes
  double seconds = 0;      ///< for how long, or how far off
};

struct NodeStatus {
  NodeSettings settings;
  /// For whoever knows service managers to say; nothing: not known.
  std::optional<ServiceFacts> service{};
  std::optional<StoreStatus> store{};
  std::string store_error{};  ///< why there is no `store`
  double store_age_s = 0;     ///< of `store`, where the database was too busy to be asked anew
  std::optional<ProcessFacts> process{};
  std::string local_trouble{};  ///< why the local port does not answer, or cannot be had

  struct Judgement {
    Health verdict = Health::kHealthy;
    std::vector<Cause> causes;  ///< why it is not healthy, the gravest first
  };
  [[nodiscard]] Judgement judge() const;
  [[nodiscard]] bool runs() const;
  [[nodiscard]] Member self() const;
  /// Members but this one, and whoever this node has met besides; by name.
  [[nodiscard]] std::vector<PeerView> peers() const;
  [[nodiscard]] std::int64_t connected() const;
};

/// What the JSON says is stable: members are added, none is changed or removed.
nlohmann::ordered_json to_json(const NodeStatus& status);
nlohmann::ordered_json to_json(const ProcessFacts& facts);
/// Of what another process has said; nothing where it is none.
std::optional<ProcessFacts> process_facts(const nlohmann::json& document);

/// Which of this node's keys the other members come with, while it takes two.
struct KeysInUse {
  std::vector<std::string> current;
  std::vector<std::string> next;
  std::vector<std::string> unknown;  ///< not heard of since the node was started
};
KeysInUse keys_in_use(const StoreStatus& status);
/// Not waited for any more.
bool is_gone(const StoreStatus::MemberStatus& entry);

nlohmann::ordered_json peer_json(const PeerStatus& peer);
nlohmann::ordered_json address_json(const PeerStatus::Address& address);
nlohmann::ordered_json member_json(const StoreStatus::MemberStatus& entry);

}  // namespace mbsync
