#include "commands/resolve.h"

#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <iostream>
#include <memory>

#include "commands/resolve_view.h"
#include "commands/resolve_walk.h"

namespace mbsync {
namespace {

constexpr std::size_t kListed = 100;  // unless --limit says otherwise

constexpr const char* kExitCodes =
    "\nExit codes:\n"
    "  0  done; a list may be empty\n"
    "  1  there is no such conflict, it could not be decided (the row has changed, a constraint refused), or some of "
    "many could not\n"
    "  2  configuration: a setting, a flag or a right has to be changed\n"
    "  3  database: not reachable, or the row is held by another transaction\n";

bool at_terminal() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

std::vector<ConflictState> states_of(const ResolveOptions& options, ConflictState otherwise) {
  std::vector<ConflictState> states;
  if (options.open) {
    states.push_back(ConflictState::kOpen);
  }
  if (options.decided) {
    states.push_back(ConflictState::kDecided);
  }
  if (options.resolved) {
    states.push_back(ConflictState::kResolved);
  }
  return states.empty() ? std::vector{otherwise} : states;
}

Result<std::unique_ptr<ConflictDesk>> open_desk(const ResolveOptions& options) {
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  auto desk = ConflictDesk::open(config->database_url);
  if (!desk) {
    return desk.error().about(ErrorArea::kDatabase);
  }
  return desk;
}

ConflictFilter list_filter(const ResolveOptions& options) {
  auto filter = options.filter;
  filter.states = options.all ? std::vector<ConflictState>() : states_of(options, ConflictState::kOpen);
  if (!filter.limit) {
    filter.limit = kListed;
  } else if (*filter.limit == 0) {
    filter.limit.reset();
  }
  return filter;
}

// What is to be decided, and whether the command line says it sensibly.
Result<Decision> decision_of(const ResolveOptions& options, Decision::How how) {
  Decision decision;
  decision.how = how;
  decision.force = options.force;
  if (how == Decision::How::kKeep) {
    decision.version = options.version;
    if (!options.version) {
      decision.node = options.filter.node;
      if (decision.node.empty()) {
        return Error{ErrorKind::kConfig, "keep needs to know which version",
                     "add --version NUMBER as 'mbsync resolve show ID' has it, or --node NAME for the version by that "
                     "node"};
      }
    }
  }
  if (how == Decision::How::kSet) {
    for (std::size_t i = options.all ? 0 : 1; i < options.arguments.size(); ++i) {
      auto assignment = parse_assignment(options.arguments[i]);
      MBSYNC_TRY(assignment);
      decision.values.push_back(std::move(*assignment));
    }
    for (const auto& column : options.nulls) {
      decision.values.emplace_back(column, Value());
    }
    for (std::size_t i = 0; i < decision.values.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (decision.values[i].first == decision.values[j].first) {
          return Error{ErrorKind::kConfig, fmt::format("column '{}' is set twice", decision.values[i].first),
                       "give it one value"};
        }
      }
    }
    if (decision.values.empty()) {
      return Error{ErrorKind::kConfig, "set needs a column and a value",
                   "write column=value behind the id; column:=null or --null column for NULL"};
    }
  }
  return decision;
}

Result<void> check_arguments(const ResolveOptions& options, Decision::How how) {
  const bool set = how == Decision::How::kSet;
  if (!options.all &&
      (options.arguments.empty() || (set && options.arguments.front().find('=') != std::string::npos))) {
    return Error{ErrorKind::kConfig, fmt::format("{} needs the id of a conflict", to_string(how)),
                 "'mbsync resolve list' shows them; --all decides all that the filters name"};
  }
  const auto& filter = options.filter;
  const bool filtered = !filter.table.empty() || !filter.key.empty() || !filter.rule.empty() || !filter.kind.empty() ||
                        !filter.since.empty() || filter.limit || options.open || options.decided || options.resolved ||
                        (how != Decision::How::kKeep && !filter.node.empty());
  if (!options.all && filtered) {
    return Error{ErrorKind::kConfig, "filters go with --all, not with the id of one conflict", "give one or the other"};
  }
  if (!set && options.arguments.size() > (options.all ? 0U : 1U)) {
    return Error{
        ErrorKind::kConfig, "there is an argument too many",
        options.all ? "with --all, the filters say which conflicts, and no id" : "give one id, or --all and filters"};
  }
  return {};
}

Result<void> confirm(const ResolveOptions& options, Decision::How how, std::size_t conflicts) {
  if (options.yes) {
    return {};
  }
  if (::isatty(STDIN_FILENO) != 1) {
    return Error{ErrorKind::kConfig, fmt::format("{} conflicts would be decided, and nobody can be asked", conflicts),
                 "add --yes to do it without being asked"};
  }
  std::cerr << fmt::format("{} {} conflict{}? [y/N] ", to_string(how), conflicts, conflicts == 1 ? "" : "s")
            << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer != "y" && answer != "Y" && answer != "yes") {
    return Error{ErrorKind::kCancelled, "nothing has been changed", ""};
  }
  return {};
}

