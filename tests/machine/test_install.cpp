// From a fresh machine to a synchronising node and back, as an administrator does it: with and without a terminal, on
// a machine where something is wrong, again where something was broken, and off again without a trace.
#include <fmt/format.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "machine.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr const char* kKey = "J7pX-4mQz-9vRt-2kLw-8sBn-5cFh";
constexpr const char* kUnitFile = "/etc/systemd/system/mbsync.service";
constexpr const char* kPatience = "timeout 100";

/// A machine with the application's database, the programs, and a file that says where the database is.
struct Shop {
  Machine machine;

  Shop() {
    machine.start_postgres();
    // Passwords count, and who comes by the socket is who he is on this system.
    machine.sh(R"(cat >/var/lib/box/data/pg_hba.conf <<'END'
local all all peer
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
END
psql -h 127.0.0.1 -U postgres -q -c 'SELECT pg_reload_conf()' >/dev/null)");
    sql("postgres", "CREATE ROLE shop LOGIN PASSWORD 'hush-hush'");
    create_database("shop");
    machine.install_program(MBSYNC_PROGRAM);
    machine.install_program(MBSYNCD_PROGRAM);
    machine.install_program(MBSYNC_AT_TERMINAL);
    tell("/root/shop.env", "shop:hush-hush", "shop");
  }

  void create_database(const std::string& name) {
    sql("postgres", fmt::format("CREATE DATABASE {} OWNER shop", name));
    machine.sh(fmt::format("PGPASSWORD=hush-hush psql -h 127.0.0.1 -U shop -d {} -q <<'END'\n{}\nEND", name, R"(
      CREATE TABLE item (id text PRIMARY KEY, note text, price numeric(10, 2));
      CREATE TABLE line (id text PRIMARY KEY, item text REFERENCES item ON DELETE CASCADE, n integer);
      CREATE TABLE day (d date PRIMARY KEY, sum numeric) PARTITION BY RANGE (d);
      CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
      CREATE TABLE keyless (v text);)"));
  }
  void fill(const std::string& database) {
    sql(database,
        "INSERT INTO item SELECT 'i' || i, 'note ' || i, i / 3.0 FROM generate_series(1, 200) i; INSERT INTO line "
        "SELECT 'l' || i, 'i' || i, i FROM generate_series(1, 200) i; INSERT INTO day VALUES ('2024-02-29', 1.50)");
  }

  /// The application's .env.
  void tell(const std::string& file, const std::string& login, const std::string& database) {
    machine.write(file,
                  fmt::format("NODE_ENV=production\nDATABASE_URL=postgresql://{}@127.0.0.1:5432/{}\n"
                              "SYNC_REGISTRATION_KEY={}\n",
                              login, database, kKey),
                  "0600");
  }
  void sql(const std::string& database, const std::string& statement) {
    machine.sh(
        fmt::format("psql -h 127.0.0.1 -U postgres -d {} -q -v ON_ERROR_STOP=1 <<'END'\n{}\nEND", database, statement));
  }

  /// Without a terminal.
  Machine::Finished run(const std::string& command) {
    return machine.run({"bash", "-c", fmt::format("cd /; {} {} </dev/null", kPatience, command)});
  }
  Machine::Finished install(const std::string& more = "") {
    return run("mbsync install --env-file /root/shop.env " + more);
  }
  /// At one: the questions with their answers.
  using Dialogue = std::vector<std::array<std::string, 2>>;
  Machine::Finished at_terminal(const std::string& command, const Dialogue& dialogue) {
    machine.write("/root/dialogue", nlohmann::json(dialogue).dump());
    return machine.run({"bash", "-c", fmt::format("cd /; at_terminal {} </root/dialogue", command)});
  }

  /// What is on the disk where an installation writes, with owners and rights, and the units that start by themselves.
  std::string files() {
    return machine.sh(
        "find /etc /var/lib /usr/local -xdev \\( -path /var/lib/box -o -path '/etc/*-' -o -name 'sync-service*.log' "
        "\\) -prune -o \\( -type d "
        "-printf '%p "
        "%M %u:%g\\n' -o -printf '%p %M %u:%g %l %s\\n' \\) | sort; cat /etc/passwd /etc/group; cat /etc/mbsync/* "
        "2>/dev/null || true");
  }
  std::string dump(const std::string& database = "shop") {
    // pg_dump's guard against what a dump might tell psql to do is another word each time.
    return machine.sh(
        fmt::format("pg_dump -h 127.0.0.1 -U postgres {} | grep -v '^\\\\\\(un\\)\\?restrict'", database));
  }
  std::string property(const std::string& name) {
    return machine.sh(fmt::format("systemctl show mbsync.service --property={} --value", name));
  }
  std::string stat(const std::string& path) { return machine.sh("stat -c '%a %U:%G' " + path); }
};

/// "name outcome" of each line that begins a step.
std::string steps(const std::string& text) {
  std::string found;
  std::istringstream lines(text.substr(0, text.find("\n\n")));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    std::string outcome;
    if (line.starts_with(' ') || !(words >> name >> outcome)) {
      continue;
    }
    found += fmt::format("{}{} {}", found.empty() ? "" : ", ", name, outcome);
  }
  return found;
}

