#include "commands/verify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "commands/ask_node.h"
#include "utf8.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr const char* kPath = "/api/sync/verify";
constexpr milliseconds kPatience{10'000};
constexpr milliseconds kLook{300};
/// A node that is busy may miss one look; this many in a row, and it is gone.
constexpr int kLooksMissed = 3;
constexpr std::size_t kRowsShown = 50;
constexpr std::int64_t kRateMax = 10'000'000;

struct VerifyOptions {
  ConfigOptions config;
  std::vector<std::string> peers;
  std::vector<std::string> tables;
  bool repair = false;
  bool stop = false;
  std::optional<std::int64_t> rows_per_s;
};

/// One line at the terminal that is written over.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted) : wanted_(wanted && ::isatty(STDERR_FILENO) == 1) {}
  ~ProgressLine() { show(""); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(const std::string& text) {
    if (wanted_ && (!text.empty() || shown_)) {
      std::cerr << "\r\033[K" << text << std::flush;
      shown_ = !text.empty();
    }
  }

 private:
  const bool wanted_;
  bool shown_ = false;
};

std::string progress_text(const Json& running) {
  const auto rows = running.at("rows").get<std::int64_t>();
  const auto estimate = running.at("rows_estimated").get<std::int64_t>();
  return fmt::format("{}: table {} of {}, {}: {} rows{}", text_at(running, "peer"),
                     running.at("tables_done").get<std::int64_t>() + 1, running.at("tables").get<std::int64_t>(),
                     text_at(running, "table"), rows, estimate > rows ? fmt::format(" of about {}", estimate) : "");
}

/// Until the run is over.
Result<Json> wait_for(const LocalTarget& node, std::uint64_t id, bool show) {
  ProgressLine line(show);
  int missed = 0;
  for (;;) {
    const auto answer = ask_node(node, kPath, "", kPatience);
    if (!answer) {
      if (++missed >= kLooksMissed) {
        return answer.error();
      }
      std::this_thread::sleep_for(kLook);
      continue;
    }
    missed = 0;
    const auto& last = answer->at("last_asked");
    if (last.is_object() && last.at("id") == id) {
      return last;
    }
    const auto& running = answer->at("running");
    const bool is_there =
        answer->at("waiting") == id || (running.is_object() && running.at("id").get<std::uint64_t>() <= id);
    if (!is_there) {
      return Error{ErrorKind::kNotFound, "the node knows no more of this comparison: it has been started anew",
                   "say 'mbsync verify' again"};
    }
    if (running.is_object() && running.at("id") == id) {
      line.show(progress_text(running));
    }
    std::this_thread::sleep_for(kLook);
  }
}

std::string result_of_table(const Json& table) {
  const auto count = [&](const char* name) { return table.at(name).get<std::int64_t>(); };
  const auto rows = [](std::int64_t number) { return number == 1 ? "1 row" : fmt::format("{} rows", number); };
  std::vector<std::string> parts;
  if (count("rows_different") > 0) {
    parts.push_back(
        fmt::format("{} {}", rows(count("rows_different")), count("rows_different") == 1 ? "differs" : "differ"));
  }
  if (count("rows_changing") > 0) {
    parts.push_back(fmt::format("{} kept changing", rows(count("rows_changing"))));
  }
  if (count("rows_waiting") > 0) {
    parts.push_back(fmt::format("{} held or refused by one side", rows(count("rows_waiting"))));
  }
  if (const auto why = text_at(table, "why_not"); !why.empty()) {
    parts.push_back(fmt::format("not compared: {}", why));
  }
  return parts.empty() ? "equal" : fmt::format("{}", fmt::join(parts, "; "));
}

std::string row_text(const Json& table, const Json& row) {
  const auto what = text_at(row, "what");
  const auto columns = row.at("columns").get<std::vector<std::string>>();
  return printable(fmt::format("  {} key {}: {}", text_at(table, "table"), text_at(row, "key"),
                               what == "values" ? fmt::format("differs in {}", fmt::join(columns, ", ")) : what));
}

std::string list_text(std::string_view title, const std::vector<std::string>& rows) {
  if (rows.empty()) {
    return "";
  }
  std::string text(title);
  for (std::size_t i = 0; i < rows.size() && i < kRowsShown; ++i) {
    text += rows[i] + "\n";
  }
  if (rows.size() > kRowsShown) {
    text += fmt::format("  and {} more: --json lists them all\n", rows.size() - kRowsShown);
  }
  return text;
}

std::string report_text(const Json& report) {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> rows;
  std::vector<std::string> repaired_rows;
  std::string notes;
  for (const auto& peer : report.at("peers")) {
    const auto name = text_at(peer, "name");
    for (const auto& table : peer.at("tables")) {
      lines.push_back({name, text_at(table, "table"), std::to_string(table.at("rows_compared").get<std::int64_t>()),
                       result_of_table(table)});
      for (const auto& row : table.at("differences")) {
        rows.push_back(row_text(table, row));
      }
    }
    if (const auto failure = text_at(peer, "failure"); !failure.empty()) {
      notes += fmt::format("\n{} could not be compared with{}: {}", name,
                           peer.at("tables").empty() ? "" : " to the end", failure);
    }
    if (const auto repaired = peer.at("rows_repaired").get<std::int64_t>(); repaired > 0) {
      notes += fmt::format("\n{} given to the rules: see 'mbsync resolve' for what has lost.",
                           repaired == 1 ? "1 row was" : fmt::format("{} rows were", repaired));
    }
    for (const auto& table : peer.at("tables")) {
      for (const auto& row : table.at("repaired")) {
        repaired_rows.push_back(row_text(table, row));
      }
    }
    for (const auto& trouble : peer.at("repair_trouble")) {
      notes += "\nNot repaired: " + printable(trouble.get<std::string>());
    }
  }
  std::string text = lines.empty() ? "" : format_table({"Peer", "Table", "Rows compared", "Result"}, lines) + "\n";
  text += list_text("\nRows that differ, although both sides have the same writes of them:\n", rows);
  text += list_text("\nRows that differed before, and were given to the rules:\n", repaired_rows);
  if (const auto failure = text_at(report, "failure"); !failure.empty()) {
    notes += "\n" + failure;
  }
  if (!notes.empty()) {
    text += notes + "\n";
  }
  const auto result = text_at(report, "result");
  return text + (result == "equal"       ? "\nAll rows are the same."
                 : result == "different" ? "\nRows differ."
                                         : "\nNo row is known to differ, but not all could be compared.");
}

Result<void> run_verify(const VerifyOptions& options, Output& output, Invocation& invocation) {
  if (options.rows_per_s.value_or(0) < 0 || options.rows_per_s.value_or(0) > kRateMax) {
    return Error{ErrorKind::kConfig, fmt::format("--rows-per-s must be a whole number from 0 to {}", kRateMax), ""};
  }
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const auto node = running_node(*config);
  MBSYNC_TRY(node);
  Json order{{"action", "verify"}};
  if (options.stop) {
    order["stop"] = true;
  } else {
    order["peers"] = options.peers;
    order["tables"] = options.tables;
    order["repair"] = options.repair;
    if (options.rows_per_s) {
      order["rows_per_second"] = *options.rows_per_s;
    }
  }
  try {
    const auto accepted = ask_node(*node, "/api/sync/service", order.dump(), kPatience);
    MBSYNC_TRY(accepted);
    if (options.stop) {
      const bool stopped = accepted->at("stopped").get<bool>();
      return output.result(stopped ? "The comparison is being ended." : "No comparison is under way.", *accepted);
    }
    const auto report = wait_for(*node, accepted->at("id").get<std::uint64_t>(), !output.json());
    MBSYNC_TRY(report);
    if (text_at(*report, "result") != "equal") {
      invocation.exit_code = ExitCode::kFailure;
    }
    return output.result(report_text(*report), *report);
  } catch (const nlohmann::json::exception&) {
    return wrong_answer();
  }
}

}  // namespace

