#include "copy_text.h"

#include <fmt/format.h>

#include "protocol_limits.h"

namespace mbsync {
namespace {

Error corrupt(std::string_view why) {
  return Error{ErrorKind::kCorrupt, "malformed COPY line: " + std::string(why), ""};
}

int digit(char c, int base) {
  int value = base;
  if (c >= '0' && c <= '9') {
    value = c - '0';
  } else if (c >= 'a' && c <= 'f') {
    value = c - 'a' + 10;
  } else if (c >= 'A' && c <= 'F') {
    value = c - 'A' + 10;
  }
  return value < base ? value : -1;
}

/// Up to `digits_max` digits from the front of `text`.
char take_number(std::string_view& text, int base, int digits_max) {
  int value = 0;
  for (int i = 0; i < digits_max && !text.empty() && digit(text.front(), base) >= 0; ++i) {
    value = value * base + digit(text.front(), base);
    text.remove_prefix(1);
  }
  return static_cast<char>(value & 0xFF);
}

/// What stands after a backslash, as COPY FROM reads it. Not empty.
char take_escape(std::string_view& text) {
  const char c = text.front();
  if (digit(c, 8) >= 0) {
    return take_number(text, 8, 3);
  }
  text.remove_prefix(1);
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    case 'x':
      return !text.empty() && digit(text.front(), 16) >= 0 ? take_number(text, 16, 2) : 'x';
    default:
      return c;
  }
}

/// Into `out`, which is NULL so far.
Result<void> parse_field(std::string_view text, Value& out) {
  if (text == "\\N") {
    return {};
  }
  std::string& field = out.emplace();
  field.reserve(text.size());
  while (!text.empty()) {
    char c = text.front();
    text.remove_prefix(1);
    if (c == '\n' || c == '\r') {
      return corrupt("a bare end of line");
    }
    if (c == '\\') {
      if (text.empty()) {
        return corrupt("a backslash at the end");
      }
      c = take_escape(text);
    }
    if (c == '\0') {
      return corrupt("a zero byte");
    }
    field.push_back(c);
  }
  return {};
}

/// The letter that COPY TO writes after a backslash for this character, or 0 if it stands for itself.
char escape_letter(char c) {
  switch (c) {
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '\v':
      return 'v';
    case '\\':
      return '\\';
    default:
      return '\0';
  }
}

}  // namespace

Result<std::vector<Value>> parse_copy_line(std::string_view line) {
  if (line == "\\.") {
    return corrupt("the end mark");
  }
  std::vector<Value> fields;
  for (;;) {
    if (fields.size() == kCopyFieldsMax) {
      return corrupt(fmt::format("more than {} fields", kCopyFieldsMax));
    }
    // A tab inside a value is always written as \t, so a bare one can only be a border, except after a backslash.
    std::size_t end = 0;
    while (end < line.size() && line[end] != '\t') {
      end += line[end] == '\\' && end + 1 < line.size() ? 2U : 1U;
    }
    MBSYNC_TRY(parse_field(line.substr(0, end), fields.emplace_back()));
    if (end == line.size()) {
      return fields;
    }
    line.remove_prefix(end + 1);
  }
}

void append_copy_field(std::string& out, const Value& field) {
  if (!field) {
    out.append("\\N");
    return;
  }
  for (const char c : *field) {
    if (const char letter = escape_letter(c); letter != '\0') {
      out.push_back('\\');
      out.push_back(letter);
    } else {
      out.push_back(c);
    }
  }
}

void append_copy_line(std::string& out, const std::vector<Value>& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) {
      out.push_back('\t');
    }
    append_copy_field(out, fields[i]);
  }
  out.push_back('\n');
}

}  // namespace mbsync
