#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "spool.h"

using namespace mbsync;

namespace {

const std::filesystem::path& directory() {
  static const std::filesystem::path kPath = std::filesystem::temp_directory_path();
  return kPath;
}

std::string read_all(Spool& spool, std::size_t piece) {
  std::string out;
  std::string buffer(piece, '\0');
  for (;;) {
    const auto taken = spool.read(buffer.data(), buffer.size());
    REQUIRE(taken);
    if (*taken == 0) {
      return out;
    }
    out.append(buffer, 0, *taken);
  }
}

std::size_t entries(const std::filesystem::path& path) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
}

}  // namespace

TEST_CASE("spool: what is written is read, in memory and on disk") {
  for (const std::size_t memory : {0U, 1U, 5U, 1000U}) {
    for (const std::size_t piece : {1U, 3U, 64U}) {
      Spool spool(directory(), memory);
      REQUIRE(spool.write("hello"));
      REQUIRE(spool.write(""));
      REQUIRE(spool.write(" world"));
      CHECK(spool.size() == 11);
      CHECK(spool.on_disk() == (memory < 11));
      CHECK(read_all(spool, piece) == "hello world");
    }
  }
  Spool empty(directory(), 0);
  CHECK(read_all(empty, 8).empty());
}

TEST_CASE("spool: up to its memory nothing touches the disk") {
  Spool spool("/nonexistent", 1 << 20);
  CHECK(spool.write(std::string(1 << 20, 'x')));
  CHECK_FALSE(spool.on_disk());
  const auto more = spool.write("y");
  REQUIRE_FALSE(more);
  CHECK(more.error().kind == ErrorKind::kConfig);
  CHECK_THAT(more.error().message, Catch::Contains("/nonexistent"));
  CHECK_FALSE(more.error().hint.empty());
}

TEST_CASE("spool: its file has no name and nobody else may read it") {
  const auto path = directory() / ("mbsync-test-spool-" + std::to_string(::getpid()));
  std::filesystem::create_directory(path);
  {
    Spool spool(path, 0);
    REQUIRE(spool.write("secret"));
    CHECK(spool.on_disk());
    CHECK(entries(path) == 0);
    bool found = false;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      struct stat status {};
      if (target.find(path.string()) == 0 && ::stat(entry.path().c_str(), &status) == 0) {
        found = true;
        CHECK((status.st_mode & 0777U) == 0600U);
      }
    }
    CHECK(found);
  }
  std::filesystem::remove(path);
}

TEST_CASE("spool: a full disk is an error with the path and a hint") {
  // A limit on the size of files fails as a full disk does, at a write in the middle.
  struct rlimit before {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit low = before;
  low.rlim_cur = 1000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
  Spool spool(directory(), 0);
  const auto first = spool.write(std::string(900, 'x'));
  const auto second = spool.write(std::string(900, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(first);
  REQUIRE_FALSE(second);
  CHECK(second.error().kind == ErrorKind::kTransient);
  CHECK_THAT(second.error().message, Catch::Contains(directory().string()));
  CHECK_FALSE(second.error().hint.empty());
}
