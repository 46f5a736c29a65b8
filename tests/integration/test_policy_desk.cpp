// The fleet's policy in a database: what a document may say of it, publication, and its way to another node.
#include <catch2/catch.hpp>
#include <thread>

#include "node_pair.h"
#include "policy_desk.h"
#include "sql_session.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema = R"(
  CREATE SCHEMA shop;
  CREATE TYPE mood AS ENUM ('sad', 'glad');
  CREATE DOMAIN amount AS numeric(12,2);
  CREATE TABLE customers (id uuid PRIMARY KEY, name text, email varchar(80) UNIQUE, tags text[], extra jsonb,
                          feeling mood, born date NOT NULL DEFAULT '2000-01-01', photo bytea, visits int NOT NULL DEFAULT 0,
                          weight float8 NOT NULL DEFAULT 0, credit amount, upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
  CREATE TABLE "Order" (id bigint PRIMARY KEY, customer uuid REFERENCES customers, number int CONSTRAINT order_number UNIQUE,
                        total amount NOT NULL DEFAULT 0, currency text, notes text);
  CREATE TABLE members (id int PRIMARY KEY, customer uuid NOT NULL REFERENCES customers CONSTRAINT one_each UNIQUE,
                        seat int NOT NULL CONSTRAINT seats UNIQUE);
  CREATE TABLE shop.pairs (a int, b int, v text, PRIMARY KEY (a, b));
  CREATE TABLE "Pick" (id int PRIMARY KEY, shop int, shelf int, note text, FOREIGN KEY (shop, shelf) REFERENCES shop.pairs);
  CREATE TABLE shop.moments (at timestamptz PRIMARY KEY, v text);
  CREATE TABLE keyless (v text);
  CREATE FUNCTION shop.pick(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 ->> 0';
  CREATE FUNCTION shop.volatile_pick(jsonb) RETURNS text LANGUAGE sql AS 'SELECT $1 ->> 0';
  CREATE FUNCTION shop.two(jsonb, int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 ->> $2';
  CREATE FUNCTION shop.many(jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS 'SELECT $1 ->> 0';
  CREATE FUNCTION shop.a_date(jsonb) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT date ''2024-01-01''';
)";

struct Shop {
  PgNode node{shared_cluster(), fresh_database_name(), kSchema};
  std::unique_ptr<PolicyDesk> desk;

  Shop() {
    node.prepare();
    auto opened = PolicyDesk::open(*parse_database_url(node.url()));
    REQUIRE(opened);
    desk = std::move(*opened);
  }

  PolicyCheck check(const std::string& document) {
    auto result = desk->check(document);
    REQUIRE(result);
    return std::move(*result);
  }
};

std::unique_ptr<PolicyDesk> desk_of(PgNode& node) {
  auto opened = PolicyDesk::open(*parse_database_url(node.url()));
  REQUIRE(opened);
  return std::move(*opened);
}

std::string texts(const std::vector<PolicyFault>& faults) {
  std::string all;
  for (const auto& fault : faults) {
    all += std::to_string(fault.line) + ": " + fault.message + " | " + fault.hint + "\n";
  }
  return all;
}

std::string in_table(const std::string& table, const std::string& rest) {
  return "[[table]]\nname = \"" + table + "\"\n" + rest;
}

std::string columns(const std::string& table, const std::string& lines) {
  return in_table(table, "[table.columns]\n" + lines);
}

std::string meaning(const std::vector<TableMeaning>& tables, const std::string& table, const std::string& about,
                    const std::string& name) {
  for (const auto& each : tables) {
    for (const auto& rule : each.rules) {
      if (each.table == table && rule.about == about && rule.name == name) {
        return rule.rule + ": " + rule.meaning;
      }
    }
  }
  return "";
}

}  // namespace

TEST_CASE("policy: what does not fit the database is a fault, with the object and what to do", "[policy]") {
  Shop shop;
  struct Case {
    std::string document;
    int line;
    std::string message;
    std::string hint;
  };
  const std::vector<Case> cases{
      {in_table("customer", ""), 2, "there is no table \"customer\"", "mbsync status"},
      {in_table("order", ""), 2, "there is no table \"order\"", "case counts: write \"public.Order\""},
      {in_table("keyless", ""), 2, "public.keyless does not take part", "leave this [[table]] out"},
      {in_table("mbsync.policy", ""), 2, "mbsync.policy is mbsync's own", "leave"},
      {columns("customers", "nmae = \"manual\""), 4, "public.customers has no column \"nmae\"", "correct"},
      {columns("customers", "Name = \"manual\""), 4, "no column \"Name\"", "write \"name\""},
      {columns("*", "\"nothing*\" = \"manual\""), 4, "tables \"*\" have no column \"nothing*\"", "correct"},
      {columns("customers", "id = \"manual\""), 4, "column id of public.customers is part of the key", "leave it out"},
      {columns("customers", "upper_name = \"manual\""), 4, "upper_name of public.customers is computed",
       "computed from"},
      {columns("customers", "extra = \"max\""), 4, "public.customers.extra is jsonb, whose values", "numbers"},
      {columns("customers", "photo = \"min\""), 4, "public.customers.photo is bytea", "numbers"},
      {columns("customers", "tags = \"max\""), 4, "public.customers.tags is text[]", "numbers"},
      {columns("customers", "weight = \"sum\""), 4, "public.customers.weight is double precision", "numeric"},
      {columns("customers", "credit = \"sum\""), 4, "credit is public.amount, and may be NULL", "SET NOT NULL"},
      {columns("customers", "name = \"union\""), 4, "public.customers.name is text, which has no elements", "append"},
      {columns("customers", "tags = \"append\""), 4, "public.customers.tags is text[], which is no text", "union"},
      {columns("customers", "born = \"prefer-non-null\""), 4, "born is date, and never NULL", "leave it out"},
      {columns("customers", "name = { function = \"shop.nothing\" }"), 4, "shop.nothing does not exist", "jsonb"},
      {columns("customers", "name = { function = \"shop.volatile_pick\" }"), 4, "not IMMUTABLE", "ALTER FUNCTION"},
      {columns("customers", "name = { function = \"shop.two\" }"), 4, "does not take one jsonb", "shop.two(jsonb)"},
      {columns("customers", "name = { function = \"shop.many\" }"), 4, "does not return one value", "RETURNS"},
      {columns("customers", "visits = { function = \"shop.a_date\" }"), 4,
       "shop.a_date returns cannot become the integer of column public.customers.visits", "integer, or text"},
      {in_table("Order", "groups = [[\"total\", \"curency\"]]"), 3, "public.Order has no column \"curency\"",
       "correct"},
      {in_table("Order", "groups = [[\"total\", \"currency\"]]\n[table.columns]\ntotal = \"sum\""), 3,
       "column public.Order.total adds up", "another rule than sum"},
      {in_table("customers", "unique = \"merge\"\n[[table]]\nname = \"shop.pairs\"\nunique = \"merge\""), 6,
       "shop.pairs has no unique constraint or index \"*\"", "leave it out"},
      {in_table("Order", "[table.unique]\norder_nmber = \"park\""), 4,
       "has no unique constraint or index \"order_nmber\"", "there is: order_number"},
      {in_table("Order", "[table.unique]\nOrder_pkey = \"park\""), 4, "\"Order_pkey\" of public.Order is the key",
       "keep_both"},
      {in_table("Order", "unique = \"suffix\""), 3, "\"order_number\" of public.Order has no text", "\"auto\""},
      {in_table("shop.pairs", "keep_both = true"), 2, "shop.pairs has a key of 2 columns", "uuid"},
      {in_table("shop.moments", "keep_both = true"), 2, "has a key of type timestamp with time zone", "uuid"},
      {"[defaults]\nrule = \"max\"", 2, "does not suit columns of every type", ""},
  };
  for (const auto& [document, line, message, hint] : cases) {
    INFO(document);
    const auto check = shop.check(document);
    INFO(texts(check.faults));
    REQUIRE(check.faults.size() == 1);
    CHECK(check.faults[0].line == line);
    CHECK_THAT(check.faults[0].message, Catch::Contains(message));
    CHECK_THAT(check.faults[0].hint, Catch::Contains(hint));
    const auto publication = shop.desk->publish(document);
    REQUIRE(publication);
    CHECK_FALSE(publication->published);
    CHECK(publication->check.faults.size() == 1);
  }
  // All at once, by line.
  const auto both =
      shop.check("[[table]]\nname = \"none\"\n" + columns("customers", "id = \"manual\"\nphoto = \"max\""));
  REQUIRE(both.faults.size() == 3);
  CHECK(both.faults[0].line == 2);
  CHECK(both.faults[2].line == 7);
  CHECK(shop.node.scalar("SELECT count(*) FROM mbsync.policy") == "0");
}

TEST_CASE("policy: every rule on a type that it suits, and what it means", "[policy]") {
  Shop shop;
  const auto check = shop.check(
      "[defaults]\ndelete = \"delete-wins\"\n" +
      columns("customers",
              "tags = \"union\"\nextra = \"union\"\nfeeling = \"max\"\nborn = \"min\"\nvisits = \"sum\"\nname = "
              "\"append\"\n"
              "credit = \"prefer-non-null\"\nemail = { function = \"shop.pick\" }\nphoto = \"manual\"\n") +
      in_table("Order",
               "keep_both = true\ngroups = [[\"total\", \"currency\"]]\n[table.unique]\norder_number = \"park\"\n") +
      in_table("customers", "keep_both = true\nunique = \"suffix\"\n") + in_table("shop.*", "merge = \"row\"\n") +
      in_table("Pick", "rule = \"prefer-non-null\"\n"));
  INFO(texts(check.faults));
  CHECK(check.faults.empty());
  REQUIRE(check.warnings.size() == 1);
  CHECK_THAT(check.warnings[0].message, Catch::Contains("keep_both: public.customers is referred to by public.Order"));
  REQUIRE(check.tables.size() == 6);
  const auto says = [&](const char* table, const char* about, const char* name) {
    return meaning(check.tables, table, about, name);
  };
  CHECK(says("customers", "column", "visits") == "sum: the changes add up");
  CHECK(says("customers", "column", "feeling") == "max: the greatest value stands");
  CHECK_THAT(says("customers", "column", "email"), Catch::Contains("\"shop\".\"pick\""));
  CHECK_THAT(says("customers", "columns", ""), Catch::StartsWith("last-writer-wins: "));
  CHECK_THAT(says("customers", "delete", ""), Catch::StartsWith("delete-wins: "));
  CHECK_THAT(says("customers", "unique", "customers_email_key"),
             Catch::StartsWith("suffix: ") && Catch::Contains("email"));
  CHECK_THAT(says("Order", "unique", "order_number"), Catch::StartsWith("park: "));
  CHECK_THAT(says("Order", "group", "total, currency"), Catch::StartsWith("group: "));
  CHECK_THAT(says("Pick", "group", "shop, shelf"), Catch::StartsWith("group: "));
  CHECK_THAT(says("Pick", "column", "shelf"), Catch::StartsWith("last-writer-wins: "));
  CHECK_THAT(says("Order", "keep_both", ""), Catch::StartsWith("true: "));
  CHECK_THAT(says("moments", "keep_both", ""), Catch::StartsWith("false: "));
  for (const auto& table : check.tables) {
    CHECK_FALSE(table.built_in);
  }
  // What auto comes to is up to the key (CONFLICTS.md C19).
  CHECK(says("members", "unique", "one_each") == "auto: both rows become one");
  CHECK_THAT(says("members", "unique", "seats"), Catch::StartsWith("auto: the row that comes waits"));
  CHECK_THAT(meaning(shop.check("").tables, "Order", "unique", "order_number"),
             Catch::StartsWith("auto: the later row's number becomes NULL"));
  for (const auto& table : shop.check("").tables) {
    CHECK(table.built_in);
  }
  // A later entry takes back what an earlier one said, before it is judged.
  CHECK(shop.check(columns("customers", "\"*\" = \"max\"\n\"?*\" = \"last-writer-wins\"")).faults.empty());
}

TEST_CASE("policy: what deserves a look is a warning", "[policy]") {
  Shop shop;
  const auto warnings = [&](const std::string& document) {
    const auto check = shop.check(document);
    INFO(texts(check.faults));
    CHECK(check.faults.empty());
    return texts(check.warnings);
  };
  const auto name = shop.node.database();
  CHECK_THAT(warnings("[defaults]\nrule = \"node-priority\"\n[nodes]\ntill = 2\n" + name + " = 1"),
             Catch::StartsWith("4: nodes: no node 'till' is known here") && Catch::Contains("after it has joined"));
  CHECK_THAT(warnings("[nodes]\n" + name + " = 1"), Catch::Contains("nothing here has the rule node-priority"));
  CHECK_THAT(warnings("[defaults]\nrule = \"node-priority\""),
             Catch::Contains("1: node-priority: no node has a number"));
  CHECK_THAT(warnings(in_table("Order", "merge = \"row\"\ngroups = [[\"total\", \"currency\"]]")),
             Catch::Contains("4: groups: public.Order has merge = \"row\""));
  CHECK_THAT(warnings(in_table("Pick", "[table.columns]\nshelf = \"max\"")),
             Catch::Contains("public.Pick.shelf is one of the columns of the foreign key Pick_shop_shelf_fkey, which"));
  CHECK_THAT(warnings(in_table("Order", "groups = [[\"total\", \"currency\"]]\n[table.columns]\ntotal = \"max\"")),
             Catch::Contains("column public.Order.total has the rule max, and is judged by itself"));
  CHECK_THAT(warnings("[defaults]\nunique = \"suffix\""),
             Catch::Contains("\"order_number\" of public.Order has no text"));
  CHECK_THAT(warnings("[defaults]\nkeep_both = true"), Catch::Contains("shop.pairs has a key of 2 columns"));

  shop.node.execute("INSERT INTO mbsync.node (id, name) VALUES (17, 'twin'), (18, 'twin')");
  const auto twins = shop.check("[defaults]\nrule = \"node-priority\"\n[nodes]\ntwin = 1");
  REQUIRE(twins.faults.size() == 1);
  CHECK_THAT(texts(twins.faults), Catch::StartsWith("4: nodes: 2 nodes are called 'twin'") &&
                                      Catch::Contains("0000000000000011, 0000000000000012"));
  const auto twice =
      shop.check("[defaults]\nrule = \"node-priority\"\n[nodes]\n0000000000000011 = 1\n" + name + " = 2\n\"" +
                 shop.node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self") + "\" = 3");
  REQUIRE(twice.faults.size() == 1);
  CHECK_THAT(texts(twice.faults), Catch::Contains("are the same node"));
}

TEST_CASE("policy: what is published has ids and hashes, and is not published twice", "[policy]") {
  Shop shop;
  CHECK_FALSE(*shop.desk->current());
  CHECK(shop.desk->history()->empty());
  const auto nothing = shop.desk->publish("# no rules\n");
  REQUIRE(nothing);
  CHECK_FALSE(nothing->published);

  const auto document = "# ours\n[nodes]\n" + shop.node.database() + " = 1\n[defaults]\nrule='node-priority'\n" +
                        columns("customers", "name = { function = \"shop.pick\" }");
  const auto first = shop.desk->publish(document);
  REQUIRE(first);
  CHECK(first->published);
  CHECK(policy_serial(first->version) == 1);
  const auto id = shop.node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self");
  const auto hash = shop.node.scalar(
      "SET search_path = pg_catalog; SELECT md5(pg_get_functiondef('shop.pick(jsonb)'::regprocedure))");
  const auto current = *shop.desk->current();
  REQUIRE(current);
  CHECK(current->version == first->version);
  CHECK(current->published_by == shop.node.database());
  CHECK(current->published_at.size() >= 20);
  CHECK(current->document == "[defaults]\nrule = \"node-priority\"\n\n[nodes]\n\"" + id +
                                 "\" = 1\n\n[[table]]\nname = \"customers\"\n[table.columns]\n\"name\" = { rule = "
                                 "\"function\", function = \"shop.pick\" }\n\n[functions]\n\"shop.pick\" = \"" +
                                 hash + "\"\n");
  // The same again, and the published text itself: nothing new.
  for (const auto& same : {document, current->document}) {
    const auto again = shop.desk->publish(same);
    REQUIRE(again);
    CHECK_FALSE(again->published);
    CHECK(again->version == first->version);
  }
  // Another definition of the function is another policy.
  shop.node.execute(
      "CREATE OR REPLACE FUNCTION shop.pick(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 ->> 1'");
  CHECK_THAT(texts(shop.check(current->document).warnings), Catch::Contains("shop.pick has another definition here"));
  const auto second = shop.desk->publish(document, first->version);
  REQUIRE(second);
  CHECK(second->published);
  CHECK(policy_serial(second->version) == 2);
  const auto stale = shop.desk->publish("", first->version);
  REQUIRE_FALSE(stale);
  CHECK(stale.error().kind == ErrorKind::kRejected);
  CHECK_THAT(stale.error().message, Catch::Contains("holds meanwhile, published by " + shop.node.database()));
  // Back to the built-in rules is a publication like any other.
  const auto third = shop.desk->publish("");
  REQUIRE(third);
  CHECK(third->published);
  const auto history = *shop.desk->history();
  REQUIRE(history.size() == 3);
  CHECK(history[0].document.empty());
  CHECK(history[2].version == first->version);
  CHECK(shop.desk->find("2")->version == second->version);
  CHECK(shop.desk->find(std::to_string(first->version))->version == first->version);
  CHECK(shop.desk->find("9").error().kind == ErrorKind::kNotFound);
  CHECK(shop.desk->find("two").error().kind == ErrorKind::kConfig);
}

TEST_CASE("policy: two publications in one database queue up", "[policy]") {
  Shop shop;
  auto other = desk_of(shop.node);
  SqlSession holder(shop.node.url());
  holder.execute("SELECT pg_advisory_lock(hashtext('mbsync policy'))");
  std::optional<Result<Publication>> one;
  std::optional<Result<Publication>> two;
  std::thread first([&] { one = shop.desk->publish("[defaults]\nkeep_both = false"); });
  std::thread second([&] { two = other->publish("[defaults]\nunique = \"park\""); });
  const bool both_wait = wait_until(std::chrono::seconds{8}, [&] {
    return shop.node.scalar(
               "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid "
               "FROM pg_database WHERE datname = current_database())") == "2";
  });
  holder.execute("SELECT pg_advisory_unlock(hashtext('mbsync policy'))");
  first.join();
  second.join();
  CHECK(both_wait);
  CHECK((one->has_value() && (*one)->published));
  CHECK((two->has_value() && (*two)->published));
  CHECK(shop.node.scalar("SELECT string_agg((version >> 32)::text, ',' ORDER BY version) FROM mbsync.policy") == "1,2");
}

TEST_CASE("policy: what two nodes publish at once ends as the same one everywhere", "[policy]") {
  Pair pair(kSchema);
  pair.exchange();
  const auto a = desk_of(pair.a);
  const auto b = desk_of(pair.b);
  const auto by_a = a->publish("[defaults]\nunique = \"park\"");
  const auto by_b = b->publish("[defaults]\nunique = \"suffix\"");
  REQUIRE(by_a);
  REQUIRE(by_b);
  CHECK(policy_serial(by_a->version) == policy_serial(by_b->version));
  CHECK(by_a->version != by_b->version);
  pair.exchange();
  const auto holds = std::max(by_a->version, by_b->version);
  for (const auto* desk : {&a, &b}) {
    CHECK((**(*desk)->current()).version == holds);
    CHECK((*desk)->history()->size() == 2);
    const auto both = (*desk)->find("1");
    REQUIRE_FALSE(both);
    CHECK(both.error().kind == ErrorKind::kRejected);
    CHECK_THAT(both.error().hint, Catch::Contains(std::to_string(holds)));
  }
  CHECK(Pair::rows(pair.a, "mbsync.policy") == Pair::rows(pair.b, "mbsync.policy"));

  // One document on both: one version.
  const auto same_a = a->publish("[defaults]\nkeep_both = false");
  const auto same_b = b->publish("[defaults]\nkeep_both = false");
  REQUIRE(same_a);
  REQUIRE(same_b);
  CHECK(same_a->version == same_b->version);
  pair.exchange();
  CHECK(Pair::rows(pair.a, "mbsync.policy") == Pair::rows(pair.b, "mbsync.policy"));
  CHECK((*b->current())->version == same_a->version);
}

TEST_CASE("policy: a database that is no node yet says so", "[policy]") {
  PgNode node(shared_cluster(), fresh_database_name(), kSchema);
  const auto before = PolicyDesk::open(*parse_database_url(node.url()));
  REQUIRE_FALSE(before);
  CHECK(before.error().kind == ErrorKind::kNotFound);
  node.prepare();
  node.execute("DELETE FROM mbsync.node");
  const auto published = desk_of(node)->publish("[defaults]\nunique = \"park\"");
  REQUIRE_FALSE(published);
  CHECK_THAT(published.error().message, Catch::Contains("no node yet"));
}

TEST_CASE("policy: a function must be one that mbsync's role may call", "[policy]") {
  shared_cluster().execute("postgres", "CREATE ROLE policy_owner LOGIN");
  PgNode node(shared_cluster(), fresh_database_name(), "CREATE TABLE t (id int PRIMARY KEY, v text)", "policy_owner");
  node.prepare();
  shared_cluster().execute(node.database(),
                           "CREATE SCHEMA rules; GRANT USAGE ON SCHEMA rules TO policy_owner; CREATE FUNCTION "
                           "rules.pick(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 ->> 0'; REVOKE EXECUTE "
                           "ON FUNCTION rules.pick FROM PUBLIC");
  auto url = node.url();
  url.replace(url.find("postgres@"), std::string_view("postgres@").size(), "policy_owner@");
  const auto desk = PolicyDesk::open(*parse_database_url(url));
  REQUIRE(desk);
  const auto document = columns("t", "v = { function = \"rules.pick\" }");
  const auto refused = (*desk)->check(document);
  REQUIRE(refused);
  CHECK_THAT(texts(refused->faults), Catch::Contains("rules.pick may not be called by role policy_owner") &&
                                         Catch::Contains("GRANT EXECUTE ON FUNCTION rules.pick(jsonb)"));
  shared_cluster().execute(node.database(), "GRANT EXECUTE ON FUNCTION rules.pick TO policy_owner");
  const auto published = (*desk)->publish(document);
  REQUIRE(published);
  CHECK(published->published);
}
