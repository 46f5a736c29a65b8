// examples/scripts: those for Linux are run, with a mbsync that ends as it is told and with the real one; those for
// Windows are looked at.
#include <fmt/format.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "child_process.h"

using namespace mbsync::test;

namespace {

const std::filesystem::path kScripts = MBSYNC_SCRIPTS;
constexpr const char* kSystemPath = "/usr/sbin:/usr/bin:/sbin:/bin";

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

/// A directory with a program mbsync in it, gone at the end.
struct Place {
  std::filesystem::path directory;

  Place() {
    auto name = (std::filesystem::temp_directory_path() / "mbsync-scripts-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    directory = name;
    std::filesystem::create_directory(directory / "bin");
  }
  ~Place() { std::filesystem::remove_all(directory); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  /// Notes how it is called. The command's environment variable says how it ends: STATUS=1, SMOKE_CHECK=3.
  void fake() {
    const auto program = directory / "bin" / "mbsync";
    std::ofstream(program) << "#!/bin/bash\necho \"$*\" >>'" << (directory / "calls").string()
                           << "'\necho \"fake $1 speaks\"\nname=${1^^}; name=${name//-/_}; exit \"${!name:-0}\"\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  }
  void real() { std::filesystem::create_symlink(MBSYNC_PROGRAM, directory / "bin" / "mbsync"); }

  Finished run(const std::string& script, std::vector<std::string> arguments = {},
               std::vector<std::pair<std::string, std::string>> environment = {}) {
    environment.emplace_back("PATH", (directory / "bin").string() + ":" + kSystemPath);
    return run_program(kScripts / script,
                       {.arguments = std::move(arguments),
                        .environment = std::move(environment),
                        .unset = {"DATABASE_URL", "SYNC_REGISTRATION_KEY", "STATUS", "INSTALL", "VERSION"},
                        .working_directory = directory});
  }
  std::string calls() { return text_of(directory / "calls"); }
  /// The only report there is.
  std::string report() {
    std::vector<std::filesystem::path> reports;
    for (const auto& entry : std::filesystem::directory_iterator(directory / "reports")) {
      reports.push_back(entry.path());
    }
    REQUIRE(reports.size() == 1);
    CHECK(std::regex_match(reports.front().filename().string(), std::regex{R"(mbsync-\d{4}-\d\d-\d\d\.txt)"}));
    return text_of(reports.front());
  }
};

/// A command line of mbsync in a script.
struct Use {
  std::string script;
  std::string command;
  std::vector<std::string> options;
};

std::vector<Use> uses_in(const std::filesystem::path& script) {
  std::vector<Use> uses;
  std::istringstream lines(text_of(script));
  const std::regex call{R"(^\s*(?:call :look |look )?(?:mbsync )?([a-z][a-z-]*)(.*)$)"};
  for (std::string line; std::getline(lines, line);) {
    const auto begin = line.find_first_not_of(' ');
    const auto rest = begin == std::string::npos ? std::string{} : line.substr(begin);
    if (!rest.starts_with("mbsync ") && !rest.starts_with("call :look ") && !rest.starts_with("look ")) {
      continue;
    }
    std::smatch match;
    REQUIRE(std::regex_match(line.erase(line.find_last_not_of('\r') + 1), match, call));
    Use use{script.filename().string(), match[1], {}};
    std::istringstream words(match[2]);
    for (std::string word; words >> word;) {
      if (word.starts_with("--")) {
        use.options.push_back(word);
      }
    }
    uses.push_back(std::move(use));
  }
  return uses;
}

}  // namespace

TEST_CASE("scripts: install sets up with a file that only its owner can read, and says what is missing") {
  Place place;
  CHECK(place.run("install.sh", {"secrets"}).exit_code == 2);
  place.fake();
  const auto no_file = place.run("install.sh", {"secrets"});
  CHECK(no_file.exit_code == 2);
  CHECK_THAT(no_file.err, Catch::Contains("secrets cannot be read") && Catch::Contains("mbsync keygen"));
  CHECK(place.calls().empty());

  const auto file = place.directory / "my secrets";
  std::ofstream(file) << "SYNC_REGISTRATION_KEY=hush\n";
  std::filesystem::permissions(file, std::filesystem::perms{0644});
  CHECK(place.run("install.sh", {"my secrets"}, {{"STATUS", "1"}}).exit_code == 0);
  CHECK(place.calls() == "install --env-file my secrets\nstatus\n");
  CHECK(std::filesystem::status(file).permissions() == std::filesystem::perms{0600});

  const auto refused = place.run("install.sh", {"my secrets"}, {{"INSTALL", "3"}});
  CHECK(refused.exit_code == 3);
  CHECK(place.calls() == "install --env-file my secrets\nstatus\ninstall --env-file my secrets\n");
}

TEST_CASE("scripts: status hands its options and the exit code on, and says in words what it means") {
  Place place;
  place.fake();
  for (const auto& [code, words] : std::vector<std::pair<int, std::string>>{
           {0, "healthy"}, {1, "degraded"}, {2, "down"}, {3, "has failed (exit code 3)"}}) {
    const auto finished = place.run("status.sh", {"--config", "a b"}, {{"STATUS", std::to_string(code)}});
    CHECK(finished.exit_code == code);
    CHECK(finished.out == "fake status speaks\n");
    CHECK_THAT(finished.err, Catch::Contains(words));
  }
  CHECK_THAT(place.calls(), Catch::StartsWith("status --config a b\n"));
}

TEST_CASE("scripts: the nightly check is silent while all is well, and otherwise prints its report") {
  Place place;
  place.fake();
  const auto well = place.run("nightly-check.sh");
  CHECK(well.exit_code == 0);
  CHECK(well.out.empty());
  CHECK(well.err.empty());
  CHECK(place.calls() == "version\nsmoke-check\nstatus\n");
  CHECK_THAT(place.report(), Catch::Contains("== mbsync smoke-check\nfake smoke-check speaks\n(exit code 0)") &&
                                 Catch::EndsWith("\nall is well\n"));

  for (const auto& [what, code] : std::vector<std::pair<std::string, std::string>>{
           {"STATUS", "1"}, {"STATUS", "2"}, {"SMOKE_CHECK", "4"}, {"VERSION", "127"}}) {
    const auto wrong = place.run("nightly-check.sh", {}, {{what, code}});
    INFO(what << "=" << code);
    CHECK(wrong.exit_code == 1);
    CHECK(wrong.out == place.report());
    CHECK_THAT(wrong.out, Catch::Contains("(exit code " + code + ")") && Catch::EndsWith("\nsomething is wrong\n"));
    CHECK_THAT(wrong.out, Catch::Contains("== mbsync status"));  // the rest is looked at all the same
  }
}

TEST_CASE("scripts: the nightly check keeps reports of a month, and says when it cannot write one") {
  Place place;
  place.fake();
  std::filesystem::create_directory(place.directory / "reports");
  const auto age = [&](const std::string& name, int days) {
    auto file = place.directory / "reports" / name;
    std::ofstream(file) << "old\n";
    std::filesystem::last_write_time(file,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours{24} * days);
    return file;
  };
  const auto old = age("mbsync-2020-01-01.txt", 40);
  const auto recent = age("mbsync-2020-01-02.txt", 20);
  const auto foreign = age("notes.txt", 400);
  CHECK(place.run("nightly-check.sh").exit_code == 0);
  CHECK_FALSE(std::filesystem::exists(old));
  CHECK(std::filesystem::exists(recent));
  CHECK(std::filesystem::exists(foreign));

  std::ofstream(place.directory / "file") << "x";
  CHECK(place.run("nightly-check.sh", {"file"}).exit_code == 2);
}

TEST_CASE("scripts: with the real mbsync, where nothing is set up, that is what they say") {
  Place place;
  place.real();
  const auto checked = place.run("nightly-check.sh");
  CHECK(checked.exit_code == 1);
  CHECK_THAT(checked.out, Catch::Contains("DATABASE_URL") && Catch::EndsWith("something is wrong\n"));
  const auto status = place.run("status.sh");
  CHECK(status.exit_code == 2);
  CHECK_THAT(status.err, Catch::Contains("down"));
}

TEST_CASE("scripts: every command and option of mbsync in them is one that it has") {
  const auto all = run_program(MBSYNC_PROGRAM, {.arguments = {"--help"}}).out;
  int known = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kScripts)) {
    const auto extension = entry.path().extension();
    if (extension != ".bat" && extension != ".sh") {
      continue;
    }
    const auto uses = uses_in(entry.path());
    INFO(entry.path());
    CHECK_FALSE(uses.empty());
    for (const Use& use : uses) {
      // With --help behind it, an unknown command is none to CLI11: the program's own help would be printed.
      const bool there = all.find("\n  " + use.command + " ") != std::string::npos;
      INFO(use.command);
      CHECK(there);
      const auto help = run_program(MBSYNC_PROGRAM, {.arguments = {use.command, "--help"}});
      for (const std::string& option : use.options) {
        CHECK_THAT(help.out, Catch::Contains("  " + option + " ") || Catch::Contains("  " + option + "\n"));
      }
      ++known;
    }
  }
  CHECK(known >= 8);
}

TEST_CASE("scripts: those for Windows are laid out as cmd.exe needs them, and have a counterpart") {
  int scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kScripts)) {
    if (entry.path().extension() != ".bat") {
      continue;
    }
    INFO(entry.path());
    ++scripts;
    auto counterpart = entry.path();
    CHECK(std::filesystem::exists(counterpart.replace_extension(".sh")));
    const auto text = text_of(entry.path());
    CHECK_THAT(text, Catch::StartsWith("@echo off\r\n") && Catch::EndsWith("\r\n"));
    CHECK(std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; }));

    std::istringstream lines(text);
    int depth = 0;
    for (std::string line; std::getline(lines, line);) {
      INFO(line);
      REQUIRE(line.ends_with('\r'));
      line.pop_back();
      CHECK(line.find('\r') == std::string::npos);
      if (line.starts_with("rem")) {
        continue;
      }
      CHECK(std::count(line.begin(), line.end(), '"') % 2 == 0);
      // A block opens at the end of a line and closes at the beginning of one; inside it a closing bracket would end
      // it.
      depth -= line == ")" ? 1 : 0;
      CHECK((depth == 0 || line.find(')') == std::string::npos));
      depth += line.ends_with("(") ? 1 : 0;
      std::smatch label;
      if (std::regex_search(line, label, std::regex{R"((?:call|goto) :(\w+))"})) {
        CHECK_THAT(text, Catch::Contains("\r\n:" + label[1].str() + "\r\n"));
      }
    }
    CHECK(depth == 0);
  }
  CHECK(scripts == 3);
}
