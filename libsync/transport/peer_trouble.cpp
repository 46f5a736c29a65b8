#include "peer_trouble.h"

#include <fmt/format.h>

#include "firewall.h"

namespace mbsync {
namespace {

constexpr std::uint16_t kMdnsPort = 5353;

struct Words {
  PeerTrouble trouble;
  std::string_view name;
  std::string_view in_short;
};
constexpr Words kWords[] = {
    {PeerTrouble::kNoDiscovery, "no_discovery", "peers cannot be found by themselves here"},
    {PeerTrouble::kNotAdvertised, "not_advertised", "not advertised"},
    {PeerTrouble::kNoAddress, "no_address", "no address known"},
    {PeerTrouble::kNameUnknown, "name_unknown", "host name unknown"},
    {PeerTrouble::kSilent, "address_silent", "address silent"},
    {PeerTrouble::kPortClosed, "port_closed", "port closed"},
    {PeerTrouble::kNotMbsync, "not_mbsync", "another program listens"},
    {PeerTrouble::kTurnedAway, "turned_away", "turned away"},
    {PeerTrouble::kOtherKey, "other_key", "other key"},
    {PeerTrouble::kOtherFleet, "other_fleet", "advertises another fleet"},
    {PeerTrouble::kOtherProtocol, "other_protocol", "other protocol version"},
    {PeerTrouble::kSchema, "schema_differs", "schema differs"},
    {PeerTrouble::kNotAllowed, "not_allowed", "not allowed"},
    {PeerTrouble::kBanned, "banned", "banned"},
    {PeerTrouble::kSameIdentity, "same_identity", "same identity"},
    {PeerTrouble::kClock, "clock_off", "clock off"},
    {PeerTrouble::kNotMet, "not_met", "not met"},
    {PeerTrouble::kOther, "other", ""},
};

const Words& words_of(PeerTrouble trouble) {
  for (const auto& words : kWords) {
    if (words.trouble == trouble) {
      return words;
    }
  }
  return kWords[std::size(kWords) - 1];
}

struct Sign {
  std::string_view text;
  PeerTrouble trouble;
};
// An error may name several addresses, each with its own reason: what a person can do most about stands first.
constexpr Sign kSigns[] = {
    {kSaysOtherFleet, PeerTrouble::kOtherFleet},
    {kSaysOtherProtocol, PeerTrouble::kOtherProtocol},
    {"speaks protocol version", PeerTrouble::kOtherProtocol},
    {"does not take this SYNC_REGISTRATION_KEY", PeerTrouble::kOtherKey},
    {"is banned from the fleet", PeerTrouble::kBanned},
    {"is not among those that", PeerTrouble::kNotAllowed},
    {"both nodes have the identity", PeerTrouble::kSameIdentity},
    {"has this node's identity", PeerTrouble::kSameIdentity},
    {"leads back to the node that asks", PeerTrouble::kSameIdentity},
    {"differs between here and", PeerTrouble::kSchema},
    {"but not here", PeerTrouble::kSchema},
    {"no longer takes part", PeerTrouble::kSchema},
    {"TLS handshake failed", PeerTrouble::kNotMbsync},
    {"it does not answer as mbsync does", PeerTrouble::kNotMbsync},
    {"it does not speak HTTP", PeerTrouble::kNotMbsync},
    {"during the TLS handshake", PeerTrouble::kTurnedAway},
    {"no answer to the TLS handshake", PeerTrouble::kTurnedAway},
    {kSaysNotAdvertised, PeerTrouble::kNotAdvertised},
    {"Connection refused", PeerTrouble::kPortClosed},
    {"no address of it is known", PeerTrouble::kNoAddress},
    {"cannot find '", PeerTrouble::kNameUnknown},
    {"looking up the name", PeerTrouble::kNameUnknown},
    {"cannot connect", PeerTrouble::kSilent},
};

}  // namespace

std::string_view to_string(PeerTrouble trouble) {
  return words_of(trouble).name;
}

std::string_view in_short(PeerTrouble trouble) {
  return words_of(trouble).in_short;
}

PeerTrouble trouble_of(std::string_view error_text) {
  for (const auto& sign : kSigns) {
    if (error_text.find(sign.text) != std::string_view::npos) {
      return sign.trouble;
    }
  }
  return PeerTrouble::kOther;
}

std::string next_step(PeerTrouble trouble, std::uint16_t port) {
  switch (trouble) {
    case PeerTrouble::kNoDiscovery:
      return "name the other machines here (SYNC_PEERS or --peer): only those that are named are found without it";
    case PeerTrouble::kNotAdvertised:
      return fmt::format(
          "on that machine: is mbsync running, without SYNC_DISCOVERY=off, and an mDNS daemon (Avahi, Bonjour)? Both "
          "machines have to let it through; on one like this: {}. Where the network carries no multicast, name that "
          "machine here: SYNC_PEERS or --peer",
          firewall_command(kMdnsPort, "udp"));
    case PeerTrouble::kNoAddress:
      return "restart the mDNS daemon on that machine, or name its address here: SYNC_PEERS or --peer";
    case PeerTrouble::kNameUnknown:
      return "give its address in numbers, or see to it that this machine can look up the name";
    case PeerTrouble::kSilent:
      return fmt::format(
          "is that machine on, and is this its address? Then its firewall holds the connection back; on a machine like "
          "this one it is opened with: {}",
          firewall_command(port));
    case PeerTrouble::kPortClosed:
      return fmt::format(
          "that machine is there, but nothing listens: start mbsync on it, with SYNC_PORT={} and a SYNC_BIND that is "
          "not 127.0.0.1",
          port);
    case PeerTrouble::kNotMbsync:
      return "another program has that port: give mbsync another SYNC_PORT there, or name the right port here";
    case PeerTrouble::kTurnedAway:
      return "look at the log of mbsync there: it says whether it turns this machine away, after too many handshakes "
             "with another key, or is too busy; it takes connections from here again by itself after some minutes";
    case PeerTrouble::kOtherKey:
      return "set the same SYNC_REGISTRATION_KEY on both machines and restart mbsync there; if another program listens "
             "at that port, give mbsync another SYNC_PORT";
    case PeerTrouble::kOtherFleet:
      return "if the two belong together, set the same SYNC_REGISTRATION_KEY on both and restart mbsync there; else "
             "leave it, it is asked seldom";
    case PeerTrouble::kOtherProtocol:
      return "bring both machines to the same version of mbsync";
    case PeerTrouble::kSchema:
      return "run the application's migrations on the machine that is behind; synchronisation goes on by itself";
    case PeerTrouble::kNotAllowed:
      return "if it belongs to the fleet, add its id to SYNC_ALLOWED_NODES on the other and let mbsync read it there "
             "(kill -HUP, or a restart)";
    case PeerTrouble::kBanned:
      return "if that was a mistake: 'mbsync peers unban' with its name, on a node that is not banned itself";
    case PeerTrouble::kSameIdentity:
      return "if this is not the machine itself: one of the two databases is a copy of the other and must get an "
             "identity of its own";
    case PeerTrouble::kClock:
      return "set both by the network (NTP): of two writes at once the later one stands";
    case PeerTrouble::kNotMet:
      return "is 'mbsync run' or the service running here? If the two do not find each other by themselves, name it: "
             "--peer or SYNC_PEERS";
    case PeerTrouble::kOther:
      break;
  }
  return "";
}

}  // namespace mbsync
