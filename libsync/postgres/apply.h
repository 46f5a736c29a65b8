// A pull's answer on its way into the database: staged without any lock while it arrives, then merged in one
// transaction.
#pragma once

#include <map>
#include <memory>

#include "pull_sink.h"
#include "schema.h"

namespace mbsync {

/// How apply keeps the application's constraints and triggers out of its way.
struct ApplyRole {
  bool replica =
      false;  ///< may set session_replication_role: constraints and triggers are bypassed, keys checked after
};
Result<ApplyRole> find_apply_role(PgConnection& db);

struct ApplyReport {
  std::int64_t rows = 0;       ///< rows in the answer
  std::int64_t merged = 0;     ///< of those, rows with writes on both sides
  std::int64_t conflicts = 0;  ///< columns in which siblings differed
  /// The answer could not be used: it was out of date by the time it arrived, or the peer has to join first. Nothing
  /// was changed; ask again.
  bool outdated = false;
};

/// Receives one answer in temporary tables of `db`'s session. The schema and the connection must outlive it. After an
/// error, and when it goes out of scope unapplied, nothing of the answer is left.
class PullStage : public PullSink {
 public:
  /// `asked_seen`: the vector of the request that this answers.
  PullStage(PgConnection& db, const Schema& schema, const Member& self, ApplyRole role, VersionVector asked_seen);
  ~PullStage() override;
  PullStage(const PullStage&) = delete;
  PullStage& operator=(const PullStage&) = delete;

  Result<void> header(const PullHeader& header) override;
  Result<void> table(const TableHeader& table) override;
  Result<void> rows(std::string_view copy_text) override;
  Result<void> table_end(std::int64_t rows) override;
  Result<void> footer(const PullFooter& footer) override;

  /// Merges what was staged, in one transaction. The caller holds the engine's lock. Locks the rows concerned, seals,
  /// lets rows without local writes go straight to the tables, judges the others (core), checks foreign keys, raises
  /// the vector. Errors: `transient` (lock, deadlock, connection: try again later), `conflict` (a key that both sides
  /// gave to different rows, a reference without its row), `in_doubt` (ask the vector).
  Result<ApplyReport> apply();

  [[nodiscard]] const PullHeader& received() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
