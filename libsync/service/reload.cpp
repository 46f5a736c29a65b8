#include "reload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "log.h"
#include "settings.h"

namespace mbsync {
namespace {
constexpr LogDomain kDomain{"config"};
}

bool Reloaded::has(ConfigKey key) const {
  return std::find(taken.begin(), taken.end(), key) != taken.end();
}

Reloaded take_live(Config& now, const Config& wanted) {
  Reloaded reloaded;
  for (const ConfigKey key : changed_settings(now, wanted)) {
    (setting(key).reload == Reload::kLive ? reloaded.taken : reloaded.needs_restart).push_back(key);
  }
  now.interval = wanted.interval;
  now.log_level = wanted.log_level;
  now.log_size_mb = wanted.log_size_mb;
  now.log_files = wanted.log_files;
  now.peers = wanted.peers;
  now.conflict_retention_days = wanted.conflict_retention_days;
  now.allowed_nodes = wanted.allowed_nodes;
  now.away_after_days = wanted.away_after_days;
  now.verify_interval_hours = wanted.verify_interval_hours;
  now.verify_rows_per_s = wanted.verify_rows_per_s;
  for (const ConfigKey key : reloaded.taken) {
    now.sources[static_cast<std::size_t>(key)] = wanted.source(key);
  }
  return reloaded;
}

Reloaded read_again(Config& now, const LoadAgain& load_again) {
  const auto wanted = load_again();
  if (!wanted) {
    log_error(kDomain, "the configuration was read again and is wrong, all stays as it was reason={}",
              log_value(wanted.error().log_text()));
    return {};
  }
  const auto level_before = now.log_level;
  auto reloaded = take_live(now, *wanted);
  if (reloaded.has(ConfigKey::kLogSize) || reloaded.has(ConfigKey::kLogFiles)) {
    auto options = now.log_options();
    options.level = level_before;  // what has changed is said yet
    if (const auto started = start_log(options); !started) {
      log_error(kDomain, "the log cannot be begun anew reason={}", log_value(started.error().log_text()));
    }
  }
  log_info(kDomain, "the configuration was read again changed={}",
           log_value(reloaded.taken.empty() ? "nothing" : names_and_values(reloaded.taken, now)));
  set_log_level(now.log_level);
  if (!reloaded.needs_restart.empty()) {
    log_warning(kDomain, "some settings take effect when mbsync is started again settings={}",
                log_value(names_and_values(reloaded.needs_restart, *wanted)));
  }
  for (const auto& warning : wanted->warnings) {
    log_warning(kDomain, "{}", warning);
  }
  return reloaded;
}

std::optional<Config> read_for_restart(const Config& now, const LoadAgain& load_again) {
  auto wanted = load_again();
  const auto usable = [&]() -> Result<void> {
    MBSYNC_TRY(wanted);
    MBSYNC_TRY(make_data_dir(*wanted));
    return start_log(wanted->log_options());
  }();
  if (!usable) {
    log_error(kDomain, "the configuration was read again and is wrong, all stays as it was reason={}",
              log_value(usable.error().log_text()));
    return std::nullopt;
  }
  const auto changed = changed_settings(now, *wanted);
  log_info(kDomain, "the configuration was read again changed={}",
           log_value(changed.empty() ? "nothing" : names_and_values(changed, *wanted)));
  for (const auto& warning : wanted->warnings) {
    log_warning(kDomain, "{}", warning);
  }
  return changed.empty() ? std::nullopt : std::optional(std::move(*wanted));
}

std::string names_and_values(const std::vector<ConfigKey>& keys, const Config& config) {
  std::vector<std::string> parts;
  parts.reserve(keys.size());
  for (const ConfigKey key : keys) {
    const auto& entry = setting(key);
    parts.push_back(entry.secret ? std::string(entry.toml) : fmt::format("{} ({})", entry.toml, shown(entry, config)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace mbsync
