#include "dashboard.h"

#include <fmt/format.h>

#include <string_view>

#include "embedded_file.h"

namespace mbsync {

std::span<const EmbeddedFile> dashboard_files();

namespace {

constexpr int kNotModified = 304;

// Nothing comes from elsewhere, nothing goes elsewhere, and no text can become code: row values and names are shown
// here, and whoever may write a row could put markup into it.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

std::string type_of(std::string_view name) {
  if (name.ends_with(".html")) {
    return "text/html; charset=utf-8";
  }
  if (name.ends_with(".css")) {
    return "text/css; charset=utf-8";
  }
  if (name.ends_with(".svg")) {
    return "image/svg+xml";
  }
  return "text/javascript; charset=utf-8";
}

/// If-None-Match: "*", or a list of tags, each of which may be marked as weak.
bool names_tag(std::string_view list, std::string_view tag) {
  return list == "*" || list.find(tag) != std::string_view::npos;
}

LocalAnswer answer_of(const EmbeddedFile& file, const LocalRequest& request) {
  const auto tag = fmt::format("\"{}\"", file.sha256);
  // Weak: the same file may go out packed or not.
  LocalAnswer answer;
  answer.type = type_of(file.name);
  answer.headers = {{"Cache-Control", "no-cache"},
                    {"ETag", "W/" + tag},
                    {"Vary", "Accept-Encoding"},
                    {"Content-Security-Policy", std::string(kPolicy)}};
  if (names_tag(request.if_none_match, tag)) {
    answer.status = kNotModified;
  } else {
    answer.body = file.content;
  }
  return answer;
}

}  // namespace

std::vector<LocalRoute> dashboard_routes() {
  std::vector<LocalRoute> routes;
  for (const auto& file : dashboard_files()) {
    const auto path = file.name == "index.html" ? std::string("/") : fmt::format("/dashboard/{}", file.name);
    routes.push_back({"GET", path, [&file](const LocalRequest& request) { return answer_of(file, request); }, true});
  }
  return routes;
}

}  // namespace mbsync
