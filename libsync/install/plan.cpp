#include "plan.h"

namespace mbsync {
namespace {

Result<StepReport> carry_out(Step& step, bool dry_run, const std::function<void(const StepReport&)>& begins) {
  auto found = step.look();
  MBSYNC_TRY(found);
  StepReport report{step.name(), StepOutcome::kOk, std::move(found->what), std::move(found->details)};
  if (found->state == Finding::State::kLeft) {
    report.outcome = StepOutcome::kLeft;
  } else if (found->state == Finding::State::kToDo) {
    report.outcome = StepOutcome::kWould;
    if (!dry_run) {
      if (begins) {
        begins(report);
      }
      auto done = step.act();
      MBSYNC_TRY(done);
      report.outcome = StepOutcome::kDone;
      report.what = std::move(done->what);
      report.details = std::move(done->details);
    }
  }
  return report;
}

}  // namespace

std::string_view to_string(StepOutcome outcome) {
  switch (outcome) {
    case StepOutcome::kOk:
      return "ok";
    case StepOutcome::kDone:
      return "done";
    case StepOutcome::kWould:
      return "would";
    case StepOutcome::kLeft:
      return "left";
    case StepOutcome::kFailed:
      break;
  }
  return "failed";
}

Result<void> run_plan(const std::vector<std::unique_ptr<Step>>& steps, bool dry_run,
                      const std::function<Result<void>(const StepReport&)>& report,
                      const std::function<void(const StepReport&)>& begins) {
  for (const auto& step : steps) {
    const auto through = carry_out(*step, dry_run, begins);
    if (!through) {
      MBSYNC_TRY(report({step->name(), StepOutcome::kFailed, through.error().message}));
      return through.error();
    }
    MBSYNC_TRY(report(*through));
  }
  return {};
}

}  // namespace mbsync
