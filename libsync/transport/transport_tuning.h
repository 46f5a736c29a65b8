// Every time, size and count of the transport, each with its unit and why it is what it is. The client's patience is in
// http_client.h, since its owner may choose it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "address_limiter.h"
#include "protocol_limits.h"

namespace mbsync::tuning {

using std::chrono::milliseconds;

// --- times -----------------------------------------------------------------------------------------------------------

/// An answer that is not ready says so this often, so that the asker can tell a busy peer from a dead one.
inline constexpr milliseconds kPingInterval{2'000};
/// No wait is longer than this without a look at whether to stop; also the longest that stopping waits for a waiter.
inline constexpr milliseconds kWaitSlice{250};
/// Longest long poll, whatever the asker wants. Routers forget quiet connections after a few minutes; pings keep them
/// alive, and a fresh request now and then carries fresh reports.
inline constexpr milliseconds kWaitMax{60'000};
/// The whole TLS handshake as the server sees it: how long a silent stranger can hold a thread. No longer than
/// kPatienceWhenCrowded where others are waiting for one.
inline constexpr milliseconds kHandshakeTimeout{5'000};
/// Silence of the asker while the server reads its request, which was made before it was sent.
inline constexpr milliseconds kRequestSilenceMax{10'000};
/// From a request's first byte to its last: 1 MiB over 200 kbit/s. Whoever sends a byte now and then is never silent.
inline constexpr milliseconds kRequestTimeMax{45'000};
/// No byte could be written: the other side's window stays shut. Its database may be slow, so this is generous.
inline constexpr milliseconds kWriteTimeout{60'000};
/// An idle connection stays open a little longer than the longest pause between two pulls (kWaitMax and a bit).
inline constexpr milliseconds kKeepAliveTimeout{75'000};
/// When connections are waiting for a thread, one that has been idle this long makes room, and a long poll that has
/// lasted this long is answered. A hub with more peers than threads serves them in turns then.
inline constexpr milliseconds kPatienceWhenCrowded{1'000};
/// Out of file descriptors or memory: wait before the next accept().
inline constexpr milliseconds kAcceptPause{100};
/// At most one warning about one address in this time.
inline constexpr milliseconds kWarningInterval{60'000};
/// The same about one that is turned away without being heard: there is nothing new to say.
inline constexpr milliseconds kTurnedAwayWarningInterval{600'000};

// --- counts ----------------------------------------------------------------------------------------------------------

/// Connections served at a time, one thread each. A node has a bounded number of live peers, usually below this.
inline constexpr std::size_t kServerThreadsMax = 32;
/// Of these, for connections from one address: who takes answers slowly, or has many asked for, leaves some for others.
inline constexpr std::size_t kThreadsPerAddressMax = 24;
/// Accepted connections that wait for a thread; one more is closed at once.
inline constexpr std::size_t kConnectionsQueuedMax = 64;
/// Handshakes under way with one address: a single stranger must not hold every thread.
inline constexpr std::size_t kHandshakesPerAddressMax = 16;
/// What one address may do. Two handshakes fail where two keys are tried and neither is taken, and our client waits
/// half a minute before it tries them again, so ten at once and ten a minute is beyond what it does at two addresses of
/// a machine. From where a key has come lately, there may be a whole fleet behind one address (twenty nodes on one
/// machine, or behind one router), some with a key that is wrong by now. Connections: each of twenty has one that
/// waits and one that has broken off or visits. Requests: an exchange of anything takes 5 ms and more, two commits and
/// a heartbeat; that is 200 a second at most, of each of as many nodes as there are threads to listen to.
inline constexpr AddressLimiter::Limits kAddressLimits{.failures = {10, 10.0 / 60},
                                                       .failures_known = {120, 120.0 / 60},
                                                       .known_for = milliseconds{600'000},
                                                       .connections = 48,
                                                       .requests = {5'000, 2'500},
                                                       .addresses = 4'096};
/// What one node may do, whatever its address. Exchanges: it has one under way, and those that have broken off without
/// our hearing of it, each of which lasts up to kWaitMax while it tries again every ten seconds.
inline constexpr SenderLimiter::Limits kSenderLimits{.requests = {500, 250}, .exchanges = 8, .senders = 4'096};
/// Answers for one address that are being made, or lie on the disk until they are sent: each may be the whole database,
/// and while one is read nothing else is sealed or applied. Others wait for their turn. Whoever makes up a name for
/// each request has this many as well.
inline constexpr std::size_t kAnswersPerAddressMax = 4;
/// Digests that are being made, whoever asks: each reads some thousand rows, and a node that compares has one under
/// way.
inline constexpr int kDigestsMax = 4;
/// Requests on one connection: in effect no limit, a month at one a minute.
inline constexpr std::size_t kRequestsPerConnectionMax = 100'000;
/// What askers have said lately, kept so that they need not say it again. Those that listen say something each, those
/// that visit mostly what others have said.
inline constexpr std::size_t kRequestsKept = 128;
/// Members and origins of one that is kept, together: as many as a fleet has, so that all take 64 MB at most. A request
/// may name more than that, and is then said in full each time.
inline constexpr std::size_t kRequestKeptEntriesMax = 5'000;
/// The kernel's queue of connections that nobody has accepted yet.
inline constexpr int kListenBacklog = 128;
/// Addresses that the limiter of warnings keeps apart.
inline constexpr std::size_t kWarningAddressesMax = 256;
/// Pings before an answer: six hours of preparation, then something is stuck.
inline constexpr std::uint64_t kPingsMax = 10'800;

// --- sizes, bytes ----------------------------------------------------------------------------------------------------

/// A request's first line and headers, or an answer's.
inline constexpr std::size_t kHttpHeadBytesMax = std::size_t{16} * 1024;
/// One line of these: ours are shorter than 100. See limited_stream.h for why this is little.
inline constexpr std::size_t kHttpLineBytesMax = 1024;
/// A request's body.
inline constexpr std::size_t kRequestBytesMax = kMessageBytesMax;
/// From here on it pays not to say again what has not changed.
inline constexpr std::size_t kRequestShortenedFrom = std::size_t{2} * 1024;
/// What frames a request's body where it comes in chunks: sizes and line ends. Our client sends it in one piece.
inline constexpr std::size_t kRequestFramingBytesMax = std::size_t{16} * 1024;
/// The body of an answer that is a refusal.
inline constexpr std::size_t kRefusalBytesMax = std::size_t{64} * 1024;
/// An answer after decompression: larger than any database this is meant for, so that a bomb ends somewhere.
inline constexpr std::uint64_t kAnswerBytesMax = std::uint64_t{1} << 40;
/// An answer up to this size (compressed) never touches the disk.
inline constexpr std::size_t kSpoolMemoryBytes = 1 << 20;
/// The piece in which a spooled answer is handed to HTTP, which copies it once.
inline constexpr std::size_t kSendBytes = std::size_t{128} * 1024;

/// zstd level of answers. Rows as text, on one core of a small server: level -1 331 MB/s to a fifth, level 1 274 MB/s
/// to a seventh, level 3 165 MB/s to a seventh, level 6 51 MB/s to an eighth.
inline constexpr int kCompressionLevel = 1;

// --- the local port (local_http_server.h)
// ------------------------------------------------------------------------------

/// Connections served at a time, one thread each: a browser has six, and the rest is for what collects figures.
inline constexpr std::size_t kLocalThreadsMax = 16;
/// Of these, answers without an end (events): the others stay for questions.
inline constexpr std::size_t kLocalStreamsMax = 8;
/// Connections that wait for a thread; one more is closed at once.
inline constexpr std::size_t kLocalQueuedMax = 64;
/// From the connection to the last byte of a request, over a network within the machine or the house. A second where
/// others are waiting (kPatienceWhenCrowded).
inline constexpr milliseconds kLocalRequestTimeMax{10'000};
/// The other side takes nothing. A second where others are waiting (kPatienceWhenCrowded).
inline constexpr milliseconds kLocalWriteSilenceMax{10'000};
/// To take an answer that has an end: 1 MB/s for the largest, a row of some ten megabytes in all its versions.
inline constexpr milliseconds kLocalAnswerTimeMax{60'000};
/// For an answer that is on its way when the server stops.
inline constexpr milliseconds kLocalStopGrace{1'000};
/// After an answer, for the other side to close.
inline constexpr milliseconds kLocalGoodbye{500};
/// A request's first line and headers. Browsers send along whatever other programs of this machine have given them as
/// cookies, since a cookie does not know ports.
inline constexpr std::size_t kLocalHeadBytesMax = std::size_t{32} * 1024;
/// One line of these; limited_stream.h says why it is not more.
inline constexpr std::size_t kLocalLineBytesMax = std::size_t{4} * 1024;
/// A request's body: values that a person gives to a row.
inline constexpr std::size_t kLocalBodyBytesMax = std::size_t{1} << 20;

}  // namespace mbsync::tuning
