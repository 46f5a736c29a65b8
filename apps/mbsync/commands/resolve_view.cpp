#include "commands/resolve_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "output.h"

namespace mbsync {
namespace {

constexpr std::size_t kCellCharacters = 40;
constexpr std::size_t kKeyCharacters = 36;  // a uuid
constexpr std::size_t kListCharacters = 30;

std::string table_of(const ConflictSummary& summary) {
  return printable(fmt::format("{}.{}", summary.schema, summary.table), kCellCharacters);
}

std::string joined(const std::vector<std::string>& items, std::size_t characters_max) {
  return items.empty() ? std::string() : printable(fmt::format("{}", fmt::join(items, ", ")), characters_max);
}

std::string member(const nlohmann::json& object, const char* name) {
  const auto place = object.find(name);
  return place != object.end() && place->is_string() ? place->get<std::string>() : std::string();
}

std::string resolution_text(const nlohmann::json& resolution) {
  auto text = fmt::format("{} by {} on {} at {}", member(resolution, "how"), member(resolution, "user"),
                          member(resolution, "by"), member(resolution, "at"));
  if (const auto note = member(resolution, "note"); !note.empty()) {
    text += ": " + printable(note, kCellCharacters * 2);
  }
  return printable(text, kCellCharacters * 6);
}

// The columns worth a line: those that differ, then whatever else a version says.
std::vector<std::string> columns_to_show(const Conflict& conflict) {
  std::vector<std::string> columns = conflict.summary.columns;
  for (const auto& version : conflict.versions) {
    for (const auto& [column, value] : version.values) {
      if (std::find(columns.begin(), columns.end(), column) == columns.end()) {
        columns.push_back(column);
      }
    }
  }
  return columns;
}

std::string version_cell(const Conflict& conflict, const ConflictVersionSeen& version, const std::string& column) {
  const auto value = version.values.find(column);
  if (value == version.values.end()) {
    return "";
  }
  const auto decided = conflict.outcome.columns.find(column);
  const bool stands = decided != conflict.outcome.columns.end() && decided->second.version == version.version;
  return printable(value->second, kCellCharacters) + (stands ? " (stands)" : "");
}

std::string now_cell(const RowNow& row, const std::string& column) {
  const auto value =
      std::find_if(row.values.begin(), row.values.end(), [&](const auto& item) { return item.first == column; });
  return value == row.values.end() ? "" : printable(value->second, kCellCharacters);
}

std::string versions_table(const ConflictDetails& details) {
  const auto& conflict = details.conflict;
  std::vector<std::string> headings{""};
  std::vector<std::string> by{"by"};
  std::vector<std::string> at{"at"};
  std::vector<std::string> rows{"row"};
  for (const auto& version : conflict.versions) {
    headings.push_back(fmt::format("Version {}", version.version));
    by.push_back(printable(version.name, kCellCharacters));
    at.push_back(version.at.empty() ? "before mbsync" : version.at);
    rows.push_back(fmt::format("{}{}", version.deleted ? "deleted" : "written",
                               conflict.outcome.version == version.version ? " (stands)" : ""));
  }
  headings.emplace_back("Row now");
  by.emplace_back();
  at.emplace_back();
  rows.emplace_back(!details.row.unreadable.empty() ? "(cannot be read)" : details.row.exists ? "there" : "not there");
  std::vector<std::vector<std::string>> lines{by, at, rows};
  for (const auto& column : columns_to_show(conflict)) {
    std::vector<std::string> line{printable(column, kCellCharacters)};
    for (const auto& version : conflict.versions) {
      line.push_back(version_cell(conflict, version, column));
    }
    line.push_back(now_cell(details.row, column));
    lines.push_back(std::move(line));
  }
  return format_table(headings, lines);
}

std::string decided_text(const Conflict& conflict) {
  std::string text;
  if (conflict.outcome.rule == "unique-merge" && !conflict.versions.empty()) {
    text += fmt::format("\nThe row has become one with row {}: {}",
                        printable(conflict.versions.front().key, kCellCharacters), conflict.outcome.rule);
  } else if (!conflict.outcome.rule.empty()) {
    text += fmt::format("\nThe row is {}: {}", conflict.outcome.exists ? "there" : "deleted", conflict.outcome.rule);
  }
  for (const auto& [column, decided] : conflict.outcome.columns) {
    text += fmt::format("\n{}: {}{}{}", printable(column, kCellCharacters), decided.rule,
                        decided.version ? std::string() : ", computed " + printable(decided.value, kCellCharacters),
                        decided.note.empty() ? std::string() : fmt::format(" ({})", decided.note));
  }
  return text;
}

std::string after_text(const ConflictDetails& details) {
  std::string text;
  const auto line = [&](const std::string& what) { text += "\n  " + what; };
  for (const auto* step : details.conflict.summary.decisions()) {
    line("resolved: " + resolution_text(*step));
  }
  for (const auto& write : details.writes) {
    const auto what = write.deleted ? "deleted the row" : "wrote " + joined(write.columns, kCellCharacters * 2);
    line(fmt::format("{} {} at {}{}", printable(write.name, kCellCharacters), what,
                     write.at.empty() ? "a time that nobody knows" : write.at,
                     write.counter ? "" : " (not sealed yet)"));
  }
  for (const auto& later : details.conflicts) {
    line(fmt::format("conflict {} of {} at {}, {}", short_id(later.id), joined(later.nodes, kCellCharacters), later.at,
                     to_string(later.state)));
  }
  if (!details.row.unreadable.empty()) {
    text += "\n\nThe row cannot be read: " + printable(details.row.unreadable, kCellCharacters * 6);
  }
  return text.empty() ? "\n  nothing" : text;
}

}  // namespace

std::string short_id(const std::string& id) {
  constexpr std::size_t kDigits = 8;
  return id.substr(0, kDigits);
}

std::string printable(const Value& value, std::size_t characters_max) {
  if (!value) {
    return "(null)";
  }
  if (value->empty()) {
    return "(empty)";
  }
  constexpr unsigned kFirstPrintable = 0x20;
  constexpr unsigned kDelete = 0x7f;
  std::string text;
  std::size_t characters = 0;
  for (std::size_t i = 0; i < value->size(); ++i) {
    const auto byte = static_cast<unsigned char>((*value)[i]);
    const bool continues = (byte & 0xC0U) == 0x80U;
    if (!continues && ++characters > characters_max) {
      return text + "...";
    }
    // U+0080 to U+009F move a terminal's cursor as well; in UTF-8 they begin with this byte.
    const bool high_control =
        byte == 0xC2U && i + 1 < value->size() && static_cast<unsigned char>((*value)[i + 1]) < 0xA0U;
    if (high_control) {
      ++i;
      text += fmt::format("\\u{:04x}", static_cast<unsigned char>((*value)[i]));
    } else if (byte == '\n') {
      text += "\\n";
    } else if (byte == '\t') {
      text += "\\t";
    } else if (byte == '\r') {
      text += "\\r";
    } else if (byte < kFirstPrintable || byte == kDelete) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += (*value)[i];
    }
  }
  return text;
}

