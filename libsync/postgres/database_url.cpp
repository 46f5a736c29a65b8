#include "database_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace mbsync {
namespace {

// What libpq 15 takes. Left out: `replication`, as such a connection runs no ordinary SQL, and `client_encoding`, which
// is mbsync's to choose.
constexpr auto kLibpqKeywords = std::to_array<std::string_view>({"application_name",
                                                                 "channel_binding",
                                                                 "connect_timeout",
                                                                 "dbname",
                                                                 "fallback_application_name",
                                                                 "gssencmode",
                                                                 "gsslib",
                                                                 "host",
                                                                 "hostaddr",
                                                                 "keepalives",
                                                                 "keepalives_count",
                                                                 "keepalives_idle",
                                                                 "keepalives_interval",
                                                                 "krbsrvname",
                                                                 "options",
                                                                 "passfile",
                                                                 "password",
                                                                 "port",
                                                                 "requirepeer",
                                                                 "service",
                                                                 "ssl_max_protocol_version",
                                                                 "ssl_min_protocol_version",
                                                                 "sslcert",
                                                                 "sslcompression",
                                                                 "sslcrl",
                                                                 "sslcrldir",
                                                                 "sslkey",
                                                                 "sslmode",
                                                                 "sslpassword",
                                                                 "sslrootcert",
                                                                 "sslsni",
                                                                 "target_session_attrs",
                                                                 "tcp_user_timeout",
                                                                 "user"});
constexpr auto kSslModes =
    std::to_array<std::string_view>({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"});

// The system's certificate authorities. libpq knows the word "system" for them from version 16 on only.
constexpr std::string_view kSystemRoots = "/etc/ssl/certs/ca-certificates.crt";

constexpr std::string_view kShape = "postgresql://USER:PASSWORD@HOST:5432/DATABASE?schema=public";

Error wrong(std::string message, std::string hint = {}) {
  return Error{ErrorKind::kConfig, "DATABASE_URL: " + std::move(message), std::move(hint)};
}

Error unescaped() {
  return wrong("the user name or password contains a character that ends it",
               "write '/' as %2F, '?' as %3F, '#' as %23, '@' as %40, ':' as %3A and '%' as %25 there");
}

bool one_of(std::string_view word, const auto& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string lower(std::string_view text) {
  std::string result{text};
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return result;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(end + 1);
  }
}

std::string joined(const std::vector<std::string>& parts) {
  std::string result;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    result += (i == 0 ? "" : ",") + parts[i];
  }
  return result;
}

Result<std::string> percent_decoded(std::string_view text, std::string_view part) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || error != std::errc{} || end != digits.data() + digits.size()) {
      return wrong(fmt::format("a '%' in the {} is not followed by two hexadecimal digits", part),
                   "write '%' itself as %25");
    }
    if (value == 0) {
      return wrong(fmt::format("the {} contains %00", part), "PostgreSQL knows no zero byte in names and passwords");
    }
    result += static_cast<char>(value);
    i += 2;
  }
  return result;
}

