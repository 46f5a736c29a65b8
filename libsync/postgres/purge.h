// Takes mbsync out of a database: its triggers, its functions, its schema. What the application has stays as it is, to
// the byte.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "database_url.h"
#include "result.h"

namespace mbsync {

struct PurgeLook {
  bool schema_there = false;
  int triggers = 0;                         ///< of mbsync, on tables of the application
  std::vector<std::string> used_by;         ///< what the application has built upon schema mbsync: "view public.v"
  std::vector<std::string> missing_rights;  ///< statements for an administrator of the database
};

/// Looks, changes nothing. Errors as read_database_facts() has them; also `config`, about the database, if it does not
/// exist.
Result<PurgeLook> look_at_purge(const DatabaseUrl& url, std::chrono::milliseconds patience);

/// In one transaction: all of it, or nothing. Nothing to do is no error. No table is waited for longer than a second at
/// a time, so that whoever writes to it is not held up; `patience` is for all tries together. Errors, about the
/// database: `config` if something of the application's is built upon schema mbsync, which would go with it, or if a
/// right is missing, with the statement; `transient` if a node is at work on it, or a table is in use all the time.
Result<PurgeLook> purge(const DatabaseUrl& url, std::chrono::milliseconds patience);

}  // namespace mbsync