constexpr const char* kAllOk =
    "settings ok, database ok, port ok, user ok, directories ok, configuration ok, schema ok, unit ok, service ok, "
    "firewall ok";
constexpr const char* kAllDone =
    "settings ok, database ok, port ok, user done, directories done, configuration done, schema done, unit done, "
    "service done, firewall ok";

/// The lines that only one of the two has; empty if they are the same.
std::string differing(const std::string& before, const std::string& after) {
  const auto only = [](const std::string& text, const std::string& other, const char* sign) {
    std::string found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      found += ("\n" + other + "\n").find("\n" + line + "\n") == std::string::npos ? sign + line + "\n" : "";
    }
    return found;
  };
  const auto text = only(before, after, "- ") + only(after, before, "+ ");
  return text.empty() && before != after ? "the order of lines" : text;
}

}  // namespace

TEST_CASE("install: without a terminal, from nothing to a node that synchronises; again changes nothing") {
  skip_without_machine();
  Shop shop;
  shop.fill("shop");

  // Nobody to ask, and nothing said: nothing is done.
  const auto before = shop.files();
  auto finished = shop.run("mbsync install");
  CHECK(finished.exit_code == 2);
  CHECK(finished.out.empty());
  CHECK(finished.err ==
        "mbsync: DATABASE_URL and SYNC_REGISTRATION_KEY missing, and there is no terminal to ask at; nothing was done\n"
        "  what to do: set DATABASE_URL in the environment or in a file that --env-file names; set "
        "SYNC_REGISTRATION_KEY in one of these two, or say --new-key on the first machine of a fleet\n");

  // A dry run shows all of it, and does nothing.
  const auto dumped = shop.dump();
  finished = shop.install("--dry-run");
  CHECK(finished.exit_code == 0);
  CHECK(steps(finished.out) ==
        "settings ok, database ok, port ok, user would, directories would, configuration would, schema would, unit "
        "would, service would, firewall ok");
  CHECK_THAT(finished.out, Catch::Contains("take part (3): public.day, public.item, public.line") &&
                               Catch::Contains("not: public.keyless has no primary key") &&
                               Catch::EndsWith("\nNothing has been changed.\n"));
  CHECK_THAT(differing(before, shop.files()), Catch::Equals(""));
  CHECK_THAT(differing(dumped, shop.dump()), Catch::Equals(""));

  finished = shop.install("--node-name till");
  INFO(finished.err);
  REQUIRE(finished.exit_code == 0);
  CHECK(finished.err.empty());
  CHECK(steps(finished.out) == kAllDone);
  CHECK_THAT(finished.out, Catch::Contains("This machine is node 'till'.") &&
                               Catch::Contains("/etc/mbsync/service.env") && !Catch::Contains(kKey) &&
                               !Catch::Contains("hush-hush"));
  CHECK(shop.stat("/etc/mbsync") == "755 root:root");
  CHECK(shop.stat("/etc/mbsync/mbsync.toml") == "644 root:root");
  CHECK(shop.stat("/etc/mbsync/service.env") == "600 mbsync:mbsync");
  CHECK(shop.stat("/var/lib/mbsync") == "700 mbsync:mbsync");
  CHECK(shop.property("ActiveState") == "active");
  CHECK(shop.property("UnitFileState") == "enabled");
  CHECK(shop.property("Description") == "Multi-Business Sync Service");
  CHECK(shop.machine.scalar("shop", "SELECT count(*) FROM mbsync.change") == "401");
  // No secret is anywhere that every user can read.
  CHECK(shop.machine.run({"grep", "-rl", "--exclude=shop.env", "hush-hush", "/etc", "/usr/local", "/var/lib/mbsync"})
            .out == "/etc/mbsync/service.env\n");
  CHECK_THAT(shop.machine.sh("journalctl --no-pager"), !Catch::Contains("hush-hush") && !Catch::Contains(kKey));

  // Another node, run by hand with the same key, and both have the same rows.
  shop.create_database("office");
  shop.machine.sh(fmt::format(
      "mkdir /tmp/office; cd /tmp/office; DATABASE_URL=postgresql://shop:hush-hush@127.0.0.1/office "
      "SYNC_REGISTRATION_KEY={} SYNC_PORT=9000 setsid mbsync run --peer 127.0.0.1:8765 >/tmp/office/log 2>&1 &",
      kKey));
  CHECK(wait_until(
      seconds{60}, [&] { return shop.machine.scalar("office", "SELECT count(*) FROM line") == "200"; },
      milliseconds{200}));
  shop.sql("office", "INSERT INTO item VALUES ('from office')");
  CHECK(wait_until(
      seconds{60},
      [&] { return shop.machine.scalar("shop", "SELECT count(*) FROM item WHERE id = 'from office'") == "1"; },
      milliseconds{200}));

  // Again, with the same words and with none: all is as it should be, the same process goes on.
  const auto pid = shop.property("MainPID");
  const auto made = shop.files();
  for (const auto* command : {"mbsync install --env-file /root/shop.env --node-name till", "mbsync install"}) {
    finished = shop.run(command);
    CHECK(finished.exit_code == 0);
    CHECK(steps(finished.out) == kAllOk);
  }
  CHECK(shop.property("MainPID") == pid);
  CHECK_THAT(differing(made, shop.files()), Catch::Equals(""));

  // The key, when it is asked for; as JSON, one document.
  finished = shop.run("mbsync install --json --show-key");
  CHECK(finished.exit_code == 0);
  const auto document = nlohmann::json::parse(finished.out);
  CHECK(document["registration_key"] == kKey);
  CHECK(document["exit_code"] == 0);
  CHECK(document["error"].is_null());
  CHECK(document["steps"].size() == 10);
  CHECK(document["tables"] == nlohmann::json{"public.day", "public.item", "public.line"});
  CHECK(document["tables_out"][0]["table"] == "public.keyless");
  CHECK(document["unit"] == kUnitFile);

  // Another value: refused, kept, written.
  finished = shop.run("mbsync install --port 9100");
  CHECK(finished.exit_code == 2);
  CHECK_THAT(finished.err, Catch::Contains("port is 8765 (mbsync.toml:") && Catch::Contains("--change writes"));
  CHECK_THAT(differing(made, shop.files()), Catch::Equals(""));
  finished = shop.run("mbsync install --port 9100 --keep");
  CHECK(finished.exit_code == 0);
  CHECK_THAT(differing(made, shop.files()), Catch::Equals(""));
  finished = shop.run("mbsync install --port 9100 --change");
  CHECK(finished.exit_code == 0);
  CHECK_THAT(steps(finished.out), Catch::Contains("configuration done") && Catch::Contains("service done"));
  CHECK_THAT(shop.machine.sh("ss -Hltn 'sport = :9100'"), Catch::Contains("9100"));
}

