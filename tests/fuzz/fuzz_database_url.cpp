// DATABASE_URL. A password may stand anywhere in one that was written wrongly, so no error repeats any of it.
#include "database_url.h"
#include "fuzz.h"

namespace mbsync::fuzz {
namespace {

constexpr std::string_view kSecret = "s3cr3t";

bool holds(std::string_view text) {
  return text.find(kSecret) != std::string_view::npos;
}

}  // namespace

void run(std::string_view input) {
  const auto url = parse_database_url(input);
  if (!url) {
    FUZZ_EXPECT(url.error().kind == ErrorKind::kConfig, "a URL that is wrong is not the configuration's fault");
    FUZZ_EXPECT(!holds(url.error().text()), "an error repeats what stands in the URL");
    return;
  }
  bool elsewhere = holds(url->schema);
  for (const auto& [key, value] : url->conninfo) {
    FUZZ_EXPECT(!key.empty() && !value.empty(), "a setting without name or value");
    FUZZ_EXPECT(value.find('\0') == std::string::npos, "a zero byte for libpq");
    elsewhere = elsewhere || (key != "password" && holds(value));
  }
  FUZZ_EXPECT(elsewhere || !holds(url->display), "the password is shown");
  for (const auto& warning : url->warnings) {
    FUZZ_EXPECT(!holds(warning), "a warning repeats what stands in the URL");
  }
  // What is shown is a URL again, and the one of the same database, where its name is known.
  const bool named = std::any_of(url->conninfo.begin(), url->conninfo.end(),
                                 [](const auto& setting) { return setting.first == "dbname"; });
  const auto shown = parse_database_url(url->display);
  FUZZ_EXPECT(!named || shown, "what is shown is no URL");
  FUZZ_EXPECT(!shown || shown->display == url->display, "what is shown leads elsewhere");
}

}  // namespace mbsync::fuzz
