// A pull's answer on its way into the database: staged without any lock while it arrives, then applied in one
// transaction (applier.h).
#pragma once

#include <memory>
#include <optional>

#include "applier.h"
#include "pull_sink.h"

namespace mbsync {

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

  /// See Applier::apply(). After `transient` it may be called again.
  Result<ApplyReport> apply(bool patient, const std::optional<Member>& as = {});

  [[nodiscard]] const PullHeader& received() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
