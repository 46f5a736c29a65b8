#include "record_text.h"

#include <algorithm>

#include "protocol_limits.h"

namespace mbsync {
namespace {

Error corrupt(std::string_view why) {
  return Error{ErrorKind::kCorrupt, "malformed record: " + std::string(why), ""};
}

/// What isspace() says in PostgreSQL's server for UTF-8 text; the locale of this process must not matter.
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string_view without_space_in_front(std::string_view text) {
  while (!text.empty() && is_space(text.front())) {
    text.remove_prefix(1);
  }
  return text;
}

bool needs_quotes(std::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](char c) {
           return c == '"' || c == '\\' || c == '(' || c == ')' || c == ',' || is_space(c);
         });
}

/// Reads one field from the front of `text`, up to the comma or bracket that ends it, into `out`, which is NULL so far.
Result<void> take_field(std::string_view& text, Value& out) {
  if (!text.empty() && (text.front() == ',' || text.front() == ')')) {
    return {};
  }
  std::string& field = out.emplace();
  bool quoted = false;
  while (!text.empty() && (quoted || (text.front() != ',' && text.front() != ')'))) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '\0') {
      return corrupt("a zero byte");
    }
    const bool doubled = c == '"' && quoted && !text.empty() && text.front() == '"';
    if (c == '\\' || doubled) {
      if (text.empty() || text.front() == '\0') {
        return corrupt("a backslash at the end");
      }
      field.push_back(text.front());
      text.remove_prefix(1);
    } else if (c == '"') {
      quoted = !quoted;
    } else {
      field.push_back(c);
    }
  }
  if (text.empty()) {
    return corrupt("it ends too early");
  }
  return {};
}

}  // namespace

Result<std::vector<Value>> parse_record(std::string_view text) {
  text = without_space_in_front(text);
  if (text.empty() || text.front() != '(') {
    return corrupt("no left bracket");
  }
  std::vector<Value> fields;
  do {
    text.remove_prefix(1);  // the bracket or the comma
    if (fields.size() == kColumnNumberMax) {
      return corrupt("too many fields");
    }
    MBSYNC_TRY(take_field(text, fields.emplace_back()));
    if (text.empty()) {
      return corrupt("it ends too early");
    }
  } while (text.front() == ',');
  text.remove_prefix(1);
  if (!without_space_in_front(text).empty()) {
    return corrupt("text after the right bracket");
  }
  return fields;
}

std::string format_record(const std::vector<Value>& fields) {
  std::string out = "(";
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) {
      out.push_back(',');
    }
    if (!fields[i]) {
      continue;
    }
    const bool quotes = needs_quotes(*fields[i]);
    if (quotes) {
      out.push_back('"');
    }
    for (const char c : *fields[i]) {
      if (c == '"' || c == '\\') {
        out.push_back(c);
      }
      out.push_back(c);
    }
    if (quotes) {
      out.push_back('"');
    }
  }
  out.push_back(')');
  return out;
}

std::string format_array(const std::vector<std::string>& items) {
  std::string text = "{";
  for (const auto& item : items) {
    text += text.size() > 1 ? ",\"" : "\"";
    for (const char c : item) {
      if (c == '"' || c == '\\') {
        text += '\\';
      }
      text += c;
    }
    text += '"';
  }
  return text + "}";
}

}  // namespace mbsync