void add_verify(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App& command = *app.add_subcommand(
      "verify", "Compares the rows here with those of other machines, while both are in use, and names what differs");
  add_config_options(command, options->config);
  command.add_option("peers", options->peers, "names or ids of the machines to compare with; without any, all")
      ->type_name("PEER");
  command.add_option("--tables", options->tables, "only tables that fit: schema.table or the table alone, * and ?")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command.add_flag("--repair", options->repair,
                   "let the rules decide which of two values stands; a row that is missing on one side comes back");
  command
      .add_option("--rows-per-s", options->rows_per_s,
                  "how many rows are read a second at most, on each side; 0: as fast as it goes; without it as "
                  "SYNC_VERIFY_ROWS_PER_S has it")
      ->type_name("NUMBER");
  command.add_flag("--stop", options->stop, "end the comparison that is under way");
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "\nThe running node compares; this command waits for it, and may be left with Ctrl-C. A row counts as different\n"
      "only if both sides have the same writes of it: what is on its way is looked at again, and never counts.\n"
      "With --repair every other machine of the fleet is asked too, as it may show a third value: while one of them\n"
      "cannot be asked, nothing is repaired.\n"
      "\nExit codes:\n"
      "  0  all rows were compared, and are the same\n"
      "  1  rows differ, or not all could be compared, or no node answers on the local port\n"
      "  2  configuration: a setting, a flag or a right has to be changed\n"
      "\nExamples:\n"
      "  mbsync verify\n"
      "  mbsync verify office --tables 'public.order*' --rows-per-s 0\n"
      "  mbsync verify till-2 --repair\n");
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) -> Result<void> {
      return run_verify(*options, output, invocation);
    };
  });
}

}  // namespace mbsync
