// mbsync.toml (inputs that begin with 't'), service.env (all others), and what is made of them. Both may hold the key
// and the database's password, so what is said about them must not.
#include "config.h"
#include "config_file.h"
#include "fuzz.h"

namespace mbsync::fuzz {
namespace {

/// Stands for a secret. Nothing but a value can hold it: it is no name in either file.
constexpr std::string_view kSecret = "s3cr=t";

void check_entries(const Result<std::vector<FileEntry>>& entries, std::string_view text) {
  const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
  if (!entries) {
    FUZZ_EXPECT(entries.error().kind == ErrorKind::kConfig, "a file that is wrong is not the configuration's fault");
    FUZZ_EXPECT(entries.error().text().find(kSecret) == std::string::npos, "an error repeats a value");
    return;
  }
  int line = 0;
  for (const auto& entry : *entries) {
    FUZZ_EXPECT(entry.line >= line && entry.line >= 1 && entry.line <= lines, "an entry on a line that is not there");
    FUZZ_EXPECT(
        entry.type == FileEntry::Type::kList || entry.type == FileEntry::Type::kOther || entry.values.size() == 1,
        "an entry without its value");
    line = entry.line;
  }
}

}  // namespace

void run(std::string_view input) {
  if (input.empty()) {
    return;
  }
  const bool toml = input.front() == 't';
  const std::string text(input.substr(1));
  const auto entries = toml ? parse_toml_file(text, "file") : parse_env_file(text, "file");
  check_entries(entries, text);

  ConfigSources sources;
  (toml ? sources.toml : sources.service_env) = ConfigFile{"dir/file", text, false};
  sources.host_name = "host";
  const auto config = load_config(sources, ConfigNeeds::kNode);
  if (!config) {
    FUZZ_EXPECT(config.error().kind == ErrorKind::kConfig, "a file that is wrong is not the configuration's fault");
    return;
  }
  FUZZ_EXPECT(entries.has_value(), "a file that cannot be read was taken");
  FUZZ_EXPECT(config->port > 0 && !config->node_name.empty() && !config->registration_key.empty(),
              "a configuration that is not complete was taken");
  FUZZ_EXPECT(config->live_peers >= 2 && config->live_peers <= 64, "a number out of bounds was taken");
  FUZZ_EXPECT(config->log_size_mb >= 1 && config->log_files >= 1, "a log without room was taken");
  for (const auto* patterns : {&config->tables.in, &config->tables.except}) {
    for (const auto& pattern : *patterns) {
      FUZZ_EXPECT(!pattern.empty(), "an empty pattern was taken");
    }
  }
  for (const auto& peer : config->peers) {
    const auto address = parse_peer_address(peer);
    FUZZ_EXPECT(address && to_string(*address) == peer, "a peer that is no address was taken");
  }
}

}  // namespace mbsync::fuzz
