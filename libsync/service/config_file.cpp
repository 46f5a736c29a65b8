#include "config_file.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cctype>
#include <utility>

namespace mbsync {
namespace {

FileEntry::Type type_of(const toml::node& node) {
  if (node.is_string()) {
    return FileEntry::Type::kText;
  }
  if (node.is_integer()) {
    return FileEntry::Type::kInteger;
  }
  if (node.is_boolean()) {
    return FileEntry::Type::kBoolean;
  }
  return node.is_array() ? FileEntry::Type::kList : FileEntry::Type::kOther;
}

std::string type_name_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
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

Error env_error(std::string_view file_name, int line, std::string_view what, std::string hint) {
  return Error{ErrorKind::kConfig, fmt::format("{}:{}: {}", file_name, line, what), std::move(hint)};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_name(std::string_view text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) == 0 &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
}

std::string unquoted_value(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t')) {
      text = text.substr(0, i);
      break;
    }
  }
  return std::string{trimmed(text)};
}

/// `text` begins with its quote. The value and what follows the closing quote; nothing if there is no closing quote.
std::pair<bool, std::string> quoted_value(std::string_view text, std::string_view& rest) {
  const char quote = text.front();
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == quote) {
      rest = trimmed(text.substr(i + 1));
      return {true, value};
    }
    if (quote == '"' && text[i] == '\\' && i + 1 < text.size()) {
      constexpr std::string_view kEscaped = "nt\"\\$";
      const char next = text[i + 1];
      if (kEscaped.find(next) != std::string_view::npos) {
        value += next == 'n' ? '\n' : next == 't' ? '\t' : next;
        ++i;
        continue;
      }
    }
    value += text[i];
  }
  return {false, {}};
}

}  // namespace

Result<std::vector<FileEntry>> parse_toml_file(std::string_view text, std::string_view file_name) {
  std::vector<FileEntry> entries;
  try {
    const toml::table table = toml::parse(text, file_name);
    for (const auto& [key, node] : table) {
      FileEntry entry{
          std::string{key.str()}, {}, type_of(node), type_name_of(node), static_cast<int>(key.source().begin.line)};
      if (const auto* list = node.as_array()) {
        for (const auto& item : *list) {
          if (!item.is_string()) {
            entry.type = FileEntry::Type::kOther;
            entry.type_name = fmt::format("a list that contains {}", type_name_of(item));
            break;
          }
          entry.values.emplace_back(**item.as_string());
        }
      } else if (const auto* string = node.as_string()) {
        entry.values.emplace_back(**string);
      } else if (const auto* integer = node.as_integer()) {
        entry.values.emplace_back(std::to_string(**integer));
      } else if (const auto* boolean = node.as_boolean()) {
        entry.values.emplace_back(**boolean ? "true" : "false");
      }
      entries.push_back(std::move(entry));
    }
  } catch (const toml::parse_error& error) {
    // The parser's description may quote what it stumbled over, which may be a password.
    return Error{
        ErrorKind::kConfig,
        fmt::format("{}:{}:{}: this is not TOML", file_name, error.source().begin.line, error.source().begin.column),
        "the form is name = \"text\", name = 5 or name = [\"text\", \"text\"], each name once, on a line of its own"};
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
  return entries;
}

Result<std::vector<FileEntry>> parse_env_file(std::string_view text, std::string_view file_name) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  std::vector<FileEntry> entries;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    std::string_view line = trimmed(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.empty() || line.front() == '#') {
      continue;
    }
    constexpr std::string_view kExport = "export ";
    if (line.starts_with(kExport)) {
      line = trimmed(line.substr(kExport.size()));
    }
    const auto equals = line.find('=');
    const std::string_view name = trimmed(line.substr(0, equals));
    if (equals == std::string_view::npos || !is_name(name)) {
      return env_error(file_name, number, "this is neither a comment nor KEY=value",
                       "a value of several lines has to be written on one");
    }
    const std::string_view value = trimmed(line.substr(equals + 1));
    FileEntry entry{std::string{name}, {}, FileEntry::Type::kText, "a string", number};
    if (!value.empty() && (value.front() == '"' || value.front() == '\'')) {
      std::string_view rest;
      auto [closed, content] = quoted_value(value, rest);
      if (!closed) {
        return env_error(file_name, number, fmt::format("the quote around the value of {} is not closed", name),
                         "close it on the same line");
      }
      if (!rest.empty() && rest.front() != '#') {
        return env_error(file_name, number, fmt::format("something follows the closing quote of {}", name),
                         "put the whole value inside the quotes");
      }
      entry.values.push_back(std::move(content));
    } else {
      entry.values.push_back(unquoted_value(value));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace mbsync
