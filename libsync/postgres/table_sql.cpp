#include "table_sql.h"

#include <fmt/format.h>

#include <algorithm>

namespace mbsync {
namespace {

std::string quote(std::string_view name) {
  return PgConnection::quote_name(name);
}

std::string column_of(std::string_view row, const Column& column) {
  return fmt::format("{}.{}", row, quote(column.name));
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.starts_with(start);
}

bool is_numeric(std::string_view type) {
  return type.starts_with("numeric") && !type.ends_with("[]");
}

// Types for which a cast to text is the output function itself, and cheaper than concat().
bool casts_plainly(const Column& column) {
  return !column.user_type &&
         (column.type == "text" || starts_with(column.type, "character varying") || column.type == "uuid" ||
          column.type == "integer" || column.type == "bigint" || column.type == "smallint");
}

// Whether a column differs between two rows, byte for byte.
std::string differs(std::string_view before, std::string_view after, const Column& column) {
  return column.exact ? fmt::format("{} IS DISTINCT FROM {}", column_of(before, column), column_of(after, column))
                      : fmt::format("ROW({})::record OPERATOR(pg_catalog.*<>) ROW({})::record",
                                    column_of(before, column), column_of(after, column));
}

// After minus before; NULL where that is not a finite number.
std::string difference(std::string_view before, std::string_view after, const Column& column) {
  const auto minus = fmt::format("({}::numeric - {}::numeric)", column_of(after, column), column_of(before, column));
  return fmt::format("CASE WHEN {0}::text ~ '^[-0-9.]+$' THEN {0} END", minus);
}

}  // namespace

std::string TableSql::key_part(std::string_view row, const Column& column) const {
  const auto name = column_of(row, column);
  if (column.exact && casts_plainly(column)) {
    return name + "::text";
  }
  // Equal keys must give equal text: 1.0 and 1.00 are one key, and so are 0 and -0.
  if (!column.user_type && is_numeric(column.type) && !column.exact) {
    return fmt::format("trim_scale({})::text", name);
  }
  if (!column.user_type && (column.type == "double precision" || column.type == "real")) {
    return fmt::format("({} + 0)::text", name);
  }
  return fmt::format("concat({})", name);
}

std::string TableSql::key_text(std::string_view row) const {
  if (table_.key.size() == 1) {
    return key_part(row, table_.columns[table_.key[0]]);
  }
  std::string parts;
  for (const auto index : table_.key) {
    parts += parts.empty() ? "" : ", ";
    parts += key_part(row, table_.columns[index]);
  }
  return fmt::format("ROW({})::text", parts);
}

// `value` equals part i of the key. A label that is not known here equals nothing, and is not known not to.
std::string TableSql::key_part_match(std::string_view value, std::string_view key, std::size_t i) const {
  const auto& column = table_.columns[table_.key[i]];
  const auto part = table_.key.size() == 1 ? fmt::format("({})", key)
                                           : fmt::format("(({})::mbsync.key{}).k{}", key, table_.key.size(), i + 1);
  const auto collate = column.collation.empty() ? std::string() : fmt::format(" COLLATE {}", column.collation);
  const auto typed = column.is_enum
                         ? fmt::format("CASE WHEN {0} = ANY (enum_range(NULL::{1})::text[]) THEN {0}::{1} END", part,
                                       column.looked_up_as)
                         : fmt::format("{}::{}", part, column.looked_up_as);
  return fmt::format("{} {} {}{}", value, column.equals, typed, collate);
}

std::string TableSql::staged_key_match(std::string_view staged, std::string_view key) const {
  std::string condition;
  for (std::size_t i = 0; i < table_.key.size(); ++i) {
    // Of an enum, a label may come that is not known here yet. That is for the row to be refused for.
    if (!table_.columns[table_.key[i]].user_type) {
      condition += condition.empty() ? "" : " AND ";
      condition += key_part_match(staged_value(staged, table_.key[i]), key, i);
    }
  }
  return condition.empty() ? "true" : condition;
}

std::string TableSql::key_match(std::string_view row, std::string_view key) const {
  std::string condition;
  bool exact = true;
  for (std::size_t i = 0; i < table_.key.size(); ++i) {
    const auto& column = table_.columns[table_.key[i]];
    condition += condition.empty() ? "" : " AND ";
    condition += key_part_match(column_of(row, column), key, i);
    exact = exact && column.exact;
  }
  // Where `=` takes different values for equal (citext, intervals), the text decides.
  if (!exact) {
    condition += fmt::format(" AND {} COLLATE \"C\" = ({}) COLLATE \"C\"", key_text(row), key);
  }
  return condition;
}

std::string TableSql::key_equal(std::string_view a, std::string_view b) const {
  std::string condition;
  for (const auto index : table_.key) {
    const auto& column = table_.columns[index];
    condition += condition.empty() ? "" : " AND ";
    if (column.exact) {
      condition += fmt::format("{} = {}", column_of(a, column), column_of(b, column));
    } else {
      condition += fmt::format("{} COLLATE \"C\" = {} COLLATE \"C\"", key_part(a, column), key_part(b, column));
    }
  }
  return condition;
}

std::string TableSql::present(std::string_view row) const {
  // IS NOT NULL would ask a composite value for its fields.
  return fmt::format("{} IS DISTINCT FROM NULL", column_of(row, table_.columns[table_.key[0]]));
}

std::string TableSql::changed_columns(std::string_view before, std::string_view after, const ColumnSet& sums) const {
  std::vector<std::string> flags(table_.width - 1, "false");
  for (const auto& column : table_.columns) {
    flags[column.number - 1] = differs(before, after, column);
    if (sums.contains(column.number)) {
      flags[column.number - 1] += fmt::format(" AND {} IS NULL", difference(before, after, column));
    }
  }
  // concat() of booleans is the cheapest way from many of them to one value; a function takes 100 arguments.
  constexpr std::size_t kArgumentsMax = 90;
  std::string text;
  for (std::size_t start = 0; start < flags.size(); start += kArgumentsMax) {
    const auto end = std::min(flags.size(), start + kArgumentsMax);
    text += fmt::format("{}concat({})", text.empty() ? "" : " || ",
                        fmt::join(flags.begin() + static_cast<std::ptrdiff_t>(start),
                                  flags.begin() + static_cast<std::ptrdiff_t>(end), ", "));
  }
  return text;
}

std::string TableSql::differences(std::string_view before, std::string_view after, const ColumnSet& sums) const {
  std::string any;
  std::string list;
  for (const auto& column : table_.columns) {
    if (sums.contains(column.number)) {
      const auto changed = differs(before, after, column);
      any += fmt::format("{}{}", any.empty() ? "" : " OR ", changed);
      list += fmt::format("{}'{}', CASE WHEN {} THEN {}::text END", list.empty() ? "" : ", ", column.number, changed,
                          difference(before, after, column));
    }
  }
  return any.empty() ? "NULL::text"
                     : fmt::format("CASE WHEN {} THEN json_strip_nulls(json_build_object({}))::text END", any, list);
}

std::string TableSql::rows_of(std::string_view relation) const {
  const std::vector<std::string_view> nulls(table_.columns_in_all, "NULL");
  return fmt::format("(SELECT * FROM {} UNION ALL SELECT {} WHERE false)", relation, fmt::join(nulls, ", "));
}

std::string TableSql::record(std::string_view row) const {
  std::vector<std::string> fields(table_.width - 1, "NULL");
  for (const auto& column : table_.columns) {
    fields[column.number - 1] = column_of(row, column);
  }
  return fmt::format("ROW({})::text", fmt::join(fields, ", "));
}

std::uint32_t TableSql::key_settings() const {
  std::uint32_t settings = 0;
  for (const auto index : table_.key) {
    settings |= table_.columns[index].settings;
  }
  return settings;
}

std::uint32_t TableSql::row_settings() const {
  std::uint32_t settings = 0;
  for (const auto& column : table_.columns) {
    settings |= column.settings;
  }
  return settings;
}

std::string TableSql::columns(std::string_view row) const {
  std::string list;
  for (const auto& column : table_.columns) {
    list += list.empty() ? "" : ", ";
    list += column_of(row, column);
  }
  return list;
}

std::string TableSql::column_names() const {
  std::string list;
  for (const auto& column : table_.columns) {
    list += list.empty() ? "" : ", ";
    list += quote(column.name);
  }
  return list;
}

std::string TableSql::staged_value(std::string_view staged, std::size_t index) const {
  const auto& column = table_.columns[index];
  return column.user_type ? fmt::format("{}.v{}::{}", staged, index + 1, column.type)
                          : fmt::format("{}.v{}", staged, index + 1);
}

std::string TableSql::staged_values(std::string_view staged) const {
  std::string list;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    list += list.empty() ? "" : ", ";
    list += staged_value(staged, i);
  }
  return list;
}

std::string TableSql::staged_assignments(std::string_view staged) const {
  std::string list;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    // The row was found by its key, so the key is what it should be, unless equal keys can look different.
    const bool key = std::find(table_.key.begin(), table_.key.end(), i) != table_.key.end();
    if (table_.columns[i].identity_always || (key && table_.columns[i].exact)) {
      continue;
    }
    list += fmt::format("{}{} = {}", list.empty() ? "" : ", ", quote(table_.columns[i].name), staged_value(staged, i));
  }
  return list;
}

std::string TableSql::staged_definitions() const {
  std::string list;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    const auto& column = table_.columns[i];
    list += fmt::format("{}v{} {}", list.empty() ? "" : ", ", i + 1, column.user_type ? "text" : column.type);
  }
  return list;
}

std::string TableSql::all_bits() const {
  std::string bits(table_.width, '0');
  bits[kRowMark] = '1';
  for (const auto& column : table_.columns) {
    bits[column.number] = '1';
  }
  return bits;
}

}  // namespace mbsync
