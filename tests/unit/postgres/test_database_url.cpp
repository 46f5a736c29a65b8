#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "database_url.h"

using namespace mbsync;
using Conninfo = std::map<std::string, std::string>;

namespace {

DatabaseUrl parsed(std::string_view url) {
  auto result = parse_database_url(url);
  INFO(url);
  if (!result) {
    FAIL(result.error().text());
  }
  return *result;
}

Conninfo conninfo(std::string_view url) {
  const DatabaseUrl parsed_url = parsed(url);
  return {parsed_url.conninfo.begin(), parsed_url.conninfo.end()};
}

std::string error(std::string_view url) {
  auto result = parse_database_url(url);
  INFO(url);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kConfig);
  return result.error().text();
}

}  // namespace

TEST_CASE("database url: the usual form of a Prisma .env") {
  const DatabaseUrl url = parsed("postgresql://shop:s3cret@db.example:5433/shop_main?schema=public&connection_limit=5");
  CHECK(
      Conninfo(url.conninfo.begin(), url.conninfo.end()) ==
      Conninfo{
          {"host", "db.example"}, {"port", "5433"}, {"user", "shop"}, {"password", "s3cret"}, {"dbname", "shop_main"}});
  CHECK(url.schema == "public");
  CHECK(url.ignored == std::vector<std::string>{"connection_limit"});
  CHECK(url.warnings.empty());
  CHECK(url.display == "postgresql://shop@db.example:5433/shop_main?schema=public");
  CHECK(url.to_conninfo() == "host='db.example' port='5433' user='shop' password='s3cret' dbname='shop_main'");
}

TEST_CASE("database url: both schemes, in any case, with space around") {
  CHECK(conninfo("postgres://h/d") == Conninfo{{"host", "h"}, {"dbname", "d"}});
  CHECK(conninfo(" \tPostgreSQL://h/d/\r\n") == Conninfo{{"host", "h"}, {"dbname", "d"}});
}

TEST_CASE("database url: percent-encoding everywhere") {
  CHECK(conninfo("postgres://j%40ne:p%3A%2F%3f%23%5b%25@h%2Eexample/d%20b?application_name=a%26b+c") ==
        Conninfo{{"host", "h.example"},
                 {"user", "j@ne"},
                 {"password", "p:/?#[%"},
                 {"dbname", "d b"},
                 {"application_name", "a&b c"}});
  CHECK(parsed("postgres://h/d?schema=my%20shop").schema == "my shop");
  CHECK(conninfo("postgres://u:p+w@h/d")["password"] == "p+w");
  CHECK(conninfo("postgres://u:a:b@h/d")["password"] == "a:b");
  CHECK(conninfo("postgres://u:\xc3\xa4\xc3\xb6@h/d")["password"] == "\xc3\xa4\xc3\xb6");
}

TEST_CASE("database url: to_conninfo quotes what libpq would take apart") {
  CHECK(parsed("postgres://u:it's%5Cok%20@h/d").to_conninfo() ==
        R"(host='h' user='u' password='it\'s\\ok ' dbname='d')");
}

TEST_CASE("database url: IPv6") {
  CHECK(conninfo("postgres://[::1]:5433/d") == Conninfo{{"host", "::1"}, {"port", "5433"}, {"dbname", "d"}});
  CHECK(conninfo("postgres://u:p@[fe80::1%25eth0]/d")["host"] == "fe80::1%eth0");
  CHECK(parsed("postgres://u:p@[::1]:5433/d").display == "postgresql://u@[::1]:5433/d");
  CHECK_THAT(error("postgres://::1/d"), Catch::Contains("brackets"));
  CHECK_THAT(error("postgres://[::1/d"), Catch::Contains("IPv6 address is not complete"));
  CHECK_THAT(error("postgres://[]/d"), Catch::Contains("IPv6 address is not complete"));
  CHECK_THAT(error("postgres://[::1]5432/d"), Catch::Contains("follows the IPv6 address"));
}

TEST_CASE("database url: Unix sockets") {
  CHECK(conninfo("postgresql:///d") == Conninfo{{"dbname", "d"}});
  CHECK(conninfo("postgresql://u@/d")["user"] == "u");
  CHECK(conninfo("postgresql://u:p@localhost/d?host=/var/run/postgresql") ==
        Conninfo{{"host", "/var/run/postgresql"}, {"user", "u"}, {"password", "p"}, {"dbname", "d"}});
  CHECK(conninfo("postgresql://%2Fvar%2Frun%2Fpostgresql:5433/d") ==
        Conninfo{{"host", "/var/run/postgresql"}, {"port", "5433"}, {"dbname", "d"}});
  CHECK(parsed("postgresql://u@%2Fvar%2Frun:5433/d?schema=s").display ==
        "postgresql://u@/d?host=/var/run&port=5433&schema=s");
}

