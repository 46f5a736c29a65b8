#include "local_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "conflict_json.h"
#include "embedded_file.h"
#include "resolution.h"
#include "tuning.h"
#include "utf8.h"

namespace mbsync {

std::span<const EmbeddedFile> openapi_files();

namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int kOk = 200;
constexpr int kAccepted = 202;
constexpr int kBadRequest = 400;
constexpr int kNotFound = 404;
constexpr int kConflictStatus = 409;
constexpr int kUnavailable = 503;
constexpr std::int64_t kListedDefault = 100;
constexpr std::int64_t kListedMax = 1'000;
constexpr std::int64_t kMinutesDefault = 60;
constexpr std::int64_t kVerifyRateMax = 10'000'000;

LocalAnswer json(int status, const Json& document) {
  LocalAnswer answer;
  answer.status = status;
  answer.body = document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return answer;
}

int status_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kNotFound:
      return kNotFound;
    case ErrorKind::kRejected:
    case ErrorKind::kConflict:
      return kConflictStatus;
    case ErrorKind::kTransient:
    case ErrorKind::kInDoubt:
    case ErrorKind::kCancelled:
      return kUnavailable;
    case ErrorKind::kConfig:
      return error.area == ErrorArea::kDatabase ? kUnavailable : kBadRequest;
    case ErrorKind::kCorrupt:
    case ErrorKind::kInternal:
      break;
  }
  return 500;
}

LocalAnswer refusal(const Error& error) {
  return local_refusal(status_of(error), error);
}

LocalAnswer bad(std::string what, std::string hint = "/api/sync/openapi.json says what is taken") {
  return local_refusal(kBadRequest, Error{ErrorKind::kRejected, std::move(what), std::move(hint)});
}

std::string query(const LocalRequest& request, const char* name) {
  const auto place = request.query.find(name);
  return place == request.query.end() ? "" : place->second;
}

/// The row as it was shown to who decides; nothing: it is none.
std::optional<RowNow> row_in(const nlohmann::json& shown) {
  const auto exists = shown.find("exists");
  const auto values = shown.find("values");
  if (exists == shown.end() || !exists->is_boolean() || values == shown.end() || !values->is_object()) {
    return std::nullopt;
  }
  RowNow row;
  row.exists = exists->get<bool>();
  for (const auto& [column, value] : values->items()) {
    if (!value.is_string() && !value.is_null()) {
      return std::nullopt;
    }
    row.values.emplace_back(column, value.is_null() ? Value() : Value(value.get<std::string>()));
  }
  return row;
}

