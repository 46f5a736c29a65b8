#include "verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "glob.h"
#include "log.h"
#include "tuning.h"
#include "verify_repair.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"verify"};

using Clock = std::chrono::steady_clock;

std::int64_t now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string rows_of(std::int64_t rows) {
  return rows == 1 ? "1 row" : fmt::format("{} rows", rows);
}

std::string now_iso() {
  return iso_of(std::chrono::system_clock::now());
}

/// The database of this node.
class OwnRows : public DigestSource {
 public:
  explicit OwnRows(PgStore& store) : store_(store) {}
  Result<DigestAnswer> ask(const DigestRequest& request) override { return store_.digest(request); }

 private:
  PgStore& store_;
};

/// A member's, which has to be who it is taken for.
class PeerRows : public DigestSource {
 public:
  PeerRows(PeerClient& client, Member peer) : client_(client), peer_(std::move(peer)) {}
  Result<DigestAnswer> ask(const DigestRequest& request) override {
    auto answer = client_.digest(request);
    if (answer && answer->sender.id != peer_.id) {
      return Error{ErrorKind::kRejected,
                   fmt::format("where {} is looked for, {} ({}) answers", peer_.name, answer->sender.name,
                               to_string(answer->sender.id)),
                   "'mbsync peers' shows which addresses are known"};
    }
    return answer;
  }

 private:
  PeerClient& client_;
  const Member peer_;
};

bool is_chosen(const std::vector<std::string>& globs, const std::string& schema, const std::string& table) {
  return globs.empty() || std::any_of(globs.begin(), globs.end(),
                                      [&](const std::string& glob) { return table_glob_matches(glob, schema, table); });
}

/// Why the table cannot be compared; nothing: both have it.
std::string why_not(const DigestTable* here, const DigestTable* there, const std::string& peer) {
  if (here == nullptr) {
    return fmt::format("there is no such table here, but on {}: run the application's migrations on this machine",
                       peer);
  }
  if (!here->why.empty()) {
    return fmt::format("it takes no part here: {}", here->why);
  }
  if (there == nullptr) {
    return fmt::format("there is no such table on {}: run the application's migrations there", peer);
  }
  return there->why.empty() ? std::string() : fmt::format("it takes no part on {}: {}", peer, there->why);
}

}  // namespace

/// Reads no more rows a second than is wanted, and leaves the databases alone for as long as each piece took.
class Verifier::Pace : public VerifyPace {
 public:
  Pace(VerifyBoard& board, const std::atomic<std::int64_t>& setting, std::optional<std::int64_t> wanted,
       std::stop_token stop)
      : board_(board), setting_(setting), wanted_(wanted), stop_(std::move(stop)) {}

  bool read(std::int64_t rows, std::chrono::nanoseconds took) override {
    const auto rate = wanted_.value_or(setting_);
    if (rate <= 0) {
      return wait(std::chrono::milliseconds{0});
    }
    const std::chrono::duration<double> worth(static_cast<double>(rows) / static_cast<double>(rate));
    const auto rest = std::max<std::chrono::duration<double>>(worth - took, took);
    return wait(std::chrono::ceil<std::chrono::milliseconds>(rest));
  }
  bool wait(std::chrono::milliseconds pause) override { return board_.wait(pause, stop_); }
  void progress(const std::string& /*table*/, std::int64_t rows, std::int64_t estimate) override {
    board_.progress(rows, estimate);
  }

 private:
  VerifyBoard& board_;
  const std::atomic<std::int64_t>& setting_;
  const std::optional<std::int64_t> wanted_;
  const std::stop_token stop_;
};

std::vector<Member> in_turn(std::vector<Member> members, NodeId self) {
  std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.id < b.id; });
  const auto next =
      std::find_if(members.begin(), members.end(), [&](const Member& member) { return self < member.id; });
  std::rotate(members.begin(), next, members.end());
  return members;
}

