// Two real nodes for the test of the dashboard, and what happens to them: it reads one request a line from stdin, as
// JSON, and answers each with one line. Ends, with its nodes, at the end of its input.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "fleet.h"

using namespace mbsync::test;
using nlohmann::json;

namespace {

class Stage {
 public:
  json answer(const json& request);

 private:
  Node& node(const json& request) { return *nodes_.at(request.at("node").get<std::string>()); }
  json add(const json& request);
  json rules(const json& request);

  Fleet fleet_;
  std::map<std::string, Node*> nodes_;
};

json Stage::add(const json& request) {
  const auto name = request.at("node").get<std::string>();
  Node& fresh = fleet_.add_node(Fleet::shared_cluster(), name, request.at("schema").get<std::string>());
  const auto settings = request.value("set", json::object());
  for (const auto& [variable, value] : settings.items()) {
    fresh.set(variable, value.get<std::string>());
  }
  nodes_[name] = &fresh;
  if (request.contains("beside")) {
    fleet_.connect(*nodes_.at(request["beside"].get<std::string>()), fresh);
  }
  return {{"local_port", fresh.local_port()}, {"port", fresh.port()}};
}

json Stage::rules(const json& request) {
  const auto file = fleet_.directory() / "rules.toml";
  std::ofstream(file) << request.at("document").get<std::string>();
  const auto said = run_program(
      mbsync_program(),
      clean_options({"rules", "apply", "--yes", file.string()},
                    {{"DATABASE_URL", node(request).url()}, {"SYNC_REGISTRATION_KEY", kFleetKey}}, fleet_.directory()));
  if (said.exit_code != 0) {
    throw std::runtime_error(said.out + said.err);
  }
  return {{"said", said.out}};
}

json Stage::answer(const json& request) {
  const auto what = request.at("do").get<std::string>();
  if (what == "add") {
    return add(request);
  }
  if (what == "rules") {
    return rules(request);
  }
  if (what == "start") {
    node(request).start_ready();
  } else if (what == "stop") {
    node(request).stop();
  } else if (what == "kill") {
    node(request).kill9();
  } else if (what == "execute") {
    node(request).execute(request.at("sql").get<std::string>());
  } else if (what == "scalar") {
    return {{"value", node(request).scalar(request.at("sql").get<std::string>())}};
  } else if (what == "converge") {
    fleet_.await_converged(
        {nodes_.at(request.at("a").get<std::string>()), nodes_.at(request.at("b").get<std::string>())});
  } else {
    throw std::runtime_error("nobody knows how to " + what);
  }
  return json::object();
}

}  // namespace

int main() {
  Stage stage;
  std::string line;
  while (std::getline(std::cin, line)) {
    json said;
    try {
      said = stage.answer(json::parse(line));
    } catch (const std::exception& thrown) {
      said = {{"error", thrown.what()}};
    }
    std::cout << said.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return 0;
}