TEST_CASE("database url: what is shown is one line and a URL again, whatever the host is said to be") {
  CHECK(parsed("postgres://u@h/d?host=fe80::1%25eth0").display == "postgresql://u@[fe80::1%25eth0]/d");
  for (const std::string url : {"postgres:///d?host=a:%0Ab", "postgres:///d?host=l:///d?h/x", "postgres:///d?host=a:]b",
                                "postgres://u@[fe80::1%25eth0]:5432/d"}) {
    const auto shown = parsed(url).display;
    INFO(shown);
    CHECK(shown.find('\n') == std::string::npos);
    CHECK(parsed(shown).display == shown);
  }
}

TEST_CASE("database url: several hosts") {
  CHECK(conninfo("postgres://u@h1:5432,h2:5433,[::1]/d") ==
        Conninfo{{"host", "h1,h2,::1"}, {"port", "5432,5433,"}, {"user", "u"}, {"dbname", "d"}});
  CHECK(conninfo("postgres://h1,h2/d") == Conninfo{{"host", "h1,h2"}, {"dbname", "d"}});
  CHECK(conninfo("postgres:///d?host=h1,h2&port=1,2") == Conninfo{{"host", "h1,h2"}, {"port", "1,2"}, {"dbname", "d"}});
  CHECK(conninfo("postgres://h/d?host=h1,h2&port=5432")["port"] == "5432");
  CHECK(parsed("postgres://h1:1,h2/d").display == "postgresql://h1:1,h2/d");
  CHECK(parsed("postgres://h1,h2/d?port=7").display == "postgresql://h1:7,h2:7/d");
  CHECK_THAT(error("postgres://h/d?host=h1,h2,h3&port=1,2"), Catch::Contains("2 ports are given for 3 hosts"));
  CHECK_THAT(error("postgres://h1:1,h2:x/d"), Catch::Contains("port number 2 of 2"));
}

TEST_CASE("database url: hosts without a name are this machine, as no host is") {
  const auto* const text = GENERATE("postgresql:///shop?host=,,,", "postgresql:///shop?host=", "postgresql://,,/shop");
  CAPTURE(text);
  const auto url = parse_database_url(text);
  REQUIRE(url);
  CHECK(url->display == "postgresql:///shop");
  CHECK(url->conninfo == parse_database_url("postgresql:///shop")->conninfo);
}

TEST_CASE("database url: every parameter that Prisma and the usual drivers know") {
  const DatabaseUrl url = parsed(
      "postgresql://h/d?schema=shop&connection_limit=1&pool_timeout=0&pgbouncer=true&sslaccept=accept_invalid_certs"
      "&sslidentity=client.p12&sslpassword=hidden&socket_timeout=3&statement_cache_size=0&uselibpqcompat=true"
      "&max_idle_connection_lifetime=60&single_use_connections=true&timezone=utc&search_path=x&binaryParameters=no"
      "&connect_timeout=9&client_encoding=LATIN1&replication=database&");
  CHECK(Conninfo(url.conninfo.begin(), url.conninfo.end()) ==
        Conninfo{{"host", "h"}, {"dbname", "d"}, {"connect_timeout", "9"}});
  CHECK(url.schema == "shop");
  CHECK_THAT(url.ignored, Catch::UnorderedEquals(std::vector<std::string>{
                              "sslaccept", "sslpassword", "sslidentity", "connection_limit", "pool_timeout",
                              "pgbouncer", "socket_timeout", "statement_cache_size", "uselibpqcompat",
                              "max_idle_connection_lifetime", "single_use_connections", "timezone", "search_path",
                              "binaryParameters", "client_encoding", "replication"}));
  REQUIRE(url.warnings.size() == 1);
  CHECK_THAT(url.warnings[0], Catch::Contains("sslidentity") && Catch::Contains("openssl pkcs12"));
  CHECK_THAT(url.display, !Catch::Contains("hidden"));
}

TEST_CASE("database url: the later of two equal parameters counts") {
  CHECK(parsed("postgres://h/d?schema=a&schema=b").schema == "b");
  CHECK(conninfo("postgres://u:p@h/d?user=v&password=q&dbname=e") ==
        Conninfo{{"host", "h"}, {"user", "v"}, {"password", "q"}, {"dbname", "e"}});
}

