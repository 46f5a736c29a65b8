// What somebody sees who records the network between two nodes: that they are there and exchange something, and no
// more.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "fleet.h"
#include "lan.h"
#include "wait_until.h"

using namespace mbsync::test;

namespace {

constexpr const char* kTable = "CreditorLedger";
constexpr const char* kSchema =
    R"(CREATE TABLE "CreditorLedger" ("ledgerCode" text PRIMARY KEY, "secretRemark" text, "overdraftLimit" numeric, noise bytea))";
constexpr const char* kValue = "Wilhelmina Achterberg owes";
constexpr const char* kNumber = "8128496336.25";
constexpr int kRows = 300;
constexpr std::size_t kNoiseBytes = 100'000;

std::string without_dashes(std::string key) {
  std::erase(key, '-');
  return key;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  return text;
}

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  text.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                                       static_cast<int>(bytes.size()))));
  return text;
}

std::string digest(const EVP_MD* kind, std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
  unsigned size = 0;
  REQUIRE(EVP_Digest(bytes.data(), bytes.size(), value.data(), &size, kind, nullptr) == 1);
  return {value.begin(), value.begin() + size};
}

/// What must not be seen: names, values, the key, and what would let somebody try keys at home.
std::vector<std::pair<std::string, std::string>> secrets(Node& node) {
  std::vector<std::pair<std::string, std::string>> all{{"table", kTable},
                                                       {"column", "ledgerCode"},
                                                       {"column", "secretRemark"},
                                                       {"column", "overdraftLimit"},
                                                       {"value", kValue},
                                                       {"value", hex(kValue)},
                                                       {"number", kNumber},
                                                       {"key of a row", "LC-0007"},
                                                       {"database", node.database()}};
  const std::string key = kFleetKey;
  for (const auto& form : {key, without_dashes(key)}) {
    for (const auto& bytes : {form, lower(form), digest(EVP_md5(), form), digest(EVP_sha1(), form),
                              digest(EVP_sha256(), form), digest(EVP_sha512(), form)}) {
      all.emplace_back("registration key", bytes);
      all.emplace_back("registration key, hex", hex(bytes));
      all.emplace_back("registration key, base64", base64(bytes));
    }
  }
  return all;
}

std::vector<std::string> found(const std::string& recording,
                               const std::vector<std::pair<std::string, std::string>>& secrets) {
  std::vector<std::string> what;
  for (const auto& [name, bytes] : secrets) {
    if (recording.find(bytes) != std::string::npos) {
      what.push_back(name);
    }
  }
  return what;
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t times = 0;
  for (auto place = text.find(part); place != std::string::npos; place = text.find(part, place + part.size())) {
    ++times;
  }
  return times;
}

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>{stream}, {}};
}

std::vector<std::string> on(const LanHost& host, std::vector<std::string> command) {
  auto all = host.launcher();
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

ChildProcess start(std::vector<std::string> command, std::string input = "") {
  ChildOptions options;
  options.arguments.assign(command.begin() + 1, command.end());
  options.input = std::move(input);
  return ChildProcess(command.front(), std::move(options));
}

/// One program tells them to another one, as a protocol without TLS does; each by a connection of its own, since what
/// is sent in two packets is not found.
void send_plainly(const LanHost& from, const LanHost& to,
                  const std::vector<std::pair<std::string, std::string>>& secrets) {
  auto taker = start(on(to, {"python3", "-c",
                             fmt::format("import socket; s = socket.create_server(('', 9000)); print('open', "
                                         "flush=True); [s.accept()[0].recv(65536) for _ in range({})]",
                                         secrets.size())}));
  REQUIRE(wait_until(seconds{20}, [&] { return taker.out().find("open") != std::string::npos; }));
  std::string lines;
  for (const auto& [name, bytes] : secrets) {
    lines += hex(bytes) + "\n";
  }
  auto giver = start(on(from, {"python3", "-c",
                               fmt::format("import socket, sys\nfor line in sys.stdin: socket.create_connection(('{}', "
                                           "9000)).sendall(bytes.fromhex(line))",
                                           to.address())}),
                     lines);
  REQUIRE(giver.wait(seconds{20}) == 0);
  REQUIRE(taker.wait(seconds{20}) == 0);
}

/// What has been recorded. The last packets are still with the kernel when they have been sent: a mark is sent behind
/// them, and waited for.
std::string ended(ChildProcess& recorder, Lan& lan, const std::filesystem::path& file) {
  constexpr const char* kMark = "here the recording ends";
  send_plainly(lan.host(0), lan.host(1), {{"mark", kMark}});
  REQUIRE(wait_until(seconds{20}, [&] { return bytes_of(file).find(kMark) != std::string::npos; }));
  recorder.signal(SIGINT);
  REQUIRE(recorder.wait(seconds{10}) == 0);
  REQUIRE_THAT(recorder.err(), Catch::Contains("\n0 packets dropped by kernel"));
  return bytes_of(file);
}

}  // namespace

