// What a server sends to the client, below TLS. In inputs that begin with 'p', the body behind the head's empty line is
// the frames of an answer in clear: it is packed, and cut into chunks, first.
#include <fcntl.h>

#include "compress.h"
#include "fuzz.h"
#include "http_pull.h"
#include "memory_stream.h"
#include "transport_tuning.h"

namespace mbsync::fuzz {
namespace {

/// Counts, so that it is seen whether an answer that is not whole is taken for one.
class Counts : public PullSink {
 public:
  Result<void> header(const PullHeader& /*header*/) override { return called(); }
  Result<void> table(const TableHeader& /*table*/) override { return called(); }
  Result<void> rows(std::string_view /*copy_text*/) override { return called(); }
  Result<void> table_end(std::int64_t /*rows*/) override { return called(); }
  Result<void> footer(const PullFooter& /*footer*/) override {
    ++footers;
    return called();
  }
  int footers = 0;

 private:
  Result<void> called() {
    FUZZ_EXPECT(footers <= 1, "something comes behind the end");
    return {};
  }
};

class Client : public HttpPull {
 public:
  explicit Client(std::string_view input) : stream_(input) {}

  MemoryStream stream_;

 private:
  bool create_and_connect_socket(Socket& out, httplib::Error& /*error*/) override {
    out.sock = ::open("/dev/null", O_RDWR | O_CLOEXEC);  // something to close
    way_.fresh = true;
    return out.sock >= 0;
  }
  bool process_socket(const Socket& /*socket*/, std::function<bool(httplib::Stream&)> callback) override {
    return run_over(stream_, callback);
  }
};

std::string with_body_packed(std::string_view input) {
  constexpr std::string_view kEmptyLine = "\r\n\r\n";
  const auto head = input.find(kEmptyLine);
  if (head == std::string_view::npos) {
    return std::string(input);
  }
  std::string out(input.substr(0, head + kEmptyLine.size()));
  const auto chunk = [&](std::string_view bytes) -> Result<void> {
    char size[16];
    std::snprintf(size, sizeof(size), "%zx\r\n", bytes.size());
    out.append(size).append(bytes).append("\r\n");
    return {};
  };
  Compressor compressor(1, chunk);
  FUZZ_EXPECT(compressor.write(input.substr(head + kEmptyLine.size())) && compressor.finish(), "cannot compress");
  return out + "0\r\n\r\n";
}

}  // namespace

void run(std::string_view input) {
  if (input.empty()) {
    return;
  }
  const std::string bytes = input.front() == 'p' ? with_body_packed(input.substr(1)) : std::string(input.substr(1));
  Client client(bytes);
  Counts sink;
  const auto outcome = client.pull("{}", {}, {}, sink, [] { return false; });
  FUZZ_EXPECT(outcome.result.has_value() == (sink.footers == 1),
              "an answer counts that is not whole, or the other way");
  FUZZ_EXPECT(!outcome.of_sink, "the sink is blamed for what came");
  FUZZ_EXPECT(outcome.result || outcome.result.error().text().size() <= 2 * kRefusalTextBytesMax + 200,
              "the error repeats the answer");
  FUZZ_EXPECT(!outcome.again, "a new connection is taken for an idle one");
}

}  // namespace mbsync::fuzz