/// Nothing: it is no number from 1 to `max`.
std::optional<std::int64_t> number(const std::string& text, std::int64_t otherwise, std::int64_t max) {
  if (text.empty()) {
    return otherwise;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= max;
  return good ? std::optional(value) : std::nullopt;
}

/// Whether PostgreSQL can be given it: a text there ends at the first character 0, and what came after would be lost.
bool is_text(const std::string& given) {
  return given.find('\0') == std::string::npos && valid_utf8_length(given) == given.size();
}

Result<nlohmann::json> body_of(const LocalRequest& request) {
  auto document = nlohmann::json::parse(request.body, nullptr, false);
  if (!document.is_object()) {
    return Error{ErrorKind::kRejected, "the body is no JSON object", "/api/sync/openapi.json says what is taken"};
  }
  return document;
}

Result<Decision> decision_in(const nlohmann::json& body) {
  const auto wrong = [](std::string what) {
    return Error{ErrorKind::kRejected, std::move(what), "/api/sync/openapi.json says what is taken"};
  };
  Decision decision;
  for (const auto& [name, value] : body.items()) {
    if (value.is_string() && !is_text(value.get<std::string>())) {
      return wrong(fmt::format("'{}' holds a character 0", name));
    }
    if (name == "how" && value.is_string()) {
      const auto how = value.get<std::string>();
      const auto all = {Decision::How::kAccept, Decision::How::kKeep, Decision::How::kSet, Decision::How::kUndo};
      const auto* const place = std::find_if(all.begin(), all.end(), [&](auto one) { return to_string(one) == how; });
      if (place == all.end()) {
        return wrong("'how' is accept, keep, set or undo");
      }
      decision.how = *place;
    } else if (name == "version" && value.is_number_integer()) {
      constexpr auto kMax = std::numeric_limits<int>::max();
      if (value < 1 || value > kMax) {
        return wrong(fmt::format("'version' is a whole number from 1 to {}", kMax));
      }
      decision.version = value.get<int>();
    } else if (name == "node" && value.is_string()) {
      decision.node = value.get<std::string>();
    } else if (name == "force" && value.is_boolean()) {
      decision.force = value.get<bool>();
    } else if (name == "stamp" && value.is_string()) {
      decision.stamp = value.get<std::string>();
    } else if (name == "shown" && value.is_object()) {
      decision.shown = row_in(value);
      if (!decision.shown) {
        return wrong("'shown' is the row as GET has it: 'exists' and 'values'");
      }
    } else if (name == "values" && value.is_object()) {
      for (const auto& [column, to] : value.items()) {
        if (!to.is_string() && !to.is_null()) {
          return wrong(
              fmt::format("the value of column '{}' has to be a text, as PostgreSQL writes it, or null", column));
        }
        if (!is_text(column) || (to.is_string() && !is_text(to.get<std::string>()))) {
          return wrong(fmt::format("column '{}' or its value holds a character 0, which no text in PostgreSQL can",
                                   column.substr(0, column.find('\0'))));
        }
        decision.values.emplace_back(column, to.is_null() ? Value() : Value(to.get<std::string>()));
      }
    } else {
      return wrong(fmt::format("there is no member '{}' here, or it is of another type", name));
    }
  }
  if (!body.contains("how")) {
    return wrong("'how' is missing: accept, keep, set or undo");
  }
  if (decision.how == Decision::How::kKeep && !decision.version && decision.node.empty()) {
    return wrong("keep needs 'version', or the 'node' whose version is meant");
  }
  if (decision.how == Decision::How::kSet && decision.values.empty()) {
    return wrong("set needs 'values': an object of columns");
  }
  return decision;
}

Result<VerifyOrder> verify_order_in(const nlohmann::json& body) {
  const auto wrong = [](std::string what) { return Error{ErrorKind::kRejected, std::move(what), ""}; };
  VerifyOrder order;
  for (const auto& [name, value] : body.items()) {
    if (name == "action" || (name == "stop" && value.is_boolean())) {
      continue;
    }
    if ((name == "peers" || name == "tables") && value.is_array()) {
      auto& list = name == "peers" ? order.peers : order.tables;
      for (const auto& entry : value) {
        if (!entry.is_string() || entry.get_ref<const std::string&>().empty() || !is_text(entry)) {
          return wrong(fmt::format("'{}' is a list of texts", name));
        }
        list.push_back(entry);
      }
    } else if (name == "repair" && value.is_boolean()) {
      order.repair = value;
    } else if (name == "rows_per_second" && value.is_number_integer() && value >= 0 && value <= kVerifyRateMax) {
      order.rows_per_s = value.get<std::int64_t>();
    } else {
      return wrong(fmt::format("there is no member '{}' here, or it is of another type", name));
    }
  }
  return order;
}

Json round_json(const std::vector<PeerRound>& round, const NodeStatus& after) {
  const auto views = after.peers();
  Json document{{"done", true}, {"in_step", true}, {"rows", 0}, {"conflicts", 0}, {"peers", Json::array()}};
  std::int64_t rows = 0;
  std::int64_t conflicts = 0;
  bool in_step = true;
  const bool known = after.store && after.store_age_s == 0;  // what the database has said since the round
  for (const auto& peer : round) {
    rows += peer.rows;
    conflicts += peer.conflicts;
    const auto view =
        std::find_if(views.begin(), views.end(), [&](const PeerView& entry) { return entry.peer.id == peer.peer.id; });
    const std::int64_t lacks = view == views.end() ? 0 : view->outgoing_rows;
    in_step = in_step && peer.in_step && known && lacks == 0;
    Json entry{{"id", peer.peer.id.valid() ? Json(to_string(peer.peer.id)) : Json()},
               {"name", peer.peer.name.empty() ? Json() : Json(peer.peer.name)},
               {"address", peer.address},
               {"in_step", peer.in_step},
               {"rows", peer.rows},
               {"conflicts", peer.conflicts},
               {"lacks_rows", known ? Json(lacks) : Json()},  // where the database does not say, it is not known
               {"failure", Json()}};
    if (peer.failure) {
      entry["failure"] = peer.failure->text();
    }
    document["peers"].push_back(std::move(entry));
  }
  document["rows"] = rows;
  document["conflicts"] = conflicts;
  document["in_step"] = in_step;
  return document;
}

}  // namespace

struct LocalApi::Impl {
  explicit Impl(LocalApiBasis given) : basis(std::move(given)) {}

