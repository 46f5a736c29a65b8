// TLS 1.3 with the fleet's secret as external pre-shared key, on both sides: no certificates, no other version, forward
// secret (psk_dhe_ke only), no tickets and no resumption. Whoever does not hold the secret gets no further than the
// handshake, in either direction. (PROTOCOL.md "transport")
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>

#include "fleet_key.h"
#include "socket.h"

namespace mbsync {

struct SslFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* connection) const { SSL_free(connection); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslFree>;
using SslConnection = std::unique_ptr<SSL, SslFree>;

/// Both borrow the keys, which must outlive the context and its connections. A server takes each of them.
SslContext make_server_context(const FleetKeys& keys);
/// Never accepts a certificate, so an impostor with any certificate, even a trusted one, is turned down.
SslContext make_client_context(const FleetKeys& keys);
SslContext make_server_context(FleetKeys&&) = delete;
SslContext make_client_context(FleetKeys&&) = delete;

/// Runs the handshake on a connected non-blocking socket. Errors, for the client: `rejected` if the other side refused
/// or is something else, `transient` if it fell silent or went away, `cancelled`. The server reads the message only.
Result<SslConnection> accept_tls(SSL_CTX& context, const Socket& socket, Deadline deadline, const StopCheck& stopped);
Result<SslConnection> connect_tls(SSL_CTX& context, const Socket& socket, Deadline deadline, const StopCheck& stopped,
                                  KeyUse key = KeyUse::kCurrent);

/// With which of its keys this side has made the connection.
KeyUse key_of(const SSL& connection);

}  // namespace mbsync
