// What went wrong, in a form that the caller can act on. Kinds follow what the caller does next, not where it
// happened. Every message says what happened and in which object; the hint says what to do about it.
#pragma once

#include <string>
#include <string_view>

namespace mbsync {

enum class ErrorKind {
  kTransient,  ///< try the same again: lost connection, serialization failure, deadlock, peer away
  kInDoubt,    ///< a commit whose outcome is unknown: look before trying again
  kRejected,   ///< the other side, the server or the database refused it and will refuse it again
  kConflict,   ///< rows that the database refuses: a constraint, a value that does not fit, a trigger that raises
  kCorrupt,    ///< bytes or state that must not exist: truncated message, vector from the future
  kConfig,     ///< a person has to change a setting, a flag, a right
  kNotFound,   ///< the named thing does not exist
  kCancelled,  ///< asked to stop
  kInternal,   ///< a bug in mbsync
};

/// Which outside thing an error is about, where a script has to tell them apart (the exit codes of mbsync).
enum class ErrorArea { kOther, kDatabase, kPort };

/// Lower-case word for logs and JSON: "transient", "in_doubt", ...
std::string_view to_string(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;  ///< lower case, values quoted, no secrets
  std::string hint;     ///< what to do next; may be empty
  ErrorArea area = ErrorArea::kOther;
  /// The part of `message` that may quote what stands in rows of the application: the database's own words on a value,
  /// or those of a trigger. Empty where there is none.
  std::string of_row{};

  /// "message" or "message (hint)".
  [[nodiscard]] std::string text() const;

  /// The same without `of_row`, for where the contents of rows have no business: the log, and other machines' logs.
  [[nodiscard]] Error without_row() const;
  [[nodiscard]] std::string log_text() const;  ///< without_row().text()

  [[nodiscard]] Error about(ErrorArea what) const;

  /// The same error with "where: " in front of its message.
  [[nodiscard]] Error in(std::string_view where) const;
};

}  // namespace mbsync