  LocalAnswer health(int when_down);
  LocalAnswer metrics();
  LocalAnswer service(const LocalRequest& request);
  LocalAnswer sync();
  LocalAnswer verify(const nlohmann::json& body);
  LocalAnswer stats(const LocalRequest& request);
  LocalAnswer conflicts(const LocalRequest& request);
  LocalAnswer conflict(const LocalRequest& request);
  LocalAnswer decide(const LocalRequest& request);
  LocalAnswer events(const LocalRequest& request);
  LocalAnswer with_desk(const std::function<LocalAnswer(ConflictDesk&)>& work);

  LocalApiBasis basis;
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::set<ConflictDesk*> desks;
  int desks_open = 0;
  int desks_waited_for = 0;
  int rounds_asked_for = 0;
  bool interrupted = false;
};

LocalAnswer LocalApi::Impl::health(int when_down) {
  const auto status = basis.status(Clock::now() - kStatusFreshFor);
  return json(status.judge().verdict == Health::kDown ? when_down : kOk, to_json(status));
}

LocalAnswer LocalApi::Impl::metrics() {
  LocalAnswer answer;
  answer.type = NodeMetrics::kType;
  answer.body = basis.activity.metrics().text(basis.status(Clock::now() - kStatusFreshFor));
  return answer;
}

LocalAnswer LocalApi::Impl::service(const LocalRequest& request) {
  const auto body = body_of(request);
  if (!body) {
    return bad(body.error().message);
  }
  const auto action = body->find("action");
  const std::string what = action != body->end() && action->is_string() ? action->get<std::string>() : "";
  if (what == "sync") {
    return sync();
  }
  if (what == "stop") {
    basis.activity.event("stop_asked", "the node was asked to stop");
    basis.control.stop();
    return json(kAccepted, {{"action", what}, {"accepted", true}});
  }
  if (what == "restart") {
    basis.activity.event("restart_asked", "the node was asked to start anew");
    basis.control.restart();
    return json(kAccepted, {{"action", what}, {"accepted", true}});
  }
  if (what == "verify") {
    return verify(*body);
  }
  return bad("'action' is sync, verify, stop or restart");
}

LocalAnswer LocalApi::Impl::verify(const nlohmann::json& body) {
  const auto order = verify_order_in(body);
  if (!order) {
    return bad(order.error().message);
  }
  if (body.value("stop", false)) {
    return json(kOk, {{"action", "verify"}, {"stopped", basis.verify.cancel()}});
  }
  const auto id = basis.verify.order(*order);
  if (!id) {
    return refusal(id.error());
  }
  basis.activity.event("verify_asked", order->repair ? "a comparison of rows was asked for, with repair"
                                                     : "a comparison of rows was asked for");
  return json(kAccepted, {{"action", "verify"}, {"accepted", true}, {"id", *id}});
}

LocalAnswer LocalApi::Impl::sync() {
  const auto begun = Clock::now();
  {
    // A round may take minutes, and the threads are for other questions as well.
    const std::lock_guard lock(mutex);
    if (rounds_asked_for >= kRoundsMax) {
      return refusal(Error{ErrorKind::kTransient, "others have asked for a round already, and it is under way",
                           "wait for it, or try again later"});
    }
    ++rounds_asked_for;
  }
  struct Place {
    Impl& api;
    ~Place() {
      const std::lock_guard lock(api.mutex);
      --api.rounds_asked_for;
    }
  };
  const Place place{*this};
  const auto round = basis.control.sync();
  if (!round) {
    return refusal(Error{ErrorKind::kTransient,
                         "the node cannot ask its peers now: it starts, or waits for its database",
                         "GET /health says what it is waiting for"});
  }
  // Peers that wait for news have them by now; that they have taken them they say with their next question. What was
  // read before the round does not know of its writes.
  const auto done = Clock::now();
  auto after = basis.status(done);
  const auto until = done + kSyncReportPatience;
  const auto lacking = [&] {
    const auto views = after.peers();
    return std::any_of(views.begin(), views.end(), [&](const PeerView& view) {
      return view.outgoing_rows > 0 && std::any_of(round->begin(), round->end(), [&](const PeerRound& peer) {
               return peer.in_step && peer.peer.id == view.peer.id;
             });
    });
  };
  std::unique_lock lock(mutex);
  while (!interrupted && Clock::now() < until) {
    lock.unlock();
    const bool waits = lacking();
    lock.lock();
    if (!waits) {
      break;
    }
    changed.wait_for(lock, kStatusFreshFor / 4, [&] { return interrupted; });
    lock.unlock();
    after = basis.status(std::max(done, Clock::now() - kStatusFreshFor));
    lock.lock();
  }
  lock.unlock();
  auto document = round_json(*round, after);
  document["seconds"] = std::chrono::duration<double>(Clock::now() - begun).count();
  basis.activity.event("sync", fmt::format("a round with {} was asked for and is done",
                                           round->size() == 1 ? "1 peer" : fmt::format("{} peers", round->size())));
  return json(kOk, document);
}

