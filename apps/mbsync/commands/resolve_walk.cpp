#include "commands/resolve_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <ostream>

#include "commands/resolve_view.h"

namespace mbsync {
namespace {

constexpr const char* kQuestion = "\n[a]ccept, [k]eep VERSION, [s]et column=value, [n]ext, [q]uit, [?] > ";
constexpr const char* kHelp =
    "  a                accept: the row stays as it is, and the conflict is closed\n"
    "  k 2              keep: the row becomes what version 2 says (also: k NODE)\n"
    "  s column=value   set: the row gets this value (s column:=null for NULL); more may follow\n"
    "  n                next: the conflict stays open\n"
    "  f                force: does what was refused last, although the row has changed\n"
    "  q                quit\n";

std::string trimmed(const std::string& text) {
  const auto start = text.find_first_not_of(" \t\r");
  const auto end = text.find_last_not_of(" \t\r");
  return start == std::string::npos ? std::string() : text.substr(start, end - start + 1);
}

class Walk {
 public:
  Walk(ConflictDesk& desk, std::istream& in, std::ostream& out) : desk_(desk), in_(in), out_(out) {}

  enum class Next { kResolved, kSkipped, kQuit };

  // Until the person has decided or goes on.
  Result<Next> one(const std::string& id, const std::string& title) {
    std::optional<Decision> refused;
    while (true) {
      const auto details = desk_.show(id);
      MBSYNC_TRY(details);
      out_ << '\n' << title << '\n' << details_text(*details) << '\n';
      auto decision = ask(refused);
      if (!decision.has_value()) {
        return next_;
      }
      decision->shown = details->row;
      decision->stamp = details->conflict.summary.stamp();
      const auto report = desk_.decide(id, *decision);
      if (report) {
        out_ << decision_text(*report) << '\n';
        return Next::kResolved;
      }
      out_ << "Not done: " << report.error().message << '\n';
      if (!report.error().hint.empty()) {
        out_ << "  what to do: " << report.error().hint << '\n';
      }
      if (report.error().kind == ErrorKind::kTransient || report.error().kind == ErrorKind::kInDoubt) {
        return report.error();
      }
      refused = std::move(decision);
    }
  }

 private:
  // What is to be done; nothing: next_ says how to go on.
  std::optional<Decision> ask(const std::optional<Decision>& refused) {
    while (true) {
      out_ << kQuestion << std::flush;
      std::string line;
      if (!std::getline(in_, line)) {
        out_ << '\n';
        next_ = Next::kQuit;
        return std::nullopt;
      }
      line = trimmed(line);
      const auto space = line.find_first_of(" \t");
      const auto word = line.substr(0, space);
      const auto rest = space == std::string::npos ? std::string() : trimmed(line.substr(space));
      Decision decision;
      if (word == "q" || word == "quit") {
        next_ = Next::kQuit;
        return std::nullopt;
      }
      if (word == "n" || word == "next" || word == "skip") {
        next_ = Next::kSkipped;
        return std::nullopt;
      }
      if (word == "a" || word == "accept") {
        return decision;
      }
      if ((word == "f" || word == "force") && refused) {
        decision = *refused;
        decision.force = true;
        return decision;
      }
      if ((word == "k" || word == "keep") && !rest.empty()) {
        decision.how = Decision::How::kKeep;
        int version = 0;
        const auto* const end = rest.data() + rest.size();
        if (const auto [stop, error] = std::from_chars(rest.data(), end, version);
            error == std::errc{} && stop == end) {
          decision.version = version;
        } else {
          decision.node = rest;
        }
        return decision;
      }
      if (word == "s" || word == "set") {
        if (auto values = ask_values(rest)) {
          decision.how = Decision::How::kSet;
          decision.values = std::move(*values);
          return decision;
        }
        continue;
      }
      out_ << kHelp;
    }
  }

  std::optional<NamedValues> ask_values(std::string text) {
    NamedValues values;
    while (!text.empty()) {
      auto assignment = parse_assignment(text);
      if (!assignment) {
        out_ << assignment.error().text() << '\n';
        return std::nullopt;
      }
      values.push_back(std::move(*assignment));
      out_ << "another column=value, or Enter to write > " << std::flush;
      if (!std::getline(in_, text)) {
        return std::nullopt;  // the person is gone, and has not said that it is to be written
      }
      text = trimmed(text);
    }
    if (values.empty()) {
      out_ << kHelp;
      return std::nullopt;
    }
    return values;
  }

  ConflictDesk& desk_;
  std::istream& in_;
  std::ostream& out_;
  Next next_ = Next::kQuit;
};

}  // namespace

Result<std::pair<std::string, Value>> parse_assignment(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || text.substr(0, equals) == ":") {
    return Error{ErrorKind::kConfig, fmt::format("'{}' is no column=value", text),
                 "write column=value; column:=null for NULL, and column= for an empty text"};
  }
  if (text[equals - 1] == ':') {
    auto word = text.substr(equals + 1);
    std::transform(word.begin(), word.end(), word.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (word != "null") {
      return Error{ErrorKind::kConfig, fmt::format("'{}': after := only null can stand", text),
                   "write column=value for a value, column:=null for NULL"};
    }
    return std::pair{text.substr(0, equals - 1), Value()};
  }
  return std::pair{text.substr(0, equals), Value(text.substr(equals + 1))};
}

Result<WalkCounts> walk_conflicts(ConflictDesk& desk, const ConflictFilter& filter, std::istream& in,
                                  std::ostream& out) {
  const auto list = desk.list(filter);
  MBSYNC_TRY(list);
  WalkCounts counts;
  if (list->conflicts.empty()) {
    out << list_text(*list, filter) << '\n';
    return counts;
  }
  Walk walk(desk, in, out);
  const auto total = list->conflicts.size();
  for (std::size_t i = 0; i < total; ++i) {
    const auto next = walk.one(list->conflicts[i].id, fmt::format("--- {} of {} ---", i + 1, total));
    if (!next && next.error().kind == ErrorKind::kNotFound) {
      ++counts.skipped;  // removed meanwhile
      continue;
    }
    MBSYNC_TRY(next);
    if (*next == Walk::Next::kQuit) {
      counts.left = total - i;
      break;
    }
    ++(*next == Walk::Next::kResolved ? counts.resolved : counts.skipped);
  }
  out << fmt::format("\n{} resolved, {} skipped, {} left.\n", counts.resolved, counts.skipped, counts.left);
  return counts;
}

}  // namespace mbsync