Result<void> decide_many(ConflictDesk& desk, const ResolveOptions& options, const Decision& decision, Output& output,
                         bool& failed) {
  auto filter = options.filter;
  filter.states =
      states_of(options, decision.how == Decision::How::kUndo ? ConflictState::kResolved : ConflictState::kOpen);
  if (filter.limit && *filter.limit == 0) {
    filter.limit.reset();
  }
  const auto list = desk.list(filter);
  MBSYNC_TRY(list);
  if (list->conflicts.empty()) {
    return Error{ErrorKind::kNotFound, "there is no such conflict",
                 "'mbsync resolve list' with the same filters shows what they name"};
  }
  MBSYNC_TRY(confirm(options, decision.how, list->conflicts.size()));
  std::vector<DecisionResult> results;
  for (const auto& conflict : list->conflicts) {
    auto one = decision;
    one.stamp = conflict.stamp();
    results.push_back({conflict.id, desk.decide(conflict.id, one)});
    failed = failed || !results.back().report;
  }
  return output.result(results_text(results), results_json(results));
}

void add_filters(CLI::App& command, ResolveOptions& options) {
  auto& filter = options.filter;
  command.add_option("--table", filter.table, "tables by name; * and ? are wild: 'Order*', 'public.*'")
      ->type_name("GLOB");
  command.add_option("--key", filter.key, "the row with this key, as the list shows it")->type_name("KEY");
  command.add_option("--rule", filter.rule, "decided by this rule, such as last-writer-wins")->type_name("RULE");
  command.add_option("--kind", filter.kind, "values, existence, unique, reference or newcomer")->type_name("KIND");
  command
      .add_option("--since", filter.since,
                  "on record here since: 2026-01-31, '2026-01-31 10:00' (UTC), or 90m, 24h, 7d, 2w ago")
      ->type_name("TIME");
  command.add_option("--limit", filter.limit, "so many at most, the latest first; 0 for all")->type_name("NUMBER");
  command.add_flag("--open", options.open, "that wait for a decision (the default)");
  command.add_flag("--decided", options.decided, "that the rules have decided");
  command.add_flag("--resolved", options.resolved, "that a person has decided");
}

void add_node(CLI::App& command, ResolveOptions& options, const char* text) {
  command.add_option("--node", options.filter.node, text)->type_name("NODE");
}

using Run = std::function<Result<void>(const ResolveOptions&, Output&)>;

CLI::App& add_command(CLI::App& app, const std::shared_ptr<ResolveOptions>& options, Invocation& invocation,
                      const char* name, const char* text, const char* example, Run run) {
  CLI::App& command = *app.add_subcommand(name, text);
  add_database_options(command, options->config);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(fmt::format("{}\nExample:\n  {}\n", kExitCodes, example));
  command.callback([options, &invocation, run = std::move(run)] {
    invocation.action = [options, &invocation, run](Output& output) {
      return refused_is_failed(run(*options, output), output, invocation);
    };
  });
  return command;
}

void add_decision(CLI::App& app, const std::shared_ptr<ResolveOptions>& options, Invocation& invocation,
                  Decision::How how, const char* text, const char* example) {
  CLI::App& command = add_command(app, options, invocation, to_string(how).data(), text, example,
                                  [how, &invocation](const ResolveOptions& given, Output& output) -> Result<void> {
                                    bool failed = false;
                                    auto result = run_resolve_decide(given, how, output, failed);
                                    if (result && failed) {
                                      invocation.exit_code = ExitCode::kFailure;
                                    }
                                    return result;
                                  });
  const bool set = how == Decision::How::kSet;
  command
      .add_option("id", options->arguments,
                  set ? "the conflict (four digits of its id or more; not with --all), then column=value ..."
                      : "the conflict: its id, or four digits of it or more")
      ->type_name(set ? "ID COLUMN=VALUE" : "ID");
  command.add_flag("--all", options->all, "all conflicts that the filters name, each in a transaction of its own");
  command.add_flag("--yes", options->yes, "with --all: without being asked");
  command.add_flag("--force", options->force, "also if the row has changed since, or has been decided already");
  add_filters(command, *options);
  if (how == Decision::How::kKeep) {
    command.add_option("--version", options->version, "the number of a version, as 'mbsync resolve show' has it")
        ->type_name("NUMBER");
    add_node(command, *options, "the version that this node wrote");
  } else {
    add_node(command, *options, "in which this node, by name or id, wrote a version");
  }
  if (set) {
    command.add_option("--null", options->nulls, "this column becomes NULL; may be repeated")
        ->type_name("COLUMN")
        ->allow_extra_args(false);
  }
}

}  // namespace