std::string list_text(const ConflictList& list, const ConflictFilter& filter) {
  std::string text;
  if (list.conflicts.empty()) {
    const bool only_open = filter.states == std::vector{ConflictState::kOpen};
    text = only_open ? "No conflict waits for a decision" : "No conflict";
    const bool narrowed = !filter.table.empty() || !filter.key.empty() || !filter.node.empty() ||
                          !filter.rule.empty() || !filter.kind.empty() || !filter.since.empty();
    text += narrowed ? " among those that were asked for." : ".";
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const auto& conflict : list.conflicts) {
      rows.push_back({short_id(conflict.id), conflict.at.empty() ? "before mbsync" : conflict.at, table_of(conflict),
                      printable(conflict.key, kKeyCharacters),
                      conflict.columns.empty() ? "(the row)" : joined(conflict.columns, kListCharacters),
                      joined(conflict.nodes, kListCharacters), joined(conflict.rules, kListCharacters),
                      std::string(to_string(conflict.state))});
    }
    text = format_table({"Id", "At", "Table", "Key", "Columns", "Written by", "Rule", "State"}, rows);
    if (list.more) {
      text += "\nThere are more; --limit says how many are listed.";
    }
  }
  return text + fmt::format("\n\n{} open, {} decided by rules, {} resolved by people.", list.counts.open,
                            list.counts.decided, list.counts.resolved);
}

std::string details_text(const ConflictDetails& details) {
  const auto& conflict = details.conflict;
  const auto& summary = conflict.summary;
  return fmt::format("Conflict {} ({}), {}\n{} {}, recorded here at {}\n\n{}\n{}\n\nSince then:{}", summary.id,
                     summary.kind, to_string(summary.state), table_of(summary),
                     printable(summary.key, kCellCharacters * 2), summary.recorded_at, versions_table(details),
                     decided_text(conflict), after_text(details));
}

std::string decision_text(const DecisionReport& report) {
  auto text = fmt::format("{}  {} {}: {}", short_id(report.id), printable(report.table, kCellCharacters),
                          printable(report.key, kKeyCharacters),
                          report.how == "undo" ? "undone, row " + report.row : report.how + ", row " + report.row);
  if (report.row == "updated") {
    for (const auto& change : report.changed) {
      text += fmt::format("\n  {}: {} -> {}", printable(change.column, kCellCharacters),
                          printable(change.from, kCellCharacters), printable(change.to, kCellCharacters));
    }
  }
  for (const auto& note : report.notes) {
    text += "\n  note: " + printable(note, kCellCharacters * 6);
  }
  return text;
}

std::string results_text(const std::vector<DecisionResult>& results) {
  std::string text;
  std::size_t failed = 0;
  for (const auto& result : results) {
    text += text.empty() ? "" : "\n";
    if (result.report) {
      text += decision_text(*result.report);
    } else {
      ++failed;
      const auto& error = result.report.error();
      text += fmt::format("{}  failed: {}", short_id(result.id), printable(error.message, kCellCharacters * 6));
      text += error.hint.empty() ? "" : fmt::format("\n  what to do: {}", printable(error.hint, kCellCharacters * 6));
    }
  }
  if (results.size() != 1) {
    text += fmt::format("\n\n{} done, {} failed.", results.size() - failed, failed);
  }
  return text;
}

}  // namespace mbsync