Verifier::Verifier(PeerContext& context, VerifyBoard& board, VerifySettings settings)
    : context_(context),
      board_(board),
      interval_(settings.interval),
      rows_per_s_(settings.rows_per_s),
      next_try_(Clock::now() + kVerifyFirst) {
  board_.open(true);
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Verifier::~Verifier() {
  ask_to_stop();
}

void Verifier::adopt(VerifySettings settings) {
  interval_ = settings.interval;
  rows_per_s_ = settings.rows_per_s;
}

void Verifier::ask_to_stop() {
  board_.open(false);
  thread_.request_stop();
  const std::lock_guard lock(mutex_);
  if (asking_ != nullptr) {
    asking_->stop();
  }
}

void Verifier::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      if (const auto order = board_.take(kVerifyLook, stop)) {
        run_order(*order, stop);
      } else if (!stop.stop_requested() && is_due()) {
        if (const auto id = board_.begin_scheduled()) {
          run_scheduled(*id, stop);
        }
      }
    } catch (const std::exception& thrown) {
      VerifyReport report;
      report.failure = Error{ErrorKind::kInternal, fmt::format("the comparison has failed: {}", thrown.what()),
                             "look at the memory and at the limits of this machine"};
      finish(std::move(report));
    }
  }
}

bool Verifier::is_due() {
  const auto interval = interval_.load();
  if (interval.count() == 0 || Clock::now() < next_try_) {
    return false;
  }
  next_try_ = Clock::now() + kVerifyAgain;
  const auto known = context_.shared.store.verdicts();
  if (!known) {
    report_failure(known.error(), "looking when rows were compared last");
    return false;
  }
  const bool never =
      std::all_of(known->begin(), known->end(), [](const VerifyNote& note) { return note.finished_at.empty(); });
  if (never && Clock::now() - started_ < kVerifyNew) {
    return false;
  }
  const double wanted = std::chrono::duration<double>(interval).count();
  return std::none_of(known->begin(), known->end(),
                      [&](const VerifyNote& note) { return !note.finished_at.empty() && note.age_s < wanted; });
}

void Verifier::run_scheduled(std::uint64_t id, const std::stop_token& stop) {
  VerifyReport report;
  report.id = id;
  report.scheduled = true;
  report.begun_at = now_iso();
  auto members = context_.shared.store.other_members();
  if (members) {
    for (const auto& peer : in_turn(std::move(*members), context_.shared.store.self().id)) {
      auto verdict = compare_with(peer, VerifyOrder{}, true, stop);
      const bool reached = !verdict.tables.empty();
      report.peers.push_back(std::move(verdict));
      if (reached || stop.stop_requested() || board_.given_up()) {
        break;
      }
    }
    // Who cannot be reached is told of elsewhere, where another one could be.
    if (!report.peers.empty() && !report.peers.back().tables.empty()) {
      report.peers.erase(report.peers.begin(), report.peers.end() - 1);
    }
  } else {
    report.failure = members.error();
  }
  finish(std::move(report));
}

void Verifier::run_order(const VerifyBoard::Order& order, const std::stop_token& stop) {
  VerifyReport report;
  report.id = order.id;
  report.begun_at = now_iso();
  const auto members = members_in(order.what.peers);
  if (members) {
    for (const auto& peer : *members) {
      report.peers.push_back(compare_with(peer, order.what, false, stop));
      if (stop.stop_requested() || board_.given_up()) {
        report.failure = Error{ErrorKind::kCancelled, "the comparison was ended before it was done", ""};
        break;
      }
    }
  } else {
    report.failure = members.error();
  }
  finish(std::move(report));
}

Result<std::vector<Member>> Verifier::members_in(const std::vector<std::string>& names) {
  auto all = context_.shared.store.other_members();
  MBSYNC_TRY(all);
  if (all->empty()) {
    return Error{ErrorKind::kNotFound, "this node knows no other member to compare with",
                 "'mbsync peers' shows whom it knows"};
  }
  if (names.empty()) {
    return all;
  }
  std::vector<Member> chosen;
  for (const auto& name : names) {
    std::vector<Member> found;
    std::copy_if(all->begin(), all->end(), std::back_inserter(found),
                 [&](const Member& member) { return to_string(member.id) == name || member.name == name; });
    if (found.size() != 1) {
      return Error{
          ErrorKind::kNotFound,
          fmt::format("{} called '{}'", found.empty() ? "there is no other member" : "there are two members", name),
          "'mbsync peers' shows their names and ids; either is taken"};
    }
    if (std::find(chosen.begin(), chosen.end(), found.front()) == chosen.end()) {
      chosen.push_back(found.front());
    }
  }
  return chosen;
}