TEST_CASE("database url: TLS as Prisma means it") {
  CHECK(conninfo("postgres://h/d?sslmode=no-verify")["sslmode"] == "require");
  CHECK(conninfo("postgres://h/d?ssl=true")["sslmode"] == "require");
  CHECK(conninfo("postgres://h/d?ssl=false")["sslmode"] == "disable");
  CHECK(conninfo("postgres://h/d?sslmode=verify-full&ssl=true")["sslmode"] == "verify-full");

  SECTION("strict verifies where encryption is required") {
    CHECK(conninfo("postgres://h/d?sslmode=require&sslaccept=strict") ==
          Conninfo{{"host", "h"},
                   {"dbname", "d"},
                   {"sslmode", "verify-full"},
                   {"sslrootcert", "/etc/ssl/certs/ca-certificates.crt"}});
    CHECK(conninfo("postgres://h/d?sslmode=require&sslaccept=strict&sslcert=ca.pem") ==
          Conninfo{{"host", "h"}, {"dbname", "d"}, {"sslmode", "verify-full"}, {"sslrootcert", "ca.pem"}});
  }
  SECTION("strict without required encryption falls back to a clear connection, as in Prisma") {
    const DatabaseUrl url = parsed("postgres://h/d?sslaccept=strict");
    CHECK(Conninfo(url.conninfo.begin(), url.conninfo.end()) == Conninfo{{"host", "h"}, {"dbname", "d"}});
    CHECK(url.ignored == std::vector<std::string>{"sslaccept"});
  }
  SECTION("a certificate alone is the authority's and is not asked for by default") {
    const DatabaseUrl url = parsed("postgres://h/d?sslmode=require&sslcert=ca.pem");
    CHECK(Conninfo(url.conninfo.begin(), url.conninfo.end()) ==
          Conninfo{{"host", "h"}, {"dbname", "d"}, {"sslmode", "require"}});
    CHECK(url.ignored == std::vector<std::string>{"sslcert"});
  }
  SECTION("a certificate with its key is the client's, as in libpq") {
    CHECK(conninfo("postgres://h/d?sslcert=c.pem&sslkey=c.key&sslpassword=x") ==
          Conninfo{{"host", "h"}, {"dbname", "d"}, {"sslcert", "c.pem"}, {"sslkey", "c.key"}, {"sslpassword", "x"}});
  }
  CHECK_THAT(error("postgres://h/d?sslmode=please"),
             Catch::Contains("sslmode") && Catch::Contains("verify-full") && Catch::Contains("no-verify"));
  CHECK(conninfo("postgres://h/d?sslrootcert=system")["sslmode"] == "verify-full");
}

TEST_CASE("database url: an '@' in the password is understood, and named") {
  const DatabaseUrl url = parsed("postgres://u:p@ss@h/d");
  CHECK(Conninfo(url.conninfo.begin(), url.conninfo.end())["password"] == "p@ss");
  CHECK(Conninfo(url.conninfo.begin(), url.conninfo.end())["host"] == "h");
  REQUIRE(url.warnings.size() == 1);
  CHECK_THAT(url.warnings[0], Catch::Contains("%40") && !Catch::Contains("ss@"));
}

