// The application's tables as the catalog describes them, and which of them can take part.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "column_set.h"
#include "connection.h"
#include "policy.h"
#include "rule_book.h"

namespace mbsync {

/// Session settings that change how a value is written as text.
enum Setting : std::uint32_t {
  kDateStyle = 1,
  kTimeZone = 2,
  kIntervalStyle = 4,
  kFloatDigits = 8,
  kByteaOutput = 16,
  kMonetary = 32,
  kAllSettings = 63,
};

struct Column {
  ColumnNumber number = 0;  ///< mbsync's own; 0 until the registry has given it one
  int attnum = 0;           ///< PostgreSQL's, to recognise a column that was renamed
  std::string name;
  std::string type;       ///< format_type(), with modifiers: "numeric(12,2)", "public.\"Role\""
  ColumnType value_type;  ///< what a rule has to know of the type; a domain's is its base type's
  /// What a key's text is cast to where rows are looked up: a domain's base type, whose values need not keep the
  /// domain's rules. A value that only other nodes allow is then one that no row here has.
  std::string looked_up_as;
  bool is_enum = false;      ///< or a domain over one: only texts that are labels can be cast to it
  std::string collation;     ///< quoted and qualified, for columns that have one; else empty
  bool user_type = false;    ///< not one of PostgreSQL's own: travels as text until it reaches the table, so that no
                             ///< staging table stands in the way of a migration that drops the type
  bool exact = false;        ///< `=` is identity. Not so for numeric without scale (1.0, 1.00), float (-0), citext ...
  std::string equals = "=";  ///< of a key column: its index's operator, which search_path need not reach
  std::uint32_t settings = 0;  ///< which session settings its text form depends on (bits of Setting)
  bool fixed_size = false;     ///< a few bytes, whatever the value
  bool not_null = false;
  std::string default_value;     ///< an expression, or empty
  bool generated = false;        ///< computed by PostgreSQL: never sent, never written
  bool identity_always = false;  ///< inserted with OVERRIDING SYSTEM VALUE, never updated
  bool operator==(const Column&) const = default;
};

struct ForeignKey {
  std::string name;
  std::string schema;  ///< of the referenced table
  std::string table;
  std::vector<std::string> columns;
  std::vector<std::string> referenced;
  std::vector<std::string> operators;  ///< between referenced and own column: "OPERATOR(public.=)"
  bool validated = true;               ///< not NOT VALID: every row keeps it
  char on_delete =
      'a';  ///< as pg_constraint.confdeltype: a no action, r restrict, c cascade, n set null, d set default
  std::vector<std::string> on_delete_columns;  ///< which of `columns` SET NULL or SET DEFAULT is for; empty: all
  bool operator==(const ForeignKey&) const = default;
};

/// A unique index, whether a constraint made it or not; or an exclusion constraint.
struct UniqueKey {
  std::string name;
  std::vector<std::string> expressions;  ///< in index order; of a plain column its quoted name
  std::vector<std::string> operators;    ///< "OPERATOR(pg_catalog.=)", one for each expression
  std::vector<std::string> collations;   ///< quoted and qualified, or empty
  std::string predicate;                 ///< of a partial index, else empty
  std::vector<std::string> columns;      ///< all that it looks at, in the table's order
  std::vector<std::string> compared;     ///< of these, what tells rows apart; the others are in the predicate alone
  bool nulls_not_distinct = false;
  bool deferrable = false;
  bool exclusion = false;  ///< `operators` are the constraint's
  bool of_rows = false;    ///< the row's own key, of which equal ones can look different (citext, numeric)
  /// Neither row is changed: the one that comes is parked.
  [[nodiscard]] bool leaves_both() const { return exclusion || of_rows; }
  bool operator==(const UniqueKey&) const = default;
};

struct Table {
  bool internal = false;  ///< one of mbsync's own that travel as the application's do: policy, conflict_record
  std::uint32_t oid = 0;
  int id = 0;  ///< mbsync.synced_table.id; 0 until registered
  std::string schema;
  std::string name;
  std::vector<Column> columns;     ///< what travels, in the order of their numbers; no generated ones
  std::size_t columns_in_all = 0;  ///< generated ones too
  std::size_t columns_generated = 0;
  std::vector<std::size_t> key;    ///< indexes into `columns`, in index order
  bool key_is_deferrable = false;  ///< then it is no arbiter for ON CONFLICT
  bool has_toast = false;          ///< may hold values too large for one piece
  bool has_insert_rule = false;    ///< a rule for INSERT or UPDATE makes ON CONFLICT an error
  bool partitioned = false;
  std::vector<std::string> partitions;  ///< quoted names of all partitions below a partitioned table
  std::vector<ForeignKey> foreign_keys;
  std::vector<UniqueKey> unique_keys;        ///< but for those over generated columns, and an exact key
  std::vector<std::string> user_triggers;    ///< the application's own that fire for ordinary roles, by name
  std::vector<std::string> always_triggers;  ///< those that fire where constraints are bypassed (ENABLE ALWAYS)
  std::size_t width = 0;                     ///< characters in this table's bit strings (mbsync.synced_table.width)
  bool rekeyed = false;                      ///< its key has just changed: what was captured by the old one is void
  bool adopted = false;                      ///< rows from before mbsync have been given a write
  std::string fingerprint;                   ///< of the capture functions that are in place

  [[nodiscard]] std::string quoted() const;   ///< "schema"."table"
  [[nodiscard]] std::string display() const;  ///< schema.table for people
  [[nodiscard]] const Column* find(std::string_view column) const;
  [[nodiscard]] std::size_t index_of(std::string_view column) const;  ///< of one that is there
  bool operator==(const Table&) const = default;
};

/// A table that does not take part, and why; shown in status, never skipped quietly.
struct RefusedTable {
  enum class Because {
    kItCannot,  ///< mbsync could not keep it right
    kByChoice,  ///< the settings tables and tables_except
    kByDefault  ///< it is about this machine alone
  };
  std::string schema;
  std::string name;
  std::string reason;                      ///< with what to do about it
  std::vector<ForeignKey> foreign_keys{};  ///< hold all the same
  Because because = Because::kItCannot;
  [[nodiscard]] std::string quoted() const;   ///< "schema"."table"
  [[nodiscard]] std::string display() const;  ///< schema.table for people
  bool operator==(const RefusedTable&) const = default;
};

struct Schema {
  std::vector<Table> tables;
  std::vector<RefusedTable> refused;
  /// The rules for these tables; shared by copies of one schema.
  std::shared_ptr<RuleBook> rules = std::make_shared<RuleBook>();
  std::string labels;  ///< read_labels() of when it was read
  bool operator==(const Schema& other) const {
    return tables == other.tables && refused == other.refused && labels == other.labels;
  }

  [[nodiscard]] const Table* find(int id) const;  ///< nullptr if it does not take part
  [[nodiscard]] const Table* find(std::string_view schema, std::string_view name) const;
  /// One of mbsync's own; it is always there once the database is migrated.
  [[nodiscard]] const Table* internal(std::string_view name) const { return find("mbsync", name); }
};

/// Reads the catalog. Tables of extensions and temporary tables are not mentioned at all, nor are mbsync's own but for
/// those that travel; these come first, the policy before all others.
Result<Schema> read_schema(PgConnection& db);

/// A hash of all labels of all enum types, in their order.
Result<std::string> read_labels(PgConnection& db);

}  // namespace mbsync
