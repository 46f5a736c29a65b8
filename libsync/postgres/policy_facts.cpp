#include "policy_facts.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

#define MBSYNC_BASE_TYPES                                                                                    \
  "WITH RECURSIVE base (oid, base) AS (SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd' UNION ALL " \
  "SELECT t.oid, b.base FROM pg_type t JOIN base b ON t.typbasetype = b.oid WHERE t.typtype = 'd') "

// Columns with their base types, generated ones too, which a Table does not have.
constexpr const char* kColumnTypes = MBSYNC_BASE_TYPES R"sql(
SELECT a.attrelid, a.attname, b.base, format_type(b.base, NULL) AS type, a.attgenerated <> '' AS generated
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN base b ON b.oid = a.atttypid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'mbsync'))sql";

constexpr const char* kUniqueNames =
    "SELECT i.indrelid, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisunique";

constexpr const char* kFunction = MBSYNC_BASE_TYPES R"sql(
SELECT p.prokind = 'f' AND p.proargtypes::text = '3802' AS fits, p.provolatile = 'i' AS immutable,
       p.proretset OR t.typtype = 'p' AS no_value,
       has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE') AS allowed, current_user AS role,
       CASE WHEN p.prokind = 'f' THEN mbsync.function_md5(format('%I.%I(jsonb)', n.nspname, p.proname)) END AS hash, b.base AS result_type,
       p.oid::regprocedure AS signature
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN base b ON b.oid = p.prorettype
  JOIN pg_type t ON t.oid = b.base
 WHERE n.nspname = $1 AND p.proname = $2
 ORDER BY fits DESC)sql";

// Texts are read as any type and any type is written as text, besides the casts that are declared.
constexpr const char* kCasts =
    "SELECT $1::oid = $2::oid OR EXISTS (SELECT FROM pg_type t WHERE t.oid IN ($1::oid, $2::oid) AND t.typcategory = "
    "'S') OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = $1::oid AND c.casttarget = $2::oid)";

std::uint32_t to_oid(const pqxx::field& field) {
  return static_cast<std::uint32_t>(std::stoul(field.c_str()));
}

}  // namespace

Result<PolicyFacts> read_policy_facts(PgConnection& db) {
  PolicyFacts facts;
  auto schema = read_schema(db);
  MBSYNC_TRY(schema);
  facts.schema = std::move(*schema);
  const auto columns = db.exec(kColumnTypes);
  MBSYNC_TRY(columns);
  for (const auto& row : *columns) {
    facts.columns[to_oid(row["attrelid"])][row["attname"].c_str()] =
        PolicyFacts::Column{to_oid(row["base"]), row["type"].c_str(), row["generated"].as<bool>()};
  }
  const auto names = db.exec(kUniqueNames);
  MBSYNC_TRY(names);
  for (const auto& row : *names) {
    facts.unique_names[to_oid(row[0])].insert(row[1].c_str());
  }
  const auto nodes = db.exec("SELECT id, name FROM mbsync.node ORDER BY id");
  MBSYNC_TRY(nodes);
  for (const auto& row : *nodes) {
    facts.nodes.emplace_back(NodeId{row[0].as<std::int64_t>()}, row[1].c_str());
  }
  return facts;
}

Result<PolicyFunction> read_policy_function(PgConnection& db, std::string_view name) {
  const auto dot = name.find('.');
  const auto rows = db.exec(kFunction, {std::string(name.substr(0, dot)), std::string(name.substr(dot + 1))});
  MBSYNC_TRY(rows);
  const auto wrong = [&](std::string why, std::string hint) {
    PolicyFunction function;
    function.problem = fmt::format("the function {} {}", name, why);
    function.hint = std::move(hint);
    return function;
  };
  const auto declared = fmt::format("it is to be declared as {}(jsonb) RETURNS ... IMMUTABLE", name);
  if (rows->empty()) {
    return wrong("does not exist",
                 "create it on every node, or correct the name: \"schema.name\", and case counts; " + declared);
  }
  const auto& row = (*rows)[0];
  if (!row["fits"].as<bool>()) {
    return wrong(fmt::format("is there as {}, and does not take one jsonb", row["signature"].c_str()), declared);
  }
  if (row["no_value"].as<bool>()) {
    return wrong("does not return one value", declared);
  }
  if (!row["immutable"].as<bool>()) {
    return wrong("is not IMMUTABLE, so nodes could decide differently",
                 fmt::format("if the same argument always gives the same result: ALTER FUNCTION {} IMMUTABLE",
                             row["signature"].c_str()));
  }
  if (!row["allowed"].as<bool>()) {
    return wrong(fmt::format("may not be called by role {}, as which mbsync works", row["role"].c_str()),
                 fmt::format("GRANT EXECUTE ON FUNCTION {} TO \"{}\", and USAGE on its schema",
                             row["signature"].c_str(), row["role"].c_str()));
  }
  PolicyFunction function;
  function.hash = row["hash"].c_str();
  function.result_type = to_oid(row["result_type"]);
  return function;
}

Result<bool> type_casts(PgConnection& db, std::uint32_t from, std::uint32_t to) {
  const auto casts = db.exec(kCasts, {std::to_string(from), std::to_string(to)});
  MBSYNC_TRY(casts);
  return (*casts)[0][0].as<bool>();
}

}  // namespace mbsync
