#include "schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "left_out.h"

namespace mbsync {
namespace {

// A staging table has a dozen columns of its own beside the row's, and PostgreSQL allows 1,600.
constexpr std::size_t kColumnsMax = 1590;

// mbsync's own tables that travel; the policy first, for all others are judged by it.
#define MBSYNC_TAKES_PART "(n.nspname <> 'mbsync' OR c.relname IN ('policy', 'conflict_record', 'membership'))"
// The one column of theirs that does not: when a node heard of a conflict.
constexpr const char* kLocalColumn = "recorded_at";

constexpr const char* kRelations = R"sql(
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition,
       EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                WHERE (i.inhrelid = c.oid OR i.inhparent = c.oid) AND p.relkind <> 'p') AS inherits,
       c.reltoastrelid <> 0 OR c.relkind = 'p' AS has_toast,
       EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3')) AS insert_rule
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND )sql" MBSYNC_TAKES_PART R"sql(
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname <> 'mbsync', n.nspname, CASE WHEN n.nspname = 'mbsync' THEN c.relname <> 'policy' END, c.relname)sql";

constexpr const char* kColumns = R"sql(
SELECT a.attrelid, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid, a.atttypmod,
       a.attnotnull, a.attgenerated <> '' AS generated, a.attidentity = 'a' AS identity_always,
       CASE WHEN co.oid IS NOT NULL THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) ELSE '' END AS collation,
       coalesce(co.collisdeterministic, true) AS deterministic,
       CASE WHEN a.attgenerated = '' THEN coalesce(pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END AS default_value
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND )sql" MBSYNC_TAKES_PART R"sql(
 ORDER BY a.attrelid, a.attnum)sql";

constexpr const char* kTypes = R"sql(
SELECT t.oid, t.typtype, t.typbasetype, t.typtypmod, n.nspname = 'pg_catalog' AS builtin, t.typlen > 0 AS fixed,
       t.typinput = 'pg_catalog.array_in'::regproc AS is_array, t.typname = 'citext' AND t.typtype = 'b' AS is_citext,
       format_type(t.oid, NULL) AS name
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace)sql";

constexpr const char* kLabels = "SELECT enumtypid, enumlabel FROM pg_enum ORDER BY enumtypid, enumsortorder";

constexpr const char* kKeys = R"sql(
SELECT i.indrelid, i.indimmediate, i.indisprimary, i.indisreplident,
       array_to_string(array(SELECT a.attnum FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k(attnum, place)
                               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                              ORDER BY k.place), ' ') AS attnums,
       array_to_string(array(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
                               FROM unnest(i.indclass[0:i.indnkeyatts - 1]) WITH ORDINALITY k(class, place)
                               JOIN pg_opclass oc ON oc.oid = k.class
                               JOIN pg_amop am ON am.amopfamily = oc.opcfamily AND am.amoplefttype = oc.opcintype
                                              AND am.amoprighttype = oc.opcintype AND am.amopstrategy = 3
                               JOIN pg_operator o ON o.oid = am.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
                              ORDER BY k.place), E'\n') AS operators
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND c.relkind IN ('r', 'p')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND )sql" MBSYNC_TAKES_PART R"sql(
   AND NOT EXISTS (SELECT FROM unnest(i.indkey[0:i.indnkeyatts - 1]) k(attnum)
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                    WHERE NOT a.attnotnull OR a.attgenerated <> ''))sql";

// Attribute numbers in a stored expression; the catalog knows them for an index as a whole only.
#define MBSYNC_COLUMNS_IN(tree) "(regexp_matches(coalesce(" tree "::text, ''), ':varattno (\\d+)', 'g'))[1]::int2"

