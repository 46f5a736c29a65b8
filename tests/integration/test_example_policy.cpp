// examples/incumbent as its README says to use it: the schema, the policy with the names of these nodes, and what each
// rule promises, from both sides and among three.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "node_pair.h"
#include "policy_desk.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string example(const std::string& name) {
  const std::ifstream file(std::string(MBSYNC_EXAMPLES) + "/incumbent/" + name);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Shop {
  PgNode office{shared_cluster(), fresh_database_name(), example("schema.sql")};
  PgNode till{shared_cluster(), fresh_database_name(), example("schema.sql")};
  std::unique_ptr<PgNode> warehouse;
  std::vector<PgNode*> nodes{&office, &till};
  int cases = 0;
  std::string id = "case-0";

  explicit Shop(int count = 2) {
    if (count == 3) {
      warehouse = std::make_unique<PgNode>(shared_cluster(), fresh_database_name(), example("schema.sql"));
      nodes.push_back(warehouse.get());
    }
    for (auto* node : nodes) {
      node->prepare();
    }
    all();
    auto document = example("policy.toml");
    name_node(document, "office", office);
    name_node(document, "till", till);
    if (warehouse) {
      name_node(document, "warehouse", *warehouse);
    }
    auto desk = PolicyDesk::open(*parse_database_url(till.url()));  // any node will do
    REQUIRE(desk);
    const auto published = (*desk)->publish(document);
    REQUIRE(published);
    REQUIRE(published->published);
    CHECK(published->check.warnings.size() == 3 - nodes.size());  // a warehouse that nobody knows
    all();
    for (auto* node : nodes) {
      REQUIRE(node->store().refresh());
    }
  }

  static void name_node(std::string& document, const std::string& name, const PgNode& node) {
    const auto line = "\n" + name + " = ";
    const auto at = document.find(line);
    REQUIRE(at != std::string::npos);
    document.replace(at + 1, name.size(), "\"" + node.database() + "\"");
  }

  void all() {
    for (int round = 0; round < 2; ++round) {
      for (auto* to : nodes) {
        for (auto* from : nodes) {
          if (to != from) {
            to->pull(*from);
          }
        }
      }
    }
  }
  /// Rows of their own for the next case; databases cost more than rows.
  void next() { id = fmt::format("case-{}", ++cases); }
  void insert_user(PgNode& node) const {
    node.execute(fmt::format(
        R"(INSERT INTO "User" ("id", "email", "name", "phone") VALUES ('{}', '{}@example.org', 'U', '1'))", id, id));
  }
  void insert_employee(PgNode& node) const {
    node.execute(fmt::format(R"(INSERT INTO "Employee" ("id", "name", "salary") VALUES ('{}', 'E', 2000))", id));
  }
  void insert_order(PgNode& node) const {
    insert_user(node);
    node.execute(fmt::format(
        R"(INSERT INTO "Order" ("id", "userId", "total", "notes") VALUES ('{}', '{}', 100, 'ordered'))", id, id));
  }
  void insert_stock(PgNode& node, const std::string& item, int quantity) const {
    node.execute(
        fmt::format(R"(INSERT INTO "StockItem" ("id", "sku", "name", "quantity") VALUES ('{}', 'X {}', 'S', {}))", item,
                    id, quantity));
  }
  void remove_employee(PgNode& node) const {
    node.execute(fmt::format(R"(DELETE FROM "Employee" WHERE "id" = '{}')", id));
  }
  void set(PgNode& node, const std::string& table, const std::string& column, const std::string& value) const {
    node.execute(fmt::format(R"(UPDATE "{}" SET "{}" = {} WHERE "id" = '{}')", table, column, value, id));
  }

  /// The other way round: who pulled first before, pulls last.
  void swap_turns() { std::reverse(nodes.begin(), nodes.end()); }

  /// One value, the same on all nodes.
  std::string value(const std::string& sql) {
    auto of_office = office.scalar(sql);
    for (auto* node : nodes) {
      CHECK(node->scalar(sql) == of_office);
    }
    return of_office;
  }
  std::string value(const std::string& table, const std::string& expression) {
    return value(fmt::format(R"(SELECT {} FROM "{}" WHERE "id" = '{}')", expression, table, id));
  }
  /// Of the conflict about the row: an expression over mbsync.conflict_value.
  std::string record(const std::string& expression) {
    return value(fmt::format("SELECT {} FROM mbsync.conflict_value WHERE key = '{}'", expression, id));
  }
  void check_alike() {
    for (const std::string table : {"User", "Employee", "Order", "StockItem", "AuditLog"}) {
      CAPTURE(table);
      for (auto* node : nodes) {
        CHECK(Pair::rows(*node, "\"" + table + "\"") == Pair::rows(office, "\"" + table + "\""));
      }
    }
    value(
        "SELECT string_agg(ROW(id, kind, table_name, key, columns, versions, outcome, is_open)::text, E'\\n' ORDER BY "
        "id) FROM mbsync.conflict_record");
  }
};

}  // namespace