TEST_CASE("wire: a recording holds neither the key, nor names, nor values") {
  for (const auto& lacks : {Lan::missing_mdns(), Lan::missing_recorder()}) {
    if (lacks) {
      fmt::print("skipped: {}\n", *lacks);
      std::exit(77);
    }
  }
  Fleet fleet;
  Lan lan;
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i < 2; ++i) {
    auto& host = lan.add_host();
    host.start_mdns();
    auto& node = fleet.add_node(Fleet::shared_cluster(), fmt::format("till{}", i + 1), kSchema);
    node.launch_by(host.launcher());
    node.set("DATABASE_URL", node.cluster().socket_url(node.database()));
    node.set("SYNC_BIND", "0.0.0.0");
    node.set("SYNC_PORT", "8765");
    for (const auto& [name, value] : host.environment()) {
      node.set(name, value);
    }
    nodes.push_back(&node);
  }
  Node& a = *nodes[0];
  Node& b = *nodes[1];
  const auto hidden = secrets(a);
  const auto file = fleet.directory() / "recording";

  // The search finds all of it where it is sent as it is.
  {
    auto recorder = lan.host(0).record(file);
    send_plainly(lan.host(0), lan.host(1), hidden);
    const auto plain = ended(recorder, lan, file);
    for (const auto& secret : hidden) {
      INFO(secret.first << ": " << hex(secret.second));
      CHECK(found(plain, {secret}).size() == 1);
    }
  }

  // They find each other, meet, and exchange rows both ways: many, with a conflict, and removed ones.
  auto recorder = lan.host(0).record(file);
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  a.execute(fmt::format(
      "INSERT INTO \"{}\" SELECT 'LC-' || lpad(i::text, 4, '0'), '{} ' || i, {}, NULL FROM generate_series(1, {}) i",
      kTable, kValue, kNumber, kRows));
  a.execute(
      fmt::format("INSERT INTO \"{}\" SELECT 'noise', NULL, NULL, string_agg(sha256(i::text::bytea), '') FROM "
                  "generate_series(1, {}) i",
                  kTable, kNoiseBytes / 32));
  fleet.await_converged({&a, &b});
  for (Node* node : nodes) {
    node->execute(fmt::format("UPDATE \"{}\" SET \"secretRemark\" = '{} {}' WHERE \"ledgerCode\" = 'LC-0007'", kTable,
                              kValue, node->name()));
  }
  b.execute(fmt::format("DELETE FROM \"{}\" WHERE \"ledgerCode\" = 'LC-0009'", kTable));
  fleet.await_converged({&a, &b});
  CHECK(b.scalar(fmt::format("SELECT count(*) FROM \"{}\"", kTable)) == std::to_string(kRows));
  for (Node* node : nodes) {
    node->stop();
  }
  const auto recording = ended(recorder, lan, file);

  const auto seen = found(recording, hidden);
  INFO(fmt::format("{}", fmt::join(seen, ", ")));
  CHECK(seen.empty());
  // It is a recording of just that: announcements, handshakes, and records that hold at least what cannot be packed.
  CHECK(count(recording, "_mbsync") > 0);
  CHECK(count(recording, std::string_view("\x16\x03\x01", 3)) > 0);
  CHECK(count(recording, std::string_view("\x17\x03\x03", 3)) > 20);
  CHECK(recording.size() > kNoiseBytes);
  report(fmt::format("wire: {} bytes recorded, {} TLS records of data, none of {} secrets in it", recording.size(),
                     count(recording, std::string_view("\x17\x03\x03", 3)), hidden.size()));
}