TEST_CASE("install: what was broken is mended by saying it again") {
  skip_without_machine();
  Shop shop;
  REQUIRE(shop.install().exit_code == 0);
  const auto mended = [&](const std::string& damage, const std::string& expected) {
    INFO(damage);
    shop.machine.sh(damage);
    const auto finished = shop.run("mbsync install");
    INFO(finished.out << finished.err);
    CHECK(finished.exit_code == 0);
    CHECK(steps(finished.out) == expected);
    CHECK(steps(shop.run("mbsync install").out) == kAllOk);
  };
  const auto with = [](std::string text, const std::string& step, const std::string& another = "") {
    for (const auto& name : {step, another}) {
      if (const auto at = text.find(name + " ok"); !name.empty() && at != std::string::npos) {
        text.replace(at, name.size() + 3, name + " done");
      }
    }
    return text;
  };
  mended(fmt::format("rm {}", kUnitFile), with(kAllOk, "unit", "service"));
  mended("systemctl disable -q mbsync", with(kAllOk, "unit", "service"));
  mended(fmt::format("sed -i s/^UMask=.*// {}; systemctl daemon-reload", kUnitFile), with(kAllOk, "unit", "service"));
  mended("systemctl stop mbsync", with(kAllOk, "service"));
  mended("chmod 0644 /etc/mbsync/service.env; chown root: /etc/mbsync/service.env", with(kAllOk, "configuration"));
  CHECK(shop.stat("/etc/mbsync/service.env") == "600 mbsync:mbsync");
  mended("chmod 0777 /etc/mbsync; chown root: /var/lib/mbsync", with(kAllOk, "directories"));
  mended("chown root: /var/lib/mbsync/sync-service.log", with(kAllOk, "directories"));
  mended("psql -h 127.0.0.1 -U postgres -d shop -q -c 'DROP TRIGGER mbsync_insert ON item'", with(kAllOk, "schema"));
  mended("systemctl stop mbsync; psql -h 127.0.0.1 -U postgres -d shop -q -c 'DROP TRIGGER mbsync_update ON day_1'",
         with(kAllOk, "schema", "service"));
  CHECK(shop.machine.scalar("shop",
                            "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'mbsync_%' AND tgrelid::regclass::text "
                            "NOT LIKE 'mbsync.%'") == "15");
  // What a person writes there stays; the service takes it in, which it had not yet.
  const auto old = shop.property("MainPID");
  mended(
      "sleep 1.1; printf '# ours\\nlog_level = \"debug\"\\n' >>/etc/mbsync/mbsync.toml; chmod 0640 "
      "/etc/mbsync/mbsync.toml; chgrp mbsync /etc/mbsync/mbsync.toml",
      with(kAllOk, "service"));
  CHECK(shop.property("MainPID") != old);
  CHECK_THAT(shop.machine.sh("cat /etc/mbsync/mbsync.toml"), Catch::EndsWith("# ours\nlog_level = \"debug\""));
  CHECK(shop.stat("/etc/mbsync/mbsync.toml") == "640 root:mbsync");
}

