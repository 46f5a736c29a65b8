// mbsync rules: the fleet's policy shown, checked, published, and its history. Asks the database alone and works beside
// a running node.
#pragma once

#include <string>

#include "commands/config_options.h"
#include "invocation.h"
#include "output.h"
#include "policy_desk.h"
#include "result.h"

namespace mbsync {

struct RulesOptions {
  ConfigOptions config;
  std::string file;     ///< "-": standard input
  std::string table;    ///< show: tables by name, * and ? are wild
  std::string version;  ///< show: not the one that holds
  bool yes = false;
};

void add_rules(CLI::App& app, Invocation& invocation);

Result<void> run_rules_show(const RulesOptions& options, Output& output);
/// `faulty`: set if the document has faults, which the result has told.
Result<void> run_rules_check(const RulesOptions& options, Output& output, bool& faulty);
Result<void> run_rules_apply(const RulesOptions& options, Output& output, bool& faulty);
Result<void> run_rules_history(const RulesOptions& options, Output& output);

}  // namespace mbsync
