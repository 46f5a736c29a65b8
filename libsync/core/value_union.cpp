#include "value_union.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

namespace mbsync {

namespace {

bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

std::vector<std::string> unite_elements(const std::vector<std::vector<std::string>>& lists) {
  std::vector<std::string> result;
  std::map<std::string_view, std::size_t> kept;
  for (const auto& list : lists) {
    std::map<std::string_view, std::size_t> seen;
    for (const std::string& element : list) {
      if (++seen[element] > kept[element]) {
        ++kept[element];
        result.push_back(element);
      }
    }
  }
  return result;
}

std::string join(const std::vector<std::string>& parts, std::string_view between) {
  std::string text;
  for (const std::string& part : parts) {
    text += &part == &parts.front() ? std::string_view() : between;
    text += part;
  }
  return text;
}

// --- PostgreSQL arrays

// array_out quotes an element that holds one of these. White space is always these six, whatever the locale.
constexpr std::string_view kQuotedLetters = "\"\\{}, \t\n\v\f\r";

bool is_null_word(std::string_view text) {
  constexpr std::string_view kNull = "null";
  const auto equals = [](char a, char lower) { return a == lower || a == lower - 'a' + 'A'; };
  return std::equal(text.begin(), text.end(), kNull.begin(), kNull.end(), equals);
}

std::string quoted_element(const std::string& element) {
  const bool is_plain =
      !element.empty() && !is_null_word(element) && element.find_first_of(kQuotedLetters) == std::string::npos;
  if (is_plain) {
    return element;
  }
  std::string text = "\"";
  for (const char letter : element) {
    if (letter == '"' || letter == '\\') {
      text += '\\';
    }
    text += letter;
  }
  return text + '"';
}

// Takes one element from the front of `text`, in the form array_out would give it.
std::optional<std::string> take_array_element(std::string_view& text) {
  if (text.starts_with('"')) {
    std::string element;
    for (std::size_t i = 1; i < text.size(); ++i) {
      if (text[i] == '"') {
        text.remove_prefix(i + 1);
        return quoted_element(element);
      }
      i += text[i] == '\\' ? 1 : 0;
      if (i < text.size()) {
        element += text[i];
      }
    }
    return std::nullopt;
  }
  const std::string element(text.substr(0, text.find_first_of(kQuotedLetters)));
  text.remove_prefix(element.size());
  if (element.empty()) {
    return std::nullopt;
  }
  return is_null_word(element) ? "NULL" : element;
}

std::optional<std::vector<std::string>> array_elements(std::string_view text) {
  std::vector<std::string> elements;
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') {
    return std::nullopt;
  }
  text = text.substr(1, text.size() - 2);
  if (text.empty()) {
    return elements;
  }
  while (true) {
    auto element = take_array_element(text);
    if (!element) {
      return std::nullopt;
    }
    elements.push_back(*std::move(element));
    if (text.empty()) {
      return elements;
    }
    if (text.front() != ',') {
      return std::nullopt;
    }
    text.remove_prefix(1);
  }
}

// --- JSON

// jsonb's order of keys: it lets jsonb find a key by comparing lengths first.
struct KeyOrder {
  bool operator()(const std::string& a, const std::string& b) const {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  }
};

// Values by decoded key, as printed by jsonb.
using Members = std::map<std::string, std::string, KeyOrder>;

constexpr int kUniteDepthMax = 32;
// Reading calls itself once a level, and must not outgrow the stack of a thread.
constexpr int kReadDepthMax = 512;

constexpr std::string_view kHexDigits = "0123456789abcdef";

// The letters that have a short escape in JSON, and what they stand for. "\/" is read, but jsonb does not print it.
constexpr std::string_view kEscapes = "\"\\bfnrt/";
constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t/";
constexpr std::size_t kEscapesPrinted = 7;

std::string json_quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char letter : text) {
    const std::size_t escape = kEscaped.substr(0, kEscapesPrinted).find(letter);
    if (escape != std::string_view::npos) {
      quoted += '\\';
      quoted += kEscapes[escape];
    } else if (static_cast<unsigned char>(letter) < 0x20) {
      quoted += letter < 0x10 ? "\\u000" : "\\u001";
      quoted += kHexDigits[static_cast<std::size_t>(letter) % 16];
    } else {
      quoted += letter;
    }
  }
  return quoted + '"';
}

