#include "psk_tls.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <poll.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

namespace mbsync {
namespace {

constexpr const char* kCipherSuite = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kCipherSuiteId[2] = {0x13, 0x01};
constexpr const char* kGroups = "X25519:P-256";

constexpr std::string_view kRefusedHint = "its SYNC_REGISTRATION_KEY differs, or it is not mbsync";

using Secret = std::array<std::uint8_t, FleetKey::kBytes>;

SSL_SESSION* new_psk_session(SSL* connection, const Secret& secret) {
  SSL_SESSION* session = SSL_SESSION_new();
  const SSL_CIPHER* cipher = SSL_CIPHER_find(connection, kCipherSuiteId);
  if (session == nullptr || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session, secret.data(), secret.size()) != 1 ||
      SSL_SESSION_set_cipher(session, cipher) != 1 || SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
    SSL_SESSION_free(session);
    return nullptr;
  }
  return session;
}

const FleetKeys& keys_of(SSL* connection) {
  return *static_cast<const FleetKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(connection)));
}

/// A connection remembers its key as a pointer to one of these.
constexpr KeyUse kUses[] = {KeyUse::kCurrent, KeyUse::kNext};

void set_key(SSL* connection, KeyUse use) {
  SSL_set_app_data(connection, const_cast<KeyUse*>(&kUses[static_cast<std::size_t>(use)]));
}

/// The secret of a key that nobody has.
const Secret& decoy() {
  static const Secret kSecret = [] {
    Secret bytes{};
    MBSYNC_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1, "the system gives no random numbers");
    return bytes;
  }();
  return kSecret;
}

int find_session(SSL* connection, const unsigned char* identity, std::size_t bytes, SSL_SESSION** session) {
  *session = nullptr;
  const std::string_view name(reinterpret_cast<const char*>(identity), bytes);
  if (!name.starts_with(kIdentityScheme)) {
    return 1;  // unknown; without a certificate there is nothing else to fall back on, so the handshake fails
  }
  const FleetKeys& keys = keys_of(connection);
  const bool next = keys.next && name == keys.next->identity();
  set_key(connection, next ? KeyUse::kNext : KeyUse::kCurrent);
  // A tag that is not ours fails in the same way as one that is, with another secret: were it said which tags are
  // known, a stranger could find one out in 65,536 attempts, and leave out most keys that he would guess at home.
  const bool known = next || name == keys.current.identity();
  *session = new_psk_session(connection, known ? keys.of(key_of(*connection)).secret() : decoy());
  return *session != nullptr ? 1 : 0;
}

int use_session(SSL* connection, const EVP_MD* digest, const unsigned char** identity, std::size_t* bytes,
                SSL_SESSION** session) {
  *session = nullptr;
  if (digest != nullptr && EVP_MD_is_a(digest, "SHA256") != 1) {
    return 1;
  }
  const FleetKey& key = keys_of(connection).of(key_of(*connection));
  *session = new_psk_session(connection, key.secret());
  *identity = reinterpret_cast<const unsigned char*>(key.identity().data());
  *bytes = key.identity().size();
  return *session != nullptr ? 1 : 0;
}

int refuse_certificate(X509_STORE_CTX* store, void* /*unused*/) {
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

/// OpenSSL writes to sockets in a way that raises SIGPIPE when the peer has gone; its default is to end the process.
void ignore_broken_pipes() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction now {};
    if (sigaction(SIGPIPE, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL) {
      std::signal(SIGPIPE, SIG_IGN);
    }
  });
}

SslContext make_context(const SSL_METHOD* method, const FleetKeys& keys) {
  ignore_broken_pipes();
  SslContext context(SSL_CTX_new(method));
  MBSYNC_CHECK(context != nullptr, "no memory for a TLS context");
  SSL_CTX* raw = context.get();
  // Everything is said here rather than left to the system's OpenSSL configuration.
  const bool ok = SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) == 1 &&
                  SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) == 1 &&
                  SSL_CTX_set_ciphersuites(raw, kCipherSuite) == 1 && SSL_CTX_set1_groups_list(raw, kGroups) == 1 &&
                  SSL_CTX_set_num_tickets(raw, 0) == 1 && SSL_CTX_set_max_early_data(raw, 0) == 1 &&
                  SSL_CTX_set_recv_max_early_data(raw, 0) == 1;
  MBSYNC_CHECK(ok, "this OpenSSL cannot do TLS 1.3 with AES-128-GCM");
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
  SSL_CTX_clear_options(raw, SSL_OP_ALLOW_NO_DHE_KEX);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // The callbacks only read it.
  SSL_CTX_set_app_data(raw, const_cast<FleetKeys*>(&keys));
  return context;
}

