#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

// For the address sanitizer. libpqxx 6 does not free a result of libpq's when the connection breaks off in that
// statement.
extern "C" const char* __lsan_default_suppressions();   // NOLINT: the sanitizer's name for it
extern "C" const char* __lsan_default_suppressions() {  // NOLINT
  return "leak:libpqxx\n";
}
