#include "precheck.h"

#include <fmt/format.h>

#include <algorithm>

#include "log.h"
#include "pace.h"
#include "readiness.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"start"};

using std::chrono::seconds;
using std::chrono::steady_clock;

Result<void> judge(const Config& config, const DatabaseFacts& facts) {
  const auto checks = check_database(config, facts);
  const auto failed =
      std::find_if(checks.begin(), checks.end(), [](const Check& check) { return check.verdict == Verdict::kFailed; });
  if (failed == checks.end()) {
    return {};
  }
  return Error{ErrorKind::kConfig, failed->what, failed->next, ErrorArea::kDatabase};
}

/// A name server that knows no such name has been asked; one that cannot be reached yet says so in other words.
bool is_unknown_host(const Error& error) {
  return error.message.find("Name or service not known") != std::string::npos ||
         error.message.find("No address associated with hostname") != std::string::npos;
}

}  // namespace

Result<void> precheck(const Config& config, const std::stop_token& stop, Supervisor& supervisor,
                      std::chrono::milliseconds comes_up_within) {
  Pause pause(stop);
  Backoff backoff;
  Announcer announcer;
  const auto begun = steady_clock::now();
  auto until = begun + comes_up_within;
  bool waited = false;
  while (!stop.stop_requested()) {
    supervisor.alive();
    const auto facts = read_database_facts(config.database_url, config.tables, kDatabasePatience);
    const auto took = std::chrono::duration_cast<seconds>(steady_clock::now() - begun).count();
    if (facts) {
      if (waited) {
        log_info(kDomain, "the database answers waited_s={}", took);
      }
      return judge(config, *facts);
    }
    auto error = facts.error();
    if (is_unknown_host(error)) {
      return Error{ErrorKind::kConfig, error.message, "check the host in DATABASE_URL", ErrorArea::kDatabase};
    }
    if (error.kind != ErrorKind::kTransient) {
      return error.about(ErrorArea::kDatabase);
    }
    const bool starting = is_starting(error);
    if (starting) {
      until = steady_clock::now() + comes_up_within;  // it is there, and will come
    } else if (steady_clock::now() >= until) {
      error.message += fmt::format("; waited for {} s", took);
      return error.about(ErrorArea::kDatabase);
    }
    if (announcer.is_news(error.text())) {
      log_warning(kDomain, "waiting for the database {} reason={}",
                  starting ? "which is starting"
                           : fmt::format("for up to {} s", std::chrono::round<seconds>(comes_up_within).count()),
                  log_value(error.log_text()));
      supervisor.doing("waiting for the database", error.message);
    }
    waited = true;
    pause(backoff.next());
  }
  return {};
}

}  // namespace mbsync
