// What two nodes say to each other to find out whether their rows are the same (POST /sync/v1/digest), and its JSON.
// No value is changed by it on either side; kArm, kFire, kDisarm and kTouch make writes of values that are there, or
// prepare that. Bytes on the wire: PROTOCOL.md. Pure; strict as in message.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "message.h"

namespace mbsync {

enum class DigestKind {
  kTables,  ///< which tables take part, and which do not
  kShape,   ///< how one table is seen: the others need it
  kBlock,   ///< one checksum over a range of rows
  kRows,    ///< key and hash of each row in a range
  kLook,    ///< of single rows: hashes of their values, and the writes that are live of them
  kArm,     ///< what one row shows becomes a write, concurrent to a certain one, as soon as that one comes
  kFire,    ///< what was armed becomes that write now
  kDisarm,  ///< what was armed is armed no more
  kTouch,   ///< what one row shows becomes a write now
};
/// Of a single row that is to become a write.
bool is_of_repair(DigestKind kind);
std::string_view to_string(DigestKind kind);

/// One question. It says how it sees the table, so that both sides hash the same columns.
struct DigestRequest {
  Member sender;  ///< the node that asks
  DigestKind kind = DigestKind::kTables;
  std::string schema{};  ///< these two are empty for kTables
  std::string table{};
  std::vector<std::string> key{};     ///< of the asker; empty for kTables, and where kShape asks the own database
  std::vector<WireColumn> columns{};  ///< the same; by name: what is hashed, in this order
  /// By what rows are put in order: a text that says how this side's index does it (DigestAnswer::order), or empty, by
  /// their keys' text, byte for byte. It is a matter of speed alone: a row is found whatever the order.
  std::string order{};
  std::optional<std::string> above{};  ///< the key's text; nothing: from the first row on
  std::optional<std::string> upto{};   ///< itself included; nothing: to the last row
  std::int64_t limit = 0;              ///< rows, at least 1
  std::vector<std::string> keys{};     ///< of kLook; one, of kArm to kTouch
  /// Of kArm and kTouch: as the row is taken to be (RowLook::hash); else nothing is done, and `rows` of the answer is
  /// 0.
  std::string hash{};
  std::vector<std::string> touched{};  ///< of kArm and kTouch: columns that the write is of; none: of all
  std::int64_t at_us = 0;              ///< the time that the write is to have, microseconds since 1970 UTC
  /// Of kArm, kFire and kDisarm: the node that is to be touched, whose write has the time awaited_us. These two, the
  /// sender and the key say what is armed.
  NodeId awaits{};
  std::int64_t awaited_us = 0;
  bool operator==(const DigestRequest&) const = default;
};

/// What became of the question.
enum class DigestState {
  kCompared,  ///< it is answered
  kNoTable,   ///< there is no such table here, or it takes no part: `why` says it
  kDiffers,   ///< it has another key or other columns here
};
std::string_view to_string(DigestState state);

struct RowHash {
  std::string key;   ///< its text, as everywhere
  std::string hash;  ///< of all that is in the row, kRowHashDigits of lower-case hexadecimal digits
  bool operator==(const RowHash&) const = default;
};

/// A single row as one node has it. All of one answer are of one snapshot, and so are `seen` and `forgotten`.
struct RowLook {
  std::string key;
  bool present = false;
  std::string hash{};                  ///< as in RowHash; empty where there is no row
  std::vector<std::string> columns{};  ///< kColumnHashDigits each, in the order of the request's; empty: no row
  std::vector<Dot> writes{};           ///< that are live of it, with counters' latest; in the order of dots
  bool captured = false;               ///< a write of it waits to be given a dot
  bool waits = false;                  ///< it does not show all that is known of it: its application holds it
  bool parked = false;                 ///< the same, since the database refuses the row
  bool operator==(const RowLook&) const = default;
};

struct DigestTable {
  std::string schema;
  std::string name;
  std::string why{};  ///< it takes no part; empty: it does
  bool operator==(const DigestTable&) const = default;
};

struct DigestAnswer {
  Member sender;  ///< the node that answers
  DigestState state = DigestState::kCompared;
  std::string why{};                  ///< it is not kCompared, and what to do
  std::vector<DigestTable> tables{};  ///< kTables
  std::string order{};                ///< kShape: how the index here puts rows in order; empty: none does
  std::vector<std::string> key{};     ///< kShape
  std::vector<WireColumn> columns{};  ///< kShape: by name
  std::int64_t estimate = 0;          ///< kShape: of rows, as the database last counted them
  std::int64_t row_bytes = 0;         ///< kShape: of one row on the disk, on average; too much where nobody has counted
  std::int64_t rows = 0;              ///< kBlock, kRows: how many there are in what was looked at
  std::string checksum{};             ///< kBlock
  std::optional<std::string> last{};  ///< kBlock, kRows: there may be more, above this key
  std::vector<RowHash> list{};        ///< kRows
  VersionVector seen{};               ///< kLook: what the snapshot has of each origin
  VersionVector forgotten{};          ///< kLook: live writes up to here may be gone
  std::vector<RowLook> looks{};       ///< kLook: of the first keys asked for, one at least
  bool operator==(const DigestAnswer&) const = default;
};

std::string to_json(const DigestRequest& message);
std::string to_json(const DigestAnswer& message);
Result<DigestRequest> parse_digest_request(std::string_view json);
/// White space may stand in front: signs of life of a node that was still at work.
Result<DigestAnswer> parse_digest_answer(std::string_view json);

}  // namespace mbsync
