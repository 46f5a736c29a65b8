// One line of COPY text.
#include "copy_text.h"
#include "fuzz.h"
#include "protocol_limits.h"

namespace mbsync::fuzz {
namespace {

std::string line_of(const std::vector<Value>& fields) {
  std::string line;
  append_copy_line(line, fields);
  FUZZ_EXPECT(line.find('\n') == line.size() - 1, "a line with a newline inside");
  line.pop_back();
  return line;
}

}  // namespace

void run(std::string_view input) {
  if (const auto fields = parse_copy_line(input)) {
    FUZZ_EXPECT(!fields->empty() && fields->size() <= kCopyFieldsMax, "a number of fields out of bounds was taken");
    const std::string line = line_of(*fields);
    const auto again = parse_copy_line(line);
    FUZZ_EXPECT(again && *again == *fields, "a line that was taken does not survive being written");
  }
  // Any fields at all can be written and read, as long as PostgreSQL can hold them.
  std::vector<Value> fields;
  for (const auto part : split(input, '\t', 20)) {
    fields.push_back(part == "NULL" ? Value() : Value(part));
  }
  if (input.find('\0') == std::string_view::npos) {
    const auto again = parse_copy_line(line_of(fields));
    FUZZ_EXPECT(again && *again == fields, "fields do not survive being written");
  }
}

}  // namespace mbsync::fuzz
