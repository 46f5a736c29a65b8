// PostgreSQL's record text: kept values, and keys of several columns.
#include "fuzz.h"
#include "protocol_limits.h"
#include "record_text.h"
#include "value_union.h"

namespace mbsync::fuzz {

void run(std::string_view input) {
  if (const auto fields = parse_record(input)) {
    FUZZ_EXPECT(!fields->empty() && fields->size() <= kColumnNumberMax, "a number of fields out of bounds was taken");
    const std::string text = format_record(*fields);
    const auto again = parse_record(text);
    FUZZ_EXPECT(again && *again == *fields, "a record that was taken does not survive being written");
    FUZZ_EXPECT(format_record(*again) == text, "one record, two forms");
  }
  std::vector<Value> fields;
  std::vector<std::string> items;
  for (const auto part : split(input, '\t', 20)) {
    fields.push_back(part == "NULL" ? Value() : Value(part));
    items.emplace_back(part);
  }
  if (input.find('\0') == std::string_view::npos) {
    const auto again = parse_record(format_record(fields));
    FUZZ_EXPECT(again && *again == fields, "fields do not survive being written");
  }
  FUZZ_EXPECT(unite_arrays({format_array(items)}), "an array that was written cannot be read");
}

}  // namespace mbsync::fuzz
