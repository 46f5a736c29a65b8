// Siblings of one column put together, for the rules union and append. The values are given in the order of time, and
// the result depends on nothing but them in this order, so every database arrives at the same text. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace mbsync {

/// The elements of PostgreSQL arrays: those of the first, then of each later one those that are not there yet, in their
/// order. Of an element that occurs several times, as many are kept as the value with the most of it has. The result is
/// what array_out would write.
///
/// Nothing if a value is not a plain array of one dimension with the delimiter ',': nested, with bounds of its own or
/// malformed; or if there are no values. Arrays of type box, which alone have the delimiter ';', cannot be told apart
/// by their text and must not be given.
std::optional<std::string> unite_arrays(const std::vector<std::string>& values);

/// JSON arrays as unite_arrays does it, or the members of JSON objects. Of a member with different values the last one
/// in time is kept, unless it and the one before it are objects; then these are united the same way, down to 32 levels.
/// Two elements are equal if they differ in white space, escapes and the order of members alone. Numbers keep their
/// text: 1.0 and 1.00 are two elements.
///
/// The result is printed as jsonb prints it, with members in jsonb's order, each key once. Nothing if the values are
/// neither all arrays nor all objects, if one is malformed or is nested deeper than 512 levels, or if there are none.
std::optional<std::string> unite_json(const std::vector<std::string>& values);

/// Texts by lines: once the leading lines that all have in common, then what each has behind these. Such a rest is left
/// out if it equals an earlier one or is the beginning of another one, by whole lines.
///
/// Lines end with \n or \r\n, keep what they had and are equal whatever they end with. A newline is put between two
/// parts where there is none, and none is added at the end.
std::string append_texts(const std::vector<std::string>& values);

}  // namespace mbsync