LocalAnswer LocalApi::Impl::stats(const LocalRequest& request) {
  const auto minutes = number(query(request, "minutes"), kMinutesDefault, NodeHistory::kMinutes);
  if (!minutes) {
    return bad(fmt::format("'minutes' is a whole number from 1 to {}", NodeHistory::kMinutes));
  }
  const auto facts = basis.activity.facts();
  Json document{{"since", facts.started_at},
                {"kept_by", "this process, in memory: it begins anew when the process does"},
                {"totals", {{"rows_in", facts.rows_in}, {"rows_out", facts.rows_out}, {"conflicts", facts.conflicts}}},
                {"rows_in_per_second", facts.rows_in_per_s},
                {"rows_out_per_second", facts.rows_out_per_s},
                {"interval_seconds", 60},
                {"samples", Json::array()}};
  const auto samples =
      basis.activity.history().latest(std::chrono::system_clock::now(), static_cast<std::size_t>(*minutes));
  for (const auto& sample : samples) {
    document["samples"].push_back(
        {{"minute", iso_of(sample.minute)},
         {"rows_in", sample.rows_in},
         {"rows_out", sample.rows_out},
         {"conflicts", sample.conflicts},
         {"apply_seconds", sample.applied > 0 ? sample.apply_s / static_cast<double>(sample.applied) : 0.0},
         {"backlog_rows", sample.backlog},
         {"lag_rows", sample.lag_rows},
         {"lag_seconds", sample.lag_s},
         {"peers_connected", sample.peers}});
  }
  return json(kOk, document);
}

LocalAnswer LocalApi::Impl::with_desk(const std::function<LocalAnswer(ConflictDesk&)>& work) {
  // Outlives its entry in `desks`, by which interrupt() finds it.
  Result<std::unique_ptr<ConflictDesk>> opened = Error{};
  struct Place {
    Impl& api;
    ConflictDesk* desk = nullptr;
    ~Place() {
      const std::lock_guard lock(api.mutex);
      --api.desks_open;
      api.desks.erase(desk);
      api.changed.notify_all();
    }
  };
  {
    std::unique_lock lock(mutex);
    const auto has_place = [&] { return interrupted || desks_open < kDesksMax; };
    if (!has_place() && desks_waited_for < kDesksMax) {
      // A page that shows some conflicts asks for all of them at once.
      ++desks_waited_for;
      changed.wait_for(lock, kStatusPatience, has_place);
      --desks_waited_for;
    }
    if (interrupted || desks_open >= kDesksMax) {
      return refusal(Error{ErrorKind::kTransient, "others are looking at conflicts just now", "try again"});
    }
    ++desks_open;
  }
  Place place{*this};
  // Where the database is away, say so at once, as /health does.
  opened = ConflictDesk::open(basis.database, [this] {
    const std::lock_guard lock(mutex);
    return interrupted;
  });
  if (!opened) {
    return refusal(opened.error().about(ErrorArea::kDatabase));
  }
  {
    const std::lock_guard lock(mutex);
    place.desk = opened->get();
    desks.insert(place.desk);
  }
  return work(**opened);
}

LocalAnswer LocalApi::Impl::conflicts(const LocalRequest& request) {
  for (const auto& [name, value] : request.query) {
    if (!is_text(value)) {
      return bad("a value in the address is not UTF-8, or holds a character 0");
    }
  }
  ConflictFilter filter;
  const auto state = query(request, "state");
  if (state.empty() || state == "open") {
    filter.states = {ConflictState::kOpen};
  } else if (state == "decided") {
    filter.states = {ConflictState::kDecided};
  } else if (state == "resolved") {
    filter.states = {ConflictState::kResolved};
  } else if (state != "all") {
    return bad("'state' is open, decided, resolved or all");
  }
  const auto limit = number(query(request, "limit"), kListedDefault, kListedMax);
  if (!limit) {
    return bad(fmt::format("'limit' is a whole number from 1 to {}", kListedMax));
  }
  filter.limit = static_cast<std::size_t>(*limit);
  filter.table = query(request, "table");
  filter.key = query(request, "key");
  filter.node = query(request, "node");
  filter.rule = query(request, "rule");
  filter.kind = query(request, "kind");
  filter.since = query(request, "since");
  return with_desk([&](ConflictDesk& desk) {
    const auto list = desk.list(filter);
    return list ? json(kOk, list_json(*list)) : refusal(list.error());
  });
}

