// The page's files as the local port serves them, over a real socket: what a browser gets and keeps, and who may have
// it.
#include <httplib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "dashboard.h"
#include "local_http_server.h"

using namespace mbsync;

namespace {

struct Port {
  LocalHttpServer server{{.addresses = {"127.0.0.1"}, .token = "0123456789abcdef"}, routes()};

  Port() { REQUIRE(server.start()); }

  static std::vector<LocalRoute> routes() {
    auto all = dashboard_routes();
    all.push_back({"GET", "/api/sync/service", [](const LocalRequest&) { return LocalAnswer(); }});
    return all;
  }

  [[nodiscard]] httplib::Response get(const std::string& path, const httplib::Headers& headers = {}) const {
    httplib::Client client("127.0.0.1", server.port());
    const auto result = client.Get(path, headers);
    REQUIRE(result);
    return *result;
  }
};

}  // namespace

TEST_CASE("dashboard: the page and its files need no token, what they ask for does") {
  const Port port;
  const auto page = port.get("/");
  CHECK(page.status == 200);
  CHECK(page.get_header_value("Content-Type") == "text/html; charset=utf-8");
  CHECK_THAT(page.body, Catch::StartsWith("<!doctype html>") && Catch::EndsWith("</html>\n"));
  CHECK(port.get("/api/sync/service").status == 401);
  CHECK(port.get("/api/sync/service", {{"Authorization", "Bearer 0123456789abcdef"}}).status == 200);
  // What is not there is not told to strangers.
  CHECK(port.get("/dashboard/none.js").status == 401);
  CHECK(port.get("/dashboard/").status == 401);
  CHECK(port.get("/dashboard/../main.js").status == 401);
  httplib::Client client("127.0.0.1", port.server.port());
  CHECK(client.Post("/", "{}", "application/json")->status == 401);
  CHECK(client.Head("/")->status == 200);
}

TEST_CASE("dashboard: a browser is told to take nothing from elsewhere, and to make no markup of texts") {
  const Port port;
  for (const auto& route : dashboard_routes()) {
    INFO(route.path);
    CHECK(route.needs_no_token);
    const auto file = port.get(route.path);
    CHECK(file.status == 200);
    CHECK_FALSE(file.body.empty());
    const auto policy = file.get_header_value("Content-Security-Policy");
    for (const char* rule :
         {"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
          "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"}) {
      CHECK_THAT(policy, Catch::Contains(rule));
    }
    CHECK_THAT(policy, !Catch::Contains("unsafe"));
    CHECK(file.get_header_value("X-Content-Type-Options") == "nosniff");
    CHECK(file.get_header_value("Referrer-Policy") == "no-referrer");
    CHECK(file.get_header_value("X-Frame-Options") == "DENY");
    CHECK(file.get_header_value_count("Cache-Control") == 1);
    CHECK(file.get_header_value("Cache-Control") == "no-cache");
    CHECK(file.get_header_value("Vary") == "Accept-Encoding");
  }
}

TEST_CASE("dashboard: a file that a browser has is not sent again") {
  const Port port;
  const auto first = port.get("/dashboard/main.js");
  CHECK(first.get_header_value("Content-Type") == "text/javascript; charset=utf-8");
  const auto tag = first.get_header_value("ETag");
  CHECK(std::regex_match(tag, std::regex("W/\"[0-9a-f]{64}\"")));
  CHECK(port.get("/").get_header_value("ETag") != tag);
  for (const std::string& kept : {tag, "\"other\", " + tag, std::string("*"), tag.substr(2)}) {
    INFO(kept);
    const auto again = port.get("/dashboard/main.js", {{"If-None-Match", kept}});
    CHECK(again.status == 304);
    CHECK(again.body.empty());
    CHECK(again.get_header_value("ETag") == tag);
  }
  for (const std::string& kept : {std::string("\"other\""), std::string("W/"), tag.substr(3, 64)}) {
    INFO(kept);
    CHECK(port.get("/dashboard/main.js", {{"If-None-Match", kept}}).status == 200);
  }
}

TEST_CASE("dashboard: what is served is byte by byte what stands in the sources") {
  const Port port;
  std::size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(MBSYNC_PAGE)) {
    const auto name = file.path().filename().string();
    std::ifstream stream(file.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(stream), {}};
    INFO(name);
    CHECK(port.get(name == "index.html" ? "/" : "/dashboard/" + name).body == content);
    ++files;
  }
  CHECK(files == dashboard_routes().size());
}

TEST_CASE("dashboard: what the files name is there") {
  std::set<std::string> there;
  for (const auto& route : dashboard_routes()) {
    there.insert(route.path);
  }
  const Port port;
  std::set<std::string> named{"/"};
  const std::regex imported(R"re((?:from|src=|href=) ?"(?:\./|/dashboard/)([a-z_]+\.[a-z]+)")re");
  for (const auto& path : there) {
    const auto body = port.get(path).body;
    for (std::sregex_iterator match(body.begin(), body.end(), imported), end; match != end; ++match) {
      named.insert("/dashboard/" + (*match)[1].str());
    }
  }
  CHECK(named == there);
}

TEST_CASE("dashboard: other names and other pages are refused, as everywhere on the local port") {
  const Port port;
  CHECK(port.get("/", {{"Host", "evil.example"}}).status == 421);
  CHECK(port.get("/dashboard/main.js", {{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "no-cors"}}).status ==
        403);
  // A link that somebody follows, and an address that is typed in.
  CHECK(
      port.get("/", {{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Dest", "document"}})
          .status == 200);
  CHECK(port.get("/", {{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Dest", "iframe"}})
            .status == 403);
  CHECK(port.get("/", {{"Sec-Fetch-Site", "none"}}).status == 200);
}
