#include "log.h"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <thread>
#include <vector>

using namespace mbsync;

namespace {

constexpr LogDomain kDomain{"test"};

struct Directory {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("mbsync-log-" + std::to_string(::getpid()));
  ~Directory() {
    CHECK(start_log({.to_stderr = false}));
    std::filesystem::remove_all(path);
  }
};

std::string read(const std::filesystem::path& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

}  // namespace

TEST_CASE("log: one line an event, UTC, level, domain; the level decides") {
  const Directory directory;
  const auto file = directory.path / "deep" / "sync-service.log";
  REQUIRE(start_log({.level = LogLevel::kInfo, .file = file, .to_stderr = false}));
  log_debug(kDomain, "not seen");
  log_info(kDomain, "peer connected peer={} rows={}", log_value("till 2"), 12);
  log_warning(kDomain, "two\nlines {}", "{}");
  CHECK_FALSE(log_enabled(LogLevel::kDebug));
  set_log_level(LogLevel::kError);
  log_warning(kDomain, "not seen");
  log_error(kDomain, "last");
  const std::regex expected{
      R"re(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info test: peer connected peer="till 2" rows=12\n)re"
      R"re([-0-9T:.]+Z warning test: two\\x0alines \{\}\n[-0-9T:.]+Z error test: last\n)re"};
  INFO(read(file));
  CHECK(std::regex_match(read(file), expected));
}

TEST_CASE("log: the file is rotated and old ones go") {
  const Directory directory;
  REQUIRE(start_log({.file = directory.path / "x.log", .to_stderr = false, .file_bytes_max = 1000, .files_kept = 2}));
  for (int i = 0; i < 200; ++i) {
    log_info(kDomain, "line number={}", i);
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator{directory.path}) {
    CHECK(entry.file_size() <= 1000);
    ++files;
  }
  CHECK(files == 3);
}

TEST_CASE("log: a flood of one line is counted, and said at the end") {
  const Directory directory;
  REQUIRE(start_log({.file = directory.path / "x.log", .to_stderr = false}));
  tell_repeated_lines(true);
  for (int i = 0; i < 1000; ++i) {
    log_error(kDomain, "cannot write reason={}", "disk");
  }
  log_error(kDomain, "cannot write reason={}", "another");
  tell_repeated_lines(true);
  const std::string text = read(directory.path / "x.log");
  CHECK(std::count(text.begin(), text.end(), '\n') == 5 + 2);
  CHECK_THAT(text, Catch::Contains("error test: cannot write reason=another\n") &&
                       Catch::Contains("error test: cannot write reason=disk repeated=995 in_s="));
}

TEST_CASE("log: many threads, every line whole") {
  const Directory directory;
  REQUIRE(start_log({.file = directory.path / "x.log", .to_stderr = false}));
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([thread] {
        for (int i = 0; i < 250; ++i) {
          write_log(LogLevel::kInfo, kDomain, fmt::format("thread={} i={} text={}", thread, i, std::string(50, 'x')));
        }
      });
    }
  }
  const std::string text = read(directory.path / "x.log");
  const std::regex line{R"([-0-9T:.]+Z info test: thread=\d i=\d+ text=x{50}\n)"};
  CHECK(std::distance(std::sregex_iterator{text.begin(), text.end(), line}, std::sregex_iterator{}) == 1000);
}

TEST_CASE("log: a file that cannot be written is an error that names it") {
  const auto result = start_log({.file = "/proc/mbsync/x.log", .to_stderr = false});
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kConfig);
  CHECK_THAT(result.error().text(), Catch::Contains("'/proc/mbsync/x.log'") && Catch::Contains("SYNC_DATA_DIR"));
}

TEST_CASE("log: words for levels") {
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    CHECK(parse_log_level(to_string(level)) == level);
  }
  CHECK(parse_log_level("WARN") == LogLevel::kWarning);
  CHECK_FALSE(parse_log_level("verbose"));
  CHECK_FALSE(parse_log_level(""));
}

TEST_CASE("log: values are quoted where a reader of key=value would stumble") {
  CHECK(log_value("till-2:8765") == "till-2:8765");
  CHECK(log_value("") == "\"\"");
  CHECK(log_value("a b") == "\"a b\"");
  CHECK(log_value("a=\"b\\\"") == R"("a=\"b\\\"")");
}
