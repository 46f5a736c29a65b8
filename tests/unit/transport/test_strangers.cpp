// Who does not hold the key gets no further than the handshake, in either direction, and the service never hears of it.
#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <catch2/catch.hpp>
#include <functional>

#include "fakes.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;

namespace {

/// A self-signed certificate for "localhost" and its key.
struct Certificate {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  std::unique_ptr<X509, decltype(&X509_free)> certificate{X509_new(), X509_free};

  Certificate() {
    X509* x509 = certificate.get();
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key.get());
    X509_NAME* name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("mbsync"), -1, -1, 0);
    X509_set_issuer_name(x509, name);
    REQUIRE(X509_sign(x509, key.get(), EVP_sha256()) > 0);
  }
};

/// An impostor: an HTTPS server with a certificate that would answer anything.
class Impostor {
 public:
  Impostor() : server_(certificate_.certificate.get(), certificate_.key.get()) {
    server_.Post(".*", [this](const httplib::Request&, httplib::Response& response) {
      ++requests;
      response.set_content("welcome", "text/plain");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    REQUIRE(wait_until(milliseconds{5'000}, [this] { return server_.is_running(); }));
  }
  ~Impostor() {
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }
  std::atomic<int> requests = 0;

 private:
  Certificate certificate_;
  httplib::SSLServer server_;
  int port_ = 0;
  std::thread thread_;
};

Error pull_from(std::uint16_t port, const FleetKey& key = our_key()) {
  PeerClient client({{"127.0.0.1", port}}, key, {milliseconds{2'000}, milliseconds{2'000}, milliseconds{2'000}});
  RecordingSink sink;
  const auto result = client.pull(some_request(), sink);
  REQUIRE_FALSE(result);
  CHECK(sink.headers.empty());
  return result.error();
}

}  // namespace

TEST_CASE("strangers: a client with the key turns down an impostor with a certificate") {
  Impostor impostor;
  const Error error = pull_from(impostor.port());
  CHECK(error.kind == ErrorKind::kRejected);
  CHECK_THAT(error.message, Catch::Contains("127.0.0.1:" + std::to_string(impostor.port())));
  CHECK_THAT(error.hint, Catch::Contains("SYNC_REGISTRATION_KEY"));
  CHECK(impostor.requests == 0);
}

TEST_CASE("strangers: the server turns them down in the handshake and the service is never called") {
  FakeService service;
  RunningServer server(service);
  const std::uint16_t port = server.address().port;
  const auto refused = [](const httplib::Result& result) { return !result; };

  SECTION("another key") {
    const Error error = pull_from(port, other_key());
    CHECK(error.kind == ErrorKind::kRejected);
    CHECK_THAT(error.hint, Catch::Contains("SYNC_REGISTRATION_KEY"));
  }
  SECTION("TLS without a key") {
    httplib::SSLClient client("127.0.0.1", port);
    client.enable_server_certificate_verification(false);
    CHECK(refused(client.Post("/sync/v1/pull", "{}", "application/json")));
  }
  SECTION("TLS with a certificate") {
    const Certificate certificate;
    httplib::SSLClient client("127.0.0.1", port, certificate.certificate.get(), certificate.key.get());
    client.enable_server_certificate_verification(false);
    CHECK(refused(client.Post("/sync/v1/pull", "{}", "application/json")));
  }
  SECTION("plain HTTP") {
    httplib::Client client("127.0.0.1", port);
    CHECK(refused(client.Post("/sync/v1/pull", "{}", "application/json")));
  }
  SECTION("hanging up at once") {
    dial(port).close();
  }

  REQUIRE(wait_until(milliseconds{5'000}, [&] { return !server.warnings().empty(); }));
  CHECK_THAT(server.warnings().front(), Catch::StartsWith("connection from '127.0.0.1': "));
  CHECK(service.calls() == 0);
  for (const std::string& line : server.warnings()) {
    CHECK(line.find("0f9c1e7b") == std::string::npos);
  }

  // The right key still gets in.
  PeerClient client({server.address()}, our_key());
  RecordingSink sink;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("strangers: after some failures nobody from there is listened to, and that is said once") {
  FakeService service;
  RunningServer server(service);
  Proxy from_elsewhere(server.address().port, "127.0.0.2");
  std::size_t heard = 0;
  for (int i = 0; i < 30; ++i) {
    const Error error = pull_from(from_elsewhere.port(), other_key());
    heard += error.kind == ErrorKind::kRejected ? 1 : 0;
  }
  // One more comes in each six seconds.
  CHECK(heard >= 10);
  CHECK(heard < 20);
  const auto warnings = server.warnings();
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0] == "connection from '127.0.0.2': TLS handshake failed: another SYNC_REGISTRATION_KEY");
  CHECK_THAT(warnings[1], Catch::StartsWith("connection from '127.0.0.2': closed at once, as all others from there") &&
                              Catch::Contains("another SYNC_REGISTRATION_KEY"));
  // Others are not concerned.
  PeerClient client({server.address()}, our_key());
  RecordingSink sink;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("strangers: where somebody with the key has come from, a wrong one beside him does not keep him out") {
  FakeService service;
  RunningServer server(service);
  RecordingSink sink;
  REQUIRE(PeerClient({server.address()}, our_key()).pull(some_request(), sink));
  for (int i = 0; i < 40; ++i) {
    CHECK(pull_from(server.address().port, other_key()).kind == ErrorKind::kRejected);
  }
  CHECK(PeerClient({server.address()}, our_key()).pull(some_request(), sink));
  CHECK(server.warnings() ==
        std::vector<std::string>{"connection from '127.0.0.1': TLS handshake failed: another SYNC_REGISTRATION_KEY"});
}

TEST_CASE("strangers: silent ones from many addresses, more than there are threads, do not keep out the key") {
  FakeService service;
  RunningServer server(service);
  RecordingSink sink;
  REQUIRE(PeerClient({server.address()}, our_key()).pull(some_request(), sink));
  std::vector<Socket> silent;
  for (int address = 2; address <= 5; ++address) {
    for (std::size_t i = 0; i < tuning::kHandshakesPerAddressMax; ++i) {
      silent.push_back(dial_from("127.0.0." + std::to_string(address), server.address().port));
    }
  }
  // They are given up as soon as others wait, and who has been here is served before them.
  const PeerPatience patience{milliseconds{5'000}, tuning::kHandshakeTimeout - milliseconds{1'500},
                              milliseconds{10'000}};
  const auto known = PeerClient({server.address()}, our_key(), patience).pull(some_request(), sink);
  INFO((known ? "" : known.error().text()));
  CHECK(known);
  // And one who has not, after them.
  Proxy newcomer(server.address().port, "127.0.0.9");
  CHECK(PeerClient({{"127.0.0.1", newcomer.port()}}, our_key(), patience).pull(some_request(), sink));
}

TEST_CASE("strangers: silent connections leave room for others and go away when the server stops") {
  FakeService service;
  RunningServer server(service);
  std::vector<Socket> silent;
  for (std::size_t i = 0; i < tuning::kHandshakesPerAddressMax + 4; ++i) {
    silent.push_back(dial(server.address().port));
  }
  REQUIRE(wait_until(milliseconds{5'000}, [&] { return !server.warnings().empty(); }));
  CHECK_THAT(server.warnings().front(), Catch::Contains("handshakes with it are under way"));
  const auto begun = std::chrono::steady_clock::now();
  (*server).stop();
  CHECK(std::chrono::steady_clock::now() - begun < milliseconds{2'000});
  CHECK(service.calls() == 0);
}

TEST_CASE("strangers: a peer that is no mbsync is named as such") {
  SECTION("nobody listens") {
    Socket listener = listen_on("127.0.0.1", 0).value();
    const std::uint16_t port = local_port(listener);
    listener.close();
    const Error error = pull_from(port);
    CHECK(error.kind == ErrorKind::kTransient);
    CHECK(error.message == "peer '127.0.0.1:" + std::to_string(port) + "': cannot connect: Connection refused");
    CHECK_FALSE(error.hint.empty());
  }
  SECTION("a plain HTTP server") {
    httplib::Server plain;
    plain.Post(".*", [](const httplib::Request&, httplib::Response&) {});
    const int port = plain.bind_to_any_port("127.0.0.1");
    std::thread thread([&] { plain.listen_after_bind(); });
    REQUIRE(wait_until(milliseconds{5'000}, [&] { return plain.is_running(); }));
    const Error error = pull_from(static_cast<std::uint16_t>(port));
    plain.stop();
    thread.join();
    CHECK(error.kind == ErrorKind::kRejected);
    CHECK_THAT(error.hint, Catch::Contains("not mbsync"));
  }
  SECTION("somebody who says nothing") {
    const Socket listener = listen_on("127.0.0.1", 0).value();
    PeerClient client({{"127.0.0.1", local_port(listener)}}, our_key(),
                      {milliseconds{1'000}, milliseconds{300}, milliseconds{1'000}});
    RecordingSink sink;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kTransient);
    CHECK_THAT(result.error().message, Catch::Contains("no answer to the TLS handshake in time"));
  }
  SECTION("a name that does not exist") {
    PeerClient client({{"no-such-host.invalid", 8765}}, our_key());
    RecordingSink sink;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kTransient);
    CHECK_THAT(result.error().message, Catch::Contains("no-such-host.invalid"));
  }
}
