#include "policy_text.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <tuple>

namespace mbsync {
namespace {

template <typename T>
struct Word {
  std::string_view word;
  T value;
};

constexpr std::array<Word<Rule>, 11> kRules{{{"last-writer-wins", Rule::kLastWriterWins},
                                             {"first-writer-wins", Rule::kFirstWriterWins},
                                             {"node-priority", Rule::kNodePriority},
                                             {"max", Rule::kMax},
                                             {"min", Rule::kMin},
                                             {"prefer-non-null", Rule::kPreferNonNull},
                                             {"union", Rule::kUnion},
                                             {"append", Rule::kAppend},
                                             {"sum", Rule::kSum},
                                             {"function", Rule::kFunction},
                                             {"manual", Rule::kManual}}};
constexpr std::array<Word<MergeUnit>, 2> kMerges{{{"field", MergeUnit::kField}, {"row", MergeUnit::kRow}}};
constexpr std::array<Word<DeleteRule>, 2> kDeletes{
    {{"update-wins", DeleteRule::kUpdateWins}, {"delete-wins", DeleteRule::kDeleteWins}}};
constexpr std::array<Word<UniqueRule>, 4> kUniques{{{"auto", UniqueRule::kAuto},
                                                    {"suffix", UniqueRule::kSuffix},
                                                    {"merge", UniqueRule::kMerge},
                                                    {"park", UniqueRule::kPark}}};

// Rules that make sense for a column of any type, and may therefore be given for all columns at once.
constexpr std::array<Word<Rule>, 5> kRulesForAll{{kRules[0], kRules[1], kRules[2], kRules[5], kRules[10]}};

constexpr std::size_t kNameBytesMax = 512;
constexpr std::size_t kHashDigits = 32;

template <typename T, std::size_t N>
std::string_view word_in(const std::array<Word<T>, N>& words, T value) {
  return std::find_if(words.begin(), words.end(), [value](const auto& entry) { return entry.value == value; })->word;
}

template <typename T, std::size_t N>
std::string all_words(const std::array<Word<T>, N>& words) {
  std::string list;
  for (const auto& entry : words) {
    list += list.empty() ? "" : ", ";
    list += entry.word;
  }
  return list;
}

std::string type_name_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
}

int line_of(const toml::source_region& source) {
  return static_cast<int>(source.begin.line);
}

struct Entry {
  std::string key;
  const toml::node* node;
  int line;
};

// toml++ sorts by name; here the order of the document counts.
std::vector<Entry> in_order(const toml::table& table) {
  struct Placed {
    toml::source_position place;
    Entry entry;
  };
  std::vector<Placed> placed;
  for (const auto& [key, node] : table) {
    placed.push_back({key.source().begin, Entry{std::string(key.str()), &node, line_of(key.source())}});
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.place < b.place; });
  std::vector<Entry> entries;
  entries.reserve(placed.size());
  for (auto& each : placed) {
    entries.push_back(std::move(each.entry));
  }
  return entries;
}

class Reader {
 public:
  explicit Reader(PolicyReading& reading) : reading_(reading) {}

  void document(const toml::table& root) {
    for (const auto& entry : in_order(root)) {
      if (entry.key == "defaults") {
        reading_.policy.defaults_line = entry.line;
        with_table(entry, "defaults", [&](const toml::table& table) { defaults(table); });
      } else if (entry.key == "nodes") {
        with_table(entry, "nodes", [&](const toml::table& table) { nodes(table); });
      } else if (entry.key == "functions") {
        with_table(entry, "functions", [&](const toml::table& table) { functions(table); });
      } else if (entry.key == "labels") {
        with_table(entry, "labels", [&](const toml::table& table) { labels(table); });
      } else if (entry.key == "table") {
        tables(entry);
      } else {
        fault(entry.line, fmt::format("there is no '{}' here", entry.key),
              "there are [defaults], [nodes] and [[table]]");
      }
    }
    for (const auto& table : reading_.policy.tables) {
      check_groups(table);
    }
  }

 private:
  void fault(int line, std::string message, std::string hint) {
    reading_.faults.push_back(PolicyFault{line, std::move(message), std::move(hint)});
  }

