#include "log_flood.h"

#include <catch2/catch.hpp>

using namespace mbsync;
using namespace std::chrono_literals;

namespace {

const FloodGate::Time kStart{1000s};

int admitted(FloodGate& gate, LogLevel level, const std::string& text, const std::string& format, int times,
             FloodGate::Time now) {
  int written = 0;
  for (int i = 0; i < times; ++i) {
    written += gate.admit(level, "run", text, format, now) ? 1 : 0;
  }
  return written;
}

}  // namespace

TEST_CASE("flood: a line that is repeated is written some times, then counted, and the count is said") {
  FloodGate gate;
  CHECK(admitted(gate, LogLevel::kError, "database lost reason=x", "f", 1000, kStart) == kSameLinesMax);
  CHECK(gate.due(kStart + 1s).empty());
  const auto said = gate.due(kStart + kFloodWindow);
  REQUIRE(said.size() == 1);
  CHECK(said[0].level == LogLevel::kError);
  CHECK(said[0].domain == "run");
  CHECK(said[0].text == "database lost reason=x repeated=995 in_s=30");
  // While it goes on it is a line a window; once it has been quiet, it is news again.
  CHECK(admitted(gate, LogLevel::kError, "database lost reason=x", "f", 7, kStart + 31s) == 0);
  CHECK(gate.due(kStart + 2 * kFloodWindow)[0].text == "database lost reason=x repeated=7 in_s=30");
  CHECK(gate.due(kStart + 3 * kFloodWindow).empty());
  CHECK(admitted(gate, LogLevel::kError, "database lost reason=x", "f", 1, kStart + 91s) == 1);
}

TEST_CASE("flood: the same text at another level, or in another domain, is another line") {
  FloodGate gate;
  CHECK(admitted(gate, LogLevel::kInfo, "x", "x", 10, kStart) == kSameLinesMax);
  CHECK(admitted(gate, LogLevel::kWarning, "x", "x", 1, kStart) == 1);
  CHECK(gate.admit(LogLevel::kInfo, "peer", "x", "x", kStart));
}

TEST_CASE("flood: no object's error is lost behind another's, and other lines of one kind are bounded") {
  FloodGate gate;
  int errors = 0;
  int warnings = 0;
  for (int i = 0; i < 400; ++i) {
    const auto text = "row refused key=" + std::to_string(i);
    errors += admitted(gate, LogLevel::kError, text, "row refused key={}", 1, kStart);
    warnings += admitted(gate, LogLevel::kWarning, text, "row refused key={}", 1, kStart);
  }
  CHECK(errors == 400);
  CHECK(warnings == kSameKindMax);
  const auto said = gate.due(kStart + kFloodWindow);
  REQUIRE(said.size() == 1);
  CHECK(said[0].level == LogLevel::kWarning);
  CHECK(said[0].text == "row refused key=399 (the last of its kind) not_shown=200 in_s=30");
}

TEST_CASE("flood: what is kept is bounded, and nothing is lost by it; at the end all is said") {
  FloodGate gate;
  for (std::size_t i = 0; i < kFloodLinesKept + 10; ++i) {
    CHECK(gate.admit(LogLevel::kError, "run", std::to_string(i), "{}", kStart));
  }
  CHECK(admitted(gate, LogLevel::kError, "one too many", "{}", 20, kStart) == 20);
  CHECK(admitted(gate, LogLevel::kError, "0", "{}", 20, kStart) == kSameLinesMax - 1);
  CHECK(gate.due(kStart + 1s).empty());
  CHECK(gate.due(kStart + 1s, true).size() == 1);
}
