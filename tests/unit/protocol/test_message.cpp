#include <rapidcheck.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "generators.h"
#include "message.h"
#include "protocol_limits.h"

using namespace mbsync;
using namespace mbsync::test;
using nlohmann::json;

namespace {

PullRequest some_request() {
  PullRequest request;
  request.sender = {NodeId{0x1a}, "kasse-1"};
  request.seen = VersionVector({{NodeId{0x1a}, 17}, {NodeId{0x2b}, 4}});
  request.members = {{NodeId{0x1a}, "kasse-1"}, {NodeId{0x2b}, "büro"}};
  request.reports = {{NodeId{0x1a}, request.seen}, {NodeId{0x2b}, VersionVector({{NodeId{0x1a}, 12}})}};
  request.wait_ms = 25'000;
  request.sent_at_us = 1'700'000'000'000'000;
  return request;
}

TableHeader some_table() {
  return {"public", "orders", {"id"}, {{"id", "bigint"}, {"note", "text"}}, {1, 3}};
}

/// The request as JSON, changed, and parsed: the error's text, or "ok".
std::string outcome_after(const std::function<void(json&)>& change) {
  json document = json::parse(to_json(some_request()));
  change(document);
  const auto parsed = parse_pull_request(document.dump());
  if (!parsed) {
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
  return parsed ? "ok" : parsed.error().message;
}

std::string table_after(const std::function<void(json&)>& change) {
  json document = json::parse(to_json(some_table()));
  change(document);
  const auto parsed = parse_table_header(document.dump());
  return parsed ? "ok" : parsed.error().message;
}

}  // namespace

TEST_CASE("message: a pull request reads as PROTOCOL.md shows it") {
  CHECK(to_json(some_request()) ==
        R"({"base":"",)"
        R"("members":[{"id":"000000000000001a","name":"kasse-1"},{"id":"000000000000002b","name":"büro"}],)"
        R"("others_have_all":true,)"
        R"("reports":{"000000000000002b":{"000000000000001a":12,"000000000000002b":0}},)"
        R"("seen":{"000000000000001a":17,"000000000000002b":4},)"
        R"("sender":{"id":"000000000000001a","name":"kasse-1"},"sent_at_us":1700000000000000,"wait_ms":25000})");
}

TEST_CASE("message: decode(encode(x)) = x") {
  CHECK(rc::check("pull request", [] {
    PullRequest request;
    request.sender = *any_member();
    request.seen = *any_vector();
    request.members = *any_members();
    request.reports = *any_reports();
    request.wait_ms = *rc::gen::inRange<std::int64_t>(0, kWaitMsMax + 1);
    request.sent_at_us = *rc::gen::inRange<std::int64_t>(0, 253'402'300'800'000'000);
    if (const auto was = *any_node(); was != request.sender.id) {
      request.was = was;
    }
    RC_ASSERT(parse_pull_request(to_json(request)).value() == request);
  }));
  CHECK(rc::check("pull header", [] {
    PullHeader header;
    header.sender = *any_member();
    header.seen = *any_vector();
    header.members = *any_members();
    header.reports = *any_reports();
    header.full = *rc::gen::arbitrary<bool>();
    header.forgotten = *any_vector();
    header.ask_again = *rc::gen::arbitrary<bool>();
    header.standing =
        *rc::gen::element(Standing::kMember, Standing::kAway, Standing::kGone, Standing::kBanned, Standing::kElsewhere);
    const auto staying = *rc::gen::container<std::set<NodeId>>(any_node());
    header.staying.assign(staying.begin(), staying.end());
    const auto outside = *rc::gen::container<std::set<NodeId>>(any_node());
    header.outside.assign(outside.begin(), outside.end());
    RC_ASSERT(parse_pull_header(to_json(header)).value() == header);
  }));
  CHECK(rc::check("table header", [] {
    TableHeader table;
    table.schema = *any_name();
    table.name = *rc::gen::suchThat(any_text(), [](const std::string& text) { return !text.empty(); });
    const auto names = *rc::gen::nonEmpty(rc::gen::container<std::set<std::string>>(any_name()));
    ColumnNumber number = 0;
    for (const std::string& name : names) {
      table.columns.push_back({name, "numeric(10,2)"});
      number += *rc::gen::inRange<ColumnNumber>(1, 50);
      table.numbers.push_back(number);
    }
    table.key = {*names.begin()};
    RC_ASSERT(parse_table_header(to_json(table)).value() == table);
  }));
  CHECK(rc::check("refusal", [] {
    const Refusal refusal{*rc::gen::element(ErrorKind::kTransient, ErrorKind::kRejected, ErrorKind::kConfig),
                          *any_text(), *any_text()};
    RC_ASSERT(parse_refusal(to_json(refusal)).value() == refusal);
  }));
  const PullFooter footer{3, std::numeric_limits<std::int64_t>::max()};
  CHECK(parse_pull_footer(to_json(footer)).value() == footer);
}

TEST_CASE("message: what the other side knows already is not said again") {
  const auto later = [](PullRequest message) {
    message.seen.advance({NodeId{0x2b}, 9});
    message.members.push_back({NodeId{0x3c}, "lager"});
    message.reports.at(NodeId{0x1a}) = message.seen;
    return message;
  };
  const auto base = some_request();
  const auto request = later(base);
  const auto text = to_json(request, base, "abc");
  CHECK(text ==
        R"({"base":"abc","members":[{"id":"000000000000003c","name":"lager"}],"others_have_all":false,)"
        R"("reports":{"000000000000001a":{},"000000000000002b":{"000000000000001a":12,"000000000000002b":0}},)"
        R"("seen":{"000000000000002b":9},)"
        R"("sender":{"id":"000000000000001a","name":"kasse-1"},"sent_at_us":1700000000000000,"wait_ms":25000})");
  const auto find = [&](std::string_view name) { return name == "abc" ? &base : nullptr; };
  CHECK(parse_pull_request(text, find).value() == request);
  CHECK(parse_pull_request(text).error().kind == ErrorKind::kNotFound);
  CHECK(parse_pull_request(to_json(request, base, "abd"), find).error().kind == ErrorKind::kNotFound);

  PullHeader header;
  header.sender = request.members[1];
  header.seen = request.seen;
  header.members = request.members;
  header.forgotten = header.seen;
  for (const auto& member : header.members) {
    header.reports[member.id] = header.seen;
  }
  CHECK(to_json(header, request) ==
        R"({"ask_again":false,"forgotten":{},"full":false,"members":[],"others_have_all":true,"reports":{},"seen":{},)"
        R"("sender":{"id":"000000000000002b","name":"büro"},"sent_at_us":0})");
  CHECK(parse_pull_header(to_json(header, request), request).value() == header);
}

TEST_CASE("message: a short one does not stand for more than memory holds") {
  PullRequest request = some_request();
  request.members.clear();
  request.reports.clear();
  request.seen = {};
  for (std::int64_t i = 1; i <= 2'000; ++i) {
    request.members.push_back({NodeId{i}, "m"});
    request.seen.advance({NodeId{i}, 1});
  }
  for (const auto& member : request.members) {
    request.reports[member.id] = request.seen;
  }
  const auto text = to_json(request);
  CHECK(text.size() < kMessageBytesMax / 4);
  const auto parsed = parse_pull_request(text);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  CHECK_THAT(parsed.error().message, Catch::Contains("'reports': more entries than may be"));

  // The same where each says that it is no different.
  request.members.push_back({NodeId{5'000}, "m"});
  std::string told = to_json(request);
  const std::string other = R"("others_have_all":true,"reports":{"0000000000001388":null})";
  REQUIRE(told.find(other) != std::string::npos);
  std::string each = R"("others_have_all":false,"reports":{)";
  for (const auto& member : request.members) {
    each += (each.back() == '{' ? "\"" : ",\"") + to_string(member.id) + "\":{}";
  }
  told.replace(told.find(other), other.size(), each + "}");
  CHECK_THAT(parse_pull_request(told).error().message, Catch::Contains("more entries than may be"));
}

TEST_CASE("message: decode(encode(x)) = x, whatever it builds upon") {
  const auto united = [](std::vector<Member> members, const std::vector<Member>& more) {
    std::map<NodeId, std::string> names;
    for (const auto& member : more) {
      names[member.id] = member.name;
    }
    for (const auto& member : members) {
      names[member.id] = member.name;
    }
    members.clear();
    for (const auto& [id, name] : names) {
      members.push_back({id, name});
    }
    return members;
  };
  // Vectors that have much in common, as those of a fleet do.
  const auto related = [](const VersionVector& to) {
    VersionVector::Map counters = (*any_vector()).counters();
    for (const auto& [origin, counter] : to.counters()) {
      if (*rc::gen::inRange(0, 3) > 0) {
        counters[origin] = *rc::gen::element(counter, std::int64_t{1});
      }
    }
    return VersionVector(std::move(counters));
  };
  CHECK(rc::check([&] {
    PullRequest base;
    base.seen = *any_vector();
    base.members = *any_members();
    PullRequest request;
    request.sender = *any_member();
    request.seen = related(base.seen);
    request.members = united(*any_members(), base.members);
    for (const auto& member : request.members) {
      switch (*rc::gen::inRange(0, 3)) {
        case 0:
          break;
        case 1:
          request.reports[member.id] = related(request.seen);
          break;
        default:
          request.reports[member.id] = request.seen;
      }
    }
    const auto find = [&](std::string_view name) { return name == "x" ? &base : nullptr; };
    RC_ASSERT(parse_pull_request(to_json(request, base, "x"), find).value() == request);

    PullHeader header;
    header.sender = *any_member();
    header.seen = related(request.seen);
    header.members = united(*any_members(), request.members);
    header.reports = request.reports;
    header.forgotten = related(header.seen);
    RC_ASSERT(parse_pull_header(to_json(header, request), request).value() == header);
  }));
}

TEST_CASE("message: the text that a base is named after is the same for the same contents, and no other") {
  auto one = some_request();
  auto other = one;
  std::swap(other.members[0], other.members[1]);
  other.sender = other.members[0];
  other.reports.clear();
  CHECK(base_text(one) == base_text(other));
  other.members[0].name += "x";
  CHECK(base_text(one) != base_text(other));
  one.seen.advance({NodeId{0x2b}, 5});
  CHECK(base_text(one) != base_text(some_request()));
}

TEST_CASE("message: every member of a request is needed, and no other is taken") {
  CHECK(outcome_after([](json&) {}) == "ok");
  for (const std::string name :
       {"base", "sender", "seen", "members", "reports", "others_have_all", "wait_ms", "sent_at_us"}) {
    CHECK(outcome_after([&](json& message) { message.erase(name); }) ==
          "malformed pull request: member '" + name + "': missing");
    CHECK(outcome_after([&](json& message) { message[name] = name == "base" ? json(1) : json("x"); }) != "ok");
    CHECK(outcome_after([&](json& message) { message[name] = nullptr; }) != "ok");
  }
  CHECK(outcome_after([](json& message) { message["extra"] = 1; }) ==
        "malformed pull request: member 'extra': unknown");
  CHECK(outcome_after([](json& message) { message["sender"]["extra"] = 1; }) ==
        "malformed pull request: member 'extra': unknown");
  CHECK(outcome_after([](json& message) { message["sender"].erase("name"); }) ==
        "malformed pull request: member 'name': missing");
}

TEST_CASE("message: what is rarely said has one form") {
  CHECK(outcome_after([](json& message) { message["was"] = "000000000000002b"; }) == "ok");
  CHECK(outcome_after([](json& message) { message["was"] = message["sender"]["id"]; }) ==
        "malformed pull request: member 'was': the sender itself");
  CHECK(outcome_after([](json& message) { message["was"] = nullptr; }) != "ok");

  const auto header_after = [](const std::string& name, const json& value) {
    auto message = json::parse(to_json(PullHeader{some_request().sender, {}, {}, {}}));
    message[name] = value;
    const auto parsed = parse_pull_header(message.dump());
    return parsed ? std::string("ok") : parsed.error().message;
  };
  CHECK(header_after("standing", "gone") == "ok");
  CHECK(header_after("standing", "member") == "malformed pull header: member 'standing': unknown word");
  CHECK(header_after("staying", json::array({"000000000000001a"})) == "ok");
  CHECK(header_after("staying", json::array()) == "malformed pull header: member 'staying': empty");
  CHECK(header_after("outside", json::array({"000000000000001a", "000000000000002b"})) == "ok");
  CHECK(header_after("outside", json::array()) == "malformed pull header: member 'outside': empty");
  CHECK(header_after("outside", json::array({"000000000000002b", "000000000000001a"})) ==
        "malformed pull header: member 'outside': not in the order of ids");
  CHECK(header_after("outside", json::array({7})) != "ok");
}

TEST_CASE("message: values out of range are refused") {
  const auto set = [](const char* name, const json& value) {
    return outcome_after([&](json& message) { message[name] = value; });
  };
  CHECK(set("wait_ms", -1) != "ok");
  CHECK(set("wait_ms", kWaitMsMax) == "ok");
  CHECK(set("wait_ms", kWaitMsMax + 1) != "ok");
  CHECK(set("wait_ms", 1.0) != "ok");
  CHECK(set("wait_ms", std::numeric_limits<std::uint64_t>::max()) != "ok");
  CHECK(set("wait_ms", true) != "ok");
  CHECK(set("sent_at_us", -1) != "ok");
  CHECK(set("seen", {{"000000000000001a", 0}}) != "ok");
  CHECK(set("seen", {{"000000000000001a", -5}}) != "ok");
  CHECK(set("seen", {{"000000000000001A", 5}}) != "ok");  // one node, two spellings
  CHECK(set("seen", {{"0000000000000000", 5}}) != "ok");
  CHECK(set("seen", {{"ffffffffffffffff", 5}}) != "ok");
  CHECK(set("seen", {{"1a", 5}}) != "ok");
  CHECK(outcome_after([](json& message) { message["seen"] = message["reports"] = json::object(); }) == "ok");
  CHECK(set("reports", {{"000000000000001a", 5}}) != "ok");
  CHECK(set("reports", {{"000000000000001a", nullptr}}) == "ok");
  CHECK(set("reports", {{"000000000000001a", {{"000000000000001a", 0}}}}) == "ok");
  CHECK(set("reports", {{"000000000000001a", {{"000000000000003c", 0}}}}) != "ok");  // nothing there to take back
  CHECK(outcome_after([](json& message) {
          message["others_have_all"] = false;
          message["reports"] = {{"000000000000001a", nullptr}};
        }) != "ok");
  CHECK(set("sender", {{"id", "000000000000001a"}, {"name", ""}}) != "ok");
  CHECK(set("sender", {{"id", "000000000000001a"}, {"name", std::string(kNodeNameBytesMax, 'x')}}) == "ok");
  CHECK(set("sender", {{"id", "000000000000001a"}, {"name", std::string(kNodeNameBytesMax + 1, 'x')}}) != "ok");
  CHECK(set("sender", {{"id", "000000000000001a"}, {"name", "two\nlines"}}) != "ok");
  CHECK(set("sender", {{"id", "000000000000001a"}, {"name", std::string("zero\0", 5)}}) != "ok");
  const json member = {{"id", "000000000000001a"}, {"name", "a"}};
  CHECK(set("members", json::array({member})) == "ok");
  CHECK(set("members", json::array({member, member})) != "ok");
}

TEST_CASE("message: counts and sizes are limited") {
  json many = json::object();
  for (std::size_t i = 1; i <= kMembersMax + 1; ++i) {
    many[to_string(NodeId{static_cast<std::int64_t>(i)})] = 1;
  }
  CHECK_THAT(outcome_after([&](json& message) { message["seen"] = many; }), Catch::Contains("more than 10000"));
  many.erase(many.begin());
  CHECK(outcome_after([&](json& message) { message["seen"] = many; }) == "ok");

  const std::string padding(kMessageBytesMax, ' ');
  CHECK_THAT(parse_pull_request(to_json(some_request()) + padding).error().message, Catch::Contains("more than"));
}

TEST_CASE("message: a table header's lists fit together") {
  CHECK(table_after([](json&) {}) == "ok");
  CHECK(table_after([](json& table) { table["numbers"] = {1}; }) != "ok");
  CHECK(table_after([](json& table) { table["numbers"] = {1, 1}; }) != "ok");
  CHECK(table_after([](json& table) { table["numbers"] = {0, 1}; }) != "ok");  // the row mark is no column
  CHECK(table_after([](json& table) { table["numbers"] = {1, kColumnNumberMax}; }) == "ok");
  CHECK(table_after([](json& table) { table["numbers"] = {1, kColumnNumberMax + 1}; }) != "ok");
  CHECK(table_after([](json& table) { table["key"] = json::array(); }) != "ok");
  CHECK(table_after([](json& table) { table["key"] = {"id", "id"}; }) != "ok");
  CHECK(table_after([](json& table) { table["columns"][1]["name"] = "id"; }) != "ok");
  CHECK(table_after([](json& table) { table["name"] = std::string(kIdentifierBytesMax + 1, 'x'); }) != "ok");
  CHECK(table_after([](json& table) { table["name"] = ""; }) != "ok");
  CHECK(table_after([](json& table) { table["columns"][0]["type"] = std::string(kTypeBytesMax + 1, 'x'); }) != "ok");
}

TEST_CASE("message: members given twice are noticed, however they are written") {
  CHECK_THAT(parse_pull_footer(R"({"tables":1,"rows":2,"tables":3})").error().message,
             Catch::Contains("'tables': given twice"));
  CHECK_FALSE(parse_pull_footer(R"({"tables":1,"rows":2,"table\u0073":1})"));
  CHECK(parse_pull_footer(R"({"tables":1,"rows":2})"));
}

TEST_CASE("message: deep nesting ends in an error, not on the stack") {
  for (const char* opening : {"[", "{\"a\":"}) {
    std::string deep;
    while (deep.size() + 8 < kMessageBytesMax) {
      deep += opening;
    }
    CHECK_THAT(parse_pull_request(deep).error().message, Catch::Contains("nested deeper"));
    CHECK_THAT(parse_wire_row(deep).error().message, Catch::Contains("nested deeper"));
  }
}

TEST_CASE("message: arbitrary bytes are an error") {
  CHECK(rc::check("garbage", [](const std::string& garbage) {
    RC_ASSERT(!parse_pull_request(garbage));
    RC_ASSERT(!parse_pull_header(garbage));
    RC_ASSERT(!parse_table_header(garbage));
    RC_ASSERT(!parse_pull_footer(garbage));
    RC_ASSERT(!parse_refusal(garbage));
    RC_ASSERT(!parse_wire_row(garbage));
  }));
  CHECK(rc::check("one byte changed never crashes, and what is taken can be said again", [] {
    std::string text = to_json(some_request());
    text[*rc::gen::inRange<std::size_t>(0, text.size())] = *rc::gen::arbitrary<char>();
    const auto parsed = parse_pull_request(text);
    RC_ASSERT((!parsed || parse_pull_request(to_json(*parsed)).value() == *parsed));
  }));
}

TEST_CASE("message: an error names the member but repeats no foreign text in full") {
  const std::string nasty = "evil\nline' " + std::string(500, 'x');
  const std::string message = outcome_after([&](json& document) { document[nasty] = 1; });
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.size() < 200);
}

TEST_CASE("message: a refusal's texts are cut, not refused, and may hold any byte") {
  const Refusal refusal{ErrorKind::kConfig, std::string(kRefusalTextBytesMax - 1, 'x') + "€€", "no \xff UTF-8"};
  const auto parsed = parse_refusal(to_json(refusal));
  REQUIRE(parsed);
  CHECK(parsed->message == std::string(kRefusalTextBytesMax - 1, 'x'));
  CHECK(parsed->hint == "no \xEF\xBF\xBD UTF-8");
  CHECK(parse_refusal(to_json(Refusal{ErrorKind::kInternal, std::string(3 * kRefusalTextBytesMax, '\xff'), ""})));
  CHECK(parse_refusal(to_json(Refusal{ErrorKind::kInternal, std::string("a\0b", 3), ""}))->message == "ab");
  CHECK_FALSE(parse_refusal(R"({"kind":"sad","message":"","hint":""})"));
}