  void with_table(const Entry& entry, std::string_view where, const std::function<void(const toml::table&)>& work) {
    if (const auto* table = entry.node->as_table()) {
      work(*table);
    } else {
      fault(entry.line, fmt::format("{}: must be a table, not {}", where, type_name_of(*entry.node)),
            fmt::format("write [{}] and what belongs to it on the lines below", where));
    }
  }

  template <typename T, std::size_t N>
  std::optional<T> word(const Entry& entry, std::string_view what, const std::array<Word<T>, N>& words) {
    const auto* text = entry.node->as_string();
    if (text == nullptr) {
      fault(entry.line, fmt::format("{}: must be a text, not {}", what, type_name_of(*entry.node)),
            fmt::format("one of: {}", all_words(words)));
      return std::nullopt;
    }
    for (const auto& each : words) {
      if (each.word == text->get()) {
        return each.value;
      }
    }
    fault(entry.line, fmt::format("{}: '{}' is not known", what, text->get()),
          fmt::format("one of: {}", all_words(words)));
    return std::nullopt;
  }

  // True if the entry was one of the settings that defaults and tables share.
  bool setting(const Entry& entry, PolicySettings& settings) {
    if (entry.key == "rule") {
      const auto* text = entry.node->as_string();
      const bool typed =
          text != nullptr &&
          std::any_of(kRules.begin(), kRules.end(), [&](const auto& each) { return each.word == text->get(); }) &&
          std::none_of(kRulesForAll.begin(), kRulesForAll.end(),
                       [&](const auto& each) { return each.word == text->get(); });
      if (typed) {
        fault(entry.line, fmt::format("rule: '{}' does not suit columns of every type", text->get()),
              fmt::format("name the columns: [table.columns], \"column\" = \"{}\"; for all columns there are: {}",
                          text->get(), all_words(kRulesForAll)));
      } else {
        settings.rule = word(entry, "rule", kRulesForAll);
      }
    } else if (entry.key == "merge") {
      settings.merge = word(entry, "merge", kMerges);
    } else if (entry.key == "delete") {
      settings.on_delete = word(entry, "delete", kDeletes);
    } else if (entry.key == "keep_both") {
      if (const auto* flag = entry.node->as_boolean()) {
        settings.keep_both = flag->get();
      } else {
        fault(entry.line, fmt::format("keep_both: must be true or false, not {}", type_name_of(*entry.node)),
              "one of: true, false");
      }
    } else {
      return false;
    }
    return true;
  }

  void defaults(const toml::table& table) {
    auto& policy = reading_.policy;
    for (const auto& entry : in_order(table)) {
      if (entry.key == "unique") {
        policy.default_unique = word(entry, "unique", kUniques);
      } else if (!setting(entry, policy.defaults)) {
        fault(entry.line, fmt::format("[defaults] has no setting '{}'", entry.key),
              "there are: rule, merge, delete, unique, keep_both");
      }
    }
  }

  void nodes(const toml::table& table) {
    for (const auto& entry : in_order(table)) {
      const auto* rank = entry.node->as_integer();
      if (rank == nullptr || rank->get() < 0 || rank->get() > kPolicyRankMax) {
        fault(entry.line,
              rank == nullptr ? fmt::format("nodes: the rank of '{}' must be a whole number, not {}", entry.key,
                                            type_name_of(*entry.node))
                              : fmt::format("nodes: the rank of '{}' is out of range", entry.key),
              fmt::format("a whole number from 0 to {}; the lower one wins", kPolicyRankMax));
        continue;
      }
      reading_.policy.nodes.push_back(PolicyNode{entry.key, static_cast<int>(rank->get()), entry.line});
    }
  }

  void functions(const toml::table& table) {
    for (const auto& entry : in_order(table)) {
      const auto* hash = entry.node->as_string();
      const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
      if (hash == nullptr || hash->get().size() != kHashDigits ||
          !std::all_of(hash->get().begin(), hash->get().end(), is_digit)) {
        fault(entry.line, fmt::format("functions: '{}' must be the md5 of a definition", entry.key),
              "leave [functions] out; mbsync writes it when the document is published");
        continue;
      }
      reading_.policy.functions[entry.key] = hash->get();
    }
  }

