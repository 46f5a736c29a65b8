// The manual pages and the completion of shells say what --help says, of every command, and whatever is in a text.
#include <fmt/format.h>

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>

#include "child_process.h"
#include "documents/bash_completion.h"
#include "documents/manual_page.h"
#include "documents/powershell_completion.h"
#include "exit_code.h"
#include "settings.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

using Words = std::vector<std::string>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::string printed(const Words& arguments) {
  const auto finished = run_program(MBSYNC_PROGRAM, {.arguments = arguments});
  INFO(finished.err);
  REQUIRE(finished.exit_code == 0);
  return finished.out;
}

/// The first words of the lines below a heading of --help; those of one option are separated by commas.
Words listed(const std::string& help, const std::string& heading) {
  Words names;
  bool below = false;
  for (const std::string& line : lines_of(help)) {
    if (line == heading + ":") {
      below = true;
    } else if (line.empty()) {
      below = false;
    } else if (below && line.starts_with("  ") && line[2] != ' ') {
      std::istringstream words(line.substr(2, line.find(' ', 2) - 2));
      for (std::string name; std::getline(words, name, ',');) {
        names.push_back(name);
      }
    }
  }
  return names;
}

/// Every command that --help leads to, the program itself first.
void for_each_help(const std::function<void(const Words& path, const std::string& help)>& visit,
                   const Words& path = {}) {
  auto arguments = path;
  arguments.emplace_back("--help");
  const auto help = printed(arguments);
  visit(path, help);
  for (const std::string& below : listed(help, "Subcommands")) {
    auto next = path;
    next.push_back(below);
    for_each_help(visit, next);
  }
}

std::string joined(const Words& path) {
  std::string text = "mbsync";
  for (const std::string& word : path) {
    text += " " + word;
  }
  return text;
}

/// A file in a directory of its own, gone at the end.
struct File {
  std::filesystem::path directory;
  std::filesystem::path path;

