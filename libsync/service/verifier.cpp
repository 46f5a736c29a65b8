#include "verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "log.h"
#include "tuning.h"
#include "verify_peer.h"
#include "words.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"verify"};

using Clock = std::chrono::steady_clock;

std::string now_iso() {
  return iso_of(std::chrono::system_clock::now());
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
  void progress(std::int64_t rows, std::int64_t estimate) override { board_.progress(rows, estimate); }

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
  board_.open(true, [this] { give_up_asking(); });
  thread_ = std::jthread([this] { run(ending_.get_token()); });
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
  ending_.request_stop();
  give_up_asking();
}

/// What is asked of others, which may take them a minute.
void Verifier::give_up_asking() {
  const std::lock_guard lock(mutex_);
  if (ending_.stop_requested() || board_.given_up()) {
    std::for_each(asking_.begin(), asking_.end(), [](PeerClient* client) { client->stop(); });
  }
}

void Verifier::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    VerifyReport report;
    try {
      if (const auto order = board_.take(kVerifyLook, stop)) {
        report.id = order->id;
        run_order(*order, stop);
      } else if (!stop.stop_requested() && is_due()) {
        if (const auto id = board_.begin_scheduled()) {
          report.id = *id;
          report.scheduled = true;
          run_scheduled(*id, stop);
        }
      }
    } catch (const std::exception& thrown) {
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
        report.failure = comparison_given_up();
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

/// A way to a member's rows, for as long as it lives; given up with all that the verifier does.
class Verifier::Way : public DigestSource {
 public:
  Way(Verifier& verifier, Member peer) : verifier_(verifier), peer_(std::move(peer)) {
    auto addresses = verifier.addresses_of(peer_.id);
    if (const auto allowed = verifier.context_.allowed.check(peer_, verifier.context_.shared.store.self()); !allowed) {
      trouble_ = allowed.error();
    } else if (addresses.empty()) {
      trouble_ = Error{ErrorKind::kTransient, fmt::format("no address of {} is known", peer_.name),
                       "it has to be seen on the local network, or be named with --peer"};
    } else {
      client_.emplace(std::move(addresses), verifier.context_.keys, PeerPatience{}, verifier.context_.own);
      const std::lock_guard lock(verifier.mutex_);
      verifier.asking_.push_back(&*client_);
      if (verifier.ending_.stop_requested() || verifier.board_.given_up()) {
        client_->stop();
      }
    }
  }
  ~Way() override {
    const std::lock_guard lock(verifier_.mutex_);
    std::erase(verifier_.asking_, client_ ? &*client_ : nullptr);
  }
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;

  [[nodiscard]] const std::optional<Error>& trouble() const { return trouble_; }
  [[nodiscard]] std::string reached() const {
    return client_ && client_->reached() ? to_string(*client_->reached()) : std::string();
  }
  Result<DigestAnswer> ask(const DigestRequest& request) override {
    if (trouble_) {
      return *trouble_;
    }
    auto answer = client_->digest(request);
    // It has to be who it is taken for.
    if (answer && answer->sender.id != peer_.id) {
      // In doubt, and not refused: whoever that is may have done what was asked.
      return Error{ErrorKind::kInDoubt,
                   fmt::format("where {} is looked for, {} ({}) answers", peer_.name, answer->sender.name,
                               to_string(answer->sender.id)),
                   "'mbsync peers' shows which addresses are known"};
    }
    return answer;
  }

 private:
  Verifier& verifier_;
  const Member peer_;
  std::optional<PeerClient> client_;
  std::optional<Error> trouble_;
};

PeerVerdict Verifier::compare_with(const Member& peer, const VerifyOrder& order, bool scheduled,
                                   const std::stop_token& stop) {
  PeerVerdict verdict;
  verdict.peer = peer;
  board_.at_peer(peer.name, 0);
  Way theirs(*this, peer);
  if (theirs.trouble()) {
    verdict.failure = theirs.trouble();
  } else {
    Pace pace(board_, rows_per_s_, order.rows_per_s, stop);
    const PeerComparison::Basis basis{context_.shared.store, board_, pace,
                                      [this](const Member& member) { return std::make_unique<Way>(*this, member); }};
    const auto done = PeerComparison(basis, verdict, theirs, order, scheduled).run();
    verdict.address = theirs.reached();
    if (!done) {
      verdict.failure = done.error();
    }
  }
  tell(verdict, scheduled);
  return verdict;
}

void Verifier::tell(const PeerVerdict& verdict, bool scheduled) {
  const auto differences = verdict.differences();
  auto& activity = context_.shared.activity;
  const auto name = log_value(verdict.peer.name);
  if (verdict.failure) {
    if (verdict.failure->kind != ErrorKind::kCancelled && !scheduled) {
      log_warning(kDomain, "rows could not be compared to the end peer={} reason={}", name,
                  log_value(verdict.failure->log_text()));
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
