#include "local_http_front.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <httplib.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "transport_tuning.h"

namespace mbsync {
namespace {

constexpr const char* kJson = "application/json";
constexpr std::string_view kAnId = "{id}";

/// httplib's server without its sockets and threads.
class Front : public httplib::Server {
 public:
  void serve(LimitedStream& stream) {
    bool closed = false;
    stream.limit_reads(tuning::kLocalHeadBytesMax, tuning::kLocalLineBytesMax);
    process_request(stream, true, closed, [&](httplib::Request& request) {
      stream.limit_reads(tuning::kLocalBodyBytesMax + tuning::kRequestFramingBytesMax);
      // Nothing here is answered in parts, and httplib takes such a header apart with std::regex.
      request.headers.erase("Range");
      request.ranges.clear();
    });
  }
  void set_open(bool open) { svr_sock_ = open ? 0 : INVALID_SOCKET; }
};

/// Whether `path` is `pattern`; what stands for {id} goes to `id`.
bool is_path(std::string_view pattern, std::string_view path, std::string& id) {
  const auto place = pattern.find(kAnId);
  if (place == std::string_view::npos) {
    return path == pattern;
  }
  const auto before = pattern.substr(0, place);
  const auto after = pattern.substr(place + kAnId.size());
  if (path.size() <= before.size() + after.size() || path.substr(0, before.size()) != before ||
      path.substr(path.size() - after.size()) != after) {
    return false;
  }
  const auto middle = path.substr(before.size(), path.size() - before.size() - after.size());
  if (middle.find('/') != std::string_view::npos) {
    return false;
  }
  id = std::string(middle);
  return true;
}

LocalHead head_of(const httplib::Request& request) {
  LocalHead head;
  head.method = request.method;
  const auto [first, last] = request.headers.equal_range("Host");
  for (auto entry = first; entry != last; ++entry) {
    head.hosts.push_back(entry->second);
  }
  // What is said twice could be looked at here and meant by the other there; a browser says it once.
  const auto said = [&](const char* name) {
    return request.get_header_value_count(name) > 1 ? std::string("said twice") : request.get_header_value(name);
  };
  head.origin = said("Origin");
  head.fetch_site = said("Sec-Fetch-Site");
  head.fetch_mode = said("Sec-Fetch-Mode");
  head.fetch_dest = said("Sec-Fetch-Dest");
  head.authorization = said("Authorization");
  head.content_type = said("Content-Type");
  head.encoded = request.has_header("Content-Encoding");
  return head;
}

LocalRequest request_of(const httplib::Request& request, std::string id) {
  LocalRequest given;
  given.method = request.method == "HEAD" ? "GET" : request.method;
  given.path = request.path;
  for (const auto& [name, value] : request.params) {
    given.query.emplace(name, value);
  }
  given.id = std::move(id);
  given.body = request.body;
  given.last_event_id = request.get_header_value("Last-Event-ID");
  given.if_none_match = request.get_header_value("If-None-Match");
  return given;
}

void set_headers(httplib::Response& response) {
  // What a node tells is out of date at once, is for nobody's frame, and is what it says to be.
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Content-Type-Options", "nosniff");
  response.set_header("X-Frame-Options", "DENY");
  response.set_header("Referrer-Policy", "no-referrer");
  response.set_header("Cross-Origin-Resource-Policy", "same-origin");
}

}  // namespace

LocalAnswer local_refusal(int status, const Error& error) {
  LocalAnswer answer;
  answer.status = status;
  const nlohmann::ordered_json document{
      {"error", {{"kind", to_string(error.kind)}, {"message", error.message}, {"hint", error.hint}}}};
  answer.body = document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return answer;
}

struct LocalHttpFront::Impl {
  Impl(Options given, std::vector<LocalRoute> all) : options(std::move(given)), routes(std::move(all)) { set_up(); }

  struct Found {
    const LocalRoute* route = nullptr;
    std::string id;
    std::vector<std::string> other_methods;
  };
  [[nodiscard]] Found find(const httplib::Request& request) const;
  void set_up();
  bool guard(const httplib::Request& request, httplib::Response& response);
  void answer(const httplib::Request& request, httplib::Response& response);
  void put(LocalAnswer given, std::string_view route, httplib::Response& response);

