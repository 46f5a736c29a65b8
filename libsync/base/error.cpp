#include "error.h"

#include <fmt/format.h>

namespace mbsync {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kTransient:
      return "transient";
    case ErrorKind::kInDoubt:
      return "in_doubt";
    case ErrorKind::kRejected:
      return "rejected";
    case ErrorKind::kConflict:
      return "conflict";
    case ErrorKind::kCorrupt:
      return "corrupt";
    case ErrorKind::kConfig:
      return "config";
    case ErrorKind::kNotFound:
      return "not_found";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kInternal:
      return "internal";
  }
  return "internal";
}

std::string Error::text() const {
  return hint.empty() ? message : fmt::format("{} ({})", message, hint);
}

Error Error::in(std::string_view where) const {
  return Error{kind, fmt::format("{}: {}", where, message), hint, area};
}

Error Error::about(ErrorArea what) const {
  auto error = *this;
  error.area = what;
  return error;
}

}  // namespace mbsync