std::string percent_encoded(std::string_view text, std::string_view also_plain = "") {
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view{"-_.~"}.find(c) != std::string_view::npos ||
                       also_plain.find(c) != std::string_view::npos;
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

/// Keywords and values in the order of first mention; a later mention replaces the value, as in libpq and in Prisma.
class Settings {
 public:
  void set(std::string_view key, std::string value) {
    if (auto* found = find(key)) {
      *found = std::move(value);
    } else {
      pairs_.emplace_back(key, std::move(value));
    }
  }
  [[nodiscard]] std::string get(std::string_view key) const {
    const auto at = std::find_if(pairs_.begin(), pairs_.end(), [key](const auto& pair) { return pair.first == key; });
    return at == pairs_.end() ? std::string{} : at->second;
  }
  std::string take(std::string_view key) {
    std::string value = get(key);
    std::erase_if(pairs_, [key](const auto& pair) { return pair.first == key; });
    return value;
  }
  void erase_empty() {
    std::erase_if(pairs_, [](const auto& pair) { return pair.second.empty(); });
  }
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& pairs() const { return pairs_; }

 private:
  std::string* find(std::string_view key) {
    const auto at = std::find_if(pairs_.begin(), pairs_.end(), [key](const auto& pair) { return pair.first == key; });
    return at == pairs_.end() ? nullptr : &at->second;
  }
  std::vector<std::pair<std::string, std::string>> pairs_;
};

/// What stands before "://", judged; returns the rest of the URL.
Result<std::string_view> without_scheme(std::string_view url) {
  const auto colon = url.find(':');
  const std::string scheme = colon == std::string_view::npos ? std::string{} : lower(url.substr(0, colon));
  if (scheme == "postgres" || scheme == "postgresql") {
    const std::string_view rest = url.substr(colon + 1);
    if (!rest.starts_with("//")) {
      return wrong("'//' is missing after the scheme", fmt::format("the form is {}", kShape));
    }
    return rest.substr(2);
  }
  if (scheme == "prisma" || scheme == "prisma+postgres") {
    return wrong(fmt::format("{}:// leads to Prisma's own service, not to a database", scheme),
                 "give the direct address of the database, postgresql://...");
  }
  if (scheme == "jdbc") {
    return wrong("this is a JDBC address", "leave out 'jdbc:' and put user and password before the host");
  }
  constexpr auto kOthers = std::to_array<std::string_view>(
      {"mysql", "mariadb", "file", "sqlite", "sqlserver", "mssql", "mongodb", "mongodb+srv", "cockroachdb"});
  if (one_of(scheme, kOthers)) {
    return wrong(fmt::format("'{}:' is another kind of database", scheme), "mbsync synchronises PostgreSQL");
  }
  return wrong("it does not begin with postgres:// or postgresql://", fmt::format("the form is {}", kShape));
}

std::optional<Error> check_port(std::string_view port, std::size_t place, std::size_t count) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (!port.empty() && (error != std::errc{} || end != port.data() + port.size() || number < 1 || number > 65535)) {
    const std::string which = count > 1 ? fmt::format("port number {} of {}", place + 1, count) : "port";
    return wrong(fmt::format("the {} is not a number from 1 to 65535", which),
                 "if it is part of the password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40");
  }
  return std::nullopt;
}

/// "host1:5432,[::1],..." into libpq's two lists.
Result<void> read_hosts(std::string_view text, Settings& settings) {
  std::vector<std::string> hosts;
  std::vector<std::string> ports;
  const auto parts = split(text, ',');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::string_view host = parts[i];
    std::string_view port;
    if (host.starts_with('[')) {
      const auto close = host.find(']');
      if (close == std::string_view::npos || close == 1) {
        return wrong("the IPv6 address is not complete", "the form is [::1] or [::1]:5432");
      }
      const std::string_view after = host.substr(close + 1);
      if (!after.empty() && after.front() != ':') {
        return wrong("something other than ':' and a port follows the IPv6 address", "the form is [::1]:5432");
      }
      port = after.empty() ? after : after.substr(1);
      host = host.substr(1, close - 1);
    } else if (const auto colon = host.find(':'); colon != std::string_view::npos) {
      port = host.substr(colon + 1);
      host = host.substr(0, colon);
      if (port.find(':') != std::string_view::npos) {
        return wrong("the host contains more than one ':'",
                     "an IPv6 address stands in brackets: [::1]:5432; in a password write ':' as %3A and '@' as %40");
      }
    }
    auto decoded = percent_decoded(host, "host");
    MBSYNC_TRY(decoded);
    if (auto error = check_port(port, i, parts.size())) {
      return *error;
    }
    hosts.push_back(std::move(*decoded));
    ports.emplace_back(port);
  }
  const auto any = [](const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(), [](const std::string& item) { return !item.empty(); });
  };
  if (any(hosts)) {
    settings.set("host", joined(hosts));
  }
  if (any(ports)) {
    settings.set("port", joined(ports));
  }
  return {};
}

Result<void> read_user(std::string_view text, Settings& settings) {
  const auto colon = text.find(':');
  auto user = percent_decoded(text.substr(0, colon), "user name");
  MBSYNC_TRY(user);
  settings.set("user", std::move(*user));
  if (colon != std::string_view::npos) {
    auto password = percent_decoded(text.substr(colon + 1), "password");
    MBSYNC_TRY(password);
    settings.set("password", std::move(*password));
  }
  return {};
}