constexpr const char* kUniqueKeys = R"sql(
SELECT i.indrelid, ic.relname AS name, NOT i.indimmediate AS deferrable, x.oid IS NOT NULL AS exclusion,
       coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
       pg_get_indexdef(i.indexrelid, k.place::int, false) AS expression,
       format('OPERATOR(%I.%s)', opn.nspname, o.oprname) AS operator,
       CASE WHEN co.oid IS NOT NULL THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) ELSE '' END AS collation_name,
       array_to_string(ARRAY(SELECT unnest(i.indkey[0:i.indnkeyatts - 1]) UNION SELECT )sql" MBSYNC_COLUMNS_IN("i.indexprs") R"sql(
                             ORDER BY 1), ' ') AS compared,
       array_to_string(ARRAY(SELECT unnest(i.indkey[0:i.indnkeyatts - 1]) UNION SELECT )sql" MBSYNC_COLUMNS_IN("i.indexprs") R"sql(
                             UNION SELECT )sql" MBSYNC_COLUMNS_IN("i.indpred") R"sql( ORDER BY 1), ' ') AS attnums
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.contype = 'x'
 CROSS JOIN unnest(i.indclass[0:i.indnkeyatts - 1]::oid[], i.indcollation[0:i.indnkeyatts - 1]::oid[])
         WITH ORDINALITY k(opclass, coll, place)
  JOIN pg_opclass oc ON oc.oid = k.opclass
  LEFT JOIN pg_amop am ON x.oid IS NULL AND am.amopfamily = oc.opcfamily AND am.amoplefttype = oc.opcintype
                      AND am.amoprighttype = oc.opcintype AND am.amopstrategy = 3
  JOIN pg_operator o ON o.oid = coalesce(x.conexclop[k.place], am.amopopr) JOIN pg_namespace opn ON opn.oid = o.oprnamespace
  LEFT JOIN pg_collation co ON co.oid = k.coll LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
 WHERE (i.indisunique OR x.oid IS NOT NULL) AND i.indisvalid AND c.relkind IN ('r', 'p')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'mbsync')
   AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY i.indrelid, ic.relname, k.place)sql";

constexpr const char* kForeignKeys = R"sql(
SELECT f.conrelid, f.conname, n.nspname, c.relname, f.convalidated, f.confdeltype, u.child, u.parent, u.operator,
       to_jsonb(f) -> 'confdelsetcols' @> to_jsonb(u.attnum) AS set_on_delete
  FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
       LATERAL (SELECT ca.attname AS child, ca.attnum, pa.attname AS parent, k.place,
                       format('OPERATOR(%I.%s)', opn.nspname, o.oprname) AS operator
                  FROM unnest(f.conkey, f.confkey, f.conpfeqop) WITH ORDINALITY k(child, parent, op, place)
                  JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace opn ON opn.oid = o.oprnamespace
                  JOIN pg_attribute ca ON ca.attrelid = f.conrelid AND ca.attnum = k.child
                  JOIN pg_attribute pa ON pa.attrelid = f.confrelid AND pa.attnum = k.parent) u
 WHERE f.contype = 'f' AND f.conparentid = 0
 ORDER BY f.conrelid, f.conname, u.place)sql";

constexpr const char* kTriggers = R"sql(
SELECT t.tgrelid, t.tgname, t.tgenabled IN ('A', 'R') AS always, t.tgenabled IN ('O', 'A') AS origin FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND n.nspname <> 'mbsync' ORDER BY t.tgrelid, t.tgname)sql";

constexpr const char* kPartitions = R"sql(
SELECT p.oid AS root, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
  FROM pg_class p, LATERAL pg_partition_tree(p.oid) t JOIN pg_class c ON c.oid = t.relid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.relkind = 'p' AND NOT p.relispartition AND t.level > 0 AND c.relkind IN ('r', 'p')
 ORDER BY p.oid, name)sql";

// Foreign keys that only a part of a table has, or that lead to a part of one.
constexpr const char* kPartialReferences = R"sql(
SELECT DISTINCT ON (1) coalesce(pg_partition_root(f.conrelid), f.conrelid)::oid AS root, f.conname,
       c.relispartition AS of_part, CASE WHEN c.relispartition THEN c.relname ELSE p.relname END AS part
  FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class p ON p.oid = f.confrelid
 WHERE f.contype = 'f' AND f.conparentid = 0 AND (c.relispartition OR p.relispartition)
 ORDER BY 1, f.conname)sql";

struct Type {
  char kind = 'b';
  std::uint32_t base = 0;
  int base_modifier = -1;
  bool builtin = false;
  bool fixed = false;
  bool is_array = false;
  bool is_citext = false;
  std::string name;                 // without modifiers
  std::vector<std::string> labels;  // of an enum, in its order
};

