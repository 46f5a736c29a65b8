// What a unique key means to two rows that meet in it (CONFLICTS.md C19): for mending them, and for telling a person
// what would happen. Any thread.
#pragma once

#include <string>
#include <vector>

#include "policy.h"
#include "schema.h"

namespace mbsync {

/// One column by which a row can give way.
struct WayOut {
  enum class Kind {
    kSuffix,  ///< a text gets another one behind it
    kFlag,    ///< the key is for rows with this flag alone, and the flag becomes false
    kNull     ///< NULL equals nothing
  };
  Kind kind;
  const Column* column;  ///< of the table
};

/// In the order in which they are to be tried; none where neither row can be changed.
std::vector<WayOut> ways_out(const Table& table, const UniqueKey& unique);

/// What a rule comes to for this key: `auto` is decided, all else stays.
UniqueRule decided(UniqueRule rule, const Table& table, const UniqueKey& unique);

/// Whether another key can be made for a row whose key another one has as well (CONFLICTS.md C15).
bool can_keep_both(const Table& table);
/// Added to a text key to make another one: "~" and this many hexadecimal digits.
inline constexpr int kApartDigits = 8;

/// Whether the type is one whose values can be made longer: text and varchar, and no array of them.
bool takes_suffix(const Column& column);
/// How many characters a value of this text type may have; 0: any number.
int room_of(const Column& column);

}  // namespace mbsync