void add_resolve(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ResolveOptions>();
  CLI::App& command = *app.add_subcommand(
      "resolve", "List, show and decide conflicts; alone, at a terminal: a walk through those that are open");
  command.require_subcommand(0, 1);
  add_database_options(command, options->config);
  command.add_flag("--json", invocation.json, "as JSON");
  add_filters(command, *options);
  add_node(command, *options, "in which this node, by name or id, wrote a version");
  command.footer(fmt::format("{}\nExample:\n  mbsync resolve list --table 'Order*' --since 7d\n", kExitCodes));
  command.callback([options, &command, &invocation] {
    if (!command.get_subcommands().empty()) {
      return;
    }
    invocation.action = [options, &invocation](Output& output) {
      return refused_is_failed(run_resolve(*options, output), output, invocation);
    };
  });

  CLI::App& list = add_command(command, options, invocation, "list", "The conflicts, the latest first",
                               "mbsync resolve list --all --node till --json", run_resolve_list);
  list.add_flag("--all", options->all, "in every state");
  add_filters(list, *options);
  add_node(list, *options, "in which this node, by name or id, wrote a version");

  CLI::App& show = add_command(command, options, invocation, "show",
                               "One conflict: its versions side by side, the row now, what came after",
                               "mbsync resolve show 3f2a91c0", run_resolve_show);
  show.add_option("id", options->arguments, "its id, or four digits of it or more")->type_name("ID")->required();

  add_decision(command, options, invocation, Decision::How::kAccept, "Leave the row as it is and close the conflict",
               "mbsync resolve accept --all --table 'Log*' --yes");
  add_decision(command, options, invocation, Decision::How::kKeep,
               "Make the row what one version says for its columns (a deleted version deletes the row)",
               "mbsync resolve keep 3f2a91c0 --node office");
  add_decision(command, options, invocation, Decision::How::kSet, "Give the row other values, and close the conflict",
               "mbsync resolve set 3f2a91c0 email=ada@example.org phone:=null");
  add_decision(command, options, invocation, Decision::How::kUndo,
               "Put back what the last resolution changed, and the conflict as it was", "mbsync resolve undo 3f2a91c0");
}

Result<void> run_resolve(const ResolveOptions& options, Output& output) {
  if (output.json() || !at_terminal()) {
    return run_resolve_list(options, output);
  }
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  auto filter = list_filter(options);
  filter.limit = options.filter.limit;
  const auto walked = walk_conflicts(**desk, filter, std::cin, std::cout);
  MBSYNC_TRY(walked);
  return check_written(std::cout);
}

Result<void> run_resolve_list(const ResolveOptions& options, Output& output) {
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  const auto filter = list_filter(options);
  const auto list = (*desk)->list(filter);
  MBSYNC_TRY(list);
  return output.result(list_text(*list, filter), list_json(*list));
}

Result<void> run_resolve_show(const ResolveOptions& options, Output& output) {
  if (options.arguments.size() != 1) {
    return Error{ErrorKind::kConfig, "show takes the id of one conflict", "'mbsync resolve list' shows them"};
  }
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  const auto id = (*desk)->find(options.arguments.front());
  MBSYNC_TRY(id);
  const auto details = (*desk)->show(*id);
  MBSYNC_TRY(details);
  return output.result(details_text(*details), details_json(*details));
}

Result<void> run_resolve_decide(const ResolveOptions& options, Decision::How how, Output& output, bool& failed) {
  MBSYNC_TRY(check_arguments(options, how));
  const auto decision = decision_of(options, how);
  MBSYNC_TRY(decision);
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  if (options.all) {
    return decide_many(**desk, options, *decision, output, failed);
  }
  const auto id = (*desk)->find(options.arguments.front());
  MBSYNC_TRY(id);
  auto report = (*desk)->decide(*id, *decision);
  MBSYNC_TRY(report);
  const std::vector<DecisionResult> results{{*id, std::move(report)}};
  return output.result(results_text(results), results_json(results));
}

}  // namespace mbsync
