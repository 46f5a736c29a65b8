// Why two nodes are not in step, in one word for programs and a few for people, and what to do about it. An error says
// it in a sentence; status, which reads that sentence later, and the diagnosis name it in the same way. Pure but for a
// look at which firewall this machine has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mbsync {

enum class PeerTrouble {
  kNoDiscovery,    ///< this machine cannot see what is advertised
  kNotAdvertised,  ///< nobody says on the network that it is there
  kNoAddress,      ///< it is advertised, or known, without an address
  kNameUnknown,    ///< the host's name cannot be looked up
  kSilent,         ///< its address does not answer
  kPortClosed,     ///< the machine is there, and nothing listens
  kNotMbsync,      ///< something else listens
  kTurnedAway,     ///< it closes the connection before it says anything
  kOtherKey,       ///< it does not take our key
  kOtherFleet,     ///< nor that, and it advertises another fleet
  kOtherProtocol,  ///< another version of the wire
  kSchema,         ///< tables differ
  kNotAllowed,     ///< one of the two does not have the other on its list
  kBanned,         ///< this node, or the fleet, has shut it out
  kSameIdentity,   ///< it is this node, or a copy of its database
  kClock,          ///< its clock is off
  kNotMet,         ///< nothing is wrong, and yet they have not exchanged anything
  kOther,
};

/// For JSON: "not_advertised".
std::string_view to_string(PeerTrouble trouble);
/// For people: "not advertised".
std::string_view in_short(PeerTrouble trouble);

/// What an error of the way to a peer is about, by its text. A guess where the peer has had a say in the text.
PeerTrouble trouble_of(std::string_view error_text);

/// What to do about it; `port`: the peer's. Empty where only the error itself can say.
std::string next_step(PeerTrouble trouble, std::uint16_t port);

/// What the run loop puts in front of an error, and trouble_of() finds again.
inline constexpr std::string_view kSaysOtherFleet = "it advertises another fleet";
inline constexpr std::string_view kSaysNotAdvertised = "it is not advertised on this network";
inline constexpr std::string_view kSaysOtherProtocol = "it advertises protocol version";

}  // namespace mbsync
