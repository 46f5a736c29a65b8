// The Debian package: what is in it, and what a machine is like once it is installed, upgraded, removed and purged.
#include <fmt/format.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "child_process.h"
#include "machine.h"
#include "service_unit.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kCompletion = "/usr/share/bash-completion/completions/mbsync";

std::string out_of(const std::string& program, std::vector<std::string> arguments) {
  const auto finished = run_program(program, {.arguments = std::move(arguments)}, std::chrono::seconds{120});
  INFO(program << ": " << finished.out << finished.err);
  REQUIRE(finished.exit_code == 0);
  return finished.out;
}

bool there_is(const std::string& program) {
  return run_program("sh", {.arguments = {"-c", "command -v " + program}}).exit_code == 0;
}

/// Made once, in a directory that goes with the test.
class Package {
 public:
  static const std::filesystem::path& file() {
    static const Package package;
    return package.file_;
  }
  ~Package() { std::filesystem::remove_all(directory_); }
  Package(const Package&) = delete;
  Package& operator=(const Package&) = delete;

 private:
  Package() {
    for (const std::string program : {"dpkg-shlibdeps", "dpkg-deb"}) {
      if (!there_is(program)) {
        std::cout << "skipped: there is no " << program << " on this system (Debian: dpkg-dev)\n";
        std::exit(77);
      }
    }
    auto name = (std::filesystem::temp_directory_path() / "mbsync-package-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    directory_ = name;
    out_of(MBSYNC_CPACK, {"--config", std::string{MBSYNC_BUILD} + "/CPackConfig.cmake", "-B", name, "-D",
                          "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"});
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (entry.path().extension() == ".deb") {
        file_ = entry.path();
      }
    }
    REQUIRE_FALSE(file_.empty());
  }

  std::filesystem::path directory_;
  std::filesystem::path file_;
};

std::string field(const std::string& name) {
  auto text = out_of("dpkg-deb", {"-f", Package::file().string(), name});
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

/// "drwxr-x--- root/root ./etc/mbsync/" of each file in it.
std::vector<std::string> contents() {
  std::vector<std::string> entries;
  std::istringstream lines(out_of("dpkg-deb", {"-c", Package::file().string()}));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string mode;
    std::string owner;
    std::string word;
    words >> mode >> owner >> word >> word >> word >> word;
    entries.push_back(fmt::format("{} {} {}", mode, owner, word));
  }
  return entries;
}

/// A machine to install the package on.
struct Clean {
  Machine machine;

  Clean() {
    // What containers do to save time and space is not what a machine is like: services are not to be started by
    // packages, and manual pages are left out.
    machine.sh(
        "rm -f /usr/sbin/policy-rc.d; { grep -l path-exclude -r /etc/dpkg/dpkg.cfg.d || true; } | xargs -r rm; "
        "! dpkg -s mbsync 2>/dev/null");
    machine.sh("rm -f /var/lib/man-db/auto-update");  // the index of all pages, some seconds each time
    machine.sh("rm -rf /etc/mbsync /var/lib/mbsync /etc/systemd/system/mbsync.service");
    machine.sh("systemctl daemon-reload");
    std::ifstream file(Package::file(), std::ios::binary);
    machine.write("/root/mbsync.deb", {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}});
  }

  std::string install() { return machine.sh("dpkg -i /root/mbsync.deb 2>&1"); }
  std::string property(const std::string& name) {
    return machine.sh(fmt::format("systemctl show mbsync.service --property={} --value", name));
  }
  /// Notes all files, links and directories where packages and services put theirs, and all users.
  void note(const std::string& name) {
    machine.sh(
        "{ find /etc /usr/bin /usr/sbin /usr/lib/systemd /usr/share /usr/local /var/lib -xdev "
        "-path /var/lib/dpkg -prune -o -path /var/lib/systemd -prune -o -path /var/lib/postgresql -prune -o "
        "-printf '%p %m %u\\n' | sort; getent passwd; getent group; } >/root/" +
        name);
  }
  /// As 'mbsync install' leaves it, as far as the package is concerned.
  void set_up() {
    machine.start_postgres();
    machine.sh("psql -h 127.0.0.1 -U postgres -q -c \"CREATE ROLE shop LOGIN\" -c 'CREATE DATABASE shop OWNER shop'");
    machine.sh("useradd --system --user-group --no-create-home mbsync");
    machine.write("/etc/mbsync/mbsync.toml", "data_dir = \"/var/lib/mbsync\"\ndiscovery = \"off\"\n");
    machine.write(
        "/etc/mbsync/service.env",
        "DATABASE_URL=postgresql://shop@127.0.0.1/shop\nSYNC_REGISTRATION_KEY=J7pX-4mQz-9vRt-2kLw-8sBn-5cFh\n", "0600");
    machine.sh("chown -R mbsync: /etc/mbsync; systemctl --quiet enable mbsync; mbsync start >/dev/null");
  }
};

}  // namespace

