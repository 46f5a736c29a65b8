#include "table_choice.h"

#include <catch2/catch.hpp>

using namespace mbsync;

TEST_CASE("table choice: in by one pattern, out by another, which counts more") {
  CHECK_FALSE(why_left_out({}, "public", "Order"));
  const TableChoice choice{{"public.*", "shop.Order"}, {"audit_*", "public.tmp?"}};
  CHECK_FALSE(why_left_out(choice, "public", "Order"));
  CHECK_FALSE(why_left_out(choice, "shop", "Order"));
  CHECK(why_left_out(choice, "shop", "order") == "is left out: it is not among those that the setting 'tables' names");
  CHECK(why_left_out(choice, "public", "audit_log") == "is left out by tables_except ('audit_*')");
  CHECK(why_left_out(choice, "public", "tmp1") == "is left out by tables_except ('public.tmp?')");
  CHECK_FALSE(why_left_out(choice, "public", "tmp12"));
}