TEST_CASE("example policy: of two changes of a user the office's stands, whichever is later", "[example]") {
  Shop shop;
  for (const bool swapped : {false, true}) {
    if (swapped) {
      shop.swap_turns();
    }
    for (const bool office_first : {true, false}) {
      CAPTURE(swapped, office_first);
      shop.next();
      shop.insert_user(shop.till);
      shop.all();
      auto& first = office_first ? shop.office : shop.till;
      auto& second = office_first ? shop.till : shop.office;
      shop.set(first, "User", "name", office_first ? "'of the office'" : "'of the till'");
      shop.set(second, "User", "name", office_first ? "'of the till'" : "'of the office'");
      shop.set(shop.till, "User", "phone", "'2'");
      shop.all();
      CHECK(shop.value("User", R"("name")") == "of the office");
      CHECK(shop.value("User", R"("phone")") == "2");
      CHECK(shop.record("losers -> 0 ->> 'value' || ' by ' || rule") == "of the till by node-priority");
      shop.check_alike();
    }
  }
}

TEST_CASE("example policy: no machine empties an e-mail that another one changes", "[example]") {
  Shop shop;
  for (const std::string nothing : {"NULL", "''"}) {
    for (const bool office_empties : {true, false}) {
      for (const bool empties_last : {true, false}) {
        CAPTURE(nothing, office_empties, empties_last);
        shop.next();
        shop.insert_user(shop.office);
        shop.all();
        auto& empties = office_empties ? shop.office : shop.till;
        auto& changes = office_empties ? shop.till : shop.office;
        if (!empties_last) {
          shop.set(empties, "User", "email", nothing);
        }
        shop.set(changes, "User", "email", "'new@" + shop.id + "'");
        if (empties_last) {
          shop.set(empties, "User", "email", nothing);
        }
        shop.all();
        CHECK(shop.value("User", R"("email")") == "new@" + shop.id);
        shop.check_alike();
      }
    }
  }

  // What the README says of it besides: two addresses, and a person who has seen the address and empties it.
  shop.next();
  shop.insert_user(shop.office);
  shop.all();
  shop.set(shop.office, "User", "email", "'office@example.org'");
  shop.set(shop.till, "User", "email", "'till@example.org'");
  shop.all();
  CHECK(shop.value("User", R"("email")") == "till@example.org");
  shop.set(shop.till, "User", "email", "NULL");
  shop.all();
  CHECK(shop.value("User", R"("email" IS NULL)") == "t");
}

TEST_CASE("example policy: an order has the higher total, the newer status and all notes", "[example]") {
  Shop shop;
  for (const bool office_first : {true, false}) {
    for (const bool higher_first : {true, false}) {
      CAPTURE(office_first, higher_first);
      shop.next();
      shop.insert_order(shop.till);
      shop.all();
      auto& first = office_first ? shop.office : shop.till;
      auto& second = office_first ? shop.till : shop.office;
      // CANCELLED is the greater label: that it loses to a later SENT is what "newer" means.
      shop.set(first, "Order", "status", higher_first ? "'CANCELLED'" : "'SENT'");
      shop.set(first, "Order", "total", higher_first ? "130" : "90.5");
      shop.set(first, "Order", "notes", R"("notes" || E'\nfirst')");
      shop.set(second, "Order", "status", higher_first ? "'SENT'" : "'CANCELLED'");
      shop.set(second, "Order", "total", higher_first ? "90.5" : "130");
      shop.set(second, "Order", "notes", R"("notes" || E'\nsecond')");
      shop.all();
      CHECK(shop.value("Order", R"("total")") == "130.00");
      CHECK(shop.value("Order", R"("status")") == (higher_first ? "SENT" : "CANCELLED"));
      CHECK(shop.value("Order", R"("notes")") == "ordered\nfirst\nsecond");
      CHECK(shop.record("string_agg(column_name || ' ' || rule, ', ' ORDER BY column_name)") ==
            "notes append, status last-writer-wins, total max");
      // Who has seen it may lower it.
      shop.set(first, "Order", "total", "50");
      shop.all();
      CHECK(shop.value("Order", R"("total")") == "50.00");
      shop.check_alike();
    }
  }
}

TEST_CASE("example policy: an order's columns are merged one by one", "[example]") {
  Shop shop;
  for (const bool office_pays : {true, false}) {
    CAPTURE(office_pays);
    shop.next();
    shop.insert_order(shop.office);
    shop.all();
    shop.set(office_pays ? shop.office : shop.till, "Order", "status", "'PAID'");
    shop.set(office_pays ? shop.till : shop.office, "Order", "total", "80");
    shop.all();
    CHECK(shop.value("Order", R"("status" || ' ' || "total")") == "PAID 80.00");
    CHECK(shop.record("count(*)") == "0");
    shop.check_alike();
  }
}