TEST_CASE("package: what it says of itself, and what is in it") {
  CHECK(field("Package") == "mbsync");
  CHECK_THAT(field("Version"), Catch::StartsWith(std::string{MBSYNC_VERSION} + "-"));
  CHECK(field("Architecture") == out_of("dpkg", {"--print-architecture"}).substr(0, field("Architecture").size()));
  CHECK_THAT(field("Depends"),
             Catch::Contains("libpqxx") && Catch::Contains("libssl3") && Catch::Contains("libc6 (>="));
  // Looked for when mbsync starts: without it, peers are named.
  CHECK(field("Recommends") == "avahi-daemon, libavahi-compat-libdnssd1");
  CHECK_THAT(field("Maintainer"), Catch::Contains("@"));

  std::vector<std::string> files;
  for (const std::string& entry : contents()) {
    INFO(entry);
    CHECK_THAT(entry, Catch::Contains(" root/root "));
    if (entry.front() == 'd') {
      CHECK_THAT(entry, Catch::StartsWith(entry.ends_with("/etc/mbsync/") ? "drwxr-x---" : "drwxr-xr-x"));
      continue;
    }
    CHECK_THAT(entry, Catch::StartsWith(entry.find("/usr/bin/") != std::string::npos ? "-rwxr-xr-x" : "-rw-r--r--"));
    files.push_back(entry.substr(entry.find("./") + 1));
  }
  std::sort(files.begin(), files.end());
  CHECK(files == std::vector<std::string>{
                     "/lib/systemd/system/mbsync.service", "/usr/bin/mbsync", "/usr/bin/mbsyncd", kCompletion,
                     "/usr/share/doc/mbsync/changelog.Debian.gz", "/usr/share/doc/mbsync/copyright",
                     "/usr/share/doc/mbsync/examples/mbsync.toml.example",
                     "/usr/share/doc/mbsync/examples/service.env.example", "/usr/share/lintian/overrides/mbsync",
                     "/usr/share/man/man1/mbsync.1.gz", "/usr/share/man/man8/mbsyncd.8.gz"});
}

TEST_CASE("package: lintian finds nothing that is not explained in it") {
  if (!there_is("lintian")) {
    std::cout << "skipped: lintian is not installed, so what it would say of the package is not known\n";
    return;
  }
  const auto finished = run_program(
      "lintian", {.arguments = {"--fail-on", "warning,error", "--no-tag-display-limit", Package::file().string()}},
      std::chrono::seconds{120});
  INFO(finished.out << finished.err);
  CHECK(finished.exit_code == 0);
}

TEST_CASE("package: installed, all is there and nothing runs; removed and purged, nothing is left") {
  skip_without_machine();
  Clean clean;
  Machine& machine = clean.machine;
  clean.note("before");
  clean.install();
  CHECK(machine.sh("dpkg -s mbsync | grep ^Status") == "Status: install ok installed");
  CHECK(machine.sh("dpkg -V mbsync").empty());

  CHECK(machine.sh("command -v mbsync; mbsync version") == "/usr/bin/mbsync\nmbsync " MBSYNC_VERSION);
  CHECK(machine.sh("man -w mbsync mbsyncd") == "/usr/share/man/man1/mbsync.1.gz\n/usr/share/man/man8/mbsyncd.8.gz");
  CHECK_THAT(machine.sh("MANPAGER=cat man mbsync | col -b"),
             Catch::Contains("EXIT STATUS") && Catch::Contains("mbsync smoke-check"));
  CHECK(machine.sh(fmt::format("bash -c 'source {}; complete -p mbsync'", kCompletion)) ==
        "complete -F _mbsync mbsync");

  // The same unit as everywhere. Nothing is started, nothing will be, and there is nobody new.
  CHECK(machine.sh("cat /lib/systemd/system/mbsync.service") + "\n" ==
        systemd_unit({.program = "/usr/bin/mbsyncd",
                      .config = "/etc/mbsync/mbsync.toml",
                      .user = "mbsync",
                      .data_dir = "/var/lib/mbsync",
                      .growing_pauses = knows_growing_pauses(machine.sh("systemctl --version"))}));
  CHECK_THAT(machine.sh("systemd-analyze verify mbsync.service 2>&1"), !Catch::Contains("mbsync.service:"));
  CHECK(clean.property("LoadState") == "loaded");
  CHECK(clean.property("ActiveState") == "inactive");
  CHECK(clean.property("UnitFileState") == "disabled");
  CHECK(machine.run({"getent", "passwd", "mbsync"}).exit_code != 0);
  CHECK(machine.sh("stat -c '%a %U' /etc/mbsync; ls -A /etc/mbsync") == "750 root");

  // The example is one that mbsync reads, whole but for the secrets, which it cannot know.
  CHECK_THAT(machine.sh("sed 's/^#\\([a-z]\\)/\\1/; /\"[.][.][.]\"/d' "
                        "/usr/share/doc/mbsync/examples/mbsync.toml.example >/etc/mbsync/mbsync.toml; cd /; "
                        "mbsync config; rm /etc/mbsync/mbsync.toml"),
             Catch::Contains("/etc/mbsync/mbsync.toml: read") && Catch::Contains("node_name"));
  for (const auto* name : {"DATABASE_URL", "SYNC_REGISTRATION_KEY"}) {
    CHECK_FALSE(
        machine.sh(fmt::format("grep '^#{}=' /usr/share/doc/mbsync/examples/service.env.example", name)).empty());
  }

  CHECK_THAT(machine.sh("dpkg -r mbsync 2>&1"), !Catch::Contains("what 'mbsync install' has made"));
  machine.sh("dpkg -P mbsync");
  clean.note("after");
  const auto left = machine.run({"diff", "/root/before", "/root/after"}).out;
  INFO(left);
  CHECK(left.empty());
  CHECK(machine.run({"dpkg", "-s", "mbsync"}).exit_code != 0);
  CHECK(clean.property("LoadState") == "not-found");
}

