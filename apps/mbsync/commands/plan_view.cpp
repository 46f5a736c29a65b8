#include "commands/plan_view.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "terminal.h"

namespace mbsync {
namespace {

/// Says to who sits there that a step takes long and why, unless it ends before.
class SlowStep {
 public:
  SlowStep(const StepReport& step, Output& output)
      : thread_([text = fmt::format("... {}: {}; in a large database this takes minutes", step.name, step.what),
                 &output](const std::stop_token& over) {
          constexpr std::chrono::seconds kQuietFor{3};
          std::mutex mutex;
          std::unique_lock lock(mutex);
          std::condition_variable_any ended;
          if (!ended.wait_for(lock, over, kQuietFor, [&over] { return over.stop_requested(); })) {
            output.hint(text);
          }
        }) {}

 private:
  std::jthread thread_;
};

std::string as_text(const StepReport& report) {
  constexpr std::size_t kNameWidth = 15;
  constexpr std::size_t kOutcomeWidth = 8;
  if (report.outcome == StepOutcome::kFailed) {
    return fmt::format("{:<{}}{}", report.name, kNameWidth, to_string(report.outcome));  // the error says the rest
  }
  auto text =
      fmt::format("{:<{}}{:<{}}{}", report.name, kNameWidth, to_string(report.outcome), kOutcomeWidth, report.what);
  for (const auto& detail : report.details) {
    text += fmt::format("\n{:{}}{}", "", kNameWidth + kOutcomeWidth, detail);
  }
  return text;
}

}  // namespace

Result<FileLock> take_turn_at_machine() {
  auto lock = FileLock::take("/run/mbsync-install.lock");
  MBSYNC_TRY(lock);
  if (!*lock) {
    return Error{ErrorKind::kCancelled, "somebody else installs or uninstalls mbsync on this machine just now",
                 "let that come to its end, then say it again"};
  }
  return std::move(**lock);
}

Result<void> show_plan(const std::vector<std::unique_ptr<Step>>& steps, bool dry_run, Output& output,
                       Invocation& invocation, const std::function<nlohmann::ordered_json()>& facts,
                       const std::function<std::string()>& ending) {
  auto list = nlohmann::ordered_json::array();
  std::optional<SlowStep> slow;
  const auto show = [&](const StepReport& report) -> Result<void> {
    slow.reset();  // it writes no more from here on
    if (!output.json()) {
      return output.result(as_text(report), {});
    }
    list.push_back({{"name", report.name},
                    {"outcome", to_string(report.outcome)},
                    {"what", report.what},
                    {"details", report.details}});
    return {};
  };
  const auto through = run_plan(steps, dry_run, show, [&](const StepReport& report) {
    if (!output.json() && is_at_terminal()) {
      slow.emplace(report, output);
    }
  });
  if (!output.json()) {
    MBSYNC_TRY(through);
    return output.result(ending(), {});
  }
  nlohmann::ordered_json document{{"dry_run", dry_run}, {"exit_code", 0}, {"steps", std::move(list)}};
  document["error"] = nullptr;
  if (!through) {
    const auto& error = through.error();
    invocation.exit_code = exit_code_for(error);
    document["exit_code"] = static_cast<int>(invocation.exit_code);
    document["error"] = {{"kind", to_string(error.kind)}, {"message", error.message}, {"hint", error.hint}};
    output.hint(fmt::format("mbsync: {}{}", error.message,
                            error.hint.empty() ? "" : fmt::format("\n  what to do: {}", error.hint)));
  }
  document.update(facts());
  return output.result("", document);
}

}  // namespace mbsync