/// Parameters that libpq does not know are kept apart in `others`.
Result<void> read_parameters(std::string_view query, Settings& settings, Settings& others) {
  constexpr std::string_view kNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  for (const std::string_view part : split(query, '&')) {
    if (part.empty()) {
      continue;
    }
    const auto equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    if (name.empty() || name.find_first_not_of(kNameCharacters) != std::string_view::npos) {
      return unescaped();
    }
    // As forms do it, and so Prisma: '+' is a space.
    std::string raw{equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1)};
    std::replace(raw.begin(), raw.end(), '+', ' ');
    const bool known = one_of(name, kLibpqKeywords);
    auto value = percent_decoded(raw, known ? fmt::format("parameter {}", name) : "value of a parameter");
    MBSYNC_TRY(value);
    (known ? settings : others).set(name, std::move(*value));
  }
  return {};
}

Result<void> settle_tls(Settings& settings, Settings& others, DatabaseUrl& result) {
  const std::string ssl = others.take("ssl");
  if (settings.get("sslmode").empty() && !ssl.empty()) {
    settings.set("sslmode", ssl == "false" || ssl == "0" ? "disable" : "require");
  }
  if (settings.get("sslmode") == "no-verify") {
    settings.set("sslmode", "require");
  }
  if (settings.get("sslrootcert") == "system") {
    settings.set("sslrootcert", std::string{kSystemRoots});
    settings.set("sslmode", "verify-full");
  }
  const std::string mode = settings.get("sslmode");
  if (!mode.empty() && !one_of(mode, kSslModes)) {
    return wrong("the value of sslmode is not known",
                 fmt::format("allowed are {} and no-verify", fmt::join(kSslModes, ", ")));
  }

  const std::string accept = others.take("sslaccept");
  const bool strict = !accept.empty() && accept != "accept_invalid_certs" && (mode == "require" || mode == "verify-ca");
  if (!accept.empty() && !strict) {
    result.ignored.emplace_back("sslaccept");
  }
  std::string roots;
  if (settings.get("sslkey").empty()) {
    if (!settings.take("sslpassword").empty()) {
      result.ignored.emplace_back("sslpassword");
    }
    roots = settings.take("sslcert");
    if (!roots.empty() && !strict) {
      result.ignored.emplace_back("sslcert");
    }
  }
  if (strict) {
    settings.set("sslmode", "verify-full");
    if (settings.get("sslrootcert").empty()) {
      settings.set("sslrootcert", roots.empty() ? std::string{kSystemRoots} : roots);
    }
  }
  if (!others.take("sslidentity").empty()) {
    result.ignored.emplace_back("sslidentity");
    result.warnings.emplace_back(
        "DATABASE_URL: sslidentity (a PKCS#12 file) cannot be used; if the server asks for a client certificate, "
        "convert "
        "it with 'openssl pkcs12' and give sslcert=FILE.pem&sslkey=FILE.key");
  }
  return {};
}

/// libpq takes one port for all hosts or one for each.
Result<void> check_lists(const Settings& settings) {
  const std::string port_list = settings.get("port");
  const auto ports = split(port_list, ',');
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (auto error = check_port(ports[i], i, ports.size())) {
      return *error;
    }
  }
  const std::string host = settings.get("host");
  const auto hosts = split(host, ',').size();
  if (ports.size() > 1 && ports.size() != hosts) {
    return wrong(fmt::format("{} ports are given for {} hosts", ports.size(), hosts), "give one port, or one per host");
  }
  return {};
}

std::string display_of(const Settings& settings, std::string_view schema) {
  const std::string user = settings.get("user");
  const std::string host_list = settings.get("host");
  const std::string port_list = settings.get("port");
  const auto hosts = split(host_list, ',');
  const auto ports = split(port_list, ',');
  const bool socket = std::any_of(hosts.begin(), hosts.end(), [](auto host) { return host.starts_with('/'); });

  std::string url = "postgresql://";
  if (!user.empty()) {
    url += percent_encoded(user) + "@";
  }
  for (std::size_t i = 0; i < hosts.size() && !socket; ++i) {
    const std::string_view port = ports.size() == 1 ? ports[0] : ports[i];
    const bool ipv6 = hosts[i].find(':') != std::string_view::npos;
    url += fmt::format("{}{}{}{}{}{}", i == 0 ? "" : ",", ipv6 ? "[" : "", percent_encoded(hosts[i], ipv6 ? ":" : ""),
                       ipv6 ? "]" : "", port.empty() ? "" : ":", port);
  }
  url += "/" + percent_encoded(settings.get("dbname"));

  std::vector<std::string> parameters;
  if (socket) {
    parameters.push_back("host=" + percent_encoded(host_list, "/,"));
    if (!port_list.empty()) {
      parameters.push_back("port=" + port_list);
    }
  }
  if (!schema.empty()) {
    parameters.push_back("schema=" + percent_encoded(schema));
  }
  if (const std::string mode = settings.get("sslmode"); !mode.empty()) {
    parameters.push_back("sslmode=" + mode);
  }
  return parameters.empty() ? url : fmt::format("{}?{}", url, fmt::join(parameters, "&"));
}