TEST_CASE("install: at a terminal it asks, and shows no secret") {
  skip_without_machine();
  Shop shop;
  const std::string url = "postgresql://shop:hush-hush@127.0.0.1:5432/shop";
  // Whoever gives up has done nothing, and has a terminal that shows again what is typed.
  auto finished =
      shop.at_terminal("bash -c 'trap : INT; mbsync install; echo ended with $?; stty -a'", {{"is not shown", "^C"}});
  CHECK_THAT(finished.out, Catch::Contains("nothing has been answered, and nothing was done") &&
                               Catch::Contains("ended with 1") && Catch::Contains(" echo ") &&
                               !Catch::Contains("-echo "));
  CHECK(shop.machine.run({"test", "-e", "/etc/mbsync"}).exit_code == 1);

  finished = shop.at_terminal("mbsync install", {{"DATABASE_URL of this machine", "mysql://x"},
                                                 {"DATABASE_URL of this machine", url + "-of-another"},
                                                 {"DATABASE_URL of this machine", url},
                                                 {"Registration key of the fleet", "short"},
                                                 {"Registration key of the fleet", ""},
                                                 {"Name of this machine [box]", "office"},
                                                 {"Port for the other machines [8765]", "port"},
                                                 {"Port for the other machines [8765]", "9100"}});
  INFO(finished.out);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("service        done") && Catch::Contains("node 'office'") &&
                               Catch::Contains("too short") && Catch::Contains("must be a whole number") &&
                               Catch::Contains("database \"shop-of-another\" does not exist") &&
                               Catch::Contains("(a new one)") && !Catch::Contains("hush-hush") &&
                               !Catch::Contains("(was not asked"));
  const auto key = shop.machine.sh("sed -n 's/^SYNC_REGISTRATION_KEY=//p' /etc/mbsync/service.env");
  CHECK(key.size() > 40);
  CHECK_THAT(finished.out, !Catch::Contains(key));

  // Where others are around, a new key is most likely a mistake.
  shop.machine.sh("mv /etc/mbsync /etc/mbsync.before");
  finished = shop.at_terminal("mbsync install --dry-run", {{"DATABASE_URL of this machine", url},
                                                           {"Registration key of the fleet", ""},
                                                           {"there is a node already: office. With a new key", "n"},
                                                           {"Registration key of the fleet", key},
                                                           {"Name of this machine [box]", "office"},
                                                           {"Port for the other machines [8765]", "9100"}});
  INFO(finished.out);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out,
             Catch::Contains("no new key was made") && Catch::Contains("SYNC_REGISTRATION_KEY = (set) (answered)"));
  shop.machine.sh("rm -rf /etc/mbsync; mv /etc/mbsync.before /etc/mbsync");

  // Nothing is missing, so nothing is asked; another value is asked about.
  finished = shop.at_terminal("mbsync install", {});
  CHECK(steps(finished.out) == kAllOk);
  finished = shop.at_terminal("mbsync install --port 8765", {{"Write the new values? [y/N]", "n"}});
  CHECK_THAT(finished.out, Catch::Contains("port is 9100") && Catch::Contains("kept: port is 9100"));
  finished = shop.at_terminal("mbsync install --port 8765", {{"Write the new values? [y/N]", "y"}});
  CHECK_THAT(shop.machine.sh("cat /etc/mbsync/mbsync.toml"), Catch::Contains("port = 8765"));

  // What takes long is named: that time passes is what is tested here.
  shop.machine.write("/etc/systemd/system/mbsync.service.d/slow.conf", "[Service]\nExecStartPre=/bin/sleep 4\n");
  shop.machine.sh("systemctl daemon-reload; systemctl stop mbsync");
  finished = shop.at_terminal("mbsync install", {});
  CHECK_THAT(finished.out, Catch::Contains("... service: the service started; in a large database this takes minutes"));
  shop.machine.sh("rm -r /etc/systemd/system/mbsync.service.d; systemctl daemon-reload");

  // The next machine takes the key in a file, as the summary says.
  CHECK(shop.machine.sh("grep ^SYNC_REGISTRATION_KEY= /etc/mbsync/service.env") == "SYNC_REGISTRATION_KEY=" + key);

  finished = shop.at_terminal("mbsync uninstall", {{"Stop and remove the service?", "n"}});
  CHECK(finished.exit_code == 1);
  CHECK(shop.property("ActiveState") == "active");
  finished = shop.at_terminal("mbsync uninstall", {{"Stop and remove the service?", "y"}});
  CHECK(finished.exit_code == 0);
  CHECK(shop.property("LoadState") == "not-found");
}

