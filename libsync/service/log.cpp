#include "log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <memory>
#include <mutex>
#include <system_error>
#include <vector>

#include "log_flood.h"

namespace mbsync {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::shared_ptr<spdlog::logger> make_logger(const std::vector<spdlog::sink_ptr>& sinks) {
  auto logger = std::make_shared<spdlog::logger>("mbsync", sinks.begin(), sinks.end());
  // Levels are judged before a line is made, in log_enabled; what arrives is written, and at once: what was said last
  // before a crash is what one wants to read.
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);
  logger->set_formatter(
      std::make_unique<spdlog::pattern_formatter>("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc));
  return logger;
}

struct State {
  std::atomic<LogLevel> level{LogLevel::kInfo};
  std::mutex mutex;  ///< guards the two below; the logger itself may be used by many threads
  FloodGate flood;
  std::shared_ptr<spdlog::logger> logger = make_logger({std::make_shared<spdlog::sinks::stderr_sink_mt>()});
};

/// Never destroyed: threads may still have something to say while the process ends.
State& state() {
  static State& instance = *new State;
  return instance;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::optional<LogLevel> parse_log_level(std::string_view text) {
  std::string word{text};
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (word == to_string(level)) {
      return level;
    }
  }
  return word == "warn" ? std::optional{LogLevel::kWarning} : std::nullopt;
}

Result<void> start_log(const LogOptions& options) {
  std::vector<spdlog::sink_ptr> sinks;
  if (options.to_stderr) {
    sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  }
  if (!options.file.empty()) {
    try {
      if (options.file.has_parent_path()) {
        std::filesystem::create_directories(options.file.parent_path());
      }
      sinks.push_back(std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          options.file.string(), options.file_bytes_max, options.files_kept));
    } catch (const std::exception& error) {
      return Error{ErrorKind::kConfig,
                   fmt::format("the log file '{}' cannot be written: {}", options.file.string(), error.what()),
                   "name a directory that this user may write to: SYNC_DATA_DIR, data_dir or --data-dir"};
    }
  }
  auto logger = make_logger(sinks);
  const std::lock_guard lock{state().mutex};
  state().logger = std::move(logger);
  state().level = options.level;
  return {};
}

void set_log_level(LogLevel level) {
  state().level = level;
}

bool log_enabled(LogLevel level) {
  return level >= state().level.load(std::memory_order_relaxed);
}

namespace {

void write_line(spdlog::logger& logger, LogLevel level, std::string_view domain, std::string_view message) {
  std::string line = fmt::format("{}: ", domain);
  for (const char c : message) {
    if (is_control(c)) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  logger.log(spdlog_level(level), spdlog::string_view_t{line.data(), line.size()});
}

}  // namespace

void write_log(LogLevel level, LogDomain domain, std::string_view message, std::string_view format) {
  std::shared_ptr<spdlog::logger> logger;
  std::vector<FloodGate::Line> repeated;
  bool admitted = false;
  {
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock{state().mutex};
    logger = state().logger;
    repeated = state().flood.due(now);
    admitted = state().flood.admit(level, domain.name, message, format, now);
  }
  for (const auto& line : repeated) {
    write_line(*logger, line.level, line.domain, line.text);
  }
  if (admitted) {
    write_line(*logger, level, domain.name, message);
  }
}

void tell_repeated_lines(bool all) {
  std::shared_ptr<spdlog::logger> logger;
  std::vector<FloodGate::Line> repeated;
  {
    const std::lock_guard lock{state().mutex};
    logger = state().logger;
    repeated = state().flood.due(std::chrono::steady_clock::now(), all);
  }
  for (const auto& line : repeated) {
    write_line(*logger, line.level, line.domain, line.text);
  }
}

std::string log_value(std::string_view text) {
  const bool plain = !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
    return c == ' ' || c == '"' || c == '=' || c == '\\' || is_control(c);
  });
  if (plain) {
    return std::string{text};
  }
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace mbsync
