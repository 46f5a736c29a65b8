#include "unique_meaning.h"

#include <fmt/format.h>

#include <algorithm>

#include "connection.h"
#include "reference_sql.h"

namespace mbsync {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_key(const Table& table, const std::string& column) {
  return std::any_of(table.key.begin(), table.key.end(),
                     [&](std::size_t index) { return table.columns[index].name == column; });
}

// Whether two rows can be told apart by another value in this column of the key, and no reference says what is in it.
bool is_free(const Table& table, const UniqueKey& unique, const std::string& name) {
  return contains(unique.compared, name) && !is_key(table, name) && !refers(table, name);
}

// As PostgreSQL writes a column in a predicate.
std::string written(const std::string& column) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  const bool bare = std::all_of(column.begin(), column.end(), plain) && !(column[0] >= '0' && column[0] <= '9');
  return bare ? column : PgConnection::quote_name(column);
}

bool says(const UniqueKey& unique, const std::string& column, const std::vector<std::string>& forms) {
  return std::any_of(forms.begin(), forms.end(), [&](const std::string& form) {
    return unique.predicate == fmt::format(fmt::runtime(form), written(column));
  });
}

// "WHERE is_default": one row among several may have the flag.
const Column* flag_of(const Table& table, const UniqueKey& unique) {
  for (const auto& column : table.columns) {
    if (column.type == "boolean" && !column.user_type && !is_key(table, column.name) &&
        says(unique, column.name, {"{}", "({} = true)", "({} IS TRUE)", "({} IS NOT FALSE)"})) {
      return &column;
    }
  }
  return nullptr;
}

// "WHERE deleted_at IS NULL": the key is for all rows that count.
bool is_for_all_that_count(const Table& table, const UniqueKey& unique) {
  return unique.predicate.empty() || std::any_of(table.columns.begin(), table.columns.end(), [&](const Column& column) {
           return says(unique, column.name,
                       {"({} IS NULL)", "(NOT {})", "({} = false)", "({} IS FALSE)", "({} IS NOT TRUE)"});
         });
}

}  // namespace

bool takes_suffix(const Column& column) {
  return column.value_type.kind == ValueKind::kText && !column.user_type &&
         (column.type == "text" || column.type.starts_with("character varying")) && !column.type.ends_with(']');
}

int room_of(const Column& column) {
  const auto open = column.type.find('(');
  return open == std::string::npos ? 0 : std::stoi(column.type.substr(open + 1));
}

bool can_keep_both(const Table& table) {
  const auto& column = table.columns[table.key[0]];
  if (table.key.size() != 1) {
    return false;
  }
  if (takes_suffix(column)) {
    return room_of(column) == 0 || room_of(column) > kApartDigits + 1;
  }
  return column.type == "uuid" || column.type == "smallint" || column.type == "integer" || column.type == "bigint";
}

std::vector<WayOut> ways_out(const Table& table, const UniqueKey& unique) {
  std::vector<WayOut> ways;
  for (const auto& name : unique.columns) {
    const auto* column = table.find(name);
    if (takes_suffix(*column) && is_free(table, unique, name)) {
      ways.push_back({WayOut::Kind::kSuffix, column});
    }
  }
  if (const auto* flag = flag_of(table, unique); flag != nullptr) {
    ways.push_back({WayOut::Kind::kFlag, flag});
  }
  for (const auto& name : unique.columns) {
    const auto* column = table.find(name);
    if (!column->not_null && !unique.nulls_not_distinct && is_free(table, unique, name)) {
      ways.push_back({WayOut::Kind::kNull, column});
    }
  }
  return ways;
}

// A key of references alone says that both rows are about the same, such as one person's membership of one club. One
// that is for some rows only says that there may be several, such as addresses, one of which is marked.
UniqueRule decided(UniqueRule rule, const Table& table, const UniqueKey& unique) {
  if (rule != UniqueRule::kAuto) {
    return rule;
  }
  const bool references =
      !unique.compared.empty() && std::all_of(unique.compared.begin(), unique.compared.end(),
                                              [&](const std::string& name) { return refers(table, name); });
  return references && is_for_all_that_count(table, unique) ? UniqueRule::kMerge : UniqueRule::kSuffix;
}

}  // namespace mbsync