std::string print_array(const std::vector<std::string>& elements) {
  return '[' + join(elements, ", ") + ']';
}

std::string print_object(const Members& members) {
  std::vector<std::string> parts;
  parts.reserve(members.size());
  for (const auto& [key, value] : members) {
    parts.push_back(json_quoted(key) + ": " + value);
  }
  return '{' + join(parts, ", ") + '}';
}

void append_utf8(std::string& text, std::uint32_t code) {
  const auto append = [&text](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    append(code);
    return;
  }
  if (code < 0x800) {
    append(0xC0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      append(0xE0 | (code >> 12));
    } else {
      append(0xF0 | (code >> 18));
      append(0x80 | ((code >> 12) & 0x3F));
    }
    append(0x80 | ((code >> 6) & 0x3F));
  }
  append(0x80 | (code & 0x3F));
}

// Takes JSON from the front of a text. What it returns is printed as jsonb prints it, with numbers as they were; it
// works on slices of the text, since a number made into a double would not come back the same.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : rest_(text) {}

  std::optional<std::vector<std::string>> array();
  std::optional<Members> object();
  bool at_end();

 private:
  bool take(char letter);
  bool take(std::string_view word);
  void skip_space();
  std::optional<std::string> value();
  std::optional<std::string> string();
  bool escape(std::string& to);
  std::optional<std::uint32_t> utf16_unit();
  std::optional<std::string> number();
  std::size_t digits_from(std::size_t place) const;
  // Takes `open`, items separated by commas, and `close`.
  template <typename Item>
  bool sequence(char open, char close, Item item);

  std::string_view rest_;
  int depth_ = 0;
};

void JsonReader::skip_space() {
  rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size()));
}

bool JsonReader::at_end() {
  skip_space();
  return rest_.empty();
}

bool JsonReader::take(char letter) {
  return take(std::string_view(&letter, 1));
}

bool JsonReader::take(std::string_view word) {
  const bool is_there = rest_.starts_with(word);
  rest_.remove_prefix(is_there ? word.size() : 0);
  return is_there;
}

template <typename Item>
bool JsonReader::sequence(char open, char close, Item item) {
  skip_space();
  if (!take(open) || ++depth_ > kReadDepthMax) {
    return false;
  }
  skip_space();
  bool done = take(close);
  while (!done) {
    if (!item()) {
      return false;
    }
    skip_space();
    done = take(close);
    if (!done && !take(',')) {
      return false;
    }
  }
  --depth_;
  return true;
}

std::optional<std::vector<std::string>> JsonReader::array() {
  std::vector<std::string> elements;
  const bool is_formed = sequence('[', ']', [this, &elements] {
    auto element = value();
    if (!element) {
      return false;
    }
    elements.push_back(*std::move(element));
    return true;
  });
  return is_formed ? std::optional(std::move(elements)) : std::nullopt;
}

std::optional<Members> JsonReader::object() {
  Members members;
  const bool is_formed = sequence('{', '}', [this, &members] {
    skip_space();
    auto key = string();
    skip_space();
    if (!key || !take(':')) {
      return false;
    }
    auto member = value();
    if (!member) {
      return false;
    }
    members.insert_or_assign(*std::move(key), *std::move(member));
    return true;
  });
  return is_formed ? std::optional(std::move(members)) : std::nullopt;
}

std::optional<std::string> JsonReader::value() {
  skip_space();
  if (rest_.starts_with('[')) {
    const auto elements = array();
    return elements ? std::optional(print_array(*elements)) : std::nullopt;
  }
  if (rest_.starts_with('{')) {
    const auto members = object();
    return members ? std::optional(print_object(*members)) : std::nullopt;
  }
  if (rest_.starts_with('"')) {
    const auto text = string();
    return text ? std::optional(json_quoted(*text)) : std::nullopt;
  }
  for (const std::string_view word : {"true", "false", "null"}) {
    if (take(word)) {
      return std::string(word);
    }
  }
  return number();
}

