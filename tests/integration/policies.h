// Policies for tests of what they do; how they are published in earnest is policy_desk's.
#pragma once

#include <initializer_list>
#include <string>

#include "pg_node.h"
#include "policy_text.h"

namespace mbsync::test {

/// Publishes the document on the node, whose triggers know it then.
PolicyVersion publish(PgNode& node, const std::string& document);

/// Publishes it on the first, and all nodes have it and know it.
void publish_to(std::initializer_list<PgNode*> nodes, const std::string& document);

}  // namespace mbsync::test
