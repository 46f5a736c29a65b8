#include "plan.h"

#include <catch2/catch.hpp>

#include "uninstall_plan.h"

using namespace mbsync;

namespace {

/// Finds what it is told to find, and notes down what is asked of it.
class Told : public Step {
 public:
  Told(std::string name, Result<Finding> finding, Result<Done> done, std::vector<std::string>& calls)
      : Step(std::move(name)), finding_(std::move(finding)), done_(std::move(done)), calls_(calls) {}
  Result<Finding> look() override {
    calls_.push_back("look " + name());
    return finding_;
  }
  Result<Done> act() override {
    calls_.push_back("act " + name());
    return done_;
  }

 private:
  Result<Finding> finding_;
  Result<Done> done_;
  std::vector<std::string>& calls_;
};

struct Ran {
  std::vector<std::string> calls;
  std::vector<std::string> lines;
  Result<void> result;
};

Ran run(bool dry_run, Result<Done> done = Done{"made", {"and more"}}) {
  Ran ran;
  std::vector<std::unique_ptr<Step>> steps;
  using State = Finding::State;
  steps.push_back(std::make_unique<Told>("a", Finding{State::kAsItShouldBe, "there"}, Done{}, ran.calls));
  steps.push_back(std::make_unique<Told>("b", Finding{State::kToDo, "to be made"}, std::move(done), ran.calls));
  steps.push_back(std::make_unique<Told>("c", Finding{State::kLeft, "yours", {"by hand"}}, Done{}, ran.calls));
  const auto report_step = [&](const StepReport& report) -> Result<void> {
    auto line = report.name + " " + std::string(to_string(report.outcome)) + ": " + report.what;
    for (const auto& detail : report.details) {
      line += " + " + detail;
    }
    ran.lines.push_back(line);
    return {};
  };
  ran.result = run_plan(steps, dry_run, report_step,
                        [&](const StepReport& report) { ran.calls.push_back("begin " + report.name); });
  return ran;
}

}  // namespace

TEST_CASE("plan: only what is to be done is done, and each step is reported") {
  const auto ran = run(false);
  CHECK(ran.result);
  CHECK(ran.calls == std::vector<std::string>{"look a", "look b", "begin b", "act b", "look c"});
  CHECK(ran.lines == std::vector<std::string>{"a ok: there", "b done: made + and more", "c left: yours + by hand"});
}

TEST_CASE("plan: a dry run looks, and does nothing") {
  const auto ran = run(true);
  CHECK(ran.result);
  CHECK(ran.calls == std::vector<std::string>{"look a", "look b", "look c"});
  CHECK(ran.lines == std::vector<std::string>{"a ok: there", "b would: to be made", "c left: yours + by hand"});
}

TEST_CASE("plan: the first step that fails ends it, with what it said") {
  const auto ran = run(false, Error{ErrorKind::kConfig, "no room", "make room"});
  REQUIRE_FALSE(ran.result);
  CHECK(ran.result.error().hint == "make room");
  CHECK(ran.calls == std::vector<std::string>{"look a", "look b", "begin b", "act b"});
  CHECK(ran.lines == std::vector<std::string>{"a ok: there", "b failed: no room"});
}

TEST_CASE("plan: what would be lost with the schema is said, and nothing where nothing would") {
  CHECK(what_is_lost({}).empty());
  CHECK(what_is_lost({.known = true, .writes = 0, .open_conflicts = 0, .waiting_rows = 0, .others = 3}).empty());
  const auto lost = what_is_lost({.known = true, .writes = 5, .open_conflicts = 2, .waiting_rows = 1, .others = 1});
  REQUIRE(lost.size() == 3);
  CHECK_THAT(lost[0], Catch::StartsWith("5 writes of this machine"));
  CHECK_THAT(lost[1], Catch::StartsWith("2 conflicts wait for a person"));
  CHECK_THAT(lost[2], Catch::StartsWith("1 rows of other machines wait"));
}