  void labels(const toml::table& table) {
    for (const auto& entry : in_order(table)) {
      const auto* list = entry.node->as_array();
      if (list == nullptr || !list->is_homogeneous<std::string>()) {
        fault(entry.line, fmt::format("labels: '{}' must be a list of texts", entry.key),
              "leave [labels] out; mbsync writes it when the document is published");
        continue;
      }
      auto& known = reading_.policy.labels[entry.key];
      for (const auto& label : *list) {
        known.push_back(label.as_string()->get());
      }
    }
  }

  void tables(const Entry& list) {
    const auto* array = list.node->as_array();
    const bool all_tables = array != nullptr && std::all_of(array->begin(), array->end(),
                                                            [](const toml::node& node) { return node.is_table(); });
    if (!all_tables) {
      fault(list.line, "'table' must be a list of tables", "write [[table]] with two brackets on either side");
      return;
    }
    for (const auto& node : *array) {
      table(*node.as_table());
    }
  }

  void table(const toml::table& source) {
    PolicyTable table;
    table.line = line_of(source.source());
    for (const auto& entry : in_order(source)) {
      if (entry.key == "name") {
        if (const auto* name = entry.node->as_string()) {
          table.pattern = name->get();
          table.line = entry.line;
        }
        if (table.pattern.empty() || table.pattern.size() > kNameBytesMax) {
          fault(entry.line, "name: must be a name or a pattern, as a text",
                "for example \"users\", \"shop.users\", \"shop.*\" or \"*\"");
          table.pattern = "?";
        }
      } else if (entry.key == "groups") {
        table.groups = groups(entry);
        table.groups_line = entry.line;
      } else if (entry.key == "columns") {
        with_table(entry, "table.columns", [&](const toml::table& columns) { column_rules(columns, table); });
      } else if (entry.key == "unique") {
        unique_rules(entry, table);
      } else if (!setting(entry, table.settings)) {
        fault(entry.line, fmt::format("[[table]] has no setting '{}'", entry.key),
              "there are: name, rule, merge, delete, unique, keep_both, groups, columns");
      }
    }
    if (table.pattern.empty()) {
      fault(table.line, "a [[table]] has no name", "add name = \"schema.table\" or a pattern such as \"*\"");
    }
    reading_.policy.tables.push_back(std::move(table));
  }

  std::vector<std::vector<std::string>> groups(const Entry& entry) {
    std::vector<std::vector<std::string>> all;
    const auto wrong = [&](const std::string& what) {
      fault(entry.line, "groups: " + what, "for example groups = [[\"amount\", \"currency\"], [\"street\", \"city\"]]");
    };
    const auto* outer = entry.node->as_array();
    if (outer == nullptr) {
      wrong(fmt::format("must be a list of lists of columns, not {}", type_name_of(*entry.node)));
      return all;
    }
    for (const auto& node : *outer) {
      const auto* inner = node.as_array();
      const bool all_names = inner != nullptr && std::all_of(inner->begin(), inner->end(), [](const toml::node& name) {
                               return name.is_string() && !name.as_string()->get().empty();
                             });
      if (!all_names) {
        wrong("must be a list of lists of columns");
        continue;
      }
      if (inner->size() < 2) {
        wrong("a group has at least two columns");
        continue;
      }
      std::vector<std::string> names;
      for (const auto& name : *inner) {
        names.push_back(name.as_string()->get());
      }
      all.push_back(std::move(names));
    }
    return all;
  }

