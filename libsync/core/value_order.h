// Which of two values of a column is the greater one, for the rules max and min. Every database has to give the same
// answer, so neither its collation nor its version may have a say: the texts themselves are compared. Pure.
#pragma once

#include "policy.h"
#include "row_state.h"

namespace mbsync {

/// Negative, 0 or positive as `a` is less than, equal to or greater than `b`. NULL is less than any value. Texts that
/// differ in form alone ("1.0" and "1.00") are equal.
///
/// A total order for each type: a text that is not of the form its kind has (ValueKind) is greater than all that are,
/// and two such texts are ordered by their bytes. An enum label that `type` does not know is less than all it knows.
/// Timestamps have to be in UTC; one with another offset counts as not of the form.
int compare_values(const Value& a, const Value& b, const ColumnType& type);

}  // namespace mbsync