using Oid = std::uint32_t;

// Types whose `=` is true for identical values only (given a deterministic collation).
const std::set<Oid>& exact_types() {
  static const std::set<Oid> types{16 /*bool*/,        17 /*bytea*/,
                                   18 /*"char"*/,      19 /*name*/,
                                   20 /*int8*/,        21 /*int2*/,
                                   23 /*int4*/,        25 /*text*/,
                                   26 /*oid*/,         1043 /*varchar*/,
                                   1082 /*date*/,      1083 /*time*/,
                                   1114 /*timestamp*/, 1184,
                                   1266 /*timetz*/,    1560 /*bit*/,
                                   1562 /*varbit*/,    2950 /*uuid*/,
                                   869 /*inet*/,       650 /*cidr*/,
                                   829 /*macaddr*/,    774 /*macaddr8*/};
  return types;
}

// Which settings a type's text form depends on; all of them for the types that are made of others.
std::uint32_t settings_of(Oid type) {
  static const std::map<Oid, std::uint32_t> known{{16, 0},
                                                  {18, 0},
                                                  {19, 0},
                                                  {20, 0},
                                                  {21, 0},
                                                  {23, 0},
                                                  {25, 0},
                                                  {26, 0},
                                                  {114, 0},
                                                  {1042, 0},
                                                  {1043, 0},
                                                  {1560, 0},
                                                  {1562, 0},
                                                  {1700, 0},
                                                  {2950, 0},
                                                  {869, 0},
                                                  {650, 0},
                                                  {829, 0},
                                                  {774, 0},
                                                  {3802, 0},
                                                  {1083, 0},
                                                  {1266, 0},
                                                  {17, kByteaOutput},
                                                  {700, kFloatDigits},
                                                  {701, kFloatDigits},
                                                  {790, kMonetary},
                                                  {1082, kDateStyle},
                                                  {1114, kDateStyle},
                                                  {1184, kDateStyle | kTimeZone},
                                                  {1186, kIntervalStyle}};
  const auto place = known.find(type);
  return place == known.end() ? kAllSettings : place->second;
}

ColumnType value_type_of(Oid oid, const Type& type) {
  static const std::map<Oid, ValueKind> known{{16 /*bool*/, ValueKind::kBoolean},
                                              {19 /*name*/, ValueKind::kText},
                                              {20 /*int8*/, ValueKind::kNumber},
                                              {21 /*int2*/, ValueKind::kNumber},
                                              {23 /*int4*/, ValueKind::kNumber},
                                              {25 /*text*/, ValueKind::kText},
                                              {114 /*json*/, ValueKind::kJson},
                                              {700 /*float4*/, ValueKind::kFloat},
                                              {701 /*float8*/, ValueKind::kFloat},
                                              {1042 /*bpchar*/, ValueKind::kText},
                                              {1043 /*varchar*/, ValueKind::kText},
                                              {1082 /*date*/, ValueKind::kTimestamp},
                                              {1083 /*time*/, ValueKind::kTime},
                                              {1114 /*timestamp*/, ValueKind::kTimestamp},
                                              {1184 /*timestamptz*/, ValueKind::kTimestamp},
                                              {1700 /*numeric*/, ValueKind::kNumber},
                                              {3802 /*jsonb*/, ValueKind::kJson}};
  if (type.kind == 'e') {
    return {ValueKind::kEnum, type.labels};
  }
  if (type.is_array) {
    return {ValueKind::kArray, {}};
  }
  if (type.is_citext) {
    return {ValueKind::kText, {}};
  }
  const auto place = known.find(oid);
  return {place == known.end() ? ValueKind::kOther : place->second, {}};
}

Oid to_oid(const pqxx::field& field) {
  return static_cast<Oid>(std::stoul(field.c_str()));
}

bool to_bool(const pqxx::field& field) {
  return field.c_str()[0] == 't';
}

}  // namespace

std::string RefusedTable::quoted() const {
  return PgConnection::quote_name(schema) + "." + PgConnection::quote_name(name);
}

std::string RefusedTable::display() const {
  return schema + "." + name;
}

std::string Table::quoted() const {
  return fmt::format("{}.{}", PgConnection::quote_name(schema), PgConnection::quote_name(name));
}