/// What the handshake failed of, from OpenSSL's queue of this thread.
Error handshake_error(int ssl_error) {
  const int system_error = errno;
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  if (ssl_error == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
      ssl_error == SSL_ERROR_ZERO_RETURN) {
    const bool reset = ssl_error == SSL_ERROR_SYSCALL && system_error == ECONNRESET;
    return Error{ErrorKind::kTransient,
                 fmt::format("the connection was {} during the TLS handshake", reset ? "reset" : "closed"),
                 "if this goes on: is it mbsync, and not too busy? Its log says whether it turns this machine away"};
  }
  const char* words = ERR_reason_error_string(code);
  if (reason == SSL_R_BINDER_DOES_NOT_VERIFY) {
    words = "another SYNC_REGISTRATION_KEY";
  } else if (reason == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER || reason == SSL_R_TLSV1_ALERT_DECRYPT_ERROR) {
    words = "it does not take this SYNC_REGISTRATION_KEY";  // what the above is to the other side
  }
  return Error{ErrorKind::kRejected,
               fmt::format("TLS handshake failed: {}", words != nullptr ? words : "unknown reason"),
               std::string(kRefusedHint)};
}

Result<SslConnection> shake_hands(SSL_CTX& context, const Socket& socket, Deadline deadline, const StopCheck& stopped,
                                  int (*step)(SSL*), KeyUse key) {
  SslConnection connection(SSL_new(&context));
  MBSYNC_CHECK(connection != nullptr, "no memory for a TLS connection");
  set_key(connection.get(), key);
  if (SSL_set_fd(connection.get(), socket.fd()) != 1) {
    return Error{ErrorKind::kTransient, "no memory for a TLS connection", ""};
  }
  for (;;) {
    ERR_clear_error();
    errno = 0;
    const int done = step(connection.get());
    if (done == 1) {
      break;
    }
    const int why = SSL_get_error(connection.get(), done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
      Error error = handshake_error(why);
      ERR_clear_error();
      return error;
    }
    switch (wait_for(socket.fd(), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline, stopped)) {
      case Waited::kStopped:
        return Error{ErrorKind::kCancelled, "asked to stop", ""};
      case Waited::kTimeout:
        return Error{ErrorKind::kTransient, "no answer to the TLS handshake in time",
                     "is it mbsync, and not too busy?"};
      case Waited::kReady:
        break;
    }
  }
  // The settings above leave no other way; should a library change that, nothing may be sent to a stranger.
  if (SSL_session_reused(connection.get()) != 1) {
    return Error{ErrorKind::kRejected, "TLS handshake without the fleet's key", std::string(kRefusedHint)};
  }
  return connection;
}

}  // namespace

SslContext make_server_context(const FleetKeys& keys) {
  SslContext context = make_context(TLS_server_method(), keys);
  SSL_CTX_set_psk_find_session_callback(context.get(), find_session);
  return context;
}

SslContext make_client_context(const FleetKeys& keys) {
  SslContext context = make_context(TLS_client_method(), keys);
  SSL_CTX_set_psk_use_session_callback(context.get(), use_session);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context.get(), refuse_certificate, nullptr);
  return context;
}

Result<SslConnection> accept_tls(SSL_CTX& context, const Socket& socket, Deadline deadline, const StopCheck& stopped) {
  return shake_hands(context, socket, deadline, stopped, SSL_accept, KeyUse::kCurrent);
}

Result<SslConnection> connect_tls(SSL_CTX& context, const Socket& socket, Deadline deadline, const StopCheck& stopped,
                                  KeyUse key) {
  return shake_hands(context, socket, deadline, stopped, SSL_connect, key);
}

KeyUse key_of(const SSL& connection) {
  const auto* use = static_cast<const KeyUse*>(SSL_get_app_data(&connection));
  return use != nullptr ? *use : KeyUse::kCurrent;
}

}  // namespace mbsync
