#include "prepare_teller.h"

#include <fmt/format.h>

#include <algorithm>

#include "log.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"run"};

}  // namespace

void PrepareTeller::tell(const Member& self, const PrepareReport& report) {
  if (report.created) {
    log_info(kDomain, "made a node out of this database: schema mbsync created database={} rows={}", database_.display,
             report.rows_adopted);
  } else if (report.rows_adopted > 0) {
    log_info(kDomain, "rows take part now rows={}", report.rows_adopted);
  }
  if (first_) {
    log_info(kDomain, "node ready node={} name={} database={} tables={}", to_string(self.id), log_value(self.name),
             database_.display, report.tables);
  }
  tell_tables(report);
  tell_policy(report);
  if (first_) {
    tell_role(report);
  }
  if (report.triggers_installed > 0) {
    log_info(kDomain, "capture in place tables={}", report.triggers_installed);
    activity_.event("tables_changed",
                    fmt::format("capture was made or renewed for {} tables", report.triggers_installed));
  }
  first_ = false;
}

void PrepareTeller::tell_tables(const PrepareReport& report) {
  for (const auto& [table, reason] : report.refused) {
    if (refused_.emplace(table, reason).second) {
      log_warning(kDomain, "table not synchronised table={} reason={}", log_value(table), log_value(reason));
      activity_.event("table_left_out", fmt::format("table {} is not synchronised: {}", table, reason));
    }
  }
  for (const auto& table : report.still_in) {
    if (tables_told_.insert(table.substr(0, table.find(": "))).second) {
      log_warning(kDomain,
                  "a table that is to be left out takes part for now, until all have what was written to it "
                  "table={}",
                  log_value(table));
    }
  }
  for (const auto& pattern : report.unmatched) {
    if (tables_told_.insert(pattern).second) {
      log_warning(kDomain, "tables or tables_except names a table that is not there pattern={}", log_value(pattern));
    }
  }
  for (const auto& table : report.rekeyed) {
    log_warning(kDomain,
                "the key of a table has changed: its rows are compared anew, and deletions that no peer had heard of "
                "are not passed on table={}",
                log_value(table));
  }
  for (const auto& table : report.waiting) {
    log_warning(kDomain, "table waits for its triggers, an application transaction holds it table={}",
                log_value(table));
  }
}

void PrepareTeller::tell_policy(const PrepareReport& report) {
  for (const auto& trouble : report.policy_trouble) {
    if (policy_trouble_.insert(trouble).second) {
      log_warning(kDomain,
                  "the policy cannot be carried out here: rows that it is to decide wait until this is as on the "
                  "other nodes what={}",
                  log_value(trouble));
    }
  }
  std::erase_if(policy_trouble_, [&](const std::string& known) {
    const auto& now = report.policy_trouble;
    return std::find(now.begin(), now.end(), known) == now.end();
  });
}

void PrepareTeller::tell_role(const PrepareReport& report) {
  if (!report.bypasses_constraints) {
    log_warning(
        kDomain,
        "the database role may not set session_replication_role: rows are applied in foreign-key order and the "
        "application's triggers fire; GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15) changes that");
  }
  for (const auto& trigger : report.application_triggers) {
    log_warning(kDomain,
                "application trigger will fire on apply, and what it writes by itself may differ from machine to "
                "machine trigger={}",
                log_value(trigger));
  }
}

}  // namespace mbsync