// The decoded text.
std::optional<std::string> JsonReader::string() {
  std::string text;
  if (!take('"')) {
    return std::nullopt;
  }
  while (!rest_.empty()) {
    if (take('"')) {
      return text;
    }
    if (take('\\')) {
      if (!escape(text)) {
        return std::nullopt;
      }
    } else if (static_cast<unsigned char>(rest_.front()) < 0x20) {
      return std::nullopt;
    } else {
      text += rest_.front();
      rest_.remove_prefix(1);
    }
  }
  return std::nullopt;
}

// What stands behind a backslash.
bool JsonReader::escape(std::string& to) {
  if (!take('u')) {
    const std::size_t place = rest_.empty() ? std::string_view::npos : kEscapes.find(rest_.front());
    if (place == std::string_view::npos) {
      return false;
    }
    to += kEscaped[place];
    rest_.remove_prefix(1);
    return true;
  }
  const auto unit = utf16_unit();
  if (!unit) {
    return false;
  }
  std::uint32_t code = *unit;
  const bool is_low_surrogate = code >= 0xDC00 && code <= 0xDFFF;
  if (code >= 0xD800 && code <= 0xDBFF) {
    const auto low = take("\\u") ? utf16_unit() : std::nullopt;
    if (!low || *low < 0xDC00 || *low > 0xDFFF) {
      return false;
    }
    code = 0x10000 + ((code - 0xD800) << 10) + (*low - 0xDC00);
  }
  append_utf8(to, code);
  return !is_low_surrogate;
}

std::optional<std::uint32_t> JsonReader::utf16_unit() {
  constexpr std::size_t kDigits = 4;
  std::uint32_t unit = 0;
  if (rest_.size() < kDigits) {
    return std::nullopt;
  }
  for (const char letter : rest_.substr(0, kDigits)) {
    const char lower = letter >= 'A' && letter <= 'F' ? static_cast<char>(letter - 'A' + 'a') : letter;
    const std::size_t digit = kHexDigits.find(lower);
    if (digit == std::string_view::npos) {
      return std::nullopt;
    }
    unit = unit * 16 + static_cast<std::uint32_t>(digit);
  }
  rest_.remove_prefix(kDigits);
  return unit;
}

std::size_t JsonReader::digits_from(std::size_t place) const {
  std::size_t count = 0;
  while (place + count < rest_.size() && is_digit(rest_[place + count])) {
    ++count;
  }
  return count;
}

std::optional<std::string> JsonReader::number() {
  const auto is_any = [this](std::size_t place, std::string_view letters) {
    return place < rest_.size() && letters.find(rest_[place]) != std::string_view::npos;
  };
  std::size_t size = is_any(0, "-") ? 1 : 0;
  const std::size_t whole = digits_from(size);
  if (whole == 0 || (whole > 1 && rest_[size] == '0')) {
    return std::nullopt;
  }
  size += whole;
  if (is_any(size, ".")) {
    const std::size_t fraction = digits_from(size + 1);
    if (fraction == 0) {
      return std::nullopt;
    }
    size += 1 + fraction;
  }
  if (is_any(size, "eE")) {
    size += is_any(size + 1, "+-") ? 2 : 1;
    const std::size_t exponent = digits_from(size);
    if (exponent == 0) {
      return std::nullopt;
    }
    size += exponent;
  }
  std::string text(rest_.substr(0, size));
  rest_.remove_prefix(size);
  return text;
}

std::optional<std::vector<std::string>> json_elements(std::string_view text) {
  JsonReader reader(text);
  auto elements = reader.array();
  return reader.at_end() ? elements : std::nullopt;
}

std::optional<Members> json_members(std::string_view text) {
  JsonReader reader(text);
  auto members = reader.object();
  return reader.at_end() ? members : std::nullopt;
}