TEST_CASE("install: what is wrong ends it before anything is done, with what to do") {
  skip_without_machine();
  Shop shop;
  // Somebody else is at it. (Their file is no part of what an installation makes: it is gone with the next start.)
  for (const auto* command : {"mbsync install", "mbsync uninstall --yes"}) {
    const auto finished = shop.run(fmt::format("flock /run/mbsync-install.lock {}", command));
    CHECK(finished.exit_code == 1);
    CHECK_THAT(finished.err, Catch::Contains("somebody else installs or uninstalls mbsync on this machine just now"));
  }
  const auto before = shop.files();
  const auto fails = [&](const std::string& command, int code, const std::string& says, const std::string& next) {
    const auto finished = shop.run(command);
    INFO(command << "\n" << finished.out << finished.err);
    CHECK(finished.exit_code == code);
    CHECK_THAT(finished.err, Catch::Contains(says) && Catch::Contains(next) && !Catch::Contains("hush-hush"));
    CHECK_THAT(finished.out, !Catch::Contains(" done "));
    CHECK_THAT(differing(before, shop.files()), Catch::Equals(""));
    CHECK(shop.machine.scalar("shop", "SELECT count(*) FROM pg_namespace WHERE nspname = 'mbsync'") == "0");
  };
  const std::string install = "mbsync install --env-file /root/other.env ";
  fails("runuser -u nobody -- mbsync install", 2, "installing takes the rights of root", "sudo mbsync install");
  fails("mbsync install --env-file /root/none", 2, "there is no file '/root/none'", "");
  fails("mbsync install --env-file /root/shop.env --database-url x", 2, "not taken from the command line", "");
  fails("mbsync install --env-file /root/shop.env --data-dir /home/shop/sync", 2, "/home is hidden from it",
        "--data-dir");
  fails("mbsync install --env-file /root/shop.env --data-dir sync", 2, "no absolute path", "--data-dir");
  fails("mbsync install --env-file /root/shop.env --port 99999", 2, "--port: must be a whole number", "");
  fails("env SYNC_REGISTRATION_KEY=changeme mbsync install --env-file /root/shop.env", 2, "SYNC_REGISTRATION_KEY", "");
  fails("mbsync install --env-file /root/shop.env --data-dir /var/lib/box", 2, "is not the user mbsync's", "empty");

  shop.tell("/root/other.env", "shop:wrong", "shop");
  fails(install, 3, "password authentication failed for user \"shop\"", "");
  shop.tell("/root/other.env", "shop:hush-hush", "nowhere");
  fails(install, 3, "database \"nowhere\" does not exist", "");
  shop.machine.write("/root/other.env", fmt::format("DATABASE_URL=postgresql://shop:hush-hush@127.0.0.1:1/shop\n"
                                                    "SYNC_REGISTRATION_KEY={}\n",
                                                    kKey));
  fails(install, 3, "Connection refused", "");
  // A role that may do nothing here: with the statements that an administrator has to run.
  shop.sql("postgres", "CREATE ROLE stranger LOGIN PASSWORD 'hush-hush'");
  shop.tell("/root/other.env", "stranger:hush-hush", "shop");
  fails(install, 3, "role stranger may not create schema mbsync; role stranger does not own \"public\".\"day\"",
        "GRANT CREATE ON DATABASE shop TO stranger; ALTER TABLE \"public\".\"day\" OWNER TO stranger");

  // As JSON, the same in the document.
  const auto json = shop.run(install + "--json");
  CHECK(json.exit_code == 3);
  const auto document = nlohmann::json::parse(json.out);
  CHECK(document["exit_code"] == 3);
  CHECK(document["steps"].back()["name"] == "database");
  CHECK(document["steps"].back()["outcome"] == "failed");
  CHECK_THAT(document["error"]["hint"].get<std::string>(), Catch::Contains("GRANT CREATE ON DATABASE"));

  shop.machine.sh(
      "setsid python3 -m http.server 8765 >/dev/null 2>&1 & until ss -Hltn 'sport = :8765' | grep -q 8765; "
      "do sleep 0.1; done");
  fails("mbsync install --env-file /root/shop.env", 4, "port 8765: it is held by another program",
        "ss -ltnp sport = :8765");
  shop.machine.sh("kill $(ss -Hltnp 'sport = :8765' | sed 's/.*pid=\\([0-9]*\\).*/\\1/')");

  // A program that the service could not start.
  shop.machine.sh("mkdir /root/bin; cp /usr/local/bin/mbsync* /root/bin");
  fails("/root/bin/mbsync install --env-file /root/shop.env", 2, "the service cannot start /root/bin/mbsyncd",
        "/usr/local/bin");

  // The service comes up and ends: what it wrote is shown, and the next try mends it.
  shop.machine.sh("chmod 0000 /usr/local/bin/mbsyncd");
  auto finished = shop.install();
  CHECK(finished.exit_code == 2);
  CHECK_THAT(finished.err, Catch::Contains("the service has not started") && Catch::Contains("mbsync install' again"));
  shop.machine.sh("chmod 0755 /usr/local/bin/mbsyncd");
  finished = shop.install();
  CHECK(finished.exit_code == 0);
  CHECK_THAT(steps(finished.out), Catch::Contains("service done"));
}

