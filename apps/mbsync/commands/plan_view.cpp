#include "commands/plan_view.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

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

Result<void> show_plan(const std::vector<std::unique_ptr<Step>>& steps, bool dry_run, Output& output,
                       Invocation& invocation, const std::function<nlohmann::ordered_json()>& facts,
                       const std::function<std::string()>& ending) {
  auto list = nlohmann::ordered_json::array();
  const auto through = run_plan(steps, dry_run, [&](const StepReport& report) -> Result<void> {
    if (!output.json()) {
      return output.result(as_text(report), {});
    }
    list.push_back({{"name", report.name},
                    {"outcome", to_string(report.outcome)},
                    {"what", report.what},
                    {"details", report.details}});
    return {};
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