std::string Table::display() const {
  return fmt::format("{}.{}", schema, name);
}

std::size_t Table::index_of(std::string_view column) const {
  return static_cast<std::size_t>(find(column) - columns.data());
}

const Column* Table::find(std::string_view column) const {
  for (const auto& candidate : columns) {
    if (candidate.name == column) {
      return &candidate;
    }
  }
  return nullptr;
}

const Table* Schema::find(int id) const {
  const auto place = std::find_if(tables.begin(), tables.end(), [id](const Table& table) { return table.id == id; });
  return place == tables.end() ? nullptr : &*place;
}

const Table* Schema::find(std::string_view schema, std::string_view name) const {
  const auto place = std::find_if(tables.begin(), tables.end(),
                                  [&](const Table& table) { return table.schema == schema && table.name == name; });
  return place == tables.end() ? nullptr : &*place;
}

Result<Schema> read_schema(PgConnection& db) {
  const auto relations = db.exec(kRelations);
  MBSYNC_TRY(relations);
  const auto columns = db.exec(kColumns);
  MBSYNC_TRY(columns);
  const auto types = db.exec(kTypes);
  MBSYNC_TRY(types);
  auto labels_hash = read_labels(db);  // first: what comes until the labels themselves are read is read once more
  MBSYNC_TRY(labels_hash);
  const auto labels = db.exec(kLabels);
  MBSYNC_TRY(labels);
  const auto keys = db.exec(kKeys);
  MBSYNC_TRY(keys);
  const auto foreign_keys = db.exec(kForeignKeys);
  MBSYNC_TRY(foreign_keys);
  const auto unique_keys = db.exec(kUniqueKeys);
  MBSYNC_TRY(unique_keys);
  const auto triggers = db.exec(kTriggers);
  MBSYNC_TRY(triggers);
  const auto partitions = db.exec(kPartitions);
  MBSYNC_TRY(partitions);
  const auto partial = db.exec(kPartialReferences);
  MBSYNC_TRY(partial);
  const auto left_out = read_left_out(db);
  MBSYNC_TRY(left_out);
  std::map<Oid, std::string> partial_reference;  // by table, why it cannot take part
  for (const auto& row : *partial) {
    partial_reference[to_oid(row["root"])] =
        to_bool(row["of_part"])
            ? fmt::format(
                  "has a foreign key of its partition \"{}\" alone (constraint \"{}\"), which could not be kept; "
                  "declare it on the table",
                  row["part"].c_str(), row["conname"].c_str())
            : fmt::format(
                  "refers to the partition \"{}\" alone (constraint \"{}\"), which could not be kept; let it "
                  "refer to the table",
                  row["part"].c_str(), row["conname"].c_str());
  }

  std::map<Oid, Type> type_of;
  for (const auto& row : *types) {
    type_of[to_oid(row["oid"])] =
        Type{row["typtype"].c_str()[0], to_oid(row["typbasetype"]), std::stoi(row["typtypmod"].c_str()),
             to_bool(row["builtin"]),   to_bool(row["fixed"]),      to_bool(row["is_array"]),
             to_bool(row["is_citext"]), row["name"].c_str(),        {}};
  }
  for (const auto& row : *labels) {
    type_of[to_oid(row["enumtypid"])].labels.emplace_back(row["enumlabel"].c_str());
  }

  struct Found {
    Table table;
    std::map<int, std::string> names;  // by attribute number
  };
  std::map<Oid, Found> found;
  for (const auto& row : *columns) {
    auto& entry = found[to_oid(row["attrelid"])];
    Column column;
    column.name = row["attname"].c_str();
    column.attnum = std::stoi(row["attnum"].c_str());
    column.type = row["type"].c_str();
    column.collation = row["collation"].c_str();
    column.not_null = to_bool(row["attnotnull"]);
    column.default_value = row["default_value"].c_str();
    column.generated = to_bool(row["generated"]);
    column.identity_always = to_bool(row["identity_always"]);

    Oid base = to_oid(row["atttypid"]);
    int modifier = std::stoi(row["atttypmod"].c_str());
    bool domain = false;
    while (type_of[base].kind == 'd') {
      domain = true;
      modifier = type_of[base].base_modifier;
      base = type_of[base].base;
    }
    const auto& type = type_of[base];
    const bool plain = type.kind == 'b' || type.kind == 'r' || type.kind == 'm';
    column.value_type = value_type_of(base, type);
    column.fixed_size = type.fixed;
    column.looked_up_as = domain ? type.name : column.type;
    column.is_enum = type.kind == 'e';
    column.user_type = domain || !type.builtin || !plain;
    constexpr Oid kNumeric = 1700;
    constexpr Oid kBpchar = 1042;
    column.exact = to_bool(row["deterministic"]) && (exact_types().contains(base) || type.kind == 'e' ||
                                                     ((base == kNumeric || base == kBpchar) && modifier >= 0));
    column.settings = type.kind == 'e' ? 0 : settings_of(base);
    entry.names[std::stoi(row["attnum"].c_str())] = column.name;
    ++entry.table.columns_in_all;
    entry.table.columns_generated += column.generated ? 1 : 0;
    entry.table.columns.push_back(std::move(column));
  }
  for (const auto& row : *partitions) {
    found[to_oid(row["root"])].table.partitions.emplace_back(row["name"].c_str());
  }
  for (const auto& row : *triggers) {
    auto& table = found[to_oid(row["tgrelid"])].table;
    if (to_bool(row["origin"])) {
      table.user_triggers.emplace_back(row["tgname"].c_str());
    }
    if (to_bool(row["always"])) {
      table.always_triggers.emplace_back(row["tgname"].c_str());
    }
  }
  for (const auto& row : *foreign_keys) {
    auto& list = found[to_oid(row["conrelid"])].table.foreign_keys;
    if (list.empty() || list.back().name != row["conname"].c_str()) {
      list.push_back(ForeignKey{row["conname"].c_str(),
                                row["nspname"].c_str(),
                                row["relname"].c_str(),
                                {},
                                {},
                                {},
                                to_bool(row["convalidated"]),
                                row["confdeltype"].c_str()[0],
                                {}});
    }
    if (!row["set_on_delete"].is_null() && to_bool(row["set_on_delete"])) {
      list.back().on_delete_columns.emplace_back(row["child"].c_str());
    }
    list.back().columns.emplace_back(row["child"].c_str());
    list.back().referenced.emplace_back(row["parent"].c_str());
    list.back().operators.emplace_back(row["operator"].c_str());
  }

  for (const auto& row : *unique_keys) {
    auto& entry = found[to_oid(row["indrelid"])];
    auto& list = entry.table.unique_keys;
    if (list.empty() || list.back().name != row["name"].c_str()) {
      UniqueKey key;
      key.name = row["name"].c_str();
      key.predicate = row["predicate"].c_str();
      key.nulls_not_distinct = to_bool(row["nulls_not_distinct"]);
      key.deferrable = to_bool(row["deferrable"]);
      key.exclusion = to_bool(row["exclusion"]);
      const auto names_of = [&](const char* numbers) {
        std::vector<std::string> names;
        std::istringstream attnums(numbers);
        for (int attnum = 0; attnums >> attnum;) {
          if (attnum > 0) {  // 0: an expression
            names.push_back(entry.names[attnum]);
          }
        }
        return names;
      };
      key.columns = names_of(row["attnums"].c_str());
      key.compared = names_of(row["compared"].c_str());
      list.push_back(std::move(key));
    }
    list.back().expressions.emplace_back(row["expression"].c_str());
    list.back().operators.emplace_back(row["operator"].c_str());
    list.back().collations.emplace_back(row["collation_name"].c_str());
  }

  // The best key of each table: the primary key, then the replica identity, then the fewest columns, then their names.
  // The same rule on every node must find the same key.
  struct Key {
    bool primary = false;
    bool identity = false;
    bool immediate = true;
    std::vector<std::string> names;
    std::vector<std::string> operators;
    [[nodiscard]] auto rank() const { return std::tuple(!primary, !identity, names.size(), names); }
  };
  std::map<Oid, Key> best;
  for (const auto& row : *keys) {
    const Oid oid = to_oid(row["indrelid"]);
    Key key{to_bool(row["indisprimary"]), to_bool(row["indisreplident"]), to_bool(row["indimmediate"]), {}, {}};
    std::istringstream attnums(row["attnums"].c_str());
    for (int attnum = 0; attnums >> attnum;) {
      key.names.push_back(found[oid].names[attnum]);
    }
    std::istringstream operators(row["operators"].c_str());
    for (std::string name; std::getline(operators, name);) {
      key.operators.push_back(name);
    }
    const auto [place, fresh] = best.try_emplace(oid, key);
    if (!fresh && key.rank() < place->second.rank()) {
      place->second = key;
    }
  }

  Schema schema;
  schema.labels = std::move(*labels_hash);
  for (const auto& row : *relations) {
    if (to_bool(row["relispartition"])) {
      continue;  // goes with the table it is a part of
    }
    const Oid oid = to_oid(row["oid"]);
    Table table = std::move(found[oid].table);
    table.oid = oid;
    table.schema = row["nspname"].c_str();
    table.internal = table.schema == "mbsync";
    table.name = row["relname"].c_str();
    table.partitioned = row["relkind"].c_str()[0] == 'p';
    table.has_toast = to_bool(row["has_toast"]);
    table.has_insert_rule = to_bool(row["insert_rule"]);
    using enum RefusedTable::Because;
    const auto refuse = [&](std::string reason, RefusedTable::Because because = kItCannot) {
      schema.refused.push_back(RefusedTable{table.schema, table.name, std::move(reason), table.foreign_keys, because});
    };
    if (const auto place = left_out->find({table.schema, table.name}); place != left_out->end()) {
      refuse(place->second, kByChoice);
      continue;
    }
    if (const auto place = partial_reference.find(oid); place != partial_reference.end()) {
      refuse(place->second);
      continue;
    }
    if (to_bool(row["inherits"])) {
      refuse("uses table inheritance, where a key holds for one table only; use declarative partitioning instead");
      continue;
    }
    if (row["relpersistence"].c_str()[0] == 'u') {
      refuse("is UNLOGGED and empty after a crash, which would be taken for deletions; ALTER TABLE ... SET LOGGED");
      continue;
    }
    if (table.name == "_prisma_migrations") {
      refuse("is Prisma's own record of the migrations that ran on this machine; left out by default", kByDefault);
      continue;
    }
    const auto key = best.find(oid);
    if (key == best.end()) {
      refuse(
          "has no primary key and no unique index over NOT NULL columns, so its rows cannot be told apart; add a "
          "primary key");
      continue;
    }
    std::erase_if(table.columns, [&](const Column& column) {
      return column.generated || (table.internal && column.name == kLocalColumn);
    });
    if (table.columns.size() > kColumnsMax) {
      refuse(fmt::format("has {} columns; mbsync moves up to {}", table.columns.size(), kColumnsMax));
      continue;
    }
    const auto& names = key->second.names;
    const auto& operators = key->second.operators;
    for (std::size_t place = 0; place < names.size(); ++place) {
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        if (table.columns[i].name == names[place]) {
          table.columns[i].equals = operators[place];
          table.key.push_back(i);
        }
      }
    }
    table.key_is_deferrable = !key->second.immediate;
    const bool exact =
        std::all_of(table.key.begin(), table.key.end(), [&](std::size_t index) { return table.columns[index].exact; });
    std::erase_if(table.unique_keys, [&](UniqueKey& unique) {
      const bool generated = std::any_of(unique.columns.begin(), unique.columns.end(),
                                         [&](const std::string& column) { return table.find(column) == nullptr; });
      auto sorted = names;
      auto looked_at = unique.columns;
      std::sort(sorted.begin(), sorted.end());
      std::sort(looked_at.begin(), looked_at.end());
      unique.of_rows = unique.predicate.empty() && sorted == looked_at && looked_at.size() == unique.expressions.size();
      return generated || (unique.of_rows && exact);
    });
    schema.tables.push_back(std::move(table));
  }
  return schema;
}

Result<std::string> read_labels(PgConnection& db) {
  const auto hash = db.exec_cached(
      "SELECT coalesce(md5(string_agg(md5(enumtypid || enumlabel::text), '' ORDER BY enumtypid, enumsortorder)), '') "
      "FROM pg_catalog.pg_enum");
  MBSYNC_TRY(hash);
  return std::string((*hash)[0][0].c_str());
}

}  // namespace mbsync