  const Options options;
  const std::vector<LocalRoute> routes;
  Front front;
};

LocalHttpFront::Impl::Found LocalHttpFront::Impl::find(const httplib::Request& request) const {
  Found found;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (const auto& route : routes) {
    std::string id;
    if (!is_path(route.path, request.path, id)) {
      continue;
    }
    if (route.method == method) {
      found.route = &route;
      found.id = std::move(id);
      return found;
    }
    found.other_methods.push_back(route.method);
  }
  return found;
}

void LocalHttpFront::Impl::put(LocalAnswer given, std::string_view route, httplib::Response& response) {
  std::shared_ptr<void> counted;
  if (given.stream) {
    counted = options.begin_stream();
    if (!counted) {
      given =
          local_refusal(503, Error{ErrorKind::kTransient, "as many streams of events as there may be are open already",
                                   "close one of them, or try again later"});
    }
  }
  response.status = given.status;
  set_headers(response);
  for (const auto& [name, value] : given.headers) {
    response.headers.erase(name);
    response.set_header(name, value);
  }
  if (options.answered) {
    options.answered(route, given.status);
  }
  if (options.answer_begins) {
    options.answer_begins(!given.stream);
  }
  if (!given.stream) {
    response.set_content(given.body, given.type);
    return;
  }
  response.set_chunked_content_provider(
      given.type, [next = std::move(given.stream), counted, this](std::size_t /*offset*/, httplib::DataSink& sink) {
        if (options.stopped() || !sink.is_writable()) {
          return false;
        }
        const auto piece = next(tuning::kWaitSlice);
        if (!piece) {
          sink.done();
          return true;
        }
        return piece->empty() || sink.write(piece->data(), piece->size());
      });
}

// Before a body is read.
bool LocalHttpFront::Impl::guard(const httplib::Request& request, httplib::Response& response) {
  const auto found = find(request);
  auto head = head_of(request);
  head.needs_token = found.route == nullptr || !found.route->needs_no_token;
  if (const auto refusal = refused_by(options.guard, head)) {
    if (options.refused) {
      options.refused(refusal->error.message);
    }
    auto said = local_refusal(refusal->status, refusal->error);
    if (refusal->status == 401) {
      said.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"mbsync\"");
    }
    put(std::move(said), "refused", response);
    return false;
  }
  if (found.route != nullptr) {
    return true;
  }
  if (!found.other_methods.empty()) {
    auto said =
        local_refusal(405, Error{ErrorKind::kRejected, fmt::format("{} is not for this address", request.method),
                                 fmt::format("only {}", fmt::join(found.other_methods, " and "))});
    said.headers.emplace_back("Allow", fmt::format("{}", fmt::join(found.other_methods, ", ")));
    put(std::move(said), "unknown", response);
    return false;
  }
  put(local_refusal(404, Error{ErrorKind::kNotFound, "there is nothing at this address",
                               "/api/sync/openapi.json lists what there is"}),
      "unknown", response);
  return false;
}

void LocalHttpFront::Impl::answer(const httplib::Request& request, httplib::Response& response) {
  if (options.head_and_body_read) {
    options.head_and_body_read();
  }
  auto found = find(request);
  if (found.route == nullptr) {
    return put(local_refusal(404, Error{ErrorKind::kNotFound, "there is nothing at this address", ""}), "unknown",
               response);
  }
  put(found.route->answer(request_of(request, std::move(found.id))), found.route->path, response);
}

void LocalHttpFront::Impl::set_up() {
  front.set_payload_max_length(tuning::kLocalBodyBytesMax);
  front.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return guard(request, response) ? httplib::Server::HandlerResponse::Unhandled
                                    : httplib::Server::HandlerResponse::Handled;
  });
  const httplib::Server::Handler all = [this](const httplib::Request& request, httplib::Response& response) {
    answer(request, response);
  };
  front.Get("[^]*", all);
  front.Post("[^]*", all);
  front.set_error_handler(httplib::Server::Handler([this](const httplib::Request& /*request*/,
                                                          httplib::Response& response) {
    if (response.body.empty() && !response.has_header("Cache-Control")) {
      if (options.answered) {
        options.answered("malformed", response.status);
      }
      const auto said =
          response.status == 413
              ? Error{ErrorKind::kRejected, fmt::format("a body of more than {} bytes", tuning::kLocalBodyBytesMax), ""}
              : Error{ErrorKind::kCorrupt, "not a well-formed request, or one with too long a head", ""};
      set_headers(response);
      response.set_content(local_refusal(response.status, said).body, kJson);
    }
  }));
  front.set_exception_handler(
      [this](const httplib::Request& /*request*/, httplib::Response& response, const std::exception_ptr& thrown) {
        if (options.failed) {
          try {
            std::rethrow_exception(thrown);
          } catch (const std::exception& failure) {
            options.failed(failure.what());
          } catch (...) {
            options.failed("for no reason that is known");
          }
        }
        if (options.answered) {
          options.answered("failed", 500);
        }
        response.status = 500;
        set_headers(response);
        response.set_content(
            local_refusal(500, Error{ErrorKind::kInternal, "this node failed while it answered", "see its log"}).body,
            kJson);
      });
}

LocalHttpFront::LocalHttpFront(Options options, std::vector<LocalRoute> routes)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(routes))) {}
LocalHttpFront::~LocalHttpFront() = default;
void LocalHttpFront::serve(LimitedStream& stream) {
  impl_->front.serve(stream);
}
void LocalHttpFront::set_open(bool open) {
  impl_->front.set_open(open);
}

}  // namespace mbsync
