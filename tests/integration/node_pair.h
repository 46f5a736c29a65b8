// Two nodes with the same schema in one cluster of the test program's own, and the comparisons that these tests share.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "pg_node.h"

namespace mbsync::test {

/// One cluster a program; starting it costs more than most tests.
TempCluster& shared_cluster();
std::string fresh_database_name();

/// Settings under which every value has one text form. To be put before a query.
extern const char* const kPinned;

/// What an application's session may have set, none of which may change what is captured. Names need their schema.
extern const char* const kOddSession;

/// 'text' as a literal that reads the same whatever the session has set.
std::string literal(std::string_view text);

struct Pair {
  PgNode a;
  PgNode b;

  /// Two databases with `schema`, both prepared.
  explicit Pair(const std::string& schema);
  Pair(const std::string& schema_a, const std::string& schema_b);

  /// Everything of both is on both.
  void exchange() { test::exchange({&a, &b}); }
  /// All rows of `table` as record text under pinned settings, by column name so that physical order does not matter.
  static std::string rows(PgNode& node, const std::string& table);
  /// Exchanges, and nothing may be left to tell. Fails the test otherwise.
  void check_forgotten();
};

/// The same with three.
struct Three {
  PgNode a;
  PgNode b;
  PgNode c;

  explicit Three(const std::string& schema)
      : a(shared_cluster(), fresh_database_name(), schema),
        b(shared_cluster(), fresh_database_name(), schema),
        c(shared_cluster(), fresh_database_name(), schema) {
    for (auto* node : {&a, &b, &c}) {
      node->prepare();
    }
    exchange();
  }
  void exchange() { test::exchange({&a, &b, &c}, 3); }
  /// Who wrote what all have: nobody remembers.
  void forget();
};

/// Rows that the database refused are tried again, as if the time had come.
void try_parked_again(PgNode& node);

}  // namespace mbsync::test
