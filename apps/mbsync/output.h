// What commands print: results on stdout, talk on stderr; as text for people or, with --json, as one JSON document.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

class Output {
 public:
  /// Both streams must outlive the object.
  Output(bool json, std::ostream& results, std::ostream& talk) : json_(json), results_(results), talk_(talk) {}

  [[nodiscard]] bool json() const { return json_; }

  /// One result: `text` for people (a line break is added), or `document`. An error if it could not be written: a key
  /// that fell beside the file must not look like one that was kept.
  Result<void> result(std::string_view text, const nlohmann::ordered_json& document);
  /// A sentence beside the result, on stderr.
  void hint(std::string_view text);
  /// "mbsync: message" and what to do next, on stderr; with --json also {"error": {...}} on stdout.
  void error(const Error& error);

 private:
  bool json_;
  std::ostream& results_;
  std::ostream& talk_;
};

/// Flushes; an error if anything that was written to `results` got lost.
Result<void> check_written(std::ostream& results);

/// Columns aligned by what a terminal shows, two spaces between them, no space at the end of a line. Rows may be
/// shorter than the headings. Ends without a line break.
std::string format_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);

}  // namespace mbsync
