#include "exit_code.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

constexpr std::array<ExitMeaning, 5> kMeanings{{
    {ExitCode::kOk, "done"},
    {ExitCode::kFailure, "failed for a reason without a number of its own"},
    {ExitCode::kConfig, "configuration: a setting, a flag or a right has to be changed"},
    {ExitCode::kDatabase, "database: not reachable, or it refused"},
    {ExitCode::kPort, "port: cannot be used"},
}};

}  // namespace

ExitCode exit_code_for(const Error& error) {
  switch (error.area) {
    case ErrorArea::kDatabase:
      return ExitCode::kDatabase;
    case ErrorArea::kPort:
      return ExitCode::kPort;
    case ErrorArea::kOther:
      break;
  }
  switch (error.kind) {
    case ErrorKind::kConfig:
      return ExitCode::kConfig;
    case ErrorKind::kTransient:
    case ErrorKind::kInDoubt:
    case ErrorKind::kRejected:
    case ErrorKind::kConflict:
      return ExitCode::kDatabase;
    case ErrorKind::kCorrupt:
    case ErrorKind::kNotFound:
    case ErrorKind::kCancelled:
    case ErrorKind::kInternal:
      return ExitCode::kFailure;
  }
  return ExitCode::kFailure;
}

const std::array<ExitMeaning, 5>& exit_meanings() {
  return kMeanings;
}

std::string exit_code_help() {
  std::string text = "Exit codes:\n";
  for (const ExitMeaning& entry : kMeanings) {
    text += fmt::format("  {}  {}\n", static_cast<int>(entry.code), entry.when);
  }
  return text;
}

std::string exit_codes_as_markdown() {
  std::string text = "| exit code | when |\n| --- | --- |";
  for (const ExitMeaning& entry : kMeanings) {
    text += fmt::format("\n| {} | {} |", static_cast<int>(entry.code), entry.when);
  }
  return text;
}

}  // namespace mbsync
