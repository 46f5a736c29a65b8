// The steps of an installation that register the service, start it, and let peers through the firewall.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <ctime>

#include "command.h"
#include "firewall.h"
#include "firewall_rules.h"
#include "install_plan.h"

namespace mbsync {
namespace {

/// As ServiceState::since has it.
std::string iso_of(std::chrono::system_clock::time_point time) {
  const auto at = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&at, &parts);
  std::array<char, 32> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

class UnitStep : public Step {
 public:
  explicit UnitStep(Installation& installation) : Step("unit"), installation_(installation) {}

  Result<Finding> look() override {
    const auto wanted = installation_.manager->definition(installation_.service());
    const auto text = read_file(wanted.path);
    MBSYNC_TRY(text);
    const auto state = installation_.manager->state();
    MBSYNC_TRY(state);
    if (wanted.of_package) {
      // It would hide the package's, and stay as it is through upgrades.
      const auto place = installation_.manager->definition_place();
      const auto hides = look_at_file(place);
      MBSYNC_TRY(hides);
      if (*hides) {
        return Finding{Finding::State::kToDo,
                       fmt::format("{} removed, as {} says the same", place.string(), wanted.path.string())};
      }
    }
    const bool same = *text && **text == wanted.text;
    if (same && state->installed && state->enabled) {
      return Finding{Finding::State::kAsItShouldBe, fmt::format("{}, starts with the machine", wanted.path.string())};
    }
    return Finding{Finding::State::kToDo, fmt::format("{} {}, to start with the machine", wanted.path.string(),
                                                      !*text ? "made"
                                                      : same ? "enabled"
                                                             : "renewed")};
  }

  Result<Done> act() override {
    auto found = look();
    MBSYNC_TRY(found);
    MBSYNC_TRY(installation_.manager->install(installation_.service()));
    installation_.restart = true;
    return Done{std::move(found->what)};
  }

 private:
  Installation& installation_;
};

class ServiceStep : public Step {
 public:
  explicit ServiceStep(Installation& installation) : Step("service"), installation_(installation) {}

  Result<Finding> look() override {
    const auto state = installation_.manager->state();
    MBSYNC_TRY(state);
    runs_ = state->runs == ServiceRuns::kRunning || state->runs == ServiceRuns::kStarting;
    if (state->runs == ServiceRuns::kRunning && !installation_.restart) {
      const auto old = is_older_than_files(*state);
      MBSYNC_TRY(old);
      if (!*old) {
        return Finding{Finding::State::kAsItShouldBe, fmt::format("runs since {}", state->since)};
      }
    }
    return Finding{Finding::State::kToDo, runs_ ? "the service started again" : "the service started"};
  }

  Result<Done> act() override {
    auto& manager = *installation_.manager;
    const auto up = runs_ ? manager.restart() : manager.start();
    const auto state = manager.state();
    if (!up) {
      auto error = up.error();
      if (error.kind == ErrorKind::kConfig) {  // else it is still on its way
        error.hint = "mend what it names, then say 'sudo mbsync install' again";
      }
      return error;
    }
    MBSYNC_TRY(state);
    return Done{fmt::format("runs since {}", state->since)};
  }

 private:
  /// Somebody has written there since, or an installation was cut off before its last steps.
  Result<bool> is_older_than_files(const ServiceState& state) {
    for (const auto& path : {installation_.toml(), installation_.secrets(),
                             installation_.manager->definition(installation_.service()).path}) {
      const auto file = look_at_file(path);
      MBSYNC_TRY(file);
      if (*file && iso_of((*file)->changed) > state.since) {
        return true;
      }
    }
    return false;
  }

  Installation& installation_;
  bool runs_ = false;
};

class FirewallStep : public Step {
 public:
  explicit FirewallStep(Installation& installation) : Step("firewall"), installation_(installation) {}

  Result<Finding> look() override {
    const auto port = installation_.config().port;
    const auto look = look_at_firewall(port);
    name_ = to_string(look.firewall);
    const bool off = look.state == FirewallLook::State::kOff;
    if (off && look.firewall != Firewall::kNftables) {
      return Finding{Finding::State::kAsItShouldBe, look.firewall == Firewall::kNone
                                                        ? "none was found on this machine"
                                                        : fmt::format("{} is there, and switched off", name_)};
    }
    // Its rules may be there although no service has loaded them.
    auto rules = firewall_rules(name_, port);
    if (!rules && off) {
      return Finding{Finding::State::kAsItShouldBe,
                     fmt::format("{} is there, and loads no rules when the machine starts", name_)};
    }
    if (!rules && !installation_.open_firewall) {
      return Finding{Finding::State::kLeft, fmt::format("{} cannot be asked: {}", name_, rules.error().message)};
    }
    MBSYNC_TRY(rules);
    rules_ = std::move(*rules);
    std::vector<std::string> lacking;
    std::vector<std::string> commands;
    for (const auto& rule : rules_) {
      if (!rule.present) {
        lacking.push_back(rule.what);
        for (const auto& command : rule.commands) {
          commands.push_back("sudo " + as_typed(command));
        }
      }
    }
    if (lacking.empty()) {
      return Finding{Finding::State::kAsItShouldBe, fmt::format("{} lets peers and mDNS in", name_)};
    }
    if (!installation_.open_firewall) {
      return Finding{Finding::State::kLeft,
                     fmt::format("{} has no rule for {}; 'sudo mbsync install --firewall' makes them, or by hand:",
                                 name_, fmt::join(lacking, " and ")),
                     std::move(commands)};
    }
    return Finding{Finding::State::kToDo, fmt::format("{} let in by {}", fmt::join(lacking, " and "), name_),
                   std::move(commands)};
  }

  Result<Done> act() override {
    MBSYNC_TRY(apply(rules_));
    auto again = look();
    MBSYNC_TRY(again);
    if (again->state != Finding::State::kAsItShouldBe) {
      return Error{ErrorKind::kConfig, fmt::format("{} has taken the rules, and does not show them", name_),
                   "look at its rules by hand"};
    }
    Done done{std::move(again->what)};
    if (const auto more = what_lasts_not(name_); !more.empty()) {
      done.details.emplace_back(more);
    }
    return done;
  }

 private:
  Installation& installation_;
  std::string name_;
  std::vector<FirewallRule> rules_;
};

}  // namespace

std::unique_ptr<Step> make_unit_step(Installation& installation) {
  return std::make_unique<UnitStep>(installation);
}

std::unique_ptr<Step> make_service_step(Installation& installation) {
  return std::make_unique<ServiceStep>(installation);
}

std::unique_ptr<Step> make_firewall_step(Installation& installation) {
  return std::make_unique<FirewallStep>(installation);
}

}  // namespace mbsync
