#include "commands/smoke_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "account.h"
#include "firewall.h"
#include "firewall_rules.h"
#include "readiness.h"

namespace mbsync {
namespace {

ExitCode exit_code_of(std::optional<CheckArea> worst) {
  if (!worst) {
    return ExitCode::kOk;
  }
  switch (*worst) {
    case CheckArea::kConfig:
      return ExitCode::kConfig;
    case CheckArea::kDatabase:
      return ExitCode::kDatabase;
    case CheckArea::kPort:
      return ExitCode::kPort;
    case CheckArea::kOther:
      break;
  }
  return ExitCode::kFailure;
}

std::string as_text(const std::vector<Check>& checks) {
  constexpr std::size_t kNameWidth = 12;
  constexpr std::size_t kVerdictWidth = 8;
  std::string text;
  for (const auto& check : checks) {
    text += fmt::format("{}{:<{}}{:<{}}{}", text.empty() ? "" : "\n", check.name, kNameWidth, to_string(check.verdict),
                        kVerdictWidth, check.what);
    if (!check.next.empty()) {
      text += fmt::format("; next: {}", check.next);
    }
  }
  return text;
}

nlohmann::ordered_json as_json(const std::vector<Check>& checks, ExitCode code) {
  nlohmann::ordered_json document{{"exit_code", static_cast<int>(code)}, {"checks", nlohmann::ordered_json::array()}};
  for (const auto& check : checks) {
    document["checks"].push_back(
        {{"name", check.name}, {"verdict", to_string(check.verdict)}, {"what", check.what}, {"next", check.next}});
  }
  return document;
}

/// Root may ask the firewall itself.
std::optional<Check> ask_firewall(const Config& config) {
  const auto look = look_at_firewall(config.port);
  const auto name = to_string(look.firewall);
  const bool off = look.state == FirewallLook::State::kOff;
  if (!is_root() || look.firewall == Firewall::kNone || look.state == FirewallLook::State::kOpen ||
      (off && look.firewall != Firewall::kNftables)) {
    return std::nullopt;
  }
  const auto rules = firewall_rules(name, config.port);
  if (!rules && off) {
    return std::nullopt;
  }
  if (!rules) {
    return Check{"firewall", Verdict::kWarning, fmt::format("{} cannot be asked: {}", name, rules.error().message),
                 rules.error().hint};
  }
  std::vector<std::string> lacking;
  for (const auto& rule : *rules) {
    if (!rule.present) {
      lacking.push_back(rule.what);
    }
  }
  if (lacking.empty()) {
    return Check{"firewall", Verdict::kOk, fmt::format("{} lets peers and mDNS in", name), ""};
  }
  return Check{"firewall", Verdict::kWarning, fmt::format("{} does not let in {}", name, fmt::join(lacking, " and ")),
               "sudo mbsync install --firewall"};
}

std::vector<Check> run_checks(const ConfigOptions& options) {
  const auto config = load_config(options, ConfigNeeds::kNothing);
  if (!config) {
    return {{"environment", Verdict::kFailed, config.error().message, config.error().hint, CheckArea::kConfig}};
  }
  return smoke_check(*config, [&] { return ask_firewall(*config); });
}

}  // namespace

void add_smoke_check(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App& command = *app.add_subcommand("smoke-check", "Look whether all is there that a node needs");
  add_config_options(command, *options);
  add_skip_db(command, *options);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "A line for each check, with ok, skipped, warning or failed, what was found, and what to do next. Nothing is "
      "changed.\n"
      "\nExit codes:\n"
      "  0  nothing has failed\n"
      "  1  something has failed that has no number of its own (disk)\n"
      "  2  configuration: a setting is missing or wrong, the key is weak, the data directory cannot be written\n"
      "  3  database: not reachable, it refuses, or a right is missing\n"
      "  4  port: another program has it\n"
      "\nExample:\n  mbsync smoke-check && mbsync run\n");
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) {
      const auto checks = run_checks(*options);
      invocation.exit_code = exit_code_of(worst_area(checks));
      return output.result(as_text(checks), as_json(checks, invocation.exit_code));
    };
  });
}

}  // namespace mbsync
