// What a client sends to the server, below TLS. The service behind it answers at once.
#include "fuzz.h"
#include "http_front.h"
#include "memory_stream.h"
#include "transport_tuning.h"

namespace mbsync::fuzz {
namespace {

class Service : public PullService {
 public:
  Result<void> accept(const PullRequest& request, const Caller& /*caller*/) override {
    FUZZ_EXPECT(request.sender.id.valid(), "a request without a sender was handed on");
    ++accepts;
    return {};
  }
  bool wait(const PullRequest& /*request*/, std::chrono::milliseconds /*patience*/) override { return true; }
  Result<void> answer(const PullRequest& /*request*/, PullSink& sink) override {
    PullHeader header;
    header.sender = {NodeId{0x2b}, "answerer"};
    MBSYNC_TRY(sink.header(header));
    return sink.footer({});
  }

  int accepts = 0;
};

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) {
    ++found;
  }
  return found;
}

}  // namespace

void run(std::string_view input) {
  // One for all inputs, as one server has for all connections.
  static Service service;
  constexpr SenderLimiter::Limits kNoLimits{.requests = {1e9, 1e9}, .exchanges = 8, .senders = 4'096};
  static FleetTags tags;
  static HttpFront front({"/nonexistent", "", [] { return false; }, [] { return false; }, {}, kNoLimits, &tags},
                         service);
  front.set_open(true);
  service.accepts = 0;
  MemoryStream stream(input);
  std::size_t requests = 0;
  while (!stream.at_end() && !stream.exhausted()) {
    const std::size_t before = stream.taken();
    const bool usable = front.serve(stream, KeyUse::kCurrent, false);
    FUZZ_EXPECT(stream.taken() - before <=
                    tuning::kHttpHeadBytesMax + tuning::kRequestBytesMax + tuning::kRequestFramingBytesMax,
                "more of a request was read than is allowed");
    ++requests;
    if (!usable || stream.taken() == before) {
      break;
    }
  }
  FUZZ_EXPECT(service.accepts <= static_cast<int>(requests), "one request was answered twice");
  const auto tag = tags.of(KeyUse::kCurrent);
  FUZZ_EXPECT(tag.empty() || is_fleet_tag(tag), "what is no tag was taken for one");
  FUZZ_EXPECT(count(stream.written(), "200 OK\r\n") <= static_cast<std::size_t>(service.accepts),
              "what was not accepted was answered");
  // No request is worth more than the answer to a small one, or a refusal.
  constexpr std::size_t kAnswerMax = 16'384;
  FUZZ_EXPECT(stream.written().size() <= requests * kAnswerMax, "a request was answered with too much");
}

}  // namespace mbsync::fuzz