TEST_CASE("database url: what other mistakes are called") {
  CHECK_THAT(error(""), Catch::Contains("empty"));
  CHECK_THAT(error("  \n"), Catch::Contains("empty"));
  CHECK_THAT(error("\"postgres://u:p@h/d\""), Catch::Contains("quotes were left around"));
  CHECK_THAT(error("'postgres://u:p@h/d'"), Catch::Contains("quotes were left around"));
  CHECK_THAT(error("host=localhost dbname=shop"), Catch::Contains("does not begin with postgres://"));
  CHECK_THAT(error("localhost:5432/shop"), Catch::Contains("does not begin with postgres://"));
  CHECK_THAT(error("postgres:h/d"), Catch::Contains("'//' is missing"));
  CHECK_THAT(error("prisma://accelerate.prisma-data.net/?api_key=x"), Catch::Contains("Prisma's own service"));
  CHECK_THAT(error("prisma+postgres://localhost:51213/?api_key=x"), Catch::Contains("Prisma's own service"));
  CHECK_THAT(error("mysql://u:p@h/d"), Catch::Contains("another kind of database"));
  CHECK_THAT(error("file:./dev.db"), Catch::Contains("another kind of database"));
  CHECK_THAT(error("jdbc:postgresql://h/d"), Catch::Contains("JDBC"));
  CHECK_THAT(error("postgres://u:p@h"), Catch::Contains("name of the database is missing"));
  CHECK_THAT(error("postgres://u:p@h/?schema=x"), Catch::Contains("name of the database is missing"));
  CHECK_THAT(error("postgres://u:p@h/a/b"), Catch::Contains("name of the database contains '/'"));
  for (const char* port : {"0", "65536", "54x", "-1", "99999999999"}) {
    CHECK_THAT(error(std::string{"postgres://u:p@h:"} + port + "/d"), Catch::Contains("port is not a number"));
  }
  CHECK_THAT(error("postgres://h/d?port=abc"), Catch::Contains("port is not a number"));
  CHECK_THAT(error("postgres://u:100%@h/d"), Catch::Contains("'%' in the password") && Catch::Contains("%25"));
  CHECK_THAT(error("postgres://u%zz:p@h/d"), Catch::Contains("'%' in the user name"));
  CHECK_THAT(error("postgres://u:p@h/d%4"), Catch::Contains("'%' in the name of the database"));
  CHECK_THAT(error("postgres://h/d?options=%q"), Catch::Contains("parameter options"));
  CHECK_THAT(error("postgres://u:a%00b@h/d"), Catch::Contains("the password contains %00"));
  CHECK_THAT(error(std::string_view{"postgres://u:p@h/d\0x", 20}), Catch::Contains("zero byte"));
  CHECK_THAT(error("postgres://u:p@h/d\nSYNC_PORT=1"), Catch::Contains("line break"));
}

TEST_CASE("database url: a variable that nobody expands is named as such") {
  for (const char* url :
       {"postgresql://${DB_USER}:${DB_PASSWORD}@${DB_HOST}:${DB_PORT}/shop", "${DATABASE_URL}",
        "postgres://u:TOPS${CRET}@h/d", "postgres://h:${PORT:-5432}/d", "postgres://h/d?schema=${S}"}) {
    const std::string text = error(url);
    CHECK_THAT(text, Catch::Contains("variables are not expanded here") && Catch::Contains("write out") &&
                         !Catch::Contains("TOPS") && !Catch::Contains("DB_"));
  }
  CHECK(conninfo("postgres://u:a$b%24{c}@h/d").at("password") == "a$b${c}");
}

TEST_CASE("database url: no mistake shows the password") {
  // TOPS and CRET stand in the password, wherever a wrong reading puts them.
  for (const char* url : {"postgres://u:TOPS/CRET@h/d",
                          "postgres://u:TOPS?CRET@h/d",
                          "postgres://u:TOPS#/CRET@h/d",
                          "postgres://u:TOPS@CRET/x@h/d",
                          "postgres://u:TOPS@x:CRET/y@h/d",
                          "postgres://u:TOPS@x/?CRET@h/d",
                          "postgres://u:TOPS@x/y?CRET@h/d",
                          "postgres://u:5/CRET@h/d",
                          "postgres://u:5?CRET=%zz@h/d",
                          "postgres://u:5?CRET=1@h/d",
                          "postgres://u:TOPS/d",
                          "postgres://u:TOPSCRET%@h/d",
                          "postgres://u:TOPSCRET@h:x/d",
                          "postgres://u:TOPSCRET@h",
                          "'postgres://u:TOPSCRET@h/d'",
                          "TOPSCRET",
                          "TOPSCRET://x",
                          "u:TOPSCRET@h/d",
                          "postgres://h/d?password=TOPSCRET&sslmode=x",
                          "postgres://h/d?password=TOPSCRET%",
                          "postgres://u:[TOPS@CRET:x/d",
                          "mysql://u:TOPSCRET@h/d",
                          "postgres://u:TOPSCRET@[h/d",
                          "postgres://u:TOPS:CRET:x/d"}) {
    CHECK_THAT(error(url), !Catch::Contains("TOPS") && !Catch::Contains("CRET"));
  }
  for (const char* url : {"postgres://u:TOPSCRET@h/d", "postgres://h/d?password=TOPSCRET", "postgres://u:TOPS@CRET@h/d",
                          "postgres://u:TOPSCRET@h/d?sslkey=k&sslpassword=TOPSCRET", "postgres://u:TOPS#CRET@h/d"}) {
    const DatabaseUrl good = parsed(url);
    CHECK_THAT(good.display, !Catch::Contains("TOPS") && !Catch::Contains("CRET"));
    for (const auto& warning : good.warnings) {
      CHECK_THAT(warning, !Catch::Contains("TOPS") && !Catch::Contains("CRET"));
    }
  }
}