  void column_rules(const toml::table& source, PolicyTable& table) {
    for (const auto& entry : in_order(source)) {
      const auto what = fmt::format("columns: \"{}\"", entry.key);
      PolicyColumnRule rule;
      if (const auto* detailed = entry.node->as_table()) {
        std::optional<Rule> which;
        bool failed = false;
        for (const auto& part : in_order(*detailed)) {
          if (part.key == "rule") {
            which = word(part, what, kRules);
            failed = failed || !which;
          } else if (part.key == "function") {
            rule.function = part.node->is_string() ? part.node->as_string()->get() : std::string();
            const auto dot = rule.function.find('.');
            if (dot == std::string::npos || dot == 0 || dot + 1 == rule.function.size() ||
                rule.function.size() > kNameBytesMax) {
              fault(part.line, fmt::format("{}: function: must be a text \"schema.name\"", what),
                    "for example { rule = \"function\", function = \"public.merge_notes\" }");
              failed = true;
            }
          } else {
            fault(part.line, fmt::format("{}: there is no '{}' here", what, part.key), "there are: rule, function");
            failed = true;
          }
        }
        if (failed) {
          continue;
        }
        rule.rule = which.value_or(Rule::kFunction);
        if (!which && rule.function.empty()) {
          fault(entry.line, fmt::format("{}: has no rule", what), fmt::format("one of: {}", all_words(kRules)));
          continue;
        }
      } else {
        const auto which = word(entry, what, kRules);
        if (!which) {
          continue;
        }
        rule.rule = *which;
      }
      if ((rule.rule == Rule::kFunction) == rule.function.empty()) {
        fault(entry.line,
              rule.function.empty() ? fmt::format("{}: which function?", what)
                                    : fmt::format("{}: a function belongs to the rule \"function\" alone", what),
              fmt::format("\"{}\" = {{ rule = \"function\", function = \"schema.name\" }}", entry.key));
        continue;
      }
      table.columns.push_back({entry.key, std::move(rule), entry.line});
    }
  }

  void unique_rules(const Entry& entry, PolicyTable& table) {
    if (entry.node->is_string()) {
      if (const auto rule = word(entry, "unique", kUniques)) {
        table.unique.push_back({"*", *rule, entry.line});
      }
      return;
    }
    with_table(entry, "table.unique", [&](const toml::table& source) {
      for (const auto& each : in_order(source)) {
        if (const auto rule = word(each, fmt::format("unique: \"{}\"", each.key), kUniques)) {
          table.unique.push_back({each.key, *rule, each.line});
        }
      }
    });
  }

  void check_groups(const PolicyTable& table) {
    std::set<std::string> names;
    for (const auto& group : table.groups.value_or(std::vector<std::vector<std::string>>{})) {
      for (const auto& name : group) {
        if (!names.insert(name).second) {
          fault(table.groups_line, fmt::format("groups: column \"{}\" is there twice", name),
                "a column is in one group at most");
        }
      }
    }
  }

  PolicyReading& reading_;
};

constexpr std::string_view kBareKey = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

// toml++ 3.3 takes some beginnings for impossible and then does as it pleases: of a table's header that does not go on
// with a name, and of letters beyond ASCII and control characters outside of quotes. Texts of several lines would hide
// the same. It goes one call deeper for each part of a name, too. None of it has a place in a policy, and no such
// document reaches the parser.
class Guard {
 public:
  explicit Guard(std::string_view text) : text_(text) {}

  std::optional<PolicyFault> find() {
    for (; place_ < text_.size(); ++place_) {
      if (const auto what = look(text_[place_]); !what.empty()) {
        return PolicyFault{line_, fmt::format("this is not TOML: {}", what),
                           "texts stand in quotes and on one line, and so do names with other characters than a to z, "
                           "digits, _ and -"};
      }
    }
    return std::nullopt;
  }

 private:
  static constexpr int kPartsMax = 8;

