#include "commands/rules.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>

#include "commands/rules_view.h"
#include "glob.h"

namespace mbsync {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes:\n"
    "  0  done\n"
    "  1  there is no such version or table, the answer was no, or another policy was published meanwhile\n"
    "  2  configuration: the document has faults or cannot be read, or a setting, a flag or a right has to be changed\n"
    "  3  database: not reachable, or it refused\n";

Result<std::unique_ptr<PolicyDesk>> open_desk(const RulesOptions& options) {
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  auto desk = PolicyDesk::open(config->database_url);
  if (!desk) {
    return desk.error().about(ErrorArea::kDatabase);
  }
  return desk;
}

// Not read further than a document may be long: what is behind that is not looked at either.
Result<std::string> read_document(const std::string& file) {
  std::string text(kPolicyBytesMax + 1, '\0');
  std::ifstream opened;
  std::istream* in = &std::cin;
  errno = 0;
  if (file != "-") {
    opened.open(file, std::ios::binary);
    in = &opened;
  }
  in->read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in->bad() || (file != "-" && !opened.is_open()) || (in->gcount() == 0 && !in->eof())) {
    return Error{ErrorKind::kConfig,
                 fmt::format("{}: the document cannot be read: {}", file,
                             errno == 0 ? "it is no file" : std::strerror(errno)),  // NOLINT(concurrency-mt-unsafe)
                 "give the name of a file, or - for standard input"};
  }
  text.resize(static_cast<std::size_t>(in->gcount()));
  return text;
}

std::string name_of(const std::string& file) {
  return file == "-" ? "standard input" : file;
}

void tell_warnings(const PolicyCheck& check, const std::string& file, Output& output) {
  for (const auto& warning : check.warnings) {
    output.hint("mbsync: warning: " + fault_text(warning, file));
  }
}

nlohmann::ordered_json check_json(const PolicyCheck& check) {
  return {{"valid", check.faults.empty()},
          {"faults", faults_json(check.faults)},
          {"warnings", faults_json(check.warnings)},
          {"tables", tables_json(check.tables)}};
}

// All faults, not only the first.
Result<void> tell_faults(const PolicyCheck& check, const std::string& file, Output& output, bool& faulty) {
  faulty = true;
  if (output.json()) {
    return output.result("", check_json(check));
  }
  for (const auto& fault : check.faults) {
    output.error(policy_error(fault, file, ErrorKind::kConfig));
  }
  tell_warnings(check, file, output);
  return {};
}

// Whether somebody was asked, and has therefore seen `what`.
Result<bool> confirm(bool yes, const std::string& what) {
  if (yes || ::isatty(STDIN_FILENO) != 1) {
    return false;
  }
  std::cerr << what << "\n\nPublish this? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer != "y" && answer != "Y" && answer != "yes") {
    return Error{ErrorKind::kCancelled, "nothing has been published", ""};
  }
  return true;
}

using Run = std::function<Result<void>(const RulesOptions&, Output&, bool&)>;

// Another publication that was faster, or a version that two nodes have made, is no trouble of the database's.
Result<void> ended(const Result<void>& result, Output& output, Invocation& invocation) {
  if (!result && result.error().area == ErrorArea::kOther && result.error().kind == ErrorKind::kRejected) {
    output.error(result.error());
    invocation.exit_code = ExitCode::kFailure;
    return {};
  }
  return result;
}

CLI::App& add_command(CLI::App& app, const std::shared_ptr<RulesOptions>& options, Invocation& invocation,
                      const char* name, const char* text, const char* example, Run run) {
  CLI::App& command = *app.add_subcommand(name, text);
  add_database_options(command, options->config);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(fmt::format("{}\nExample:\n  {}\n", kExitCodes, example));
  command.callback([options, &invocation, run = std::move(run)] {
    invocation.action = [options, &invocation, run](Output& output) {
      bool faulty = false;
      auto result = ended(run(*options, output, faulty), output, invocation);
      if (result && faulty) {
        invocation.exit_code = ExitCode::kConfig;
      }
      return result;
    };
  });
  return command;
}

void add_file(CLI::App& command, RulesOptions& options) {
  command
      .add_option("file", options.file,
                  "the document, as libsync/policy/POLICY.md describes it; - reads it from "
                  "standard input")
      ->type_name("FILE")
      ->required();
}

Run without_faults(Result<void> (*run)(const RulesOptions&, Output&)) {
  return [run](const RulesOptions& options, Output& output, bool&) { return run(options, output); };
}

}  // namespace

void add_rules(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<RulesOptions>();
  CLI::App& command = *app.add_subcommand("rules", "Show, check and publish what becomes of concurrent writes");
  command.require_subcommand(1);
  command.footer(
      fmt::format("{}\nExample:\n  mbsync rules show > rules.toml\n  mbsync rules check rules.toml\n"
                  "  mbsync rules apply rules.toml\n",
                  kExitCodes));

  CLI::App& show = add_command(command, options, invocation, "show",
                               "The policy as a document; with --table, what it means for tables",
                               "mbsync rules show --table 'public.Order*'", without_faults(run_rules_show));
  show.add_option("--table", options->table, "tables by name; * and ? are wild: 'Order*', 'public.*'")
      ->type_name("GLOB");
  show.add_option("--version", options->version,
                  "not the one that holds, but this one, as 'mbsync rules history' shows it")
      ->type_name("NUMBER");

  CLI::App& check = add_command(command, options, invocation, "check",
                                "Whether a document fits this database, and what it means table by table",
                                "mbsync rules check rules.toml", run_rules_check);
  add_file(check, *options);

  CLI::App& apply = add_command(command, options, invocation, "apply",
                                "Publish a document for the whole fleet; at a terminal, after a question",
                                "mbsync rules apply rules.toml --yes", run_rules_apply);
  add_file(apply, *options);
  apply.add_flag("--yes", options->yes, "without being asked");

  add_command(command, options, invocation, "history", "The policies that were published, the one that holds first",
              "mbsync rules history --json", without_faults(run_rules_history));
}