TEST_CASE("install: a database that lets in by who comes is looked at as the service's user") {
  skip_without_machine();
  Shop shop;
  shop.machine.write("/root/shop.env", fmt::format("DATABASE_URL=postgresql:///shop?host=/run/postgresql\n"
                                                   "SYNC_REGISTRATION_KEY={}\n",
                                                   kKey));
  auto finished = shop.install("--dry-run");
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("database       would") && Catch::Contains("once the user is there"));
  // root would be let in as nobody either, and the message says who comes.
  finished = shop.install();
  CHECK(finished.exit_code == 3);
  CHECK_THAT(finished.err, Catch::Contains("role \"mbsync\" does not exist") &&
                               Catch::Contains("the service comes as the user mbsync of this system"));
  shop.sql("postgres", "CREATE ROLE mbsync LOGIN IN ROLE shop; ALTER DATABASE shop OWNER TO mbsync");
  finished = shop.install();
  INFO(finished.out << finished.err);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(steps(finished.out), Catch::Contains("schema done") && Catch::Contains("service done"));
}

TEST_CASE("install: the firewall is opened when that is said, and not twice") {
  skip_without_machine();
  Shop shop;
  if (shop.machine.run({"which", "nft"}).exit_code != 0) {
    std::cout << "skipped: there is no nft on this system (Debian: nftables)\n";
    return;
  }
  // As Debian's /etc/nftables.conf has it, and shut.
  shop.machine.sh(
      "ln -s /lib/systemd/system/nftables.service /etc/systemd/system/sysinit.target.wants/; nft add table inet "
      "filter; "
      "nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'; "
      "nft add rule inet filter input iif lo accept");
  const auto rules = [&] { return shop.machine.sh("nft list chain inet filter input"); };
  const auto before = rules();
  auto finished = shop.install();
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("firewall       left    nftables has no rule for TCP 8765 and UDP 5353") &&
                               Catch::Contains("sudo nft insert rule inet filter input tcp dport 8765 accept"));
  CHECK(rules() == before);
  finished = shop.at_terminal("mbsync install", {{"nftables is on. Let the other machines in (TCP 8765)", "n"}});
  CHECK_THAT(finished.out, Catch::Contains("firewall       left"));
  CHECK(rules() == before);
  finished = shop.run("mbsync install --firewall");
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("firewall       done    nftables lets peers and mDNS in") &&
                               Catch::Contains("put them into /etc/nftables.conf"));
  const auto opened = rules();
  CHECK_THAT(opened, Catch::Contains("tcp dport 8765 accept") && Catch::Contains("udp dport 5353 accept"));
  CHECK(steps(shop.run("mbsync install --firewall").out) == kAllOk);
  CHECK(steps(shop.at_terminal("mbsync install", {}).out) == kAllOk);
  CHECK(rules() == opened);
  CHECK_THAT(shop.run("mbsync smoke-check").out,
             Catch::Contains("firewall    ok      nftables lets peers and mDNS in"));

  // Rules of one's own making, of any name, that no service has loaded.
  shop.machine.sh(
      "rm /etc/systemd/system/sysinit.target.wants/nftables.service; nft flush ruleset; nft add table ip wall; "
      "nft 'add chain ip wall gate { type filter hook input priority 0; }'; nft add rule ip wall gate tcp dport 8765 "
      "drop");
  CHECK_THAT(
      shop.run("mbsync smoke-check").out,
      Catch::Contains("firewall    warning nftables does not let in TCP 8765; next: sudo mbsync install --firewall"));
  finished = shop.run("mbsync install --firewall");
  CHECK(finished.exit_code == 0);
  CHECK_THAT(shop.machine.sh("nft list chain ip wall gate"),
             Catch::Contains("tcp dport 8765 accept") && !Catch::Contains("5353"));
  CHECK(steps(shop.run("mbsync install --firewall").out) == kAllOk);
  CHECK_THAT(shop.run("mbsync smoke-check").out, Catch::Contains("firewall    ok "));
}