TEST_CASE("package: an upgrade restarts what runs and nothing else; removal stops it and keeps what others have made") {
  skip_without_machine();
  Clean clean;
  Machine& machine = clean.machine;
  clean.install();
  clean.set_up();
  CHECK(clean.property("ActiveState") == "active");
  const auto pid = clean.property("MainPID");
  clean.install();
  CHECK(wait_until(
      std::chrono::seconds{60},
      [&] { return clean.property("MainPID") != pid && clean.property("SubState") == "running"; },
      std::chrono::milliseconds{100}));
  CHECK(clean.property("NRestarts") == "0");
  CHECK(clean.property("UnitFileState") == "enabled");

  // The administrator has stopped it, or does not want packages to act on services.
  machine.sh("mbsync stop");
  clean.install();
  CHECK(clean.property("ActiveState") == "inactive");
  machine.sh("mbsync start");
  const auto kept = clean.property("MainPID");
  machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", "0755");
  clean.install();
  CHECK(clean.property("MainPID") == kept);
  machine.sh("rm /usr/sbin/policy-rc.d");

  CHECK_THAT(machine.sh("dpkg -r mbsync 2>&1"), Catch::Contains("mbsync uninstall --purge"));
  CHECK(clean.property("ActiveState") == "inactive");
  CHECK(machine.sh("pgrep -x mbsyncd || echo none") == "none");
  CHECK(machine.sh("find /etc/systemd/system -name 'mbsync*'").empty());
  CHECK(machine.sh("ls /etc/mbsync") == "mbsync.toml\nservice.env");
  CHECK_THAT(machine.sh("dpkg -P mbsync 2>&1"), Catch::Contains("/etc/mbsync has files"));
  CHECK(machine.sh("ls /etc/mbsync") == "mbsync.toml\nservice.env");
  CHECK(machine.scalar("shop", "SELECT count(*) FROM mbsync.node") == "1");
}

TEST_CASE("package: 'mbsync install' takes its unit, and makes another only where that says something else") {
  skip_without_machine();
  Clean clean;
  Machine& machine = clean.machine;
  clean.install();
  clean.set_up();
  // As it was made before there was a package.
  machine.sh("cp /lib/systemd/system/mbsync.service /etc/systemd/system/; systemctl daemon-reload");
  REQUIRE(clean.property("FragmentPath") == "/etc/systemd/system/mbsync.service");
  CHECK_THAT(machine.sh("mbsync install 2>&1"), Catch::Contains("/etc/systemd/system/mbsync.service removed, as "
                                                                "/lib/systemd/system/mbsync.service says the same"));
  CHECK(clean.property("FragmentPath") == "/lib/systemd/system/mbsync.service");
  CHECK(clean.property("UnitFileState") == "enabled");
  CHECK(clean.property("ActiveState") == "active");
  CHECK_THAT(machine.sh("mbsync install 2>&1"),
             Catch::Contains("/lib/systemd/system/mbsync.service, starts with the machine"));

  machine.sh("mbsync install --data-dir /srv/mbsync --change 2>&1");
  CHECK(clean.property("FragmentPath") == "/etc/systemd/system/mbsync.service");
  CHECK_THAT(machine.sh("cat /etc/systemd/system/mbsync.service"), Catch::Contains("/srv/mbsync"));
  CHECK(clean.property("ActiveState") == "active");

  CHECK_THAT(machine.sh("mbsync uninstall --yes 2>&1"), Catch::Contains("/etc/systemd/system/mbsync.service removed"));
  CHECK(clean.property("ActiveState") == "inactive");
  CHECK(clean.property("UnitFileState") == "disabled");
  CHECK_THAT(machine.sh("mbsync uninstall --yes 2>&1"), Catch::Contains("does not run, nor start with the machine"));
  CHECK(machine.sh("ls /lib/systemd/system/mbsync.service") == "/lib/systemd/system/mbsync.service");
}