TEST_CASE("example policy: an employee keeps the higher salary and never loses isActive", "[example]") {
  Shop shop;
  for (const bool office_first : {true, false}) {
    for (const bool first_gives : {true, false}) {
      for (const std::string before : {"true", "false"}) {
        CAPTURE(office_first, first_gives, before);
        shop.next();
        shop.insert_employee(shop.till);
        shop.set(shop.till, "Employee", "isActive", before);
        shop.all();
        auto& first = office_first ? shop.office : shop.till;
        auto& second = office_first ? shop.till : shop.office;
        const std::string last = first_gives ? "false" : "true";
        shop.set(first, "Employee", "salary", first_gives ? "2500" : "1800");
        shop.set(second, "Employee", "salary", first_gives ? "1800" : "2500");
        // Both write it, and one of them back to what it was: else two writes of a boolean are equal.
        for (const auto& [node, value] :
             {std::pair{&first, last == "true" ? "false" : "true"}, {&second, last.c_str()}}) {
          if (value == before) {
            shop.set(*node, "Employee", "isActive", R"(NOT "isActive")");
          }
          shop.set(*node, "Employee", "isActive", value);
        }
        shop.all();
        CHECK(shop.value("Employee", R"("salary")") == "2500.00");
        CHECK(shop.value("Employee", R"("isActive")") == "t");
        CHECK(shop.record("string_agg(column_name || ' ' || rule, ', ' ORDER BY column_name)") ==
              "isActive max, salary max");
        shop.check_alike();
      }
    }
  }
}

TEST_CASE("example policy: isActive that one machine alone has written stands, either way", "[example]") {
  Shop shop;
  for (const bool office_decides : {true, false}) {
    for (const std::string before : {"true", "false"}) {
      CAPTURE(office_decides, before);
      shop.next();
      shop.insert_employee(shop.office);
      shop.set(shop.office, "Employee", "isActive", before);
      shop.all();
      shop.set(office_decides ? shop.office : shop.till, "Employee", "isActive", R"(NOT "isActive")");
      shop.set(office_decides ? shop.till : shop.office, "Employee", "salary", "2100");
      shop.all();
      CHECK(shop.value("Employee", R"("isActive" || ' ' || "salary")") ==
            (before == "true" ? "false 2100.00" : "true 2100.00"));
      CHECK(shop.record("count(*)") == "0");
    }
  }
}

TEST_CASE("example policy: a row that is deleted and changed at once stays", "[example]") {
  Shop shop;
  for (const bool office_deletes : {true, false}) {
    for (const bool delete_last : {true, false}) {
      CAPTURE(office_deletes, delete_last);
      shop.next();
      shop.insert_employee(shop.office);
      shop.all();
      auto& deletes = office_deletes ? shop.office : shop.till;
      auto& changes = office_deletes ? shop.till : shop.office;
      if (!delete_last) {
        shop.remove_employee(deletes);
      }
      shop.set(changes, "Employee", "salary", "2100");
      if (delete_last) {
        shop.remove_employee(deletes);
      }
      shop.all();
      CHECK(shop.value("Employee", R"("isActive" || ' ' || "salary")") == "true 2100.00");
      shop.check_alike();
    }
  }
}

TEST_CASE("example policy: what is taken from and added to stock adds up", "[example]") {
  Shop shop;
  for (const bool office_counts : {true, false}) {
    CAPTURE(office_counts);
    shop.next();
    shop.insert_stock(shop.office, shop.id, 10);
    shop.all();
    shop.set(office_counts ? shop.office : shop.till, "StockItem", "quantity", "12");  // counted anew: two more
    shop.set(office_counts ? shop.till : shop.office, "StockItem", "quantity", R"("quantity" - 3)");
    shop.set(office_counts ? shop.till : shop.office, "StockItem", "quantity", R"("quantity" - 1)");
    shop.all();
    CHECK(shop.value("StockItem", R"("quantity")") == "8");
    CHECK(shop.record("count(*)") == "0");
    shop.check_alike();
  }
}

TEST_CASE("example policy: two items under one SKU both keep what is there of them", "[example]") {
  Shop shop;
  for (const bool office_first : {true, false}) {
    CAPTURE(office_first);
    shop.next();
    shop.insert_stock(office_first ? shop.office : shop.till, shop.id, 4);
    shop.insert_stock(office_first ? shop.till : shop.office, shop.id + " too", 6);
    shop.all();
    CHECK(
        shop.value(fmt::format(
            R"(SELECT string_agg(regexp_replace("sku", '~.{{4}}$', '~') || ' ' || "quantity", ', ' ORDER BY "id") FROM "StockItem" WHERE "id" IN ('{0}', '{0} too'))",
            shop.id)) == fmt::format("X {0} 4, X {0}~ 6", shop.id));
    shop.check_alike();
  }
}

