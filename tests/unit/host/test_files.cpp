#include "files.h"

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iostream>

using namespace mbsync;

namespace {

struct Place {
  std::filesystem::path path;
  Place() {
    auto name = (std::filesystem::temp_directory_path() / "mbsync-files-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Place() { std::filesystem::remove_all(path); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
};

FileRights mine(mode_t mode) {
  return {mode, {::geteuid(), ::getegid()}};
}

}  // namespace

TEST_CASE("files: written whole with its rights, and read back") {
  const Place place;
  const auto file = place.path / "f";
  const auto absent = read_file(file);
  REQUIRE(absent);
  CHECK_FALSE(absent->has_value());
  REQUIRE(write_file(file, "one\n", mine(0600)));
  CHECK(**read_file(file) == "one\n");
  CHECK((**look_at_file(file)).rights.mode == 0600);
  REQUIRE(write_file(file, "two\n", mine(0644)));
  CHECK(**read_file(file) == "two\n");
  CHECK((**look_at_file(file)).rights == mine(0644));
  CHECK(std::distance(std::filesystem::directory_iterator(place.path), {}) == 1);
}

TEST_CASE("files: a symbolic link is replaced, and what it leads to stays") {
  const Place place;
  std::ofstream(place.path / "other") << "mine";
  std::filesystem::create_symlink(place.path / "other", place.path / "f");
  REQUIRE(write_file(place.path / "f", "new", mine(0600)));
  CHECK_FALSE(std::filesystem::is_symlink(place.path / "f"));
  CHECK(**read_file(place.path / "other") == "mine");
  std::filesystem::create_symlink(place.path / "other", place.path / "g");
  CHECK_FALSE(set_rights(place.path / "g", mine(0666)));
  CHECK((**look_at_file(place.path / "other")).rights.mode != 0666);
}

TEST_CASE("files: where nothing can be written, the old one stays and the path is named") {
  const Place place;
  const auto failed = write_file(place.path / "no" / "f", "x", mine(0600));
  REQUIRE_FALSE(failed);
  CHECK_THAT(failed.error().message, Catch::Contains((place.path / "no" / "f").string()));
  // A directory stands in its way: nothing half written is left.
  std::filesystem::create_directory(place.path / "d");
  CHECK_FALSE(write_file(place.path / "d", "x", mine(0600)));
  CHECK(std::distance(std::filesystem::directory_iterator(place.path), {}) == 1);
}

TEST_CASE("files: directories are made with those above them, and removed with what is in them") {
  if (::geteuid() != 0) {
    std::cout << "skipped: only root can make what belongs to root\n";
    return;
  }
  const Place place;
  const auto directory = place.path / "a" / "b";
  REQUIRE(make_directory(directory, mine(0700)));
  CHECK((**look_at_file(directory)).rights == mine(0700));
  CHECK((**look_at_file(place.path / "a")).rights.mode == 0755);
  REQUIRE(make_directory(directory, mine(0750)));
  CHECK((**look_at_file(directory)).rights.mode == 0750);
  std::ofstream(directory / "f") << "x";
  REQUIRE(remove_all_of(place.path / "a"));
  REQUIRE(remove_all_of(place.path / "a"));
  CHECK_FALSE(look_at_file(directory)->has_value());
}
