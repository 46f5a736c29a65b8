// A value or an Error. Spelled like std::expected, so that an alias can take its place once the compiler has it.
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "check.h"
#include "error.h"

namespace mbsync {

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool has_value() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return has_value(); }

  /// Asking for a value that is not there is a bug and stops the process.
  T& value() & {
    MBSYNC_CHECK(has_value(), "value() of a failed Result: " + std::get<Error>(state_).message);
    return std::get<T>(state_);
  }
  const T& value() const& {
    MBSYNC_CHECK(has_value(), "value() of a failed Result: " + std::get<Error>(state_).message);
    return std::get<T>(state_);
  }
  T&& value() && {
    MBSYNC_CHECK(has_value(), "value() of a failed Result: " + std::get<Error>(state_).message);
    return std::get<T>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const {
    MBSYNC_CHECK(!has_value(), "error() of a successful Result");
    return std::get<Error>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] const Error& error() const {
    MBSYNC_CHECK(error_.has_value(), "error() of a successful Result");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace mbsync

/// Returns the error of `expr` (a Result) to the caller, or goes on.
#define MBSYNC_TRY(expr) MBSYNC_TRY_NAMED(MBSYNC_JOIN(mbsync_try_, __COUNTER__), expr)
#define MBSYNC_JOIN(a, b) MBSYNC_JOIN_EXPANDED(a, b)
#define MBSYNC_JOIN_EXPANDED(a, b) a##b
// NOLINTBEGIN(bugprone-macro-parentheses): a name that is declared cannot stand in parentheses
#define MBSYNC_TRY_NAMED(name, expr) \
  do {                               \
    const auto& name = (expr);       \
    if (!name) {                     \
      return name.error();           \
    }                                \
  } while (false)
// NOLINTEND(bugprone-macro-parentheses)
