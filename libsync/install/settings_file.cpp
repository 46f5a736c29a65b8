#include "settings_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace mbsync {
namespace {

constexpr const char* kInMessages = "the file that is to be written";

/// Lines with their line breaks.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) {
    text += line;
  }
  return text;
}

std::string appended(std::string text, std::string_view line) {
  if (!text.empty() && text.back() != '\n') {
    text += '\n';
  }
  return fmt::format("{}{}\n", text, line);
}

std::string toml_string(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    constexpr unsigned char kFirstPrintable = 0x20;
    constexpr unsigned char kDelete = 0x7f;
    const auto byte = static_cast<unsigned char>(c);
    if (byte < kFirstPrintable || byte == kDelete) {
      text += fmt::format("\\u{:04x}", byte);
      continue;
    }
    if (c == '"' || c == '\\') {
      text += '\\';
    }
    text += c;
  }
  return text + '"';
}

std::string toml_value(FileEntry::Type type, const std::vector<std::string>& values) {
  if (type == FileEntry::Type::kList) {
    std::vector<std::string> items;
    std::transform(values.begin(), values.end(), std::back_inserter(items), toml_string);
    return fmt::format("[{}]", fmt::join(items, ", "));
  }
  return type == FileEntry::Type::kText ? toml_string(values.front()) : values.front();
}

bool same_but_for(const std::vector<FileEntry>& before, const std::vector<FileEntry>& after, std::string_view name) {
  std::vector<const FileEntry*> rest;
  for (const auto& entry : before) {
    if (entry.name != name) {
      rest.push_back(&entry);
    }
  }
  return std::equal(rest.begin(), rest.end(), after.begin(), after.end(),
                    [](const FileEntry* a, const FileEntry& b) { return a->name == b.name && a->values == b.values; });
}

bool is_plain(std::string_view value) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,=?&~*[]";
  return value.find_first_not_of(kPlain) == std::string_view::npos;
}

std::string env_value(std::string_view value) {
  if (is_plain(value)) {
    return std::string(value);
  }
  if (value.find_first_of("'\n") == std::string_view::npos) {
    return fmt::format("'{}'", value);
  }
  std::string text = "\"";
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\' || c == '$') {
      text += '\\';
    }
    text += c;
  }
  return text + '"';
}

}  // namespace

Result<std::string> set_in_toml(std::string_view text, std::string_view name, FileEntry::Type type,
                                const std::vector<std::string>& values) {
  const auto before = parse_toml_file(text, kInMessages);
  MBSYNC_TRY(before);
  const auto line = fmt::format("{} = {}", name, toml_value(type, values));
  const auto there =
      std::find_if(before->begin(), before->end(), [&](const FileEntry& entry) { return entry.name == name; });
  if (there == before->end()) {
    return appended(std::string(text), line);
  }
  // Where the entry ends, only the parser knows: it is as many lines as have to go for all others to stay what they
  // are.
  const auto lines = lines_of(text);
  const auto first = static_cast<std::size_t>(there->line) - 1;
  for (auto end = first + 1; end <= lines.size(); ++end) {
    std::vector<std::string> rest(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(first));
    rest.insert(rest.end(), lines.begin() + static_cast<std::ptrdiff_t>(end), lines.end());
    const auto without = parse_toml_file(joined(rest), kInMessages);
    if (without && same_but_for(*before, *without, name)) {
      rest.insert(rest.begin() + static_cast<std::ptrdiff_t>(first), line + "\n");
      return joined(rest);
    }
  }
  return Error{ErrorKind::kConfig, fmt::format("'{}' cannot be changed where it stands", name),
               "write it on a line of its own, or change it there by hand"};
}

Result<std::string> set_in_env(std::string_view text, std::string_view name, std::string_view value) {
  const auto before = parse_env_file(text, kInMessages);
  MBSYNC_TRY(before);
  const auto line = fmt::format("{}={}", name, env_value(value));
  const auto reread = parse_env_file(line, kInMessages);
  if (!reread || reread->size() != 1 || reread->front().values.front() != value) {
    return Error{ErrorKind::kConfig, fmt::format("the value of {} cannot be written on one line", name),
                 "it may hold no line ends but \\n, and no spaces at its ends"};
  }
  const auto last =
      std::find_if(before->rbegin(), before->rend(), [&](const FileEntry& entry) { return entry.name == name; });
  if (last == before->rend()) {
    return appended(std::string(text), line);
  }
  auto lines = lines_of(text);
  lines[static_cast<std::size_t>(last->line) - 1] = line + "\n";
  return joined(lines);
}

}  // namespace mbsync
