// DATABASE_URL as applications write it into their .env, made fit for libpq. Prisma understands parameters that libpq
// rejects and gives some of them another meaning; whatever works for Prisma has to work here. Pure: nothing is opened.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result.h"

namespace mbsync {

struct DatabaseUrl {
  /// libpq's keywords with decoded values, the password among them.
  std::vector<std::pair<std::string, std::string>> conninfo;
  /// Prisma's `schema`; empty if the URL has none.
  std::string schema;
  /// Parameters without a meaning here, by name; for one line at debug level.
  std::vector<std::string> ignored;
  /// What works but deserves a look; sentences for the log, without secrets.
  std::vector<std::string> warnings;
  /// "postgresql://user@host:5432/db?schema=shop" for logs and status: no password.
  std::string display;

  /// `conninfo` as one string for PQconnectdb: key='value' ..., quoted. Holds the password.
  [[nodiscard]] std::string to_conninfo() const;
};

/// `config` if it is no URL of a PostgreSQL database; the message names the part that is wrong and how to write it. As
/// a URL that was written wrongly may show its password at any place, no message repeats what stands in it.
///
/// What is done with Prisma's parameters:
/// - `schema` is handed out; `connection_limit`, `pgbouncer` and whatever else libpq does not know is ignored, by name.
/// - `sslmode=no-verify` and `ssl=true` become `sslmode=require`.
/// - `sslaccept=strict` with `sslmode=require` becomes `verify-full`. With `prefer`, Prisma itself falls back to a
/// connection
///   in the clear, so there is nothing to verify.
/// - `sslcert` without `sslkey` is the authority's certificate in Prisma, not the client's: `sslrootcert` when it is to
/// be
///   verified, else ignored as Prisma does.
/// - `sslidentity` (PKCS#12) cannot be read by libpq: a warning says what to use instead.
Result<DatabaseUrl> parse_database_url(std::string_view url);

}  // namespace mbsync