TEST_CASE("example policy: audit logs that drew the same numbers keep all entries", "[example]") {
  for (const int count : {2, 3}) {
    for (const bool swapped : {false, true}) {
      CAPTURE(count, swapped);
      Shop shop(count);
      if (swapped) {
        shop.swap_turns();
      }
      for (int entry = 0; entry < 5; ++entry) {
        for (auto* node : shop.nodes) {
          node->execute(fmt::format(R"(INSERT INTO "AuditLog" ("actor", "action") VALUES ('{}', 'entry {}'))",
                                    node->database(), entry));
        }
      }
      shop.all();
      CHECK(shop.value(R"(SELECT count(*) || ' ' || count(DISTINCT ("actor", "action")) FROM "AuditLog")") ==
            fmt::format("{} {}", 5 * count, 5 * count));
      // Who drew a number first has it.
      CHECK(shop.value(R"(SELECT string_agg(DISTINCT "actor", ' ') FROM "AuditLog" WHERE "id" <= 5)") ==
            shop.nodes.front()->database());
      shop.check_alike();
    }
  }
}

TEST_CASE("example policy: numbers that never meet, as the README has them", "[example]") {
  Shop shop;
  const char* const entry = R"(INSERT INTO "AuditLog" ("actor", "action") VALUES ('a', 'b'))";
  shop.office.execute(entry);
  shop.all();
  CHECK_THROWS_AS(shop.till.execute(entry), SqlError);
  for (auto* node : shop.nodes) {
    node->execute(fmt::format(R"(ALTER SEQUENCE "AuditLog_id_seq" INCREMENT BY 100 RESTART WITH {})",
                              node == &shop.office ? 100001 : 100002));
  }
  for (int entries = 0; entries < 3; ++entries) {
    shop.office.execute(entry);
    shop.till.execute(entry);
    shop.all();
  }
  CHECK(shop.value(R"(SELECT string_agg("id"::text, ' ' ORDER BY "id") FROM "AuditLog")") ==
        "1 100001 100002 100101 100102 100201 100202");
}

TEST_CASE("example policy: three machines that write everything at once come to the same", "[example]") {
  for (const bool swapped : {false, true}) {
    CAPTURE(swapped);
    Shop shop(3);
    if (swapped) {
      shop.swap_turns();
    }
    shop.insert_order(shop.till);
    shop.insert_employee(shop.till);
    shop.insert_stock(shop.till, shop.id, 10);
    shop.all();
    int number = 0;
    for (auto* node : shop.nodes) {
      ++number;
      const auto name = node->database();
      shop.set(*node, "User", "name", "'" + name + "'");
      shop.set(*node, "User", "email", node == shop.warehouse.get() ? "'w@example.org'" : "NULL");
      shop.set(*node, "Order", "total", std::to_string(node == &shop.till ? 300 : 100 + number));
      shop.set(*node, "Order", "status", number == 3 ? "'PAID'" : "'CANCELLED'");
      shop.set(*node, "Order", "notes", R"("notes" || E'\n)" + std::to_string(number) + "'");
      shop.set(*node, "Employee", "salary", std::to_string(node == &shop.office ? 3000 : 2000 + number));
      shop.set(*node, "Employee", "isActive", "false");
      if (node == shop.warehouse.get()) {
        shop.set(*node, "Employee", "isActive", "true");
      }
      shop.set(*node, "StockItem", "quantity", fmt::format(R"("quantity" - {})", number));
    }
    // A relay: the till hears of the office through the warehouse alone.
    shop.warehouse->pull(shop.office);
    shop.till.pull(*shop.warehouse);
    shop.all();
    CHECK(shop.value("User", R"("name")") == shop.office.database());
    CHECK(shop.value("User", R"("email")") == "w@example.org");
    CHECK(shop.value("Order", R"("total")") == "300.00");
    CHECK(shop.value("Order", R"("status")") == "PAID");
    CHECK(shop.value("Order", R"("notes")") == "ordered\n1\n2\n3");
    CHECK(shop.value("Employee", R"("salary")") == "3000.00");
    CHECK(shop.value("Employee", R"("isActive")") == "t");
    CHECK(shop.value("StockItem", R"("quantity")") == "4");
    shop.check_alike();

    // The office says nothing this time: then the warehouse goes before the till, though the till is later.
    shop.set(*shop.warehouse, "User", "name", "'of the warehouse'");
    shop.set(shop.till, "User", "name", "'of the till'");
    shop.all();
    CHECK(shop.value("User", R"("name")") == "of the warehouse");
    shop.check_alike();
  }
}
