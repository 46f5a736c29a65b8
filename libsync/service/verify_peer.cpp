#include "verify_peer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "glob.h"
#include "tuning.h"
#include "verify_repair.h"
#include "words.h"

namespace mbsync {
namespace {

std::int64_t now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool is_chosen(const std::vector<std::string>& globs, const std::string& schema, const std::string& table) {
  return globs.empty() || std::any_of(globs.begin(), globs.end(),
                                      [&](const std::string& glob) { return table_glob_matches(glob, schema, table); });
}

/// Why the table cannot be compared; nothing: both have it. Without a name: there is none.
std::string why_not(const DigestTable& here, const DigestTable& there, const std::string& peer) {
  if (here.name.empty()) {
    return fmt::format("there is no such table here, but on {}: run the application's migrations on this machine",
                       peer);
  }
  if (!here.why.empty()) {
    return fmt::format("it takes no part here: {}", here.why);
  }
  if (there.name.empty()) {
    return fmt::format("there is no such table on {}: run the application's migrations there", peer);
  }
  return there.why.empty() ? std::string() : fmt::format("it takes no part on {}: {}", peer, there.why);
}

VerifyLimits limits(bool scheduled) {
  VerifyLimits limits;
  if (scheduled) {
    limits.unordered_rows = kVerifyUnorderedRows;
  }
  return limits;
}

}  // namespace

PeerComparison::PeerComparison(const Basis& basis, PeerVerdict& verdict, DigestSource& theirs, const VerifyOrder& order,
                               bool scheduled)
    : basis_(basis),
      verdict_(verdict),
      order_(order),
      mine_(basis.store),
      theirs_(theirs),
      comparison_(mine_, theirs_, basis.store.self(), basis.pace, limits(scheduled)) {}

Result<void> PeerComparison::run() {
  MBSYNC_TRY(find_tables());
  for (std::size_t i = 0; i < found_.size(); ++i) {
    MBSYNC_TRY(compare(i));
  }
  MBSYNC_TRY(confirm());
  if (order_.repair) {
    MBSYNC_TRY(repair());
  }
  if (!order_.tables.empty()) {
    return {};
  }
  VerifyNote note{verdict_.peer, true};
  for (const auto& table : verdict_.tables) {
    note.tables.push_back(note_of(table));
  }
  return basis_.store.store_verdicts(note);
}

// In this node's order, in which rows that are missing can come back.
Result<void> PeerComparison::find_tables() {
  which_.sender = basis_.store.self();
  const auto there = theirs_.ask(which_);
  MBSYNC_TRY(there);
  const auto here = mine_.ask(which_);
  MBSYNC_TRY(here);
  for (const auto& table : here->tables) {
    found_.push_back({table, {}});
  }
  for (const auto& table : there->tables) {
    const auto place = std::find_if(found_.begin(), found_.end(), [&](const Found& entry) {
      return entry.mine.schema == table.schema && entry.mine.name == table.name;
    });
    if (place == found_.end()) {
      found_.push_back({{}, table});
    } else {
      place->theirs = table;
    }
  }
  std::erase_if(found_,
                [&](const Found& entry) { return !is_chosen(order_.tables, entry.any().schema, entry.any().name); });
  if (found_.empty() && !order_.tables.empty()) {
    return Error{ErrorKind::kNotFound, "no table fits what was asked for", "'mbsync status --json' lists the tables"};
  }
  basis_.board.at_peer(verdict_.peer.name, found_.size());
  return {};
}

Result<void> PeerComparison::compare(std::size_t place) {
  const auto& found = found_[place];
  TableVerdict table;
  table.table = fmt::format("{}.{}", found.any().schema, found.any().name);
  basis_.board.at_table(table.table, place);
  table.why = why_not(found.mine, found.theirs, verdict_.peer.name);
  abouts_.emplace_back();
  if (table.why.empty()) {
    auto compared = comparison_.compare(found.any().schema, found.any().name);
    MBSYNC_TRY(compared);
    table = std::move(*compared);
    abouts_.back() = comparison_.about();
  }
  const bool broken_off = table.state == TableVerdict::State::kNotCompared || !table.why.empty();
  const bool differs = !table.differences.empty();
  verdict_.tables.push_back(std::move(table));
  if (!differs) {
    MBSYNC_TRY(keep(place));
  }
  // It may be the table, and it may be that nobody is there any more.
  if (broken_off) {
    MBSYNC_TRY(theirs_.ask(which_));
    MBSYNC_TRY(mine_.ask(which_));
  }
  return {};
}

Result<void> PeerComparison::keep(std::size_t place) {
  return basis_.store.store_verdicts({verdict_.peer, false, "", 0, {note_of(verdict_.tables[place])}});
}

// What differs is looked at a second time, when whatever was under way in the moment of the first look is over.
Result<void> PeerComparison::confirm() {
  std::set<std::size_t> open;
  for (std::size_t i = 0; i < verdict_.tables.size(); ++i) {
    if (!verdict_.tables[i].differences.empty()) {
      open.insert(i);
    }
  }
  auto done = open.empty() || basis_.pace.wait(kVerifyConfirm) ? Result<void>() : comparison_given_up();
  while (done && !open.empty()) {
    const auto place = *open.begin();
    auto& table = verdict_.tables[place];
    auto confirmed = comparison_.confirm(table, abouts_[place]);
    if (!confirmed) {
      done = confirmed.error();
      break;
    }
    table = std::move(*confirmed);
    open.erase(open.begin());
    done = keep(place);
  }
  for (const auto place : open) {
    leave(place, "rows seemed to differ, and could not be looked at a second time");
  }
  return done;
}

void PeerComparison::leave(std::size_t place, const char* why) {
  auto& table = verdict_.tables[place];
  table.rows -= static_cast<std::int64_t>(std::exchange(table.differences, {}).size());
  table.why = why;
  table.state = TableVerdict::State::kNotCompared;
}

Result<void> PeerComparison::repair() {
  const auto members = basis_.store.other_members();
  MBSYNC_TRY(members);
  std::vector<RepairSide> sides{{basis_.store.self(), &mine_}, {verdict_.peer, &theirs_}};
  std::vector<std::unique_ptr<DigestSource>> ways;
  for (const auto& member : *members) {
    if (member.id != verdict_.peer.id) {
      ways.push_back(basis_.way_to(member));
      sides.push_back({member, ways.back().get()});
    }
  }
  std::vector<std::size_t> again;
  bool given_up = false;
  for (std::size_t i = 0; i < verdict_.tables.size() && !given_up; ++i) {
    auto& table = verdict_.tables[i];
    if (table.differences.empty()) {
      continue;
    }
    auto repaired = repair_rows(sides, abouts_[i], table.differences, now_micros(), basis_.pace);
    given_up = repaired.given_up;
    for (const auto& [why, rows] : repaired.trouble) {
      verdict_.repair_trouble.push_back(fmt::format("{} of {}: {}", rows_of(rows), table.table, why));
    }
    if (!repaired.repaired.empty()) {
      table.repaired = std::move(repaired.repaired);
      verdict_.repaired += static_cast<std::int64_t>(table.repaired.size());
      leave(i, "it was not compared again after the repair");
      again.push_back(i);
    }
  }
  if (given_up) {
    return comparison_given_up();
  }
  // What is so from now on is what counts: of all, once all were given to the rules.
  for (const auto place : again) {
    const auto& found = found_[place].any();
    basis_.board.at_table(verdict_.tables[place].table, place);
    auto compared = comparison_.compare(found.schema, found.name);
    MBSYNC_TRY(compared);
    compared->repaired = std::move(verdict_.tables[place].repaired);
    verdict_.tables[place] = std::move(*compared);
    abouts_[place] = comparison_.about();
    if (verdict_.tables[place].differences.empty()) {
      MBSYNC_TRY(keep(place));
    }
  }
  return again.empty() ? Result<void>() : confirm();
}

}  // namespace mbsync