std::vector<PeerAddress> Verifier::addresses_of(NodeId node) {
  std::vector<PeerAddress> addresses;
  const auto add = [&](const PeerAddress& address) {
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(address);
    }
  };
  for (const auto& peer : context_.directory.peers()) {
    if (peer.node == node) {
      std::for_each(peer.addresses.begin(), peer.addresses.end(), add);
    }
  }
  if (const auto remembered = context_.shared.store.remembered_addresses()) {
    for (const auto& note : *remembered) {
      if (note.node == node) {
        add(note.address);
      }
    }
  }
  return addresses;
}

PeerVerdict Verifier::compare_with(const Member& peer, const VerifyOrder& order, bool scheduled,
                                   const std::stop_token& stop) {
  PeerVerdict verdict;
  verdict.peer = peer;
  board_.at_peer(peer.name, 0);
  auto addresses = addresses_of(peer.id);
  if (const auto allowed = context_.allowed.check(peer, context_.shared.store.self()); !allowed) {
    verdict.failure = allowed.error();
  } else if (addresses.empty()) {
    verdict.failure = Error{ErrorKind::kTransient, fmt::format("no address of {} is known", peer.name),
                            "it has to be seen on the local network, or be named with --peer"};
  } else {
    PeerClient client(std::move(addresses), context_.keys, {}, context_.own);
    struct Asking {
      Verifier& verifier;
      ~Asking() {
        const std::lock_guard lock(verifier.mutex_);
        verifier.asking_ = nullptr;
      }
    };
    const Asking asking{*this};
    {
      const std::lock_guard lock(mutex_);
      asking_ = &client;
    }
    if (stop.stop_requested()) {
      client.stop();
    }
    PeerRows theirs(client, peer);
    Pace pace(board_, rows_per_s_, order.rows_per_s, stop);
    const auto done = compare_tables(verdict, theirs, order, pace);
    if (const auto& reached = client.reached()) {
      verdict.address = to_string(*reached);
    }
    if (!done) {
      verdict.failure = done.error();
    }
  }
  tell(verdict, scheduled);
  return verdict;
}

Result<void> Verifier::compare_tables(PeerVerdict& verdict, DigestSource& theirs, const VerifyOrder& order,
                                      Pace& pace) {
  auto& store = context_.shared.store;
  OwnRows mine(store);
  DigestRequest which;
  which.sender = store.self();
  const auto there = theirs.ask(which);
  MBSYNC_TRY(there);
  const auto here = mine.ask(which);
  MBSYNC_TRY(here);
  using Name = std::pair<std::string, std::string>;
  std::map<Name, std::pair<const DigestTable*, const DigestTable*>> tables;
  for (const auto& table : here->tables) {
    tables[{table.schema, table.name}].first = &table;
  }
  for (const auto& table : there->tables) {
    tables[{table.schema, table.name}].second = &table;
  }
  std::erase_if(tables,
                [&](const auto& entry) { return !is_chosen(order.tables, entry.first.first, entry.first.second); });
  if (tables.empty() && !order.tables.empty()) {
    return Error{ErrorKind::kNotFound, "no table fits what was asked for", "'mbsync status --json' lists the tables"};
  }
  board_.at_peer(verdict.peer.name, tables.size());
  TableComparison comparison(mine, theirs, store.self(), pace);
  for (const auto& [name, sides] : tables) {
    const auto display = fmt::format("{}.{}", name.first, name.second);
    board_.at_table(display, verdict.tables.size());
    TableVerdict table;
    table.table = display;
    table.why = why_not(sides.first, sides.second, verdict.peer.name);
    if (table.why.empty()) {
      auto compared = comparison.compare(name.first, name.second);
      MBSYNC_TRY(compared);
      table = std::move(*compared);
      if (order.repair && !table.differences.empty()) {
        auto repaired = repair_rows(mine, theirs, comparison.about(), table.differences, now_micros(), pace);
        MBSYNC_TRY(repaired);
        for (const auto& [why, rows] : repaired->trouble) {
          verdict.repair_trouble.push_back(fmt::format("{}: {} of {}", why, rows_of(rows), display));
        }
        if (!repaired->repaired.empty()) {
          // What is so from now on is what counts.
          compared = comparison.compare(name.first, name.second);
          MBSYNC_TRY(compared);
          table = std::move(*compared);
          table.repaired = std::move(repaired->repaired);
          verdict.repaired += static_cast<std::int64_t>(table.repaired.size());
        }
      }
    }
    const bool broken_off = table.state == TableVerdict::State::kNotCompared || !table.why.empty();
    verdict.tables.push_back(table);
    if (auto stored = store.store_verdicts({verdict.peer, false, "", 0, {note_of(table)}}); !stored) {
      return stored.error();
    }
    // It may be the table, and it may be that nobody is there any more.
    if (broken_off) {
      MBSYNC_TRY(theirs.ask(which));
      MBSYNC_TRY(mine.ask(which));
    }
  }
  if (order.tables.empty()) {
    VerifyNote note{verdict.peer, true};
    for (const auto& table : verdict.tables) {
      note.tables.push_back(note_of(table));
    }
    return store.store_verdicts(note);
  }
  return {};
}

