// A row of steps that make something of a machine. Each knows what stands, what it would do, and does it; so the same
// steps install, repair, and show beforehand what they would do.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

/// What a step has found.
struct Finding {
  enum class State {
    kAsItShouldBe,  ///< nothing is to be done
    kToDo,          ///< act() is to be called
    kLeft,          ///< something could be done, and nobody has asked for it
  } state = State::kAsItShouldBe;
  std::string what;                    ///< what stands; of kToDo, what would be done
  std::vector<std::string> details{};  ///< further lines
};

struct Done {
  std::string what;
  std::vector<std::string> details{};
};

class Step {
 public:
  explicit Step(std::string name) : name_(std::move(name)) {}
  virtual ~Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  /// One or two words: "configuration".
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Changes nothing. An error if this step cannot succeed, whatever act() did. In a dry run those before it have not
  /// acted.
  virtual Result<Finding> look() = 0;
  /// After look() has found something to do.
  virtual Result<Done> act() = 0;

 private:
  std::string name_;
};

enum class StepOutcome { kOk, kDone, kWould, kLeft, kFailed };
/// "ok", "done", "would", "left", "failed".
std::string_view to_string(StepOutcome outcome);

struct StepReport {
  std::string name;
  StepOutcome outcome = StepOutcome::kOk;
  std::string what;
  std::vector<std::string> details{};
};

/// One after the other; each is reported once it is through. The first that fails ends it, and what it says is
/// returned. With `dry_run` nothing is done.
Result<void> run_plan(const std::vector<std::unique_ptr<Step>>& steps, bool dry_run,
                      const std::function<Result<void>(const StepReport&)>& report,
                      const std::function<void(const StepReport&)>& begins = {});

}  // namespace mbsync
