// What is asked on the local port and what is answered, as plain values: the routes of service are written with these
// and know nothing of HTTP's details or of the library behind it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.h"

namespace mbsync {

struct LocalRequest {
  std::string method;                        ///< GET or POST; HEAD arrives as GET
  std::string path;                          ///< decoded, without the query
  std::map<std::string, std::string> query;  ///< decoded; of several with one name the first
  std::string id;                            ///< what stands in the place of {id}
  std::string body;                          ///< of a POST
  std::string last_event_id;                 ///< where a stream of events is to go on
  std::string if_none_match{};               ///< what the browser has kept, by its ETag
};

struct LocalAnswer {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  /// In place of `body`, for an answer without an end: what to send next, waiting for it up to `patience`; an empty
  /// text is nothing new, nothing is the end. Called by the thread that serves, again and again.
  std::function<std::optional<std::string>(std::chrono::milliseconds patience)> stream;
};

/// {"error": {"kind", "message", "hint"}}, as commands print it with --json.
LocalAnswer local_refusal(int status, const Error& error);

struct LocalRoute {
  std::string method;  ///< GET or POST
  std::string path;    ///< "/api/sync/conflicts/{id}": one part of a path may be {id}
  std::function<LocalAnswer(const LocalRequest&)> answer;
  /// Answered without the token: a page that holds no facts and asks for the token itself.
  bool needs_no_token = false;
};

}  // namespace mbsync