LocalAnswer LocalApi::Impl::conflict(const LocalRequest& request) {
  return with_desk([&](ConflictDesk& desk) {
    const auto id = desk.find(request.id);
    if (!id) {
      return refusal(id.error());
    }
    const auto details = desk.show(*id);
    if (!details) {
      return refusal(details.error());
    }
    auto document = details_json(*details);
    document["stamp"] = details->conflict.summary.stamp();
    return json(kOk, document);
  });
}

LocalAnswer LocalApi::Impl::decide(const LocalRequest& request) {
  const auto body = body_of(request);
  if (!body) {
    return bad(body.error().message);
  }
  const auto decision = decision_in(*body);
  if (!decision) {
    return bad(decision.error().message);
  }
  return with_desk([&](ConflictDesk& desk) {
    const auto id = desk.find(request.id);
    if (!id) {
      return refusal(id.error());
    }
    auto report = desk.decide(*id, *decision);
    if (!report) {
      return refusal(report.error());
    }
    basis.activity.event("conflict_resolved",
                         fmt::format("a person has decided a conflict of {} ({})", report->table, report->how), "",
                         {{"conflict", *id}});
    const std::vector<DecisionResult> results{{*id, std::move(report)}};
    return json(kOk, results_json(results)["results"][0]);
  });
}

LocalAnswer LocalApi::Impl::events(const LocalRequest& request) {
  // Those that have been before are told at once, from the oldest on, or from where the reader left off.
  std::string last = request.last_event_id.empty() ? query(request, "after") : request.last_event_id;
  LocalAnswer answer;
  answer.type = "text/event-stream";
  answer.stream = [this, last, silent_since = Clock::now(),
                   first = true](std::chrono::milliseconds patience) mutable -> std::optional<std::string> {
    std::string text;
    if (std::exchange(first, false)) {
      text = "retry: 2000\n\n";
      patience = std::chrono::milliseconds{0};
    }
    for (const auto& event : basis.activity.events().after(last, patience)) {
      text += to_sse(event);
      last = event.id;
    }
    // A sign of life, by which either side notices that the other has gone.
    constexpr std::chrono::seconds kSilence{15};
    if (text.empty() && Clock::now() - silent_since >= kSilence) {
      text = ": all is quiet\n\n";
    }
    if (!text.empty()) {
      silent_since = Clock::now();
    }
    return text;
  };
  return answer;
}

std::string_view openapi_document() {
  return openapi_files().front().content;
}

LocalApi::LocalApi(LocalApiBasis basis) : impl_(std::make_unique<Impl>(std::move(basis))) {}
LocalApi::~LocalApi() = default;

void LocalApi::interrupt() {
  const std::lock_guard lock(impl_->mutex);
  for (auto* desk : impl_->desks) {
    desk->interrupt(impl_->interrupted);
  }
  impl_->interrupted = true;
  impl_->changed.notify_all();
}

std::vector<LocalRoute> LocalApi::routes() {
  auto& api = *impl_;
  std::vector<LocalRoute> routes;
  const auto get = [&](const char* path, std::function<LocalAnswer(const LocalRequest&)> answer) {
    routes.push_back({"GET", path, std::move(answer)});
  };
  const auto post = [&](const char* path, std::function<LocalAnswer(const LocalRequest&)> answer) {
    routes.push_back({"POST", path, std::move(answer)});
  };
  get("/health", [&api](const LocalRequest&) { return api.health(kUnavailable); });
  get("/metrics", [&api](const LocalRequest&) { return api.metrics(); });
  get("/api/sync/service", [&api](const LocalRequest&) { return api.health(kOk); });
  post("/api/sync/service", [&api](const LocalRequest& request) { return api.service(request); });
  get("/api/sync/process", [&api](const LocalRequest&) { return json(kOk, to_json(api.basis.activity.facts())); });
  get("/api/sync/verify", [&api](const LocalRequest&) { return json(kOk, api.basis.verify.document()); });
  get("/api/sync/stats", [&api](const LocalRequest& request) { return api.stats(request); });
  get("/api/sync/conflicts", [&api](const LocalRequest& request) { return api.conflicts(request); });
  get("/api/sync/conflicts/{id}", [&api](const LocalRequest& request) { return api.conflict(request); });
  post("/api/sync/conflicts/{id}", [&api](const LocalRequest& request) { return api.decide(request); });
  get("/api/sync/events", [&api](const LocalRequest& request) { return api.events(request); });
  get("/api/sync/openapi.json", [](const LocalRequest&) {
    LocalAnswer answer;
    answer.body = openapi_document();
    return answer;
  });
  return routes;
}

}  // namespace mbsync