  std::string_view look(char c) {
    constexpr unsigned kFirstPrintable = 0x20;
    constexpr unsigned kDelete = 0x7F;
    constexpr std::string_view kSigns = "+:=.,[]{} \t\r";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      ++line_;
      quote_ = 0;  // not closed on its line: no TOML, as the parser will say
      comment_ = false;
      blank_ = true;
      parts_ = 0;
      return {};
    }
    if ((byte < kFirstPrintable || byte == kDelete) && c != '\t' && !(c == '\r' && text_.substr(place_, 2) == "\r\n")) {
      return "it holds a control character";
    }
    if (comment_) {
      return {};
    }
    if (quote_ != 0) {
      if (c == '\\' && quote_ == '"' && text_.substr(place_ + 1, 1) != "\n") {
        ++place_;
      } else if (c == quote_) {
        quote_ = 0;
      }
      return {};
    }
    parts_ = c == '.' ? parts_ + 1 : (c == '=' || c == ',' || c == '[' || c == '{' ? 0 : parts_);
    if (parts_ > kPartsMax) {
      return "a name has too many parts";
    }
    const bool first = blank_;
    blank_ = blank_ && (c == ' ' || c == '\t');
    if (c == '#') {
      comment_ = true;
    } else if (c == '"' || c == '\'') {
      quote_ = c;
      if (text_.substr(place_, 3) == std::string(3, c)) {
        return "a text of several lines";
      }
    } else if (kBareKey.find(c) == std::string_view::npos && kSigns.find(c) == std::string_view::npos) {
      return "a character that must stand in quotes does not";
    } else if (c == '=' || c == ',') {
      auto behind = text_.substr(place_ + 1);
      behind.remove_prefix(std::min(behind.size(), behind.find_first_not_of(" \t")));
      const std::string_view not_a_value = c == '=' ? ",]}=.:#\r\n" : ",}=.:";
      if (behind.empty() || not_a_value.find(behind[0]) != std::string_view::npos) {
        return "a value is missing";
      }
    } else if (c == '[' || c == '{') {
      if (first && open_.empty() && !is_header(text_.substr(place_))) {
        return "a line begins with a bracket that no name follows";
      }
      open_ += c;
    } else if (c == ']' || c == '}') {
      if (open_.empty() || open_.back() != (c == ']' ? '[' : '{')) {
        return "a bracket is closed that was not opened";
      }
      open_.pop_back();
    }
    return {};
  }

  static bool is_header(std::string_view line) {
    line.remove_prefix(line.starts_with("[[") ? 2 : 1);
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    return !line.empty() && (line[0] == '"' || line[0] == '\'' || kBareKey.find(line[0]) != std::string_view::npos);
  }

  std::string_view text_;
  std::size_t place_ = 0;
  int line_ = 1;
  char quote_ = 0;
  bool comment_ = false;
  bool blank_ = true;  // nothing but blanks on this line so far
  std::string open_;   // brackets
  int parts_ = 0;      // dots in the name that is read
};

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    constexpr unsigned kFirstPrintable = 0x20;
    constexpr unsigned kDelete = 0x7F;
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < kFirstPrintable || byte == kDelete) {
      result += fmt::format("\\u{:04X}", byte);
    } else {
      result += c;
    }
  }
  return result + '"';
}

void append_settings(std::string& text, const PolicySettings& settings) {
  if (settings.rule) {
    text += fmt::format("rule = \"{}\"\n", word_of(*settings.rule));
  }
  if (settings.merge) {
    text += fmt::format("merge = \"{}\"\n", word_of(*settings.merge));
  }
  if (settings.on_delete) {
    text += fmt::format("delete = \"{}\"\n", word_of(*settings.on_delete));
  }
  if (settings.keep_both) {
    text += fmt::format("keep_both = {}\n", *settings.keep_both);
  }
}

std::string table_text(const PolicyTable& table) {
  std::string text = fmt::format("[[table]]\nname = {}\n", quoted(table.pattern));
  append_settings(text, table.settings);
  if (table.groups) {
    std::string groups;
    for (const auto& group : *table.groups) {
      std::string names;
      for (const auto& name : group) {
        names += names.empty() ? "" : ", ";
        names += quoted(name);
      }
      groups += fmt::format("{}[{}]", groups.empty() ? "" : ", ", names);
    }
    text += fmt::format("groups = [{}]\n", groups);
  }
  if (!table.columns.empty()) {
    text += "[table.columns]\n";
    for (const auto& column : table.columns) {
      text += column.value.rule == Rule::kFunction
                  ? fmt::format("{} = {{ rule = \"function\", function = {} }}\n", quoted(column.pattern),
                                quoted(column.value.function))
                  : fmt::format("{} = \"{}\"\n", quoted(column.pattern), word_of(column.value.rule));
    }
  }
  if (!table.unique.empty()) {
    text += "[table.unique]\n";
    for (const auto& each : table.unique) {
      text += fmt::format("{} = \"{}\"\n", quoted(each.pattern), word_of(each.value));
    }
  }
  return text;
}

}  // namespace