  explicit File(const std::string& text) {
    auto name = (std::filesystem::temp_directory_path() / "mbsync-documents-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    directory = name;
    path = directory / "file";
    std::ofstream(path, std::ios::binary) << text;
    REQUIRE(std::filesystem::file_size(path) == text.size());
  }
  ~File() { std::filesystem::remove_all(directory); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

/// What bash offers for the last word.
Words offered_by(const std::filesystem::path& script, const std::string& function, const Words& words,
                 const std::filesystem::path& where = {}) {
  Words arguments{"--norc",
                  "--noprofile",
                  "-c",
                  R"(script=$1 function=$2; shift 2; source "$script"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
                     "$function" "$1"; for word in "${COMPREPLY[@]}"; do printf '%s\n' "$word"; done)",
                  "test",
                  script.string(),
                  function};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const auto finished = run_program("bash", {.arguments = arguments, .working_directory = where});
  INFO(finished.err);
  CHECK(finished.err.empty());
  return lines_of(finished.out);
}

/// What groff and, where it is there, mandoc find wrong.
std::string faults_of(const std::string& page) {
  const File file(page);
  auto faults = run_program("groff", {.arguments = {"-man", "-ww", "-Tutf8", "-Z", file.path.string()}}).err;
  if (run_program("sh", {.arguments = {"-c", "command -v mandoc"}}).exit_code == 0) {
    faults += run_program("mandoc", {.arguments = {"-Tlint", "-Wwarning", file.path.string()}}).out;
  }
  return faults;
}

/// As a reader sees it, without line breaks and bold letters.
std::string read(const std::string& page) {
  const File file(page);
  const auto finished =
      run_program("groff", {.arguments = {"-man", "-Tutf8", "-P-cbou", "-rLL=500n", file.path.string()}});
  REQUIRE(finished.exit_code == 0);
  return finished.out;
}

/// With texts that are something else to a shell, to roff and to PowerShell.
CLI::App& odd_program(CLI::App& app) {
  app.add_subcommand("sub", "it's \\(bu \"so\", $HOME `id` $(id) ‘quoted’ ü");
  auto* option = app.add_option_function<std::string>(
      "--pick", [](const std::string&) {}, ".TH is no request\n'nor this\n\\fBnor\\fR that -- 100% ~^");
  option->type_name("WHICH:{$(id),it's,a b,*}");
  return app;
}

}  // namespace

TEST_CASE("documents: every command has an example, and its exit codes or those of the program") {
  int commands = 0;
  for_each_help([&](const Words& path, const std::string& help) {
    INFO(joined(path));
    const auto example = help.find("\nExample");
    REQUIRE(example != std::string::npos);
    // One that is of this command, not of another whose page it has inherited.
    CHECK(help.find("  ", example) != std::string::npos);
    CHECK_THAT(help.substr(example), Catch::Contains(path.size() < 2 ? joined(path) : path.back()));
    ++commands;
  });
  CHECK(commands > 20);
  CHECK_THAT(run_program(MBSYNCD_PROGRAM, {.arguments = {"--help"}}).out,
             Catch::Contains("\nExample:\n  mbsyncd ") && Catch::Contains(exit_code_help()));
  CHECK_THAT(printed({"--help"}), Catch::Contains(exit_code_help()));
}

TEST_CASE("documents: README.md has the exit codes as they are") {
  std::ifstream file{MBSYNC_README};
  const std::string readme{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  INFO(exit_codes_as_markdown());
  CHECK(readme.find(exit_codes_as_markdown()) != std::string::npos);
}

TEST_CASE("manual: all commands, options, settings and exit codes are in it, and it is without fault") {
  const auto page = printed({"manual"});
  CHECK(page == printed({"manual", "mbsync"}));
  CHECK(faults_of(page).empty());
  const auto text = read(page);
  for_each_help([&](const Words& path, const std::string& help) {
    INFO(joined(path));
    const auto begin = path.empty() ? text.find("\nOPTIONS\n") : text.find("\n   " + joined(path) + "\n");
    REQUIRE(begin != std::string::npos);
    // Up to the next heading, which is less indented.
    auto end = begin + 1;
    do {
      end = text.find('\n', end + 1);
    } while (end != std::string::npos && (text.compare(end, 5, "\n    ") == 0 || text.compare(end, 2, "\n\n") == 0));
    const auto section = text.substr(begin, end - begin);
    CHECK_FALSE(listed(help, "Options").empty());
    for (const std::string& option : listed(help, "Options")) {
      CHECK_THAT(section, Catch::Contains(option));
    }
    if (!path.empty()) {
      const auto example = help.substr(help.find("\nExample"));
      for (const std::string& line : lines_of(example)) {
        if (line.starts_with("  ")) {
          CHECK_THAT(section, Catch::Contains(line.substr(2)));
        }
      }
    }
  });
  for (const std::string& page_text : {text, read(printed({"manual", "mbsyncd"}))}) {
    const auto exit_status = page_text.substr(page_text.find("\nEXIT STATUS\n"));
    for (const ExitMeaning& entry : exit_meanings()) {
      CHECK_THAT(exit_status, Catch::Contains(fmt::format("{}   {}\n", static_cast<int>(entry.code), entry.when)));
    }
    for (const Setting& entry : all_settings()) {
      CHECK_THAT(page_text, Catch::Contains(std::string{entry.env} + ", " + std::string{entry.toml}) &&
                                Catch::Contains(std::string{entry.help}));
    }
  }
}

TEST_CASE("manual: the page of mbsyncd has its options, its signals, and is without fault") {
  const auto page = printed({"manual", "mbsyncd"});
  CHECK(faults_of(page).empty());
  const auto text = read(page);
  const auto options = listed(run_program(MBSYNCD_PROGRAM, {.arguments = {"--help"}}).out, "Options");
  CHECK(options.size() > 5);
  for (const std::string& option : options) {
    CHECK_THAT(text, Catch::Contains(option));
  }
  CHECK_THAT(text, Catch::Contains("SIGHUP") && Catch::Contains("MBSYNCD(8)"));
  const auto refused = run_program(MBSYNC_PROGRAM, {.arguments = {"manual", "ls"}});
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.err, Catch::Contains("mbsyncd"));
}

TEST_CASE("manual: whatever is in a text is printed as it stands") {
  CLI::App app{"odd", "odd"};
  const auto page = manual_page(command_tree(odd_program(app)), {.summary = "s", .version = "1", .date = "2026-01-01"});
  CHECK(run_program("groff", {.arguments = {"-man", "-ww", "-Tutf8", "-Z", File(page).path.string()}}).err.empty());
  const auto text = read(page);
  CHECK_THAT(text, Catch::Contains("it's \\(bu \"so\", $HOME `id` $(id) ‘quoted’ ü"));
  CHECK_THAT(text, Catch::Contains(".TH is no request 'nor this \\fBnor\\fR that -- 100% ~^"));
}

TEST_CASE("completion: bash offers the commands and options of every command") {
  const File script(printed({"completion", "bash"}));
  for_each_help([&](const Words& path, const std::string& help) {
    INFO(joined(path));
    Words words{"mbsync"};
    words.insert(words.end(), path.begin(), path.end());
    auto at = words;
    at.emplace_back("-");
    CHECK(offered_by(script.path, "_mbsync", at) == listed(help, "Options"));
    if (const auto below = listed(help, "Subcommands"); !below.empty()) {
      at.back() = "";
      CHECK(offered_by(script.path, "_mbsync", at) == below);
      at.back() = below.front().substr(0, 2);
      CHECK_THAT(offered_by(script.path, "_mbsync", at), Catch::VectorContains(below.front()));
    }
  });
  const auto registered = run_program(
      "bash",
      {.arguments = {"--norc", "--noprofile", "-c", "source \"$1\"; complete -p mbsync", "x", script.path.string()}});
  CHECK(registered.out == "complete -F _mbsync mbsync\n");
}

TEST_CASE("completion: bash offers values, where they can be known, and files") {
  const File script(printed({"completion", "bash"}));
  const auto offered = [&](const Words& words) { return offered_by(script.path, "_mbsync", words, script.directory); };
  std::ofstream(script.directory / "one rules.toml") << "x";
  std::filesystem::create_directory(script.directory / "data");

  CHECK(offered({"mbsync", "run", "--log-level", ""}) == Words{"debug", "info", "warning", "error"});
  CHECK(offered({"mbsync", "run", "--log-level", "w"}) == Words{"warning"});
  CHECK(offered({"mbsync", "run", "--discovery", "=", "o"}) == Words{"on", "off"});
  CHECK(offered({"mbsync", "run", "--discovery", "="}) == Words{"auto", "on", "off"});
  // A bash whose words are not parted at '='.
  CHECK(offered({"mbsync", "run", "--discovery=o"}) == Words{"--discovery=on", "--discovery=off"});
  CHECK(offered({"mbsync", "completion", ""}) == Words{"bash", "powershell"});
  CHECK(offered({"mbsync", "manual", "mbsyncd"}) == Words{"mbsyncd"});

  CHECK(offered({"mbsync", "rules", "check", "one"}) == Words{"one rules.toml"});
  CHECK(offered({"mbsync", "run", "--config", "one"}) == Words{"one rules.toml"});
  CHECK(offered({"mbsync", "run", "--data-dir", ""}) == Words{"data"});
  CHECK(offered({"mbsync", "rules", "check", "--", "one"}) == Words{"one rules.toml"});

  // What an option's value is does not lead to a command, nor does anything behind "--".
  CHECK(offered({"mbsync", "run", "--peer", ""}).empty());
  CHECK(offered({"mbsync", "resolve", "--table", "show", "lis"}) == Words{"list"});
  CHECK(offered({"mbsync", "run", "--peer", "till", ":", "8765", "--po"}) == Words{"--port"});
  CHECK(offered({"mbsync", "--", ""}).empty());
  CHECK(offered({"mbsync", "frobnicate", "--j"}).empty());
}

TEST_CASE("completion: whatever is in a name or a choice is a word to bash") {
  CLI::App app{"odd", "odd"};
  const File script(bash_completion(command_tree(odd_program(app))));
  CHECK(offered_by(script.path, "_odd", {"odd", "--pick", ""}) == Words{"$(id)", "it's", "a b", "*"});
  CHECK(offered_by(script.path, "_odd", {"odd", "--pick", "it"}) == Words{"it's"});
}

TEST_CASE("completion: PowerShell's script has every command, option and text, each as one string") {
  const auto script = printed({"completion", "powershell"});
  for_each_help([&](const Words& path, const std::string& help) {
    INFO(joined(path));
    const auto begin = script.find("        '" + joined(path) + "' = @{\n");
    REQUIRE(begin != std::string::npos);
    const auto part = script.substr(begin, script.find("\n        }\n", begin) - begin);
    for (const std::string heading : {"Options", "Subcommands"}) {
      for (const std::string& name : listed(help, heading)) {
        CHECK_THAT(part, Catch::Contains("@{ Name = '" + name + "'; Text = '"));
      }
    }
  });
  CHECK_THAT(script, Catch::Contains("Takes = $true; Choices = @('debug', 'info', 'warning', 'error')"));

  CHECK(powershell_quoted("it's $HOME `n \"x\"") == "'it''s $HOME `n \"x\"'");
  CHECK(powershell_quoted("‘a’ ‚b‛") == "'‘‘a’’ ‚‚b‛‛'");

  // Outside of strings and comments, what is opened is closed again, in its order.
  CLI::App app{"odd", "odd"};
  for (const std::string& text : {script, powershell_completion(command_tree(odd_program(app)))}) {
    std::string open;
    bool string = false;
    for (const std::string& line : lines_of(text)) {
      for (std::size_t i = 0; i < line.size() && (string || line[i] != '#'); ++i) {
        const char c = line[i];
        if (c == '\'') {
          string = !string;
        } else if (!string && (c == '{' || c == '(' || c == '[')) {
          open += c;
        } else if (!string && (c == '}' || c == ')' || c == ']')) {
          INFO(line);
          REQUIRE_FALSE(open.empty());
          CHECK(open.back() == (c == '}' ? '{' : c == ')' ? '(' : '['));
          open.pop_back();
        }
      }
    }
    CHECK(open.empty());
    CHECK_FALSE(string);
  }
}

TEST_CASE("completion: PowerShell takes the script and completes with it") {
  if (run_program("sh", {.arguments = {"-c", "command -v pwsh"}}).exit_code != 0) {
    std::cout << "skipped: no pwsh, so the PowerShell script was looked at and not run\n";
    return;
  }
  const File script(printed({"completion", "powershell"}));
  const auto offered = [&](const std::string& line) {
    const auto finished = run_program(
        "pwsh", {.arguments = {"-NoProfile", "-Command",
                               fmt::format("Get-Content -Raw '{}' | Invoke-Expression; (TabExpansion2 '{}' {})"
                                           ".CompletionMatches | ForEach-Object {{ $_.CompletionText }}",
                                           script.path.string(), line, line.size())}});
    INFO(finished.err);
    CHECK(finished.exit_code == 0);
    return lines_of(finished.out);
  };
  CHECK(offered("mbsync smo") == Words{"smoke-check"});
  CHECK(offered("mbsync rules ch") == Words{"check"});
  CHECK(offered("mbsync run --log-level w") == Words{"warning"});
  CHECK(offered("mbsync run --po") == Words{"--port"});
}
