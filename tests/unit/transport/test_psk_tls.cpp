#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "fakes.h"
#include "psk_tls.h"

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
Handshake shake(SSL_CTX& server_context, SSL_CTX& client_context) {
  Pair pair = make_pair();
  Result<SslConnection> server = Error{};
  std::thread other([&] {
    server = accept_tls(server_context, pair.server, in(milliseconds{5'000}), never);
    if (!server) {
      ::shutdown(pair.server.fd(), SHUT_WR);
    }
  });
  Result<SslConnection> client = connect_tls(client_context, pair.client, in(milliseconds{5'000}), never);
  if (!client) {
    ::shutdown(pair.client.fd(), SHUT_WR);
  }
  other.join();
  return {std::move(server), std::move(client)};
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
  const SslContext server = make_server_context(our_key());
  const SslContext client = make_client_context(our_key());
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
  const SslContext server = make_server_context(our_key());
  const SslContext client = make_client_context(other_key());
  const Handshake done = shake(*server, *client);
  REQUIRE_FALSE(done.server);
  REQUIRE_FALSE(done.client);
  CHECK(done.server.error().message == "TLS handshake failed: another SYNC_REGISTRATION_KEY");
  CHECK(done.client.error().kind == ErrorKind::kRejected);
  CHECK_THAT(done.client.error().hint, Catch::Contains("SYNC_REGISTRATION_KEY differs"));
}

TEST_CASE("psk: a client without any key is refused") {
  const SslContext server = make_server_context(our_key());
  const SslContext client(SSL_CTX_new(TLS_client_method()));
  const Handshake done = shake(*server, *client);
  CHECK_FALSE(done.server);
  CHECK_FALSE(done.client);
}

TEST_CASE("psk: nothing below TLS 1.3, even with the right secret") {
  const SslContext server = make_server_context(our_key());
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
  const SslContext client = make_client_context(our_key());
  const Pair pair = make_pair();
  const auto timeout = connect_tls(*client, pair.client, in(milliseconds{50}), never);
  REQUIRE_FALSE(timeout);
  CHECK(timeout.error().kind == ErrorKind::kTransient);
  CHECK_THAT(timeout.error().message, Catch::Contains("in time"));
  const Pair other = make_pair();
  CHECK(connect_tls(*client, other.client, in(milliseconds{5'000}), [] { return true; }).error().kind ==
        ErrorKind::kCancelled);
}
