// mbsync resolve: conflicts listed, shown, decided, and decisions undone. Asks the database alone and works beside a
// running node.
#pragma once

#include <string>
#include <vector>

#include "commands/config_options.h"
#include "invocation.h"
#include "output.h"
#include "resolution.h"
#include "result.h"

namespace mbsync {

struct ResolveOptions {
  ConfigOptions config;
  ConflictFilter filter;  ///< without its states, which come from these flags
  bool open = false;
  bool decided = false;
  bool resolved = false;
  bool all = false;                    ///< list: in every state; decisions: whatever the filter names
  std::vector<std::string> arguments;  ///< an id, then column=value
  std::vector<std::string> nulls;      ///< columns that become NULL
  std::optional<int> version;
  bool force = false;
  bool yes = false;
};

void add_resolve(CLI::App& app, Invocation& invocation);

/// Lists, or at a terminal walks through what is open.
Result<void> run_resolve(const ResolveOptions& options, Output& output);
Result<void> run_resolve_list(const ResolveOptions& options, Output& output);
Result<void> run_resolve_show(const ResolveOptions& options, Output& output);
/// `failed`: set if some of many could not be decided, which the result has told.
Result<void> run_resolve_decide(const ResolveOptions& options, Decision::How how, Output& output, bool& failed);

}  // namespace mbsync
