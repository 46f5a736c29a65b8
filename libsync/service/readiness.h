// Is all there that a node needs? Each check is a small function that changes nothing and says what it found and what
// to do next; smoke-check prints them, and a node asks those of the database before it starts.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config.h"
#include "database_facts.h"

namespace mbsync {

enum class Verdict { kOk, kSkipped, kWarning, kFailed };
/// "ok", "skipped", "warning", "failed".
std::string_view to_string(Verdict verdict);

/// What a script has to tell apart where a check has failed; the exit codes of smoke-check.
enum class CheckArea { kOther, kConfig, kDatabase, kPort };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string what;
  std::string next;  ///< what to do; empty where nothing is to be done
  CheckArea area = CheckArea::kOther;
};

/// Of the first that failed: configuration before database before port before others. Nothing if none did.
std::optional<CheckArea> worst_area(const std::vector<Check>& checks);

/// How long a database may take to answer before that is said.
inline constexpr std::chrono::milliseconds kDatabasePatience{5'000};

/// All of them, in the order of the guide. Takes well under a second if the database answers at once and the port is
/// free; a port that is in use is asked who it is. `config` may lack what a node needs. `ask_firewall`: what is known
/// of the firewall of it itself, by whoever may ask it; nothing if that is not so.
std::vector<Check> smoke_check(const Config& config, const std::function<std::optional<Check>()>& ask_firewall = {},
                               std::chrono::milliseconds patience = kDatabasePatience);

// The checks one by one.
Check check_environment(const Config& config);
Check check_key(const Config& config);
/// What there is to say of a database that has been looked at.
std::vector<Check> check_database(const Config& config, const Result<DatabaseFacts>& facts);
/// `self`: the node of the database, if it is known; it tells the own mbsync from another one.
std::vector<Check> check_ports(const Config& config, const std::optional<Member>& self);
/// `self`: the node of the database, which is not counted among the nodes that are seen.
Check check_discovery(const Config& config, const std::optional<Member>& self);
/// Whether the machine's clock is set by the network, and how it goes beside the database's.
Check check_clock(const DatabaseFacts* facts);
Check check_disk(const Config& config, const DatabaseFacts* facts);
/// As far as it is seen without asking it.
Check check_firewall(const Config& config);

}  // namespace mbsync
