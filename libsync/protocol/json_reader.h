// Strict reading of small JSON documents: parses within limits, and notices every member that is missing, superfluous,
// doubled, of another type or out of range. The first fault is kept and everything after it is skipped, so that a
// message is read straight through and asked once at the end. Only message.cpp uses this.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "result.h"

namespace mbsync::detail {

/// `text` for an error message: printable ASCII only, and not long, since a stranger may have written it.
std::string printable(std::string_view text);

/// Where the first fault is kept. Shared by all readers of one message.
class Fault {
 public:
  explicit Fault(std::string message_name) : name_(std::move(message_name)) {}
  void set(std::string_view member, std::string_view why);
  explicit operator bool() const { return error_.has_value(); }
  [[nodiscard]] const Error& error() const { return *error_; }

 private:
  std::string name_;
  std::optional<Error> error_;
};

/// Parses within limits on size and depth; a discarded value after a fault. Object members must be unique.
nlohmann::json parse_json(std::string_view text, std::size_t bytes_max, Fault& fault);

/// Values: `what` is the member's name for the fault. After a fault they return something empty.
std::int64_t read_integer(const nlohmann::json& value, std::int64_t min, std::int64_t max, std::string_view what,
                          Fault& fault);
std::string read_text(const nlohmann::json& value, std::size_t bytes_min, std::size_t bytes_max, std::string_view what,
                      Fault& fault);
bool read_boolean(const nlohmann::json& value, std::string_view what, Fault& fault);
/// The value itself if it is an array, or an object, of at most so many elements, else an empty one.
const nlohmann::json& read_array(const nlohmann::json& value, std::size_t size_max, std::string_view what,
                                 Fault& fault);
const nlohmann::json& read_object(const nlohmann::json& value, std::size_t size_max, std::string_view what,
                                  Fault& fault);

/// One object whose members are known by name.
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& value, std::string_view what, Fault& fault);

  /// The member, or null after a fault.
  const nlohmann::json& member(std::string_view name);
  std::int64_t integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::string text(std::string_view name, std::size_t bytes_min, std::size_t bytes_max);
  bool boolean(std::string_view name);
  const nlohmann::json& array(std::string_view name, std::size_t size_max);
  const nlohmann::json& object(std::string_view name, std::size_t size_max);

  /// Whether there is such a member at all. What is asked for here may be missing, and must be read if it is there.
  [[nodiscard]] bool has(std::string_view name) const;

  /// To be called last: every member that nobody asked for is a fault.
  void done();

 private:
  const nlohmann::json* object_;
  std::set<std::string, std::less<>> asked_;
  Fault* fault_;
};

}  // namespace mbsync::detail
