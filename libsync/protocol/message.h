// What two nodes say to each other, as plain structs, and their JSON. Bytes on the wire: PROTOCOL.md. Pure: no I/O.
// Everything that parses is strict: a missing, superfluous or ill-typed member, a value out of range or a text over
// its limit is `corrupt` with the member's name, and nothing is half read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "column_set.h"
#include "result.h"
#include "version_vector.h"

namespace mbsync {

/// Raised when two nodes of different versions would misunderstand each other. Also in the path: /sync/v1/...
inline constexpr int kProtocolVersion = 1;

/// A node of the fleet as its peers know it.
struct Member {
  NodeId id;
  std::string name;  ///< for people; 1 to 200 bytes of UTF-8, not unique
  bool operator==(const Member&) const = default;
};

/// POST /sync/v1/pull: "this is what I have, send me what I have not".
struct PullRequest {
  Member sender;  ///< the node that asks
  VersionVector seen;
  /// What the sender knows of the fleet; what lets writes be forgotten. Its own report is among them, and is less than
  /// `seen` while rows wait that its application holds (CONFLICTS.md C10). Others' may be left out (report_choice.h).
  std::vector<Member> members;
  std::map<NodeId, VersionVector> reports;
  std::int64_t wait_ms = 0;     ///< how long the answer may take when there is nothing new yet (long poll)
  std::int64_t sent_at_us = 0;  ///< the sender's clock, microseconds since 1970 UTC; to measure skew
  /// Who the sender was until it was told that the fleet goes on without that node (Standing::kGone). Its own report
  /// among `reports` is then under this id (CONFLICTS.md C22).
  std::optional<NodeId> was = {};
  bool operator==(const PullRequest&) const = default;
};

/// What the asker is to the node that answers (CONFLICTS.md C22). But for members there is no answer.
enum class Standing {
  kMember,
  kAway,       ///< the fleet is about to go on without it, or to take it back: ask again later
  kGone,       ///< the fleet has gone on without it: it may come back as another (PullRequest::was)
  kBanned,     ///< it is not to come back
  kElsewhere,  ///< the node that answers is away itself and takes nobody in: ask others
};
std::string_view to_string(Standing standing);

/// The first frame of an answer.
struct PullHeader {
  Member sender;       ///< the node that answers
  VersionVector seen;  ///< what the asker holds once it has applied the whole answer, together with what it had
  std::vector<Member> members;
  std::map<NodeId, VersionVector> reports;
  /// The answer holds every row of every table, since the asker lacks writes that the fleet has forgotten.
  bool full = false;
  std::int64_t sent_at_us = 0;
  /// How far the sender has forgotten writes that everybody had. Whoever joins with its states inherits that: a write
  /// may go here because it is gone there.
  VersionVector forgotten = {};
  /// The asker waited, and what it said it had may be out of date by now; a full answer for nothing would be a pity.
  /// Nothing follows, and `seen` is what the asker sent: it should ask again without waiting.
  bool ask_again = false;
  /// Unless it is kMember, nothing follows, `seen` is what the asker sent and `reports` are empty.
  Standing standing = Standing::kMember;
  /// Of kGone and of an answer to one that comes back: members that the sender does not take for away, itself among
  /// them, in the order of ids. It says on whose side the asker would be then.
  std::vector<NodeId> staying = {};
  /// Of a full answer: members, besides the asker, whom the fleet does not wait for. Writes of theirs that only the
  /// asker has go on top of the rows (CONFLICTS.md C22).
  std::vector<NodeId> outside = {};
  bool operator==(const PullHeader&) const = default;
};

struct WireColumn {
  std::string name;
  std::string type;  ///< PostgreSQL's format_type(), for the comparison of schemas
  bool operator==(const WireColumn&) const = default;
};

/// Opens a table's rows. Column i of `columns` (counted from 0) is number `numbers[i]` in this answer's bit strings and
/// kept records.
struct TableHeader {
  std::string schema;
  std::string name;
  std::vector<std::string> key;  ///< names of the key's columns, in key order
  std::vector<WireColumn> columns;
  std::vector<ColumnNumber> numbers;
  bool operator==(const TableHeader&) const = default;
};

/// The last frame: without it an answer is truncated and counts for nothing.
struct PullFooter {
  std::int64_t tables = 0;
  std::int64_t rows = 0;
  bool operator==(const PullFooter&) const = default;
};

/// Why there is no answer: the body of a 4xx or 5xx status, or the last frame of an answer that could not be finished.
/// Texts over kRefusalTextBytesMax are cut when they are sent.
struct Refusal {
  ErrorKind kind = ErrorKind::kRejected;
  std::string message;
  std::string hint;
  bool operator==(const Refusal&) const = default;
};

/// A request that says only what is other than in `base`, an earlier one that the receiver knows as `base_name`; with
/// an empty name, all of it. Of the base, `seen` and `members` count.
std::string to_json(const PullRequest& message, const PullRequest& base = {}, std::string_view base_name = "");
/// A header says only what is other than in the request that it answers; `members` hold all that the request names.
std::string to_json(const PullHeader& message, const PullRequest& asked = {});
/// What of a request a later one builds on, in the one form that it has for all who say the same: to make its name of.
std::string base_text(const PullRequest& message);
std::string to_json(const TableHeader& message);
std::string to_json(const PullFooter& message);
std::string to_json(const Refusal& message);

/// The request of this name, or null.
using FindRequest = std::function<const PullRequest*(std::string_view name)>;
/// `not_found`: the base is not known here.
Result<PullRequest> parse_pull_request(std::string_view json, const FindRequest& find = {});
Result<PullHeader> parse_pull_header(std::string_view json, const PullRequest& asked = {});
Result<TableHeader> parse_table_header(std::string_view json);
Result<PullFooter> parse_pull_footer(std::string_view json);
Result<Refusal> parse_refusal(std::string_view json);

/// A row's live writes where there are several, or where one keeps values beside the row: a JSON array in one COPY
/// field, [[origin, counter, at_us | null, "bits", deleted, "kept record" | null, policy, sums | null], ...], in dot
/// order. at_us null: kTimeUnknown. The kept record holds the write's values (record_text.h); null: they stand in the
/// row.
struct WireWrite {
  Dot dot;
  WriteTime at;
  ColumnSet columns;
  bool deleted = false;
  std::optional<std::string> kept;
  std::int64_t policy = 0;  ///< the version of the policy that its origin had
  /// What the values in the kept record include of the row's counters: decimal numbers by column.
  std::map<ColumnNumber, std::string> sums = {};
  bool operator==(const WireWrite&) const = default;
};

/// What one origin has added to one column (core/counters.h), as decimal texts.
struct WireCounter {
  ColumnNumber number = 0;
  NodeId origin;
  std::int64_t counter = 0;
  std::string total;
  std::string shown;
  bool operator==(const WireCounter&) const = default;
};

/// What comes beside a row's values. Without counters it is the array of writes, else {"writes": [...], "counters":
/// [[number, origin, counter, "total", "shown"], ...]}, and only then there may be no writes.
struct WireRow {
  std::vector<WireWrite> writes;
  std::vector<WireCounter> counters;
  bool operator==(const WireRow&) const = default;
};

/// `corrupt` if a kept record is not UTF-8: JSON could carry it only damaged.
Result<std::string> to_json(const WireRow& row, std::size_t width);
Result<WireRow> parse_wire_row(std::string_view json);

}  // namespace mbsync
