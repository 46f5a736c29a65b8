#include "database_look.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "run_as.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kPurgePatience{10'000};

// What passes from that process to this one.

Json packed(const Error& error) {
  return {{"kind", static_cast<int>(error.kind)},
          {"message", error.message},
          {"hint", error.hint},
          {"area", static_cast<int>(error.area)}};
}

Error error_in(const Json& json) {
  return Error{static_cast<ErrorKind>(json.at("kind").get<int>()), json.at("message"), json.at("hint"),
               static_cast<ErrorArea>(json.at("area").get<int>())};
}

Json packed(const std::vector<Check>& checks) {
  auto list = Json::array();
  for (const auto& check : checks) {
    list.push_back({{"name", check.name},
                    {"verdict", static_cast<int>(check.verdict)},
                    {"what", check.what},
                    {"next", check.next},
                    {"area", static_cast<int>(check.area)}});
  }
  return list;
}

std::vector<Check> checks_in(const Json& json) {
  std::vector<Check> checks;
  for (const auto& item : json) {
    checks.push_back({item.at("name"), static_cast<Verdict>(item.at("verdict").get<int>()), item.at("what"),
                      item.at("next"), static_cast<CheckArea>(item.at("area").get<int>())});
  }
  return checks;
}

Json packed(const PurgeLook& look) {
  return {{"schema_there", look.schema_there}, {"triggers", look.triggers}, {"used_by", look.used_by}};
}

PurgeLook purge_look_in(const Json& json) {
  return {json.at("schema_there"), json.at("triggers"), json.at("used_by"), {}};
}

/// `work` gives {"value": ...} or {"error": ...}.
Result<Json> ask(const Account& account, const std::function<Json()>& work) {
  const auto text = run_as(account, [&] { return work().dump(-1, ' ', false, Json::error_handler_t::replace); });
  MBSYNC_TRY(text);
  const auto answer = Json::parse(*text, nullptr, false);
  if (answer.is_object() && answer.contains("error")) {
    return error_in(answer.at("error"));
  }
  if (!answer.is_object() || !answer.contains("value")) {
    return Error{ErrorKind::kInternal, "what was tried as user '" + account.name + "' gave no answer", "say it again"};
  }
  return answer.at("value");
}

Json looked(const Config& config) {
  const auto facts = read_database_facts(config.database_url, config.tables, kDatabasePatience);
  Json value{{"checks", packed(check_database(config, facts))},
             {"ports", packed(check_ports(config, facts ? facts->self : std::nullopt))},
             {"answers", facts.has_value()}};
  if (facts) {
    value.update(
        {{"prepared", facts->schema_there && !facts->schema_trouble && facts->self && facts->without_triggers.empty()},
         {"older_schema", facts->schema_older},
         {"node_at_work", facts->node_at_work},
         {"node", facts->self ? fmt::format("{} ({})", facts->self->name, to_string(facts->self->id)) : ""},
         {"tables", facts->tables},
         {"refused", facts->refused}});
  }
  return {{"value", std::move(value)}};
}

Json packed(const PrepareReport& report) {
  return {{"created", report.created}, {"tables", report.tables},   {"triggers_installed", report.triggers_installed},
          {"waiting", report.waiting}, {"refused", report.refused}, {"rows_adopted", report.rows_adopted}};
}

Json packed(const StoreStatus& status) {
  std::int64_t unsent = 0;
  int others = 0;
  for (const auto& member : status.members) {
    if (!member.self && !member.standing.away) {
      ++others;
      unsent = std::max(unsent, member.behind_writes + status.captures);
    }
  }
  return {{"writes", unsent},
          {"open_conflicts", status.open_conflicts},
          {"waiting_rows", status.unseen_rows + status.parked_rows},
          {"others", others}};
}

template <typename T>
Json answer_of(const Result<T>& result) {
  return result ? Json{{"value", packed(*result)}} : Json{{"error", packed(result.error())}};
}

/// The server has been asked, and has no such database.
bool is_no_database(const Error& error) {
  return error.message.find("database \"") != std::string::npos &&
         error.message.find("\" does not exist") != std::string::npos;
}

}  // namespace

Result<DatabaseLook> look_as(const Account& account, const Config& config) {
  const auto value = ask(account, [&] { return looked(config); });
  MBSYNC_TRY(value);
  DatabaseLook look;
  look.checks = checks_in(value->at("checks"));
  look.ports = checks_in(value->at("ports"));
  look.answers = value->at("answers");
  if (look.answers) {
    look.prepared = value->at("prepared");
    look.older_schema = value->at("older_schema");
    look.node_at_work = value->at("node_at_work");
    look.node = value->at("node");
    value->at("tables").get_to(look.tables);
    value->at("refused").get_to(look.refused);
  }
  return look;
}

Result<PrepareReport> prepare_as(const Account& account, const Config& config) {
  const auto value = ask(account, [&] {
    PgStore store(config.database_url, config.node_name, config.tables);
    return answer_of(store.prepare());
  });
  MBSYNC_TRY(value);
  PrepareReport report;
  report.created = value->at("created");
  report.tables = value->at("tables");
  report.triggers_installed = value->at("triggers_installed");
  value->at("waiting").get_to(report.waiting);
  value->at("refused").get_to(report.refused);
  report.rows_adopted = value->at("rows_adopted");
  return report;
}

Result<PurgeView> look_at_purge_as(const Account& account, const Config& config) {
  const auto value = ask(account, [&]() -> Json {
    const auto look = look_at_purge(config.database_url, kDatabasePatience);
    if (!look && is_no_database(look.error())) {
      return {{"value", {{"look", packed(PurgeLook{})}, {"database_there", false}}}};
    }
    if (!look) {
      return {{"error", packed(look.error())}};
    }
    Json found{{"look", packed(*look)}, {"database_there", true}};
    if (look->schema_there) {
      if (const auto status = PgStore::read_status(config.database_url); status) {
        found["unsent"] = packed(*status);
      }
    }
    return {{"value", std::move(found)}};
  });
  MBSYNC_TRY(value);
  PurgeView view{purge_look_in(value->at("look")), {}, value->at("database_there")};
  if (value->contains("unsent")) {
    const auto& unsent = value->at("unsent");
    view.unsent = {true, unsent.at("writes"), unsent.at("open_conflicts"), unsent.at("waiting_rows"),
                   unsent.at("others")};
  }
  return view;
}

Result<PurgeLook> purge_as(const Account& account, const Config& config) {
  const auto value = ask(account, [&] { return answer_of(purge(config.database_url, kPurgePatience)); });
  MBSYNC_TRY(value);
  return purge_look_in(*value);
}

bool goes_by_account(const DatabaseUrl& url) {
  bool socket = true;
  bool password = false;
  for (const auto& [key, value] : url.conninfo) {
    if (key == "host" || key == "hostaddr") {
      socket = value.empty() || value.front() == '/';
    }
    password = password || (key == "password" && !value.empty()) || key == "passfile";
  }
  return socket && !password;
}

}  // namespace mbsync