Result<void> run_rules_show(const RulesOptions& options, Output& output) {
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  std::optional<PublishedPolicy> policy;
  if (options.version.empty()) {
    auto current = (*desk)->current();
    MBSYNC_TRY(current);
    policy = std::move(*current);
  } else {
    auto found = (*desk)->find(options.version);
    MBSYNC_TRY(found);
    policy = std::move(*found);
  }
  auto tables = (*desk)->meaning(policy.value_or(PublishedPolicy{}));
  MBSYNC_TRY(tables);
  if (!options.table.empty()) {
    std::erase_if(*tables, [&](const TableMeaning& table) {
      return !table_glob_matches(options.table, table.schema, table.table);
    });
    if (tables->empty()) {
      return Error{ErrorKind::kNotFound, fmt::format("no table \"{}\" takes part", options.table),
                   "'mbsync status' names the tables that take part, and why others do not"};
    }
  }
  const auto names = (*desk)->node_names();
  MBSYNC_TRY(names);
  auto document =
      policy ? policy_json(*policy)
             : nlohmann::ordered_json{
                   {"version", kBuiltInPolicy}, {"serial", 0}, {"published_by", nullptr}, {"published_at", nullptr}};
  document["document"] = policy ? policy->document : std::string(kBuiltInDocument);
  document["tables"] = tables_json(*tables);
  if (!options.table.empty()) {
    const auto heading = policy ? version_text(policy->version) : std::string("no policy has been published");
    return output.result(fmt::format("{}\n\n{}", heading, tables_text(*tables, true)), document);
  }
  std::string text = policy ? document_text(*policy, *names) : kBuiltInDocument;
  if (text.back() == '\n') {
    text.pop_back();
  }
  return output.result(text, document);
}

Result<void> run_rules_check(const RulesOptions& options, Output& output, bool& faulty) {
  const auto text = read_document(options.file);
  MBSYNC_TRY(text);
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  const auto check = (*desk)->check(*text);
  MBSYNC_TRY(check);
  const auto file = name_of(options.file);
  if (!check->faults.empty()) {
    return tell_faults(*check, file, output, faulty);
  }
  if (!output.json()) {
    tell_warnings(*check, file, output);
  }
  return output.result(fmt::format("{}: no faults.\n\n{}", file, tables_text(check->tables, false)),
                       check_json(*check));
}

Result<void> run_rules_apply(const RulesOptions& options, Output& output, bool& faulty) {
  const auto text = read_document(options.file);
  MBSYNC_TRY(text);
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  const auto current = (*desk)->current();
  MBSYNC_TRY(current);
  const auto before = current->value_or(PublishedPolicy{});
  const auto check = (*desk)->check(*text);
  MBSYNC_TRY(check);
  const auto file = name_of(options.file);
  if (!check->faults.empty()) {
    return tell_faults(*check, file, output, faulty);
  }
  const auto tables_before = (*desk)->meaning(before);
  MBSYNC_TRY(tables_before);
  const auto names = (*desk)->node_names();
  MBSYNC_TRY(names);
  auto changes = changes_between(*tables_before, check->tables);
  if (auto nodes = node_changes(read_policy_text(before.document, kStoredPolicyBytesMax).policy, check->policy, *names);
      !nodes.changes.empty()) {
    changes.push_back(std::move(nodes));
  }
  const auto against =
      before.version == kBuiltInPolicy ? std::string("the built-in rules") : version_text(before.version);
  const auto what = changes.empty() ? fmt::format("No table here changes against {}.", against)
                                    : fmt::format("Changes against {}:\n\n{}", against, changes_text(changes));
  const bool differs = to_text(check->policy) != before.document;
  if (!output.json()) {
    tell_warnings(*check, file, output);
  }
  const auto asked = differs ? confirm(options.yes, what) : Result<bool>(false);
  MBSYNC_TRY(asked);
  const auto publication = (*desk)->publish(*text, before.version);
  MBSYNC_TRY(publication);
  if (!publication->check.faults.empty()) {
    return tell_faults(publication->check, file, output, faulty);
  }
  const auto version = publication->version;
  const nlohmann::ordered_json document{{"published", publication->published},      {"version", version},
                                        {"serial", policy_serial(version)},         {"previous", before.version},
                                        {"warnings", faults_json(check->warnings)}, {"tables", changes_json(changes)}};
  if (!publication->published) {
    return output.result(version == kBuiltInPolicy
                             ? "The document says nothing else than the built-in rules; nothing has been published."
                             : fmt::format("The document says the same as {}, which holds; nothing has been published.",
                                           version_text(version)),
                         document);
  }
  const auto done =
      fmt::format("Published {}. It holds here at once, and elsewhere as it arrives.", version_text(version));
  return output.result(*asked ? done : what + "\n\n" + done, document);
}

Result<void> run_rules_history(const RulesOptions& options, Output& output) {
  const auto desk = open_desk(options);
  MBSYNC_TRY(desk);
  const auto policies = (*desk)->history();
  MBSYNC_TRY(policies);
  return output.result(history_text(*policies), history_json(*policies));
}

}  // namespace mbsync
