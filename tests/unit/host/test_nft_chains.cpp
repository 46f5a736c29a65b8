#include "nft_chains.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

constexpr const char* kMeta = R"({"metainfo": {"version": "1.0.6", "json_schema_version": 1}})";

std::string chain(const std::string& policy, const std::string& name = "in", const std::string& hook = "input") {
  return fmt::format(
      R"({{"chain": {{"family": "inet", "table": "fw", "name": "{}", "type": "filter", "hook": "{}", "policy": "{}"}}}})",
      name, hook, policy);
}

std::string rule(const std::string& parts) {
  return fmt::format(R"({{"rule": {{"family": "inet", "table": "fw", "chain": "in", "expr": [{}]}}}})", parts);
}

std::string port(const std::string& is, const std::string& protocol = "tcp") {
  return fmt::format(
      R"({{"match": {{"op": "==", "left": {{"payload": {{"protocol": "{}", "field": "dport"}}}}, "right": {}}}}})",
      protocol, is);
}

constexpr const char* kAccept = R"({"accept": null})";
constexpr const char* kDrop = R"({"drop": null})";
constexpr const char* kReject = R"({"reject": {"type": "icmpx", "expr": "port-unreachable"}})";
constexpr const char* kFromLan =
    R"({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}})";
constexpr const char* kEstablished =
    R"({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}})";
constexpr const char* kInvalid = R"({"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": "invalid"}})";
constexpr const char* kCounter = R"({"counter": {"packets": 0, "bytes": 0}})";

std::string said(const std::vector<std::string>& objects) {
  std::string text = kMeta;
  for (const auto& object : objects) {
    text += ", " + object;
  }
  return fmt::format(R"({{"nftables": [{}]}})", text);
}

bool lets(const std::vector<std::string>& objects, std::string_view protocol = "tcp", std::uint16_t number = 8765) {
  const auto result = lets_in(said(objects), protocol, number);
  REQUIRE(result);
  return *result;
}

std::string both(const std::string& a, const std::string& b) {
  return a + ", " + b;
}

}  // namespace

TEST_CASE("nft: the chains that count are those that hang on input, whatever they are called") {
  const auto chains = input_chains(
      "warning: somebody else's table\n" +
      said(
          {chain("accept", "out", "output"), chain("drop", "in"), chain("accept", "f", "forward"),
           R"({"chain": {"family": "ip", "table": "fw", "name": "no hook"}})",
           R"({"chain": {"family": "arp", "table": "fw", "name": "in", "type": "filter", "hook": "input", "policy": "drop"}})"}));
  REQUIRE(chains);
  REQUIRE(chains->size() == 1);
  CHECK(chains->front().family == "inet");
  CHECK(chains->front().table == "fw");
  CHECK(chains->front().name == "in");
}

TEST_CASE("nft: without a rule the policy decides") {
  CHECK(lets({chain("accept")}));
  CHECK_FALSE(lets({chain("drop")}));
}

TEST_CASE("nft: the first rule that names the port decides") {
  CHECK(lets({chain("drop"), rule(both(port("8765"), kAccept))}));
  CHECK(lets({chain("drop"), rule(both(port("8765"), both(kCounter, kAccept)))}));
  CHECK(lets({chain("drop"), rule(both(port(R"({"set": [22, {"range": [8000, 9000]}]})"), kAccept))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(port(R"({"set": [22, {"range": [8000, 8100]}]})"), kAccept))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(port("8765", "udp"), kAccept))}));
  CHECK(lets({chain("drop"), rule(both(port("5353", "udp"), kAccept))}, "udp", 5353));
  CHECK(lets({chain("drop"), rule(both(port("8765", "th"), kAccept))}));
  CHECK_FALSE(lets({chain("accept"), rule(both(port("8765"), kDrop))}));
  CHECK_FALSE(lets({chain("accept"), rule(both(port("8765"), kReject)), rule(both(port("8765"), kAccept))}));
  CHECK(lets({chain("accept"), rule(both(port("8765"), kAccept)), rule(kDrop)}));
  CHECK_FALSE(lets({chain("accept"), rule(both(kCounter, kReject)), rule(both(port("8765"), kAccept))}));
}

TEST_CASE("nft: a rule with further conditions decides only if it accepts this port") {
  CHECK(lets({chain("drop"), rule(both(kFromLan, both(port("8765"), kAccept)))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(kFromLan, both(port("22"), kAccept)))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(kEstablished, kAccept))}));
  CHECK(lets({chain("accept"), rule(both(kInvalid, kDrop))}));
  CHECK(lets({chain("accept"), rule(both(kFromLan, both(port("8765"), kDrop)))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(R"({"limit": {"rate": 5, "per": "second"}})", kAccept))}));
  CHECK_FALSE(lets({chain("drop"), rule(both(R"({"xt": {"type": "match", "name": "conntrack"}})", kAccept))}));
  CHECK(lets({chain("accept"), rule(both(R"({"xt": {"type": "match", "name": "conntrack"}})", kDrop))}));
  CHECK(lets({chain("accept"), rule(both(port("8765"), both(R"({"ct count": {"val": 20}})", kDrop)))}));
  const std::string not_web =
      R"({"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [80, 443]}}})";
  CHECK_FALSE(lets({chain("accept"), rule(both(not_web, kDrop))}));
  CHECK(lets({chain("accept"), rule(both(not_web, kDrop))}, "tcp", 443));
}

TEST_CASE("nft: what is not its JSON is an error") {
  for (const char* text : {"", "{", "{}", "[]", R"({"nftables": 7})", "nft: command not found"}) {
    INFO(text);
    CHECK_FALSE(input_chains(text));
    CHECK_FALSE(lets_in(text, "tcp", 8765));
  }
  CHECK(input_chains(R"({"nftables": [1, "x", {"chain": 5}, {"chain": {"hook": 1}}]})")->empty());
  CHECK(lets({R"({"rule": {"expr": [1, {"match": {}}, {"match": {"op": "==", "left": 1, "right": 2}}]}})"}));
}
