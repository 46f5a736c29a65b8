// What a message may hold at most. A receiver checks these before it stores anything; a sender that would break one
// says so instead of sending. Far above what a healthy fleet needs, far below what would hurt. (PROTOCOL.md "limits")
#pragma once

#include <cstddef>
#include <cstdint>

#include "column_set.h"

namespace mbsync {

/// A request, and each JSON frame: 1 MiB. All that one node of 10,000 says of itself fits; of others' reports no more
/// is said at a time than report_choice.h lets through.
inline constexpr std::size_t kMessageBytesMax = 1 << 20;
/// Deepest nesting of JSON that any message has is 3; one more than needed is garbage.
inline constexpr int kJsonDepthMax = 4;
/// Members, reports, and entries of one version vector.
inline constexpr std::size_t kMembersMax = 10'000;
/// The name of an earlier request, bytes.
inline constexpr std::size_t kBaseNameBytesMax = 64;
/// Entries of all reports of one message together. A message says only where they differ, so a short one may stand for
/// as many as its members times its origins: this is a fleet of 1,000, and some 80 MB.
inline constexpr std::size_t kReportEntriesMax = 1'500'000;
/// A node's name, bytes of UTF-8.
inline constexpr std::size_t kNodeNameBytesMax = 200;
/// Schema, table and column names. PostgreSQL stops at 63 bytes unless it was compiled otherwise.
inline constexpr std::size_t kIdentifierBytesMax = 255;
/// format_type()'s answer: a qualified name with its modifiers.
inline constexpr std::size_t kTypeBytesMax = 1024;
/// PostgreSQL's own limits on a table's and an index's columns.
inline constexpr std::size_t kColumnsMax = 1600;
inline constexpr std::size_t kKeyColumnsMax = 32;
/// Column numbers are never used twice, so a table that gains and loses columns for years goes beyond kColumnsMax.
inline constexpr ColumnNumber kColumnNumberMax = 65'535;
/// Times of writes, microseconds since 1970 UTC: years 1 to 9999. A clock beyond is broken, PostgreSQL's calendar has
/// an end, and 'infinity' is no time.
inline constexpr std::int64_t kWriteTimeMin = -62'135'596'800'000'000;
inline constexpr std::int64_t kWriteTimeMax = 253'402'300'799'999'999;
/// Live writes of one row: at most one a node and seal, so this is thousands of nodes in conflict.
inline constexpr std::size_t kRowWritesMax = 10'000;
/// The `writes` field of a row, bytes: PostgreSQL's limit on any field.
inline constexpr std::size_t kRowWritesBytesMax = 1 << 30;
/// Counters of one row: one a node and column.
inline constexpr std::size_t kRowCountersMax = 100'000;
/// A decimal number, bytes: PostgreSQL's numeric goes up to 131,072 digits before the point, no sum comes near.
inline constexpr std::size_t kDecimalBytesMax = 2'000;
/// How long a request may ask to wait, milliseconds; the answerer waits less if it likes.
inline constexpr std::int64_t kWaitMsMax = 3'600'000;
/// Each of a refusal's two texts; longer ones are cut.
inline constexpr std::size_t kRefusalTextBytesMax = 4096;
/// Fields of one COPY line: a row's eight own and its values.
inline constexpr std::size_t kCopyFieldsMax = kColumnsMax + 16;
/// The hash of a row, of a range of rows, as hexadecimal digits: SHA-256.
inline constexpr std::size_t kRowHashDigits = 64;
/// The hash of one value, which only says which of a row's columns differ: 64 bits of it.
inline constexpr std::size_t kColumnHashDigits = 16;
/// An answer to a digest, bytes. Who answers stops at half of that, and the rest is asked for again.
inline constexpr std::size_t kDigestBytesMax = 8 << 20;
/// Rows of one block, and of one list.
inline constexpr std::int64_t kDigestRowsMax = 10'000;
/// Single rows that are looked at in one go.
inline constexpr std::size_t kDigestKeysMax = 1'000;
/// A row's key as text, bytes. A key that has an index is shorter, unless it is nearly all blanks.
inline constexpr std::size_t kDigestKeyBytesMax = 256 << 10;
/// How an index puts rows in order, in words.
inline constexpr std::size_t kDigestOrderBytesMax = 8 << 10;
/// Tables of one database.
inline constexpr std::size_t kDigestTablesMax = 20'000;

}  // namespace mbsync
