// The routes, and that their description says of them what is so.
#include "local_api.h"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

using namespace mbsync;

namespace {

struct Desk {
  NodeActivity activity{"1.2.3", std::chrono::system_clock::now()};
  NodeControl control;
  VerifyBoard verify;
  std::function<NodeStatus(std::chrono::steady_clock::time_point)> status = [](auto) { return NodeStatus(); };
  LocalApi api{{[this](auto since) { return status(since); }, activity, control, {}, verify}};

  LocalAnswer ask(const std::string& method, const std::string& path, const std::string& body = "",
                  std::map<std::string, std::string> query = {}) {
    for (const auto& route : api.routes()) {
      if (route.method == method && route.path == path) {
        LocalRequest request{method, path, std::move(query), "abcd", body, ""};
        return route.answer(request);
      }
    }
    FAIL("no such route");
    return {};
  }
};

/// Of a document with references, what the member refers to.
const nlohmann::json& looked_up(const nlohmann::json& document, const nlohmann::json& schema) {
  const auto reference = schema.find("$ref");
  if (reference == schema.end()) {
    return schema;
  }
  return document.at(nlohmann::json::json_pointer(reference->get<std::string>().substr(1)));
}

void check_references(const nlohmann::json& document, const nlohmann::json& part) {
  if (part.is_object()) {
    INFO(part.dump());
    CHECK_FALSE(looked_up(document, part).is_null());
  }
  for (const auto& inner : part) {
    if (inner.is_structured()) {
      check_references(document, inner);
    }
  }
}

/// Whether what was answered has the members that the description names, and no others on its first level.
void check_members(const nlohmann::json& document, const char* schema, const nlohmann::json& answer) {
  const auto& described = document["components"]["schemas"][schema];
  for (const auto& name : described.value("required", nlohmann::json::array())) {
    INFO(schema << " " << name);
    CHECK(answer.contains(name.get<std::string>()));
  }
  for (const auto& [name, value] : answer.items()) {
    INFO(schema << " " << name);
    CHECK(described["properties"].contains(name));
  }
}

}  // namespace

TEST_CASE("local api: the description names the routes that there are, and no others") {
  Desk desk;
  const auto document = nlohmann::json::parse(openapi_document());
  std::set<std::string> described;
  for (const auto& [path, operations] : document["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      described.insert((method == "get" ? "GET " : "POST ") + path);
      CHECK(operation.contains("summary"));
    }
  }
  std::set<std::string> there;
  for (const auto& route : desk.api.routes()) {
    there.insert(route.method + " " + route.path);
  }
  CHECK(described == there);
  check_references(document, document);
  CHECK(desk.ask("GET", "/api/sync/openapi.json").body == openapi_document());
}

TEST_CASE("local api: answers have what the description says they have") {
  Desk desk;
  const auto document = nlohmann::json::parse(openapi_document());
  const auto health = desk.ask("GET", "/health");
  CHECK(health.status == 503);
  check_members(document, "NodeStatus", nlohmann::json::parse(health.body));
  desk.status = [](auto) {
    NodeStatus status;
    status.store.emplace();
    status.store->members.push_back({Member{NodeId{2}, "till"}, false, "", 0});
    return status;
  };
  const auto status = nlohmann::json::parse(desk.ask("GET", "/api/sync/service").body);
  check_members(document, "NodeStatus", status);
  check_members(document, "FleetPeer", status["fleet"][0]);
  const auto& member = document["components"]["schemas"]["NodeStatus"]["properties"]["members"]["items"]["properties"];
  for (const auto& [name, value] : status["members"][0].items()) {
    INFO(name);
    CHECK(member.contains(name));
  }
  check_members(document, "Stats", nlohmann::json::parse(desk.ask("GET", "/api/sync/stats").body));
  CHECK(desk.ask("GET", "/api/sync/service").status == 200);
  check_members(document, "Refusal", nlohmann::json::parse(desk.ask("POST", "/api/sync/service", "{}").body));
  desk.control.set_round([](const std::stop_token&) { return std::vector<PeerRound>{{}}; });
  const auto round = nlohmann::json::parse(desk.ask("POST", "/api/sync/service", R"({"action":"sync"})").body);
  check_members(document, "SyncRound", round);
  CHECK(round["in_step"] == false);
  const auto process = nlohmann::json::parse(desk.ask("GET", "/api/sync/process").body);
  check_members(document, "ProcessFacts", process);
  for (const auto& [name, schema] : document["components"]["schemas"]["ProcessFacts"]["properties"].items()) {
    INFO(name);
    CHECK(process.contains(name));
  }
  // Every kind of event that the sources tell of is described: those of this test's node are.
  desk.ask("POST", "/api/sync/service", R"({"action":"restart"})");
  const auto& kinds = document["components"]["schemas"]["Event"]["properties"]["kind"]["enum"];
  for (const auto& event : desk.activity.events().latest(100)) {
    INFO(event.kind);
    CHECK(std::find(kinds.begin(), kinds.end(), event.kind) != kinds.end());
  }
}

