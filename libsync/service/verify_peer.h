// This node's rows and one member's, table by table: compared, what differs looked at a second time, and if it is
// wanted given to the rules and compared again. What is found is kept as it comes.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "digest_service.h"
#include "pg_store.h"
#include "verify_board.h"
#include "verify_report.h"
#include "verify_table.h"

namespace mbsync {

/// The database of this node.
class OwnRows : public DigestSource {
 public:
  explicit OwnRows(PgStore& store) : store_(store) {}
  Result<DigestAnswer> ask(const DigestRequest& request) override { return store_.digest(request); }

 private:
  PgStore& store_;
};

class PeerComparison {
 public:
  /// All are borrowed. `way_to` makes the ways to the other members, whom a repair asks as well.
  struct Basis {
    PgStore& store;
    VerifyBoard& board;
    VerifyPace& pace;
    std::function<std::unique_ptr<DigestSource>(const Member&)> way_to;
  };

  /// Writes down in `verdict`, whose peer is known, what comes of it. `scheduled`: nobody has asked for it.
  PeerComparison(const Basis& basis, PeerVerdict& verdict, DigestSource& theirs, const VerifyOrder& order,
                 bool scheduled);

  /// Fails where a side does not answer, or with `cancelled`; what was found until then is in the verdict.
  Result<void> run();

 private:
  struct Found {
    DigestTable mine{};
    DigestTable theirs{};
    [[nodiscard]] const DigestTable& any() const { return mine.name.empty() ? theirs : mine; }
  };
  Result<void> find_tables();
  Result<void> compare(std::size_t place);
  Result<void> keep(std::size_t place);
  Result<void> confirm();
  void leave(std::size_t place, const char* why);
  Result<void> repair();

  const Basis& basis_;
  PeerVerdict& verdict_;
  const VerifyOrder& order_;
  OwnRows mine_;
  DigestSource& theirs_;
  TableComparison comparison_;
  DigestRequest which_;
  std::vector<Found> found_;
  std::vector<DigestRequest> abouts_;  ///< of verdict_.tables
};

}  // namespace mbsync