TEST_CASE("install: the firewall is opened when that is said, with ufw and firewalld") {
  skip_without_machine();
  struct Case {
    std::string name;
    std::string program;
    std::string start;
    std::string rules;
    std::string by_hand;
  };
  const auto system = GENERATE(Case{"ufw", "ufw", "ufw allow 22/tcp; ufw --force enable", "ufw status",
                                    "sudo ufw allow 8765/tcp comment mbsync"},
                               Case{"firewalld", "firewall-cmd", "rm -f /usr/sbin/ufw; systemctl start firewalld",
                                    "firewall-cmd --list-ports; firewall-cmd --permanent --list-ports",
                                    "sudo firewall-cmd --permanent --add-port=8765/tcp"});
  Shop shop;
  if (shop.machine.run({"which", system.program}).exit_code != 0) {
    std::cout << "skipped: there is no " << system.program << " on this system (Debian: " << system.name << ")\n";
    return;
  }
  INFO(shop.machine.sh(system.start + " 2>&1"));
  const auto rules = [&] { return shop.machine.sh(system.rules); };
  const auto before = rules();
  auto finished = shop.install();
  INFO(finished.out << finished.err);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("left    " + system.name + " has no rule for TCP 8765") &&
                               Catch::Contains(system.by_hand));
  CHECK(rules() == before);
  CHECK_THAT(shop.run("mbsync smoke-check").out,
             Catch::Contains("firewall    warning " + system.name + " does not let in TCP 8765"));

  finished = shop.run("mbsync install --firewall");
  INFO(finished.out << finished.err);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("firewall       done    " + system.name + " lets peers and mDNS in"));
  const auto opened = rules();
  CHECK_THAT(opened, Catch::Contains("8765/tcp") && Catch::Contains("5353/udp"));
  CHECK(steps(shop.run("mbsync install --firewall").out) == kAllOk);
  CHECK(rules() == opened);
  CHECK_THAT(shop.run("mbsync smoke-check").out, Catch::Contains("firewall    ok "));
}