// Adds what is later to `members`, which are `depth` levels of objects deep.
void unite_members(Members& members, const Members& later, int depth) {
  for (const auto& [key, value] : later) {
    std::string& mine = members[key];
    if (mine.starts_with('{') && value.starts_with('{') && depth < kUniteDepthMax) {
      // Both were printed by print_object, so they can be read again.
      auto inner = json_members(mine).value_or(Members{});
      unite_members(inner, json_members(value).value_or(Members{}), depth + 1);
      mine = print_object(inner);
    } else {
      mine = value;
    }
  }
}

// What `read` makes of all values; nothing if it can make nothing of one.
template <typename Read>
auto read_all(const std::vector<std::string>& values, Read read) {
  std::vector<typename decltype(read(std::string_view()))::value_type> all;
  for (const std::string& value : values) {
    auto one = read(value);
    if (!one) {
      break;
    }
    all.push_back(*std::move(one));
  }
  return !all.empty() && all.size() == values.size() ? std::optional(std::move(all)) : std::nullopt;
}

// --- texts

using Lines = std::vector<std::string_view>;

// Each with what it ends with.
Lines split_lines(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::size_t newline = text.find('\n');
    lines.push_back(text.substr(0, newline == std::string_view::npos ? newline : newline + 1));
    text.remove_prefix(lines.back().size());
  }
  return lines;
}

bool equal_lines(std::string_view a, std::string_view b) {
  const auto without_end = [](std::string_view line) {
    line.remove_suffix(line.ends_with('\n') ? 1 : 0);
    line.remove_suffix(line.ends_with('\r') ? 1 : 0);
    return line;
  };
  return without_end(a) == without_end(b);
}

// The number of leading lines that both have.
std::size_t common_lines(const Lines& a, const Lines& b) {
  const auto [end, other_end] = std::mismatch(a.begin(), a.end(), b.begin(), b.end(), equal_lines);
  return static_cast<std::size_t>(end - a.begin());
}

void append_lines(std::string& text, const Lines& lines) {
  if (!lines.empty() && !text.empty() && !text.ends_with('\n')) {
    text += '\n';
  }
  for (const std::string_view line : lines) {
    text += line;
  }
}

}  // namespace

std::optional<std::string> unite_arrays(const std::vector<std::string>& values) {
  const auto lists = read_all(values, array_elements);
  return lists ? std::optional('{' + join(unite_elements(*lists), ",") + '}') : std::nullopt;
}

std::optional<std::string> unite_json(const std::vector<std::string>& values) {
  if (const auto lists = read_all(values, json_elements)) {
    return print_array(unite_elements(*lists));
  }
  if (auto objects = read_all(values, json_members)) {
    Members& united = objects->front();
    for (std::size_t i = 1; i < objects->size(); ++i) {
      unite_members(united, (*objects)[i], 1);
    }
    return print_object(united);
  }
  return std::nullopt;
}

std::string append_texts(const std::vector<std::string>& values) {
  std::string text;
  if (values.empty()) {
    return text;
  }
  std::vector<Lines> rests;
  rests.reserve(values.size());
  std::transform(values.begin(), values.end(), std::back_inserter(rests), split_lines);
  std::size_t common = rests.front().size();
  for (const Lines& lines : rests) {
    common = std::min(common, common_lines(rests.front(), lines));
  }
  const auto behind = static_cast<std::ptrdiff_t>(common);
  append_lines(text, Lines(rests.front().begin(), rests.front().begin() + behind));
  for (Lines& lines : rests) {
    lines.erase(lines.begin(), lines.begin() + behind);
  }
  for (std::size_t i = 0; i < rests.size(); ++i) {
    bool is_elsewhere = false;
    for (std::size_t j = 0; j < rests.size(); ++j) {
      const bool is_beginning = common_lines(rests[i], rests[j]) == rests[i].size();
      is_elsewhere =
          is_elsewhere ||
          (is_beginning && (rests[i].size() < rests[j].size() || (rests[i].size() == rests[j].size() && j < i)));
    }
    if (!is_elsewhere) {
      append_lines(text, rests[i]);
    }
  }
  return text;
}

}  // namespace mbsync