TEST_CASE("local api: what is asked for wrongly is refused before the database is asked") {
  Desk desk;
  for (const char* body : {"", "x", "[]", "{}", R"({"action": 1})", R"({"action": "sleep"})"}) {
    CHECK(desk.ask("POST", "/api/sync/service", body).status == 400);
  }
  CHECK(desk.ask("POST", "/api/sync/service", R"({"action":"sync"})").status == 503);
  for (const char* minutes : {"0", "1441", "-1", "1x", "99999999999999999999"}) {
    CHECK(desk.ask("GET", "/api/sync/stats", "", {{"minutes", minutes}}).status == 400);
  }
  CHECK(desk.ask("GET", "/api/sync/conflicts", "", {{"limit", "0"}}).status == 400);
  CHECK(desk.ask("GET", "/api/sync/conflicts", "", {{"state", "closed"}}).status == 400);
  CHECK(desk.ask("GET", "/api/sync/conflicts", "", {{"table", "\xff"}}).status == 400);
  CHECK(desk.ask("GET", "/api/sync/conflicts", "", {{"key", std::string("a\0b", 3)}}).status == 400);
  for (const char* body :
       {"{}", R"({"how": "keep"})", R"({"how": "set"})", R"({"how": "set", "values": {"a": 1}})", R"({"how": 1})",
        R"({"how": "accept", "shown": {"exists": true}})", R"({"how": "accept", "shown": {"exists": 1, "values": {}}})",
        R"({"how": "accept", "shown": {"exists": true, "values": {"a": 1}}})", R"({"how": "accept", "more": 1})",
        R"({"how": "keep", "version": "1"})", R"({"how": "drop"})", R"({"how": "keep", "version": 0})",
        R"({"how": "keep", "version": -1})",
        // As an int it would be 1.
        R"({"how": "keep", "version": 4294967297})", R"({"how": "keep", "version": 18446744073709551615})",
        // PostgreSQL would take what stands before the character 0.
        R"({"how": "set", "values": {"a": "x\u0000y"}})", R"({"how": "set", "values": {"a\u0000b": "x"}})",
        R"({"how": "keep", "node": "till\u0000"})", R"({"how": "accept", "stamp": "a\u0000"})"}) {
    INFO(body);
    CHECK(desk.ask("POST", "/api/sync/conflicts/{id}", body).status == 400);
  }
}

TEST_CASE("local api: a round is in step only if the database has said so after it") {
  Desk desk;
  const Member peer{NodeId{2}, "till"};
  desk.control.set_round([&](const std::stop_token&) {
    return std::vector<PeerRound>{{peer, "till:8765", true, 0, 0, std::nullopt}};
  });
  const auto sync = [&] {
    return nlohmann::json::parse(desk.ask("POST", "/api/sync/service", R"({"action":"sync"})").body);
  };
  auto round = sync();  // the database does not answer
  CHECK(round["in_step"] == false);
  CHECK(round["peers"][0]["in_step"] == true);
  CHECK(round["peers"][0]["lacks_rows"].is_null());
  const auto before = std::chrono::steady_clock::now();
  desk.status = [&](auto since) {
    NodeStatus status;
    status.store.emplace();
    // What was read before the round does not know of the write that the peer lacks.
    status.store->members.push_back({peer, false, "", since > before ? 1 : 0});
    return status;
  };
  round = sync();
  CHECK(round["in_step"] == false);
  CHECK(round["peers"][0]["lacks_rows"] == 1);
  desk.status = [&](auto) {
    NodeStatus status;
    status.store.emplace();
    return status;
  };
  CHECK(sync()["in_step"] == true);
}

TEST_CASE("local api: those who wait for a round do not take all threads") {
  Desk desk;
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  desk.control.set_round([&](const std::stop_token&) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return over; });
    return std::vector<PeerRound>{};
  });
  std::map<int, int> answers;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto status = desk.ask("POST", "/api/sync/service", R"({"action":"sync"})").status;
        const std::lock_guard lock(mutex);
        ++answers[status];
        changed.notify_all();
      });
    }
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds{10}, [&] { return answers[503] >= 4; });
    over = true;
    changed.notify_all();
  }
  CHECK(answers[503] == 4);
  CHECK(answers[200] == 4);
}

TEST_CASE("node control: what is asked for before a run begins is not lost, and a stop beats a restart") {
  NodeControl control;
  control.restart();
  CHECK(control.take_restart());
  CHECK_FALSE(control.take_restart());
  // The run that begins is what was asked for.
  control.restart();
  std::stop_source first;
  control.begin_run(first);
  CHECK_FALSE(first.stop_requested());
  CHECK_FALSE(control.is_to_restart());
  control.stop();
  control.restart();
  std::stop_source run;
  control.begin_run(run);
  CHECK(run.stop_requested());
  CHECK_FALSE(control.take_restart());
  CHECK_FALSE(control.sync());
}
