#include "policies.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"

namespace mbsync::test {

PolicyVersion publish(PgNode& node, const std::string& document) {
  auto reading = read_policy_text(document);
  for (const auto& fault : reading.faults) {
    FAIL("line " << fault.line << ": " << fault.message);
  }
  for (const auto& table : reading.policy.tables) {
    for (const auto& column : table.columns) {
      if (!column.value.function.empty()) {
        reading.policy.functions[column.value.function] =
            node.scalar(fmt::format("SELECT mbsync.function_md5('{}(jsonb)')", column.value.function));
      }
    }
  }
  const auto text = to_text(reading.policy);
  const auto version =
      next_policy_version(std::stoll(node.scalar("SELECT coalesce(max(version), 0) FROM mbsync.policy")), text);
  node.execute(fmt::format("INSERT INTO mbsync.policy VALUES ({}, {}, 'test', now())", version, literal(text)));
  REQUIRE(node.store().refresh());
  return version;
}

void publish_to(std::initializer_list<PgNode*> nodes, const std::string& document) {
  publish(**nodes.begin(), document);
  exchange(nodes);
  for (auto* node : nodes) {
    REQUIRE(node->store().refresh());
  }
}

}  // namespace mbsync::test