std::string_view word_of(Rule rule) {
  return word_in(kRules, rule);
}
std::string_view word_of(MergeUnit merge) {
  return word_in(kMerges, merge);
}
std::string_view word_of(DeleteRule rule) {
  return word_in(kDeletes, rule);
}
std::string_view word_of(UniqueRule rule) {
  return word_in(kUniques, rule);
}

PolicyReading read_policy_text(std::string_view text, std::size_t bytes_max) {
  PolicyReading reading;
  if (text.size() > bytes_max) {
    reading.faults.push_back(PolicyFault{1, fmt::format("the document has {} bytes", text.size()),
                                         fmt::format("at most {}; patterns say much in few lines", bytes_max)});
    return reading;
  }
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  if (auto fault = Guard(text).find()) {
    reading.faults.push_back(std::move(*fault));
    return reading;
  }
  try {
    const toml::table root = toml::parse(text);
    Reader(reading).document(root);
  } catch (const toml::parse_error& error) {
    reading.faults.push_back(PolicyFault{line_of(error.source()),
                                         fmt::format("this is not TOML: {}", error.description()),
                                         "https://toml.io describes the form; texts and names with odd characters "
                                         "stand in quotes, and each name stands once"});
  }
  std::stable_sort(reading.faults.begin(), reading.faults.end(),
                   [](const PolicyFault& a, const PolicyFault& b) { return a.line < b.line; });
  return reading;
}

Error policy_error(const PolicyFault& fault, std::string_view file_name, ErrorKind kind) {
  return Error{kind, fmt::format("{}:{}: {}", file_name, fault.line, fault.message), fault.hint};
}

std::string to_text(const Policy& policy) {
  std::vector<std::string> parts;
  std::string defaults;
  append_settings(defaults, policy.defaults);
  if (policy.default_unique) {
    defaults += fmt::format("unique = \"{}\"\n", word_of(*policy.default_unique));
  }
  if (!defaults.empty()) {
    parts.push_back("[defaults]\n" + defaults);
  }
  if (!policy.nodes.empty()) {
    auto nodes = policy.nodes;
    std::sort(nodes.begin(), nodes.end(), [](const PolicyNode& a, const PolicyNode& b) { return a.name < b.name; });
    std::string text = "[nodes]\n";
    for (const auto& node : nodes) {
      text += fmt::format("{} = {}\n", quoted(node.name), node.rank);
    }
    parts.push_back(std::move(text));
  }
  for (const auto& table : policy.tables) {
    parts.push_back(table_text(table));
  }
  if (!policy.functions.empty()) {
    std::string text = "[functions]\n";
    for (const auto& [name, hash] : policy.functions) {
      text += fmt::format("{} = \"{}\"\n", quoted(name), hash);
    }
    parts.push_back(std::move(text));
  }
  if (!policy.labels.empty()) {
    std::string text = "[labels]\n";
    for (const auto& [type, labels] : policy.labels) {
      std::vector<std::string> list;
      for (const auto& label : labels) {
        list.push_back(quoted(label));
      }
      text += fmt::format("{} = [{}]\n", quoted(type), fmt::join(list, ", "));
    }
    parts.push_back(std::move(text));
  }
  return fmt::format("{}", fmt::join(parts, "\n"));
}

PolicyVersion next_policy_version(PolicyVersion highest, std::string_view text) {
  // 64-bit FNV-1a, folded: two documents that are published at once shall have two numbers, nothing more.
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  constexpr unsigned kHashBits = 32;
  constexpr std::uint64_t kHashMask = 0x7FFF'FFFF;
  const auto folded = (hash ^ (hash >> kHashBits)) & kHashMask;
  return ((policy_serial(highest) + 1) << kHashBits) | static_cast<std::int64_t>(folded);
}

}  // namespace mbsync