Error quoted_url() {
  return wrong("quotes were left around it",
               "remove them: where a shell or a .env reader does not take them away, they become part of the value");
}

}  // namespace

std::string DatabaseUrl::to_conninfo() const {
  std::string text;
  for (const auto& [key, value] : conninfo) {
    text += (text.empty() ? "" : " ") + key + "='";
    for (const char c : value) {
      if (c == '\'' || c == '\\') {
        text += '\\';
      }
      text += c;
    }
    text += '\'';
  }
  return text;
}

Result<DatabaseUrl> parse_database_url(std::string_view given) {
  const std::string_view url = trimmed(given);
  if (url.empty()) {
    return wrong("it is empty", fmt::format("the form is {}", kShape));
  }
  constexpr std::string_view kQuotes = "\"'`";
  if (kQuotes.find(url.front()) != std::string_view::npos || kQuotes.find(url.back()) != std::string_view::npos) {
    return quoted_url();
  }
  if (std::any_of(url.begin(), url.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
    return wrong("it contains a line break, a zero byte or another control character",
                 "it has to stand on one line; write such a character in a password as %0A, for example");
  }
  if (url.find("${") != std::string_view::npos) {
    return wrong("it contains '${', and variables are not expanded here",
                 "write out what the variable stands for; a '$' that is part of a password is written as %24");
  }
  const auto rest = without_scheme(url);
  MBSYNC_TRY(rest);

  // The pieces. A host contains no '@', so the last one before the path ends the password, as for Prisma.
  const std::string_view authority = rest->substr(0, rest->find_first_of("/?"));
  std::string_view path = rest->substr(authority.size());
  std::string_view query;
  if (const auto mark = path.find('?'); mark != std::string_view::npos) {
    query = path.substr(mark + 1);
    query = query.substr(0, query.find('#'));
    path = path.substr(0, mark);
  }
  const auto at = authority.rfind('@');
  const bool has_user = at != std::string_view::npos;
  if (path.find('@') != std::string_view::npos) {
    return unescaped();
  }

  DatabaseUrl result;
  Settings settings;
  Settings others;
  MBSYNC_TRY(read_hosts(has_user ? authority.substr(at + 1) : authority, settings));
  if (has_user) {
    const std::string_view user = authority.substr(0, at);
    MBSYNC_TRY(read_user(user, settings));
    if (user.find('@') != std::string_view::npos) {
      result.warnings.emplace_back(
          "DATABASE_URL: the user name or password contains '@'; it is understood, but psql and others need it written "
          "as %40");
    }
  }

  if (path.starts_with('/')) {
    path.remove_prefix(1);
  }
  if (path.ends_with('/')) {
    path.remove_suffix(1);
  }
  if (path.find('/') != std::string_view::npos) {
    return wrong("the name of the database contains '/'", "write '/' as %2F, there and in a password");
  }
  auto database = percent_decoded(path, "name of the database");
  MBSYNC_TRY(database);
  settings.set("dbname", std::move(*database));

  MBSYNC_TRY(read_parameters(query, settings, others));
  if (settings.get("dbname").empty() && settings.get("service").empty()) {
    if (query.find('@') != std::string_view::npos) {
      return unescaped();
    }
    return wrong("the name of the database is missing", fmt::format("the form is {}", kShape));
  }
  // Hosts without a name, however many, are this machine, as none is.
  if (settings.get("host").find_first_not_of(',') == std::string::npos) {
    settings.take("host");
  }
  MBSYNC_TRY(check_lists(settings));
  MBSYNC_TRY(settle_tls(settings, others, result));

  result.schema = others.take("schema");
  for (const auto& [name, value] : others.pairs()) {
    result.ignored.push_back(name);
  }
  settings.erase_empty();
  result.conninfo = settings.pairs();
  result.display = display_of(settings, result.schema);
  return result;
}

}  // namespace mbsync
