// How much of what a node knows of others' reports one message carries. With n members there are n times n numbers: a
// fleet at rest says them in a word (message.cpp, put_reports), a large one under load cannot say them all, and need
// not at once, since a report that comes later only lets writes be forgotten later. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "ids.h"
#include "version_vector.h"

namespace mbsync {

/// Numbers of reports in one message, about 10 KB: all there is to say in a fleet of fifteen that all write all the
/// time, and in one of a hundred of which two are away.
inline constexpr std::size_t kReportNumbersMax = 250;

/// What it takes to say where the reports differ from `seen`: a number for each difference, and one for each report
/// that has any.
std::size_t report_numbers(const std::map<NodeId, VersionVector>& reports, const VersionVector& seen);

/// All of them where all fit. Else the own report and as many others as fit, whole, from a place on that `chance`
/// picks, so that all have been said after a while; without a `chance` only the own one.
std::map<NodeId, VersionVector> some_reports(std::map<NodeId, VersionVector> reports, const VersionVector& seen,
                                             NodeId self, std::optional<std::uint64_t> chance,
                                             std::size_t numbers_max = kReportNumbersMax);

}  // namespace mbsync
