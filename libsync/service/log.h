// The log: one event a line, in UTC, "2026-03-01T09:30:00.125Z info run: peer connected peer=till-2:8765 rows=12".
// Goes to stderr (for the terminal or the journal) and to a file that is rotated. Whoever logs includes this header
// only, not the library behind it. Any thread may log at any time.
//
// error: needs a person. warning: handled, worth a look if it repeats. info: state changed. debug: why a decision fell
// as it did, and what the database says of a row that it refuses. No other line holds contents of rows (base/error.h,
// `of_row`), and none at any level a secret.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "result.h"

namespace mbsync {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// "debug", "info", "warning", "error".
std::string_view to_string(LogLevel level);
/// Reads that form in any case, and "warn"; nothing for any other text.
std::optional<LogLevel> parse_log_level(std::string_view text);

/// The part of the program that speaks; each folder or larger file has one constant of its own.
struct LogDomain {
  std::string_view name;
};

inline constexpr std::size_t kLogFileBytesMax = std::size_t{10} * 1024 * 1024;  ///< then a new file is begun
inline constexpr std::size_t kLogFilesKept = 5;                                 ///< beside the one being written

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  std::filesystem::path file{};  ///< its directory is made; empty: stderr alone
  bool to_stderr = true;
  std::size_t file_bytes_max = kLogFileBytesMax;
  std::size_t files_kept = kLogFilesKept;
};

/// Until the first call, lines of level info and above go to stderr. A later call replaces what was set before.
/// `config` if the file cannot be written.
Result<void> start_log(const LogOptions& options);
void set_log_level(LogLevel level);
[[nodiscard]] bool log_enabled(LogLevel level);

/// The finished line; control characters are escaped, so that one event stays one line. What is said again and again is
/// counted (log_flood.h); `format` is what lines of one kind have in common.
void write_log(LogLevel level, LogDomain domain, std::string_view message, std::string_view format = {});
/// Says how often what was held back has been said, where it is time; or all of it, at the end. To be called now and
/// then: a log in which nothing else happens would not say it.
void tell_repeated_lines(bool all = false);

/// A value for "key=value": as it is, or in quotes if it contains a space, a quote or '='.
std::string log_value(std::string_view text);

template <typename... Args>
void log_at(LogLevel level, LogDomain domain, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) {
    const fmt::string_view kind = format;
    write_log(level, domain, fmt::format(format, std::forward<Args>(args)...), {kind.data(), kind.size()});
  }
}
template <typename... Args>
void log_debug(LogDomain domain, fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kDebug, domain, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(LogDomain domain, fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kInfo, domain, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(LogDomain domain, fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kWarning, domain, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_error(LogDomain domain, fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kError, domain, format, std::forward<Args>(args)...);
}

}  // namespace mbsync
