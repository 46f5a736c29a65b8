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

Error Error::without_row() const {
  auto told = *this;
  if (const auto place = message.find(of_row); !of_row.empty() && place != std::string::npos) {
    told.message.replace(place, of_row.size(), "[the database's words, which may quote a row]");
  }
  told.of_row.clear();
  return told;
}

std::string Error::log_text() const {
  return without_row().text();
}

Error Error::in(std::string_view where) const {
  auto error = *this;
  error.message = fmt::format("{}: {}", where, message);
  return error;
}

Error Error::about(ErrorArea what) const {
  auto error = *this;
  error.area = what;
  return error;
}

}  // namespace mbsync
