#include "exit_code.h"

namespace mbsync {

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

std::string exit_code_help() {
  return "Exit codes:\n"
         "  0  done\n"
         "  1  failed for a reason without a number of its own\n"
         "  2  configuration: a setting, a flag or a right has to be changed\n"
         "  3  database: not reachable, or it refused\n"
         "  4  port: cannot be used\n";
}

}  // namespace mbsync
