// What a message costs on the wire, below its own bytes: HTTP, TLS, TCP and IP, as constants with their source.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mbsync::simulation {

/// IPv4 and TCP with timestamps: 20 + 20 + 12 bytes a segment (RFC 791, RFC 9293, RFC 7323).
inline constexpr std::size_t kSegmentHeadBytes = 52;
/// What one segment carries on Ethernet: 1,500 less the heads.
inline constexpr std::size_t kSegmentBytes = 1448;
/// TLS 1.3: 5 bytes of head, one of type and 16 of AES-GCM's tag a record, which holds 16 KiB at most (RFC 8446, 5.2).
inline constexpr std::size_t kRecordHeadBytes = 22;
inline constexpr std::size_t kRecordBytes = 16 * 1024;
/// A handshake with a pre-shared key and X25519, no certificates (RFC 8446, 4): the client's two flights, the server's
/// one, from the lengths of their fields; and the three segments that open a TCP connection, the four that close it.
inline constexpr std::size_t kHandshakeClientBytes = 450;
inline constexpr std::size_t kHandshakeServerBytes = 260;
inline constexpr std::size_t kConnectionSegments = 7;

/// One message in records and segments, with one acknowledgement on its way back.
std::size_t sent_bytes(std::size_t payload);
/// A request with a body of this size, with what cpp-httplib writes in front of it.
std::size_t request_bytes(std::size_t body);
/// An answer of `encoded` bytes, compressed, in one chunk, behind `pings` pings in chunks of their own.
std::size_t answer_bytes(std::size_t encoded, std::int64_t pings);
/// To connect, shake hands, and hang up at some time.
std::size_t connection_bytes();

}  // namespace mbsync::simulation
