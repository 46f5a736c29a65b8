// The rules by which a table's siblings are judged, as plain validated values: what the policy document (policy_text.h)
// means for one table, with names and globs already turned into column numbers. Pure. (CONFLICTS.md C11 to C18)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "column_set.h"
#include "ids.h"

namespace mbsync {

/// Which policy document a write was made under. Higher ones are newer; 0 is what holds before any was published. The
/// number is (serial << 32 | 32 bits of the document's hash): two documents published at the same time have two numbers
/// and the same order everywhere, and equal documents have one.
using PolicyVersion = std::int64_t;
inline constexpr PolicyVersion kBuiltInPolicy = 0;

/// What decides among the siblings of a column.
enum class Rule {
  kLastWriterWins,
  kFirstWriterWins,
  kNodePriority,   ///< the lowest rank; equal ranks: the last writer
  kMax,            ///< the greatest value; NULL is less than any
  kMin,            ///< the least value that is not NULL
  kPreferNonNull,  ///< NULL and the empty text give way; among the others, the last writer
  kUnion,          ///< elements of arrays and JSON arrays, members of JSON objects
  kAppend,         ///< texts: what each added behind the lines they have in common, in the order of time
  kSum,            ///< a counter: the changes add up (CONFLICTS.md C16)
  kFunction,       ///< an SQL function of the application's
  kManual,         ///< the last writer for now, and a person decides
};

/// What a column's text form is, as far as a rule has to understand it.
enum class ValueKind {
  kOther,      ///< compared as bytes
  kBoolean,    ///< "f" < "t"
  kNumber,     ///< integers and numeric: exact decimals, "NaN", "Infinity"
  kFloat,      ///< real, double precision
  kText,       ///< compared as bytes
  kTimestamp,  ///< date, timestamp, timestamptz in ISO form: "2024-02-29 10:00:00.5+00", "0044-03-15 BC", "infinity"
  kTime,       ///< time: compared as bytes
  kEnum,       ///< in the order of its labels
  kArray,      ///< PostgreSQL's "{a,\"b c\",NULL}"
  kJson,       ///< json and jsonb
};

struct ColumnType {
  ValueKind kind = ValueKind::kOther;
  std::vector<std::string> labels;  ///< of an enum, in its order
  bool operator==(const ColumnType&) const = default;
};

struct ColumnRule {
  Rule rule = Rule::kLastWriterWins;
  std::string function;  ///< of kFunction: quoted and qualified
  bool operator==(const ColumnRule&) const = default;
};

enum class DeleteRule { kUpdateWins, kDeleteWins };

/// The rules for one table under one policy version.
struct RowRules {
  ColumnRule all;  ///< for columns that are not in `columns`
  std::map<ColumnNumber, ColumnRule> columns;
  std::map<ColumnNumber, ColumnType> types;  ///< kOther where a column is missing
  std::vector<ColumnSet> groups;  ///< columns that stay together, disjoint; merge = "row" is one group of all
  DeleteRule on_delete = DeleteRule::kUpdateWins;
  ColumnSet keep_both;  ///< the key's columns, if rows that were made under one key are both kept (C15); else empty
  std::map<NodeId, int> ranks;  ///< for kNodePriority; a node that is missing comes behind all others
  bool operator==(const RowRules&) const = default;

  [[nodiscard]] const ColumnRule& rule_of(ColumnNumber column) const {
    const auto place = columns.find(column);
    return place == columns.end() ? all : place->second;
  }
};

}  // namespace mbsync
