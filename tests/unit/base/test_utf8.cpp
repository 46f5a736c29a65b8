#include "utf8.h"

#include <catch2/catch.hpp>
#include <string>

using namespace mbsync;

TEST_CASE("utf8: whole characters count, up to the first that is none") {
  CHECK(valid_utf8_length("") == 0);
  CHECK(valid_utf8_length("till-1") == 6);
  CHECK(valid_utf8_length("b\xc3\xbcro") == 5);
  CHECK(valid_utf8_length("\xe2\x82\xac \xf0\x9f\x8d\x95") == 8);
  CHECK(valid_utf8_length(std::string(1, '\0') + "a") == 2);
  CHECK(valid_utf8_length("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf") == 10);
  for (const char* broken :
       {"b\xfcro", "b\xc3", "b\xe2\x82", "b\xf0\x9f\x8d", "b\xc0\xaf", "b\xe0\x9f\xbf", "b\xed\xa0\x80",
        "b\xf0\x8f\xbf\xbf", "b\xf4\x90\x80\x80", "b\xf5\x80\x80\x80", "b\x80", "b\xc3z"}) {
    CHECK(valid_utf8_length(broken) == 1);
  }
}

TEST_CASE("utf8: what is shown of a stranger's text keeps to its line") {
  CHECK(printable("").empty());
  CHECK(printable("büro 1") == "büro 1");
  CHECK(printable("a\x1B[2Jb\nc\x7F") == "a?[2Jb?c?");
  CHECK(printable("till\xFF rest") == "till");
}