void Verifier::tell(const PeerVerdict& verdict, bool scheduled) {
  const auto differences = verdict.differences();
  auto& activity = context_.shared.activity;
  const auto name = log_value(verdict.peer.name);
  if (verdict.failure) {
    if (verdict.failure->kind != ErrorKind::kCancelled && !scheduled) {
      log_warning(kDomain, "rows could not be compared to the end peer={} reason={}", name,
                  log_value(verdict.failure->text()));
    } else if (verdict.failure->kind != ErrorKind::kCancelled) {
      report_failure(*verdict.failure, fmt::format("comparing rows with {}", name));
    }
  }
  if (differences > 0) {
    for (const auto& table : verdict.tables) {
      if (!table.differences.empty()) {
        log_warning(kDomain,
                    "rows differ: 'mbsync verify' shows which, and with --repair gives them to the rules "
                    "peer={} table={} rows={}",
                    name, log_value(table.table), table.differences.size());
      }
    }
    activity.event("rows_differ",
                   fmt::format("{} differ{} from {}'s although both have the same writes", rows_of(differences),
                               differences == 1 ? "s" : "", verdict.peer.name),
                   verdict.peer.name, {{"rows", differences}});
  }
  if (verdict.repaired > 0) {
    log_info(kDomain, "rows that differed were given to the rules peer={} rows={}", name, verdict.repaired);
    activity.event("rows_repaired",
                   fmt::format("{} that differed from {}'s {} given to the rules", rows_of(verdict.repaired),
                               verdict.peer.name, verdict.repaired == 1 ? "was" : "were"),
                   verdict.peer.name, {{"rows", verdict.repaired}});
  }
  if (!verdict.tables.empty()) {
    log_info(kDomain, "rows compared peer={} tables={} rows={} different={} undecided={} tables_not_compared={}", name,
             verdict.tables.size(), verdict.rows(), differences, verdict.undecided(), verdict.not_compared());
    if (verdict.equal()) {
      activity.event("rows_compared",
                     fmt::format("{} rows were compared with {}: all are the same", verdict.rows(), verdict.peer.name),
                     verdict.peer.name, {{"rows", verdict.rows()}});
    }
  }
}

void Verifier::report_failure(const Error& error, std::string_view what) {
  if (failures_.is_news(error.text())) {
    log_info(kDomain, "{} failed, it is tried again reason={}", what, log_value(error.log_text()));
  }
}

void Verifier::finish(VerifyReport report) {
  report.finished_at = now_iso();
  board_.finished(std::move(report));
}

}  // namespace mbsync
