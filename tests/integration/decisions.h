// What people decide about conflicts, in the tests that check what becomes of it.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

#include "pg_node.h"
#include "resolution.h"

namespace mbsync::test {

template <typename T>
T must(Result<T> result) {
  if (!result) {
    FAIL(result.error().text());
  }
  return std::move(*result);
}

inline std::unique_ptr<ConflictDesk> desk_of(PgNode& node) {
  return must(ConflictDesk::open(must(parse_database_url(node.url()))));
}

/// The id of the only conflict on record; open, as if the rules said that a person must decide.
inline std::string only_conflict(PgNode& node, bool open = true) {
  REQUIRE(node.scalar("SELECT count(*) FROM mbsync.conflict") == "1");
  if (open) {
    node.execute("UPDATE mbsync.conflict_record SET is_open = true");
  }
  return node.scalar("SELECT id FROM mbsync.conflict");
}

inline Decision keep(int version) {
  Decision decision;
  decision.how = Decision::How::kKeep;
  decision.version = version;
  return decision;
}

inline Decision keep_of(const std::string& node) {
  Decision decision;
  decision.how = Decision::How::kKeep;
  decision.node = node;
  return decision;
}

inline Decision set(NamedValues values) {
  Decision decision;
  decision.how = Decision::How::kSet;
  decision.values = std::move(values);
  return decision;
}

inline Decision accept() {
  return {};
}

inline Decision undo() {
  Decision decision;
  decision.how = Decision::How::kUndo;
  return decision;
}

inline Decision forced(Decision decision) {
  decision.force = true;
  return decision;
}

inline std::string refused(const Result<DecisionReport>& report) {
  REQUIRE_FALSE(report);
  CHECK_FALSE(report.error().hint.empty());
  return report.error().message;
}

}  // namespace mbsync::test
