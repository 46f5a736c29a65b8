// The fleet's policy as a document: TOML that an owner writes, and the normalised text that is published and judged by.
// POLICY.md describes the form. Pure: what the document says is all that counts; whether tables, columns and functions
// of these names exist is another question (libsync/postgres/policy_check.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy.h"

namespace mbsync {

enum class MergeUnit { kField, kRow };
enum class UniqueRule {
  kAuto,    ///< what fits the key: suffix, else merge, else park
  kSuffix,  ///< the loser's text gets a suffix
  kMerge,   ///< both rows become one
  kPark,    ///< the loser waits until a person has decided
};

/// Words of the document: "last-writer-wins", "update-wins", "row", "suffix", ...
std::string_view word_of(Rule rule);
std::string_view word_of(MergeUnit merge);
std::string_view word_of(DeleteRule rule);
std::string_view word_of(UniqueRule rule);

/// What may be said for all tables or for some; nothing: not said there.
struct PolicySettings {
  std::optional<Rule> rule;  ///< only one that suits every type
  std::optional<MergeUnit> merge;
  std::optional<DeleteRule> on_delete;
  std::optional<bool> keep_both;
  bool operator==(const PolicySettings&) const = default;
};

/// A pattern for names and what holds for them; `line` is where the document says so.
template <typename T>
struct PolicyLine {
  std::string pattern;
  T value;
  int line = 0;
};

/// A column's rule; `function` is "schema.name" as it was written, for Rule::kFunction alone.
struct PolicyColumnRule {
  Rule rule = Rule::kLastWriterWins;
  std::string function;
};

struct PolicyTable {
  std::string pattern;  ///< of "schema.table", or of a table in any schema
  PolicySettings settings;
  std::optional<std::vector<std::vector<std::string>>> groups;  ///< by name, no patterns; an empty list takes them away
  std::vector<PolicyLine<PolicyColumnRule>> columns;            ///< in the order of the document
  std::vector<PolicyLine<UniqueRule>> unique;                   ///< by name of constraint or index, in that order
  int line = 0;
  int groups_line = 0;
};

struct PolicyNode {
  std::string name;  ///< a node's name, or its id in hexadecimal
  int rank = 0;      ///< lower wins
  int line = 0;
};

struct Policy {
  PolicySettings defaults;
  std::optional<UniqueRule> default_unique;
  std::vector<PolicyNode> nodes;
  std::vector<PolicyTable> tables;               ///< later ones override earlier ones
  std::map<std::string, std::string> functions;  ///< "schema.name" to the md5 of its definition; put in at publishing
  /// Enum types ("public.status") to their labels in order, for columns that are judged by it; put in at publishing.
  std::map<std::string, std::vector<std::string>> labels;
  int defaults_line = 0;
};

/// What is wrong with a document, where, and what to do.
struct PolicyFault {
  int line = 0;
  std::string message;
  std::string hint;
};

struct PolicyReading {
  Policy policy;  ///< to be used only if there are no faults
  std::vector<PolicyFault> faults;
};

inline constexpr std::size_t kPolicyBytesMax = std::size_t{256} * 1024;
/// What is published is written out by to_text(), which may be longer than what a person wrote.
inline constexpr std::size_t kStoredPolicyBytesMax = 64 * kPolicyBytesMax;
inline constexpr int kPolicyRankMax = 1'000'000;

/// Reads a document; finds all its faults, in the order of lines. Unknown keys are faults.
PolicyReading read_policy_text(std::string_view text, std::size_t bytes_max = kPolicyBytesMax);

/// The first fault as an error: "FILE:LINE: message". `kind` tells a document that a person has just written (kConfig)
/// from one that was published (kCorrupt).
Error policy_error(const PolicyFault& fault, std::string_view file_name, ErrorKind kind);

/// The normalised text: the same for documents that say the same in the same order, whatever their layout and comments.
/// Reads back to an equal policy.
std::string to_text(const Policy& policy);

/// The version under which `text` is published after `highest`, the highest version known.
PolicyVersion next_policy_version(PolicyVersion highest, std::string_view text);
inline std::int64_t policy_serial(PolicyVersion version) {
  constexpr int kHashBits = 32;
  return version >> kHashBits;
}

}  // namespace mbsync
