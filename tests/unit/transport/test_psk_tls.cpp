#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "fakes.h"
#include "psk_tls.h"
#include "tls_stream.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;

namespace {

struct Pair {
  Socket server;
  Socket client;
};

Pair make_pair() {
  int fds[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
  return {Socket(fds[0]), Socket(fds[1])};
}

struct Handshake {
  Result<SslConnection> server;
  Result<SslConnection> client;
};

/// Both ends of a handshake, each on a thread of its own; an end that fails hangs up.
Handshake shake(SSL_CTX& server_context, SSL_CTX& client_context, KeyUse key = KeyUse::kCurrent) {
  Pair pair = make_pair();
  Result<SslConnection> server = Error{};
  std::thread other([&] {
    server = accept_tls(server_context, pair.server, in(milliseconds{5'000}), never);
    if (!server) {
      ::shutdown(pair.server.fd(), SHUT_WR);
    }
  });
  Result<SslConnection> client = connect_tls(client_context, pair.client, in(milliseconds{5'000}), never, key);
  if (!client) {
    ::shutdown(pair.client.fd(), SHUT_WR);
  }
  other.join();
  return {std::move(server), std::move(client)};
}

void check_other_key(const Handshake& done) {
  REQUIRE_FALSE(done.server);
  REQUIRE_FALSE(done.client);
  CHECK(done.server.error().message == "TLS handshake failed: another SYNC_REGISTRATION_KEY");
  CHECK(done.client.error().kind == ErrorKind::kRejected);
  CHECK(done.client.error().message == "TLS handshake failed: it does not take this SYNC_REGISTRATION_KEY");
  CHECK_THAT(done.client.error().hint, Catch::Contains("SYNC_REGISTRATION_KEY differs"));
}

/// What a client calls the key of other_key().
std::string& borrowed_identity() {
  static std::string identity;
  return identity;
}

int use_borrowed_identity(SSL* connection, const EVP_MD* /*digest*/, const unsigned char** identity, std::size_t* bytes,
                          SSL_SESSION** session) {
  constexpr unsigned char kSuite[2] = {0x13, 0x01};
  *session = SSL_SESSION_new();
  const auto& secret = other_key().secret();
  SSL_SESSION_set1_master_key(*session, secret.data(), secret.size());
  SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(connection, kSuite));
  SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
  *identity = reinterpret_cast<const unsigned char*>(borrowed_identity().data());
  *bytes = borrowed_identity().size();
  return 1;
}

std::string& alert_seen() {
  static std::string alert;
  return alert;
}

void note_alert(const SSL* /*connection*/, int where, int what) {
  if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) {
    alert_seen() = SSL_alert_desc_string_long(what);
  }
}

/// What the last client offered, as the server's hook saw it.
std::string& offered_modes() {
  static std::string modes;
  return modes;
}

int look_at_hello(SSL* connection, int* /*alert*/, void* /*unused*/) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  offered_modes() = "none";
  if (SSL_client_hello_get0_ext(connection, TLSEXT_TYPE_psk_kex_modes, &bytes, &size) == 1) {
    offered_modes().assign(reinterpret_cast<const char*>(bytes), size);
  }
  return SSL_CLIENT_HELLO_SUCCESS;
}

}  // namespace

TEST_CASE("psk: one key, one fleet: TLS 1.3, forward secret, no certificate, no ticket") {
  const SslContext server = make_server_context(our_keys());
  const SslContext client = make_client_context(our_keys());
  SSL_CTX_set_client_hello_cb(server.get(), look_at_hello, nullptr);
  const Handshake done = shake(*server, *client);
  REQUIRE(done.server);
  REQUIRE(done.client);
  SSL* connection = done.client->get();
  CHECK(std::string(SSL_get_version(connection)) == "TLSv1.3");
  CHECK(std::string(SSL_get_cipher_name(connection)) == "TLS_AES_128_GCM_SHA256");
  CHECK(SSL_get0_peer_certificate(connection) == nullptr);
  CHECK(SSL_session_reused(connection) == 1);
  CHECK(SSL_get_negotiated_group(connection) == NID_X25519);
  CHECK(offered_modes() == std::string("\x01\x01"));  // one mode: psk_dhe_ke
}

TEST_CASE("psk: another key is refused on both sides") {
  const SslContext server = make_server_context(our_keys());
  const SslContext client = make_client_context(other_keys());
  const Handshake done = shake(*server, *client);
  REQUIRE_FALSE(done.server);
  REQUIRE_FALSE(done.client);
  check_other_key(done);
}

TEST_CASE("psk: whether a tag is known is not to be told from how a handshake fails") {
  // One that calls itself by our key's tag, and one by another tag. Both look the same, on both sides and on the wire.
  const SslContext server = make_server_context(our_keys());
  std::vector<std::string> alerts;
  for (const std::string& identity : {our_key().identity(), std::string("mbsync-v1:zzzz")}) {
    const SslContext client = make_client_context(other_keys());
    borrowed_identity() = identity;
    SSL_CTX_set_psk_use_session_callback(client.get(), use_borrowed_identity);
    SSL_CTX_set_info_callback(client.get(), note_alert);
    alert_seen().clear();
    check_other_key(shake(*server, *client));
    alerts.push_back(alert_seen());
  }
  CHECK(alerts[0] == "illegal parameter");
  CHECK(alerts[1] == alerts[0]);
}

TEST_CASE("psk: a name that is of another scheme is unknown, and there is no way around it") {
  const SslContext server = make_server_context(our_keys());
  for (const char* identity : {"mbsync-v1", "mbsync-v2:0000", "somebody"}) {
    const SslContext client = make_client_context(our_keys());
    borrowed_identity() = identity;
    SSL_CTX_set_psk_use_session_callback(client.get(), use_borrowed_identity);
    const Handshake done = shake(*server, *client);
    CHECK_FALSE(done.server);
    CHECK_FALSE(done.client);
  }
}

TEST_CASE("psk: of two keys the tag tells which is meant") {
  const FleetKeys both(our_key(), other_key());
  const SslContext server = make_server_context(both);
  const SslContext ours = make_client_context(our_keys());
  const SslContext theirs = make_client_context(other_keys());
  const Handshake current = shake(*server, *ours);
  REQUIRE(current.server);
  CHECK(key_of(**current.server) == KeyUse::kCurrent);
  const Handshake next = shake(*server, *theirs);
  REQUIRE(next.server);
  CHECK(key_of(**next.server) == KeyUse::kNext);

  // A client with both says which one it means.
  const SslContext client = make_client_context(both);
  const SslContext other_server = make_server_context(other_keys());
  check_other_key(shake(*other_server, *client));
  const Handshake done = shake(*other_server, *client, KeyUse::kNext);
  REQUIRE(done.client);
  CHECK(key_of(**done.client) == KeyUse::kNext);
}

TEST_CASE("psk: a client without any key is refused") {
  const SslContext server = make_server_context(our_keys());
  const SslContext client(SSL_CTX_new(TLS_client_method()));
  const Handshake done = shake(*server, *client);
  CHECK_FALSE(done.server);
  CHECK_FALSE(done.client);
}

TEST_CASE("psk: nothing below TLS 1.3, even with the right secret") {
  const SslContext server = make_server_context(our_keys());
  const SslContext client(SSL_CTX_new(TLS_client_method()));
  REQUIRE(SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION) == 1);
  REQUIRE(SSL_CTX_set_cipher_list(client.get(), "PSK") == 1);
  SSL_CTX_set_psk_client_callback(
      client.get(),
      [](SSL*, const char*, char* identity, unsigned identity_max, unsigned char* psk, unsigned psk_max) -> unsigned {
        std::strncpy(identity, "mbsync-v1", identity_max);
        const auto& secret = our_key().secret();
        if (psk_max < secret.size()) {
          return 0;
        }
        std::memcpy(psk, secret.data(), secret.size());
        return static_cast<unsigned>(secret.size());
      });
  const Handshake done = shake(*server, *client);
  CHECK_FALSE(done.server);
  CHECK_FALSE(done.client);
}

TEST_CASE("psk: a silent other side ends in a time-out, and stop() ends the wait") {
  const SslContext client = make_client_context(our_keys());
  const Pair pair = make_pair();
  const auto timeout = connect_tls(*client, pair.client, in(milliseconds{50}), never);
  REQUIRE_FALSE(timeout);
  CHECK(timeout.error().kind == ErrorKind::kTransient);
  CHECK_THAT(timeout.error().message, Catch::Contains("in time"));
  const Pair other = make_pair();
  CHECK(connect_tls(*client, other.client, in(milliseconds{5'000}), [] { return true; }).error().kind ==
        ErrorKind::kCancelled);
}

TEST_CASE("psk: who sends a byte now and then is not waited for for ever") {
  const SslContext server_context = make_server_context(our_keys());
  const SslContext client_context = make_client_context(our_keys());
  Pair pair = make_pair();
  Result<SslConnection> server = Error{};
  std::thread other([&] { server = accept_tls(*server_context, pair.server, in(milliseconds{5'000}), never); });
  const Result<SslConnection> client = connect_tls(*client_context, pair.client, in(milliseconds{5'000}), never);
  other.join();
  REQUIRE(server);
  REQUIRE(client);
  std::atomic<bool> enough = false;
  std::thread trickle([&] {
    while (!enough && SSL_write(client->get(), "x", 1) == 1) {
      wait_for(pair.client.fd(), 0, in(milliseconds{20}), never);
    }
  });
  TlsStream stream(**server, pair.server.fd(), {milliseconds{10'000}, milliseconds{10'000}}, never);
  stream.limit_reads_until(in(milliseconds{300}));
  std::string bytes;
  char byte = 0;
  const auto begun = std::chrono::steady_clock::now();
  while (stream.read(&byte, 1) == 1) {
    bytes += byte;
  }
  CHECK(std::chrono::steady_clock::now() - begun >= milliseconds{300});
  CHECK(bytes.size() > 2);
  REQUIRE(stream.failure());
  CHECK(stream.failure()->kind == ErrorKind::kTransient);
  CHECK(stream.failure()->message == "the other side takes too long to send");
  enough = true;
  trickle.join();
}