TEST_CASE("uninstall: the service alone, or everything, and the application's data to the byte") {
  skip_without_machine();
  Shop shop;
  shop.fill("shop");
  const auto dumped = shop.dump();
  const auto before = shop.files();
  REQUIRE(shop.install().exit_code == 0);
  CHECK((shop.dump() != dumped));

  auto finished = shop.run("mbsync uninstall");
  CHECK(finished.exit_code == 2);
  CHECK(finished.err ==
        "mbsync: there is no terminal to ask at whether that is meant; nothing was done\n"
        "  what to do: --yes says that it is\n");
  const auto made = shop.files();
  finished = shop.run("mbsync uninstall --purge --dry-run");
  CHECK(finished.exit_code == 0);
  CHECK(steps(finished.out) == "service would, database would, data would, configuration would, user would");
  CHECK_THAT(differing(made, shop.files()), Catch::Equals(""));
  CHECK(shop.property("ActiveState") == "active");

  finished = shop.run("mbsync uninstall --yes");
  CHECK(finished.exit_code == 0);
  CHECK(steps(finished.out) == "service done");
  CHECK(shop.property("LoadState") == "not-found");
  CHECK(shop.machine.run({"test", "-e", kUnitFile}).exit_code == 1);
  CHECK(shop.stat("/etc/mbsync/service.env") == "600 mbsync:mbsync");
  CHECK(shop.machine.scalar("shop", "SELECT count(*) FROM mbsync.node") == "1");
  // That can be taken up again, without a word.
  REQUIRE(shop.run("mbsync install").exit_code == 0);

  // A member that lacks something, and a view that somebody has built upon the schema.
  shop.sql("shop",
           "INSERT INTO mbsync.node (id, name, is_self) VALUES (77, 'till', false); CREATE VIEW mine AS SELECT * FROM "
           "mbsync.open_conflict");
  finished = shop.run("mbsync uninstall --purge --yes");
  CHECK(finished.exit_code == 3);
  CHECK_THAT(finished.err, Catch::StartsWith("Beware: 401 writes of this machine have not reached all others") &&
                               Catch::Contains("what was built upon it: view public.mine") &&
                               Catch::Contains("--skip-db"));
  CHECK(shop.machine.scalar("shop", "SELECT count(*) FROM mine") == "0");
  CHECK(shop.stat("/etc/mbsync/service.env") == "600 mbsync:mbsync");
  CHECK(shop.property("ActiveState") == "active");
  CHECK(shop.property("UnitFileState") == "enabled");
  shop.sql("shop", "DROP VIEW mine");
  finished = shop.at_terminal("mbsync uninstall --purge", {{"Remove the service, schema mbsync", "y"}});
  INFO(finished.out);
  CHECK(finished.exit_code == 0);
  CHECK_THAT(finished.out, Catch::Contains("Beware: 401 writes of this machine have not reached all others") &&
                               Catch::Contains("mbsync peers forget box"));
  CHECK_THAT(differing(dumped, shop.dump()), Catch::Equals(""));
  CHECK_THAT(differing(before, shop.files()), Catch::Equals(""));
  CHECK(shop.machine.run({"id", "mbsync"}).exit_code == 1);

  finished = shop.run("mbsync uninstall --purge --yes");
  CHECK(finished.exit_code == 0);
  CHECK(steps(finished.out) == "service ok, database left, data ok, configuration ok, user ok");
  // A machine where it was is a fresh one.
  CHECK(steps(shop.install().out) == kAllDone);
  // A database that cannot be reached keeps the rest, unless it is left out.
  shop.machine.stop_postgres();
  finished = shop.run("mbsync uninstall --purge --yes");
  CHECK(finished.exit_code == 3);
  CHECK(shop.property("UnitFileState") == "enabled");
  finished = shop.run("mbsync uninstall --purge --yes --skip-db");
  CHECK(finished.exit_code == 0);
  CHECK(steps(finished.out) == "service done, database left, data done, configuration done, user done");
}
