// What PostgreSQL reports, as mbsync takes it: what is tried again, and what lies in a row (CONFLICTS.md C21).
#include <catch2/catch.hpp>
#include <string>

#include "error_map.h"

using namespace mbsync;

TEST_CASE("errors: what lies in the moment is never taken for an error in the data") {
  const auto* const code = GENERATE("40001",  // serialization_failure
                                    "40P01",  // deadlock_detected
                                    "08006",  // connection_failure
                                    "53100",  // disk_full
                                    "53200",  // out_of_memory
                                    "53300",  // too_many_connections
                                    "55P03",  // lock_not_available
                                    "57P01",  // admin_shutdown
                                    "57P03",  // cannot_connect_now
                                    "58030",  // io_error
                                    "25006",  // read_only_sql_transaction
                                    "");      // the connection broke off
  CAPTURE(code);
  CHECK(error_from_sqlstate(code, "ERROR:  it failed").kind == ErrorKind::kTransient);
}

TEST_CASE("errors: what a row cannot help") {
  const auto* const code = GENERATE("22001",   // string_data_right_truncation
                                    "22P02",   // invalid_text_representation
                                    "23505",   // unique_violation
                                    "23514",   // check_violation
                                    "23P01",   // exclusion_violation
                                    "54000",   // program_limit_exceeded
                                    "P0001");  // raise_exception
  CAPTURE(code);
  CHECK(error_from_sqlstate(code, "ERROR:  it failed").kind == ErrorKind::kConflict);
}

TEST_CASE("errors: the rest, and what is told of it") {
  CHECK(error_from_sqlstate("57014", "x").kind == ErrorKind::kCancelled);
  CHECK(error_from_sqlstate("28P01", "x").kind == ErrorKind::kConfig);
  CHECK(error_from_sqlstate("3D000", "x").kind == ErrorKind::kConfig);
  CHECK(error_from_sqlstate("42501", "x").kind == ErrorKind::kConfig);
  const auto other = error_from_sqlstate("42P01", "ERROR:  relation \"x\" does not exist\nLINE 1: SELECT 'secret'");
  CHECK(other.kind == ErrorKind::kRejected);
  CHECK(other.message == "relation \"x\" does not exist [42P01]");
}

TEST_CASE("errors: what the database says of a value is kept out of the log") {
  const auto* const code = GENERATE("22P02", "P0001", "38000", "X0042", "23514");
  CAPTURE(code);
  const auto error = error_from_sqlstate(code, "ERROR:  'Mrs. Miller' is too long").in("writing table public.person");
  CHECK_THAT(error.text(), Catch::Contains("Mrs. Miller"));
  CHECK_THAT(error.log_text(), !Catch::Contains("Miller") && Catch::StartsWith("writing table public.person: "));
}

TEST_CASE("errors: what it says of constraints, tables and connections is told there") {
  const auto [code, text] = GENERATE(table<const char*, const char*>({
      {"23505", "duplicate key value violates unique constraint \"person_email_key\""},
      {"42P01", "relation \"person\" does not exist"},
      {"57P01", "terminating connection due to administrator command"},
  }));
  CHECK_THAT(error_from_sqlstate(code, text).log_text(), Catch::Contains(text));
}
