// What a program of the machine, or a page in its browser, sends to the local port.
#include <algorithm>

#include "fuzz.h"
#include "local_http_front.h"
#include "memory_stream.h"
#include "transport_tuning.h"

namespace mbsync::fuzz {
namespace {

constexpr const char* kToken = "0123456789abcdef";
constexpr std::size_t kStreamPieces = 3;

/// What was asked of the routes of one front.
struct Asked {
  int open = 0;    ///< of the one that needs no token
  int closed = 0;  ///< of those that do
};

std::vector<LocalRoute> routes(Asked& asked) {
  const auto answer = [](int& counter) {
    return [&counter](const LocalRequest& request) {
      FUZZ_EXPECT(request.method == "GET" || request.method == "POST", "a method that no route has was handed on");
      FUZZ_EXPECT(request.body.size() <= tuning::kLocalBodyBytesMax, "more of a body was taken than is allowed");
      FUZZ_EXPECT(request.method == "POST" || request.body.empty(), "a GET came with a body");
      ++counter;
      LocalAnswer done;
      done.body = "{}";
      return done;
    };
  };
  std::vector<LocalRoute> all;
  all.push_back({"GET", "/", answer(asked.open), true});
  all.push_back({"GET", "/api/sync/conflicts/{id}", answer(asked.closed)});
  all.push_back({"POST", "/api/sync/service", answer(asked.closed)});
  all.push_back({"GET", "/api/sync/events", [&asked](const LocalRequest&) {
                   ++asked.closed;
                   LocalAnswer events;
                   events.type = "text/event-stream";
                   events.stream = [left = kStreamPieces](std::chrono::milliseconds) mutable {
                     return left-- > 0 ? std::optional<std::string>("data: x\n\n") : std::nullopt;
                   };
                   return events;
                 }});
  return all;
}

LocalHttpFront::Options options(const char* token) {
  LocalHttpFront::Options made;
  made.guard.token = token;
  made.stopped = [] { return false; };
  made.begin_stream = [] { return std::make_shared<int>(); };
  return made;
}

bool has(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

/// Serves one request, and says how often routes were asked.
Asked serve(LocalHttpFront& front, Asked& asked, std::string_view input) {
  asked = {};
  MemoryStream stream(input);
  front.serve(stream);
  FUZZ_EXPECT(stream.taken() <= tuning::kLocalHeadBytesMax + 2 * tuning::kLocalBodyBytesMax,
              "more of a request was read than is allowed");
  FUZZ_EXPECT(asked.open + asked.closed <= 1, "one request was answered twice");
  const auto& written = stream.written();
  FUZZ_EXPECT(written.empty() || written.starts_with("HTTP/1.1 "), "the answer does not begin as one");
  constexpr std::size_t kAnswerMax = 16'384;
  FUZZ_EXPECT(written.size() <= kAnswerMax, "a request was answered with too much");
  return asked;
}

}  // namespace

void run(std::string_view input) {
  // One for all inputs, as one server has for all connections.
  static Asked asked;
  static LocalHttpFront free(options(""), routes(asked));
  static LocalHttpFront guarded(options(kToken), routes(asked));
  free.set_open(true);
  guarded.set_open(true);

  std::string lower(input);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const auto freely = serve(free, asked, input);
  FUZZ_EXPECT(freely.open + freely.closed == 0 || has(lower, "localhost") || has(lower, "127.") || has(lower, "::1") ||
                  has(lower, "0:0:0:0:0:0:0:1"),
              "who was asked by another name has answered");
  const auto with_token = serve(guarded, asked, input);
  FUZZ_EXPECT(with_token.closed == 0 || has(input, kToken), "who did not know the token was answered");
  FUZZ_EXPECT(with_token.open + with_token.closed <= freely.open + freely.closed,
              "the token let somebody in who is not let in without");
}

}  // namespace mbsync::fuzz
