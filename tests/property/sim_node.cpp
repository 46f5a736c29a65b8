#include "sim_node.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "base_row.h"
#include "value_order.h"

namespace mbsync::sim {

namespace {

// Rows about members (C22).
constexpr ColumnNumber kIsAway = 1;
constexpr ColumnNumber kWantsBack = 2;
constexpr ColumnNumber kTaken = 3;  // up to which counter somebody who has come back had its writes
const Value kAway{"away"};
const Value kKept{"kept"};  // it was never agreed that it is away

constexpr std::size_t kValueBytesMax = 10'000;

Key about(NodeId member) {
  return -static_cast<Key>(member.value);
}

std::vector<Dot> dots_of(const std::vector<StoredWrite>& writes) {
  std::vector<Dot> dots;
  dots.reserve(writes.size());
  for (const StoredWrite& write : writes) {
    dots.push_back(write.dot);
  }
  return dots;
}

/// Of what is said about a member: those writes that say whether it is away.
std::vector<Dot> dots_about(const std::vector<StoredWrite>& writes) {
  std::vector<Dot> dots;
  for (const StoredWrite& write : writes) {
    if (write.columns.contains(kIsAway)) {
      dots.push_back(write.dot);
    }
  }
  return dots;
}

class Rules : public Rulebook {
 public:
  Rules() {
    const ColumnType number{ValueKind::kNumber, {}};
    for (RowRules& rules : versions_) {
      rules.types = {{1, number}, {2, number}, {3, number}};
    }
    versions_[1].columns = {{1, {Rule::kMax, ""}}, {2, {Rule::kSum, ""}}, {3, {Rule::kFirstWriterWins, ""}}};
    versions_[2].groups = {{1, 3}};
    versions_[2].columns = {{2, {Rule::kSum, ""}}, {3, {Rule::kNodePriority, ""}}};
    versions_[2].ranks = {{NodeId{1}, 2}, {NodeId{2}, 1}, {NodeId{3}, 2}};
    versions_[2].on_delete = DeleteRule::kDeleteWins;
    versions_[3].columns = {{1, {Rule::kAppend, ""}}, {2, {Rule::kMin, ""}}, {3, {Rule::kPreferNonNull, ""}}};
    versions_[4].groups = {{1, 2, 3}};
    versions_[4].all = {Rule::kManual, ""};
  }
  [[nodiscard]] const RowRules& rules(PolicyVersion version) const override {
    return versions_[static_cast<std::size_t>(version)];
  }
  [[nodiscard]] bool readable(const Value&) const override { return true; }
  [[nodiscard]] std::optional<Value> call(const ColumnRule&, ColumnNumber, const Siblings&) const override {
    return std::nullopt;
  }

 private:
  std::array<RowRules, static_cast<std::size_t>(kPolicies)> versions_;
};

// Fault::kOwnPolicy.
class OwnRules : public Rulebook {
 public:
  explicit OwnRules(PolicyVersion own) : own_(own) {}
  [[nodiscard]] const RowRules& rules(PolicyVersion) const override { return rules_of_simulation().rules(own_); }
  [[nodiscard]] bool readable(const Value&) const override { return true; }
  [[nodiscard]] std::optional<Value> call(const ColumnRule&, ColumnNumber, const Siblings&) const override {
    return std::nullopt;
  }

 private:
  PolicyVersion own_;
};

// As the product's trigger does; see TableSql::differences().
std::optional<Decimal> difference(const Value& before, const Value& after) {
  const auto a = before ? Decimal::parse(*before) : std::nullopt;
  const auto b = after ? Decimal::parse(*after) : std::nullopt;
  return a && b ? std::optional<Decimal>(*b - *a) : std::nullopt;
}

}  // namespace

const Rulebook& rules_of_simulation() {
  static const Rules kRules;
  return kRules;
}

std::optional<Values> base_of(std::optional<Values> row, const Counters& counters) {
  if (row) {
    subtract_sums(*row, shown_of(counters));
  }
  return row;
}

RowState read_back(const std::vector<StoredWrite>& stored, const std::optional<Values>& shown,
                   const Counters& counters) {
  RowState state;
  const auto row = base_of(shown, counters);
  for (const StoredWrite& write : stored) {
    Write full{write.dot, write.at, write.columns, write.deleted, {}, write.policy};
    for (const ColumnNumber column : write.columns.numbers()) {
      if (column == kRowMark) {
        continue;
      }
      // Where a fault left a value out, NULL stands for it, so that the fault shows as other rows and not as a crash.
      const std::optional<Values>& source = write.kept.has_value() ? write.kept : row;
      full.values[column] = source.has_value() && source->contains(column) ? source->at(column) : Value{};
    }
    if (write.kept.has_value()) {
      subtract_sums(full.values, write.sums);
    }
    state.writes.push_back(std::move(full));
  }
  return state;
}

std::string to_string(const std::map<Key, Values>& rows) {
  std::string text;
  for (const auto& [key, values] : rows) {
    text += "  row " + std::to_string(key) + ":";
    for (const auto& [column, value] : values) {
      text += " " + std::to_string(column) + "=" + value.value_or("NULL");
    }
    text += "\n";
  }
  return text.empty() ? "  (no rows)\n" : text;
}

Node::Node(NodeId id, std::vector<ColumnNumber> columns, const std::set<NodeId>& fleet, Fault fault)
    : id_(id), columns_(std::move(columns)), fault_(fault), members_(fleet) {
  members_.insert(id);
}

// What is said about members is judged alike whatever the policy is.
const Rulebook& Node::book(Key key) const {
  if (key < 0) {
    return built_in_rules();
  }
  static const OwnRules kOwn[kPolicies] = {OwnRules(0), OwnRules(1), OwnRules(2), OwnRules(3), OwnRules(4)};
  return fault_ == Fault::kOwnPolicy ? kOwn[policy_] : rules_of_simulation();
}

bool Node::increase(Key key, ColumnNumber column, const Decimal& by, WriteTime at) {
  const auto row = rows_.find(key);
  if (row == rows_.end() || held_.contains(key) || !row->second[column]) {
    return false;
  }
  const auto number = Decimal::parse(*row->second[column]);
  if (!number) {
    return false;
  }
  write(key, {{column, (*number + by).to_string()}}, at);
  return true;
}

const RowRules& Node::rules_now(Key key) const {
  return key < 0 ? built_in_rules().rules(kBuiltInPolicy) : rules_of_simulation().rules(policy_);
}

void Node::say(NodeId member, const Value& away, const Value& back, WriteTime at) {
  write(about(member), {{kIsAway, away}, {kWantsBack, back}}, at);
}

Value Node::said(NodeId member, ColumnNumber what) const {
  const auto row = rows_.find(about(member));
  return row == rows_.end() ? Value{} : row->second.at(what);
}

bool Node::is_away(NodeId member) const {
  return said(member, kIsAway) == kAway;
}

void Node::declare_away(NodeId member, WriteTime at) {
  seal();
  if (may_be_away(membership(), member)) {
    frozen_ = report();
    say(member, kAway, Value{}, at);
    declared_.insert(member);
  }
}

AwayNodes Node::away() const {
  AwayNodes away;
  for (const NodeId member : members_) {
    if (!is_away(member)) {
      continue;
    }
    auto& dots = away[member];
    if (const auto writes = change_.find(about(member)); writes != change_.end()) {
      dots = dots_about(writes->second);
    }
    if (capture_.contains(about(member))) {
      dots.push_back(unsealed_write(id_));
    }
  }
  return away;
}

bool Node::has_unseen_of(NodeId origin) const {
  return std::any_of(change_.begin(), change_.end(), [&](const auto& entry) {
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [&](const StoredWrite& write) { return write.unseen && write.dot.origin == origin; });
  });
}

std::set<NodeId> Node::gone() const {
  return membership().gone;
}

Membership Node::membership() const {
  Membership fleet{id_, members_, away(), {}};
  for (const auto& [member, dots] : fleet.away) {
    if (agreed_.contains(member)) {
      fleet.gone.insert(member);
    }
    if (said(member, kWantsBack)) {
      fleet.wishing.insert(member);
    }
  }
  return fleet;
}

void Node::look_after_away(WriteTime at) {
  std::erase_if(agreed_, [&](NodeId member) { return !is_away(member); });
  // Who is there is rather taken back than agreed upon, while that can be chosen.
  const Membership before = membership();
  for (auto member = declared_.begin(); member != declared_.end();) {
    const bool over = !speaks_for(before, *member);
    const bool taken_back = !over && !agreed_.contains(*member) && said(*member, kWantsBack);
    if (taken_back) {
      say(*member, kKept, Value{}, at);
    }
    member = over || taken_back ? declared_.erase(member) : std::next(member);
  }
  Membership asked = membership();
  for (auto& [node, dots] : asked.away) {
    if (fault_ == Fault::kAwayAtOnce) {
      dots.clear();
    }
  }
  for (const NodeId member : agreed_away(asked, seen_, reports_)) {
    if (!has_unseen_of(member)) {
      agreed_.insert(member);
    }
  }
  for (const NodeId was : former_) {
    if (!is_away(was)) {
      say(was, kAway, Value{}, at);
    }
  }
  seal();
}

void Node::publish(PolicyVersion policy) {
  seal();  // what was captured is sealed under the policy that it was captured under
  policy_ = std::max(policy_, policy);
}

Counters Node::counters(Key key) const {
  const auto found = counters_.find(key);
  return found == counters_.end() ? Counters{} : found->second;
}

void Node::write(Key key, const Values& values, WriteTime at) {
  if (held_.contains(key)) {
    return;  // waits for the transaction that holds the row, and is given up
  }
  const bool inserted = !rows_.contains(key);
  Values& row = rows_[key];
  Captured captured{at, {kRowMark}, {}};
  if (inserted) {
    for (const ColumnNumber column : columns_) {
      row[column] = Value{};
      captured.columns.insert(column);
    }
  }
  const RowRules& rules = rules_now(key);
  for (const auto& [column, value] : values) {
    const auto added = difference(row[column], value);
    if (!inserted && added && rules.rule_of(column).rule == Rule::kSum) {
      captured.sums[column] = *added;
    } else {
      captured.columns.insert(column);
    }
    row[column] = value;
  }
  capture(key, std::move(captured));
}

void Node::erase(Key key, WriteTime at) {
  const auto found = rows_.find(key);
  if (found == rows_.end() || held_.contains(key)) {
    return;
  }
  Captured captured{at, {kRowMark}, found->second};
  for (const ColumnNumber column : columns_) {
    captured.columns.insert(column);
  }
  rows_.erase(found);
  capture(key, std::move(captured));
}

bool Node::hold(Key key, const Values& values, WriteTime at) {
  return held_.try_emplace(key, values, at).second;
}

void Node::release(Key key) {
  const auto found = held_.find(key);
  if (found != held_.end()) {
    const auto [values, at] = found->second;
    held_.erase(found);
    write(key, values, at);
  }
}

void Node::release_all() {
  while (!held_.empty()) {
    release(held_.begin()->first);
  }
}

void Node::settle_unseen() {
  seal();
  std::vector<Key> keys;
  for (const auto& [key, writes] : change_) {
    const bool unseen =
        std::any_of(writes.begin(), writes.end(), [](const StoredWrite& write) { return write.unseen; });
    if (unseen && !held_.contains(key)) {
      keys.push_back(key);
    }
  }
  for (const Key key : keys) {
    settle_row(key, state(key), counters(key), base_of(row(key), counters(key)), std::nullopt);
  }
}

void Node::capture(Key key, Captured captured) {
  capture_[key].push_back(std::move(captured));
}

void Node::seal() {
  if (capture_.empty()) {
    return;
  }
  const Dot dot{id_, seen_.counter(id_) + 1};
  for (const auto& [key, captured] : capture_) {
    Write write{dot, captured.back().at, {}, captured.back().deleted_row.has_value(), {}};
    write.policy = policy_;
    for (const Captured& one : captured) {
      write.columns = write.columns.unite(one.columns);
      for (const auto& [column, sum] : one.sums) {
        Contribution& own = counters_[key][column][id_];
        own = Contribution{dot.counter, own.total + sum, own.shown + sum};
      }
    }
    for (const ColumnSet& group : rules_now(key).groups) {
      write.columns = write.columns.intersect(group).empty() ? write.columns : write.columns.unite(group);
    }
    write.values = captured.back().deleted_row.value_or(Values{});

    // As the product's statement does: the older writes lose columns where they stand. Their values are not looked at,
    // since the row no longer shows those that were overwritten.
    std::vector<StoredWrite>& stored = change_[key];
    RowState state;
    std::map<Dot, Sums> kept;
    std::vector<StoredWrite> unseen;
    for (const StoredWrite& older : stored) {
      if (older.unseen && fault_ != Fault::kSealOverUnseen) {
        unseen.push_back(older);
        continue;
      }
      state.writes.push_back(
          {older.dot, older.at, older.columns, older.deleted, older.kept.value_or(Values{}), older.policy});
      if (older.kept.has_value()) {
        kept.emplace(older.dot, older.sums);
      }
    }
    if (write.deleted && fault_ != Fault::kKeepNothing) {
      kept.emplace(dot, shown_of(counters(key)));
    }
    overwrite(state, std::move(write));
    stored.clear();
    for (Write& live : state.writes) {
      std::optional<Values> values;
      Sums sums;
      if (const auto found = kept.find(live.dot); found != kept.end()) {
        values = std::move(live.values);
        sums = found->second;
      }
      stored.push_back({live.dot, live.at, live.columns, live.deleted, std::move(values), false, live.policy, sums});
    }
    stored.insert(stored.end(), unseen.begin(), unseen.end());
    std::sort(stored.begin(), stored.end(), [](const StoredWrite& a, const StoredWrite& b) { return a.dot < b.dot; });
  }
  capture_.clear();
  seen_.advance(dot);
}

VersionVector Node::report() const {
  // Nobody else can agree before this node has found that all have heard it; so it may take it back until then.
  const bool pending = std::any_of(declared_.begin(), declared_.end(),
                                   [&](NodeId member) { return is_away(member) && !agreed_.contains(member); });
  if (pending) {
    return frozen_;
  }
  auto counters = seen_.counters();
  const AwayNodes away_now = away();
  const auto leave_out = [&](const Dot& dot) {
    if (dot.origin != id_) {
      auto& counter = counters[dot.origin];
      counter = std::min(counter, dot.counter - 1);
    }
  };
  for (const auto& [key, writes] : change_) {
    for (const StoredWrite& write : writes) {
      if (write.unseen && fault_ != Fault::kReportUnseen) {
        leave_out(write.dot);
        // That its author is away would say that all of that one's writes are here.
        if (const auto entry = away_now.find(write.dot.origin); entry != away_now.end()) {
          std::for_each(entry->second.begin(), entry->second.end(), leave_out);
        }
      }
    }
  }
  return VersionVector(std::move(counters));
}

PullRequest Node::request() const {
  auto reports = reports_;
  reports[id_] = report();
  return {id_, seen_, members_, std::move(reports)};
}

PullAnswer Node::answer(const PullRequest& request, WriteTime at) {
  seal();
  const NodeId asker = request.was.value_or(request.sender);
  // Who brings somebody back would be noticed by that, and what the fault does made good.
  const bool any_taken =
      fault_ == Fault::kTakeFromAway || fault_ == Fault::kComeBackInStep || fault_ == Fault::kAwayAtOnce;
  const auto would_bring = [&] {
    return !any_taken && !is_away(id_) && !request.was && !is_away(asker) &&
           brings_somebody_back(membership(), seen_, request.seen);
  };
  bool brings = would_bring();
  // What somebody says who has no part in the fleet counts for nothing.
  if (any_taken || !(brings || gone().contains(asker))) {
    learn(asker, request.members, request.reports);
  }
  members_.insert(asker);
  look_after_away(at);
  brings = brings || would_bring();
  if (brings) {
    say(asker, kAway, Value{}, at);  // and nobody takes it back
    look_after_away(at);
  }
  if (is_away(asker) && !agreed_.contains(asker) && !said(asker, kWantsBack)) {
    write(about(asker), {{kWantsBack, "back"}}, at);
    look_after_away(at);
  }
  const auto stay = staying(membership());
  const bool in_step = fault_ == Fault::kComeBackInStep;
  const bool is_gone = is_away(asker) && agreed_.contains(asker) && !in_step;
  const bool out = is_away(id_) && request.was;
  if (out || (brings && !is_away(asker)) ||
      (is_away(asker) ? !in_step && !(is_gone && request.was) : request.was.has_value())) {
    PullAnswer none{id_, request.seen, {}, {}, false, {}, !is_gone, is_gone, stay, {}, kBuiltInPolicy, {}, {}, {}, {}};
    return none;
  }
  members_.insert(request.sender);
  // An asker that knows nobody is joining. Two nodes that are alone meet as equals, since nobody has forgotten
  // anything.
  const bool joining = request.members.size() == 1 && members_.size() > 2 && fault_ != Fault::kJoinAsSiblings;
  const bool full = joining || request.was || !request.seen.covers(forgotten_);
  PullAnswer answer{id_,  seen_,  members_, reports_, full, forgotten_, false, false,
                    stay, gone(), policy_,  {},       {},   {},         {}};
  answer.outside.insert({asker, request.sender});
  answer.asker = request.sender;
  answer.at = at;
  answer.asked = request.seen;
  answer.reports[id_] = report();
  for (const auto& [key, writes] : change_) {
    const bool lacking = std::any_of(writes.begin(), writes.end(),
                                     [&request](const StoredWrite& write) { return !request.seen.covers(write.dot); });
    if (lacking || answer.full) {
      answer.rows[key] = {writes, row(key), fault_ == Fault::kAddAsWritten ? Counters{} : counters(key)};
    }
  }
  if (answer.full) {
    for (const auto& [key, values] : rows_) {
      answer.rows.try_emplace(key, ShippedRow{{}, values, counters(key)});
    }
    for (const auto& [key, shares] : counters_) {
      answer.rows.try_emplace(key, ShippedRow{{}, std::nullopt, shares});
    }
  }
  return answer;
}

bool Node::apply(const PullAnswer& answer, std::optional<NodeId> as) {
  if (answer.refused || answer.gone || answer.asker != as.value_or(id_)) {
    return false;
  }
  if (answer.full) {
    release_all();  // a row without live writes cannot be set aside, so a joining node waits
    settle_unseen();
  }
  if (fault_ != Fault::kSealLate) {
    seal();
  }
  const bool yields = as && yields_to(answer);
  if (as && !yields) {
    return false;
  }
  const bool moved_on =
      answer.full && std::any_of(seen_.counters().begin(), seen_.counters().end(), [&](const auto& entry) {
        return entry.first != id_ && answer.asked.counter(entry.first) < entry.second;
      });
  if (moved_on ||
      (!as && fault_ != Fault::kTakeFromAway && fault_ != Fault::kAwayAtOnce && !is_away(id_) &&
       brings_somebody_back(membership(), seen_, answer.seen)) ||
      (is_away_after(answer.sender, answer) && !yields && fault_ != Fault::kTakeFromAway &&
       fault_ != Fault::kComeBackInStep) ||
      (fault_ != Fault::kTakeStaleRows && !answer.seen.covers(forgotten_))) {
    return false;
  }
  std::map<NodeId, std::int64_t> had;
  if (as) {
    had = seen_.counters();
    become(*as, answer);
  }
  policy_ = std::max(policy_, answer.policy);
  if (answer.full) {
    std::map<Key, ShippedRow> all = answer.rows;
    for (const auto& [key, values] : rows_) {
      all.try_emplace(key);
    }
    for (const auto& [key, writes] : change_) {
      all.try_emplace(key);
    }
    for (const auto& [key, shipped] : all) {
      apply_base(key, shipped, answer);
    }
  } else {
    for (const auto& [key, shipped] : answer.rows) {
      apply_row(key, shipped, answer);
    }
  }
  seen_.merge(answer.seen);
  forgotten_.merge(answer.forgotten);
  for (const NodeId member : as ? answer.outside : std::set<NodeId>{}) {
    if (rows_.contains(about(member)) && taken_of(answer).counter(member) < had[member]) {
      write(about(member), {{kTaken, std::to_string(had[member])}}, answer.at);
    }
  }
  learn(answer.sender, answer.members, answer.reports);
  look_after_away(answer.at);
  return true;
}

bool Node::yields_to(const PullAnswer& answer) const {
  return comes_back_to(membership(), answer.sender, answer.staying);
}

bool Node::is_away_after(NodeId member, const PullAnswer& answer) const {
  const Key key = about(member);
  const auto shipped = answer.rows.find(key);
  if (shipped == answer.rows.end()) {
    return is_away(member);
  }
  const auto& [writes, theirs, counters] = shipped->second;
  const RowState merged = join(state(key), seen_, read_back(writes, theirs, counters), answer.seen);
  const Outcome outcome = settle(merged, columns_, row(key), theirs, book(key));
  return outcome.exists && outcome.values.at(kIsAway) == kAway;
}

// What nobody else has of those who are away is from now on this node's, under its new name. Not so what they have
// added to counters: two that come back may both have it, and it counts once. And who is away, those say whom it joins.
// What somebody else who was away with this node has brought along already, is not brought once more.
void Node::become(NodeId next, const PullAnswer& answer) {
  const VersionVector taken = taken_of(answer);
  const auto is_own = [&](const StoredWrite& write) {
    return answer.outside.contains(write.dot.origin) && !answer.seen.covers(write.dot);
  };
  std::map<Dot, Dot> renamed;
  for (auto& [key, writes] : change_) {
    std::erase_if(writes, [&, about_member = key < 0](const StoredWrite& write) {
      return is_own(write) && (about_member || taken.covers(write.dot));
    });
    for (const StoredWrite& write : writes) {
      if (is_own(write)) {
        renamed[write.dot];
      }
    }
  }
  std::erase_if(change_, [](const auto& entry) { return entry.second.empty(); });
  std::int64_t counter = 0;
  for (auto& [from, to] : renamed) {
    to = Dot{next, ++counter};
  }
  for (auto& [key, writes] : change_) {
    for (StoredWrite& write : writes) {
      if (const auto place = renamed.find(write.dot); place != renamed.end()) {
        write.dot = place->second;
      }
    }
    std::sort(writes.begin(), writes.end(), [](const StoredWrite& a, const StoredWrite& b) { return a.dot < b.dot; });
  }
  auto counters = seen_.counters();
  for (const NodeId outside : answer.outside) {
    counters[outside] = std::min(seen_.counter(outside), answer.seen.counter(outside));
  }
  counters[next] = counter;
  std::erase_if(counters, [](const auto& entry) { return entry.second == 0; });
  seen_ = VersionVector(std::move(counters));
  former_.insert(std::exchange(id_, next));
  members_.insert(next);
  declared_.clear();
  // What the fleet has agreed upon holds here from the start: who has joined by this node may still have writes of who
  // it was, and they are not to come in under that name.
  agreed_ = answer.outside;
  agreed_.erase(next);
}

VersionVector Node::taken_of(const PullAnswer& answer) {
  VersionVector taken;
  for (const auto& [key, shipped] : answer.rows) {
    if (key < 0 && shipped.row && shipped.row->at(kTaken)) {
      taken.advance(Dot{NodeId{-key}, std::stoll(*shipped.row->at(kTaken))});
    }
  }
  return taken;
}

void Node::apply_row(Key key, const ShippedRow& shipped, const PullAnswer& answer) {
  const RowState mine = state(key);
  const RowState theirs = read_back(shipped.writes, shipped.row, shipped.counters);
  const Counters added = join(counters(key), shipped.counters);
  check_same_values(mine, theirs, added);
  const RowState merged = join(mine, seen_, theirs, answer.seen);
  if (held_.contains(key)) {
    set_aside(key, merged, added);
    return;
  }
  const bool blind = fault_ == Fault::kTakeStaleRows && mine.writes.empty();
  if (fault_ == Fault::kNone && mine.writes.empty() && added.empty()) {
    check_fast_path(key, shipped, merged);
  }
  const auto base = base_of(shipped.row, shipped.counters);
  settle_row(key, merged, added, blind ? base : base_of(row(key), counters(key)), base);
}

/// `merged` and both rows come without what counters add.
void Node::settle_row(Key key, RowState merged, const Counters& counters, std::optional<Values> mine,
                      std::optional<Values> theirs) {
  const Sums totals = total_of(counters);
  for (Write& write : merged.writes) {
    add_sums(write.values, totals);
  }
  for (auto* side : {&mine, &theirs}) {
    if (side->has_value()) {
      add_sums(**side, totals);
    }
  }
  store(key, merged, settle(merged, columns_, mine, theirs, book(key)), counters);
}

// A write gave each of its columns one value, whichever node tells of it. Of a counter the scale may differ: a base has
// that of the shares which were taken off to find it.
void Node::check_same_values(const RowState& mine, const RowState& theirs, const Counters& added) const {
  if (fault_ != Fault::kNone) {
    return;
  }
  const ColumnType kNumber{ValueKind::kNumber, {}};
  for (const Write& write : mine.writes) {
    const Write* other = theirs.find(write.dot);
    if (other == nullptr) {
      continue;
    }
    for (const auto& [column, value] : write.values) {
      if (!other->columns.contains(column)) {
        continue;
      }
      const Value& told = other->values.at(column);
      if (added.contains(column) ? compare_values(told, value, kNumber) != 0 : told != value) {
        throw std::logic_error("two nodes hold different values of one write");
      }
    }
  }
}

// The product does not judge a row without local writes, but takes row and writes over as they come. It may, if it
// leaves out the writes that it has seen already, and the row too where none is left. That must come to the same.
void Node::check_fast_path(Key key, const ShippedRow& shipped, const RowState& merged) const {
  const Outcome outcome = settle(merged, columns_, row(key), shipped.row, book(key));
  std::vector<StoredWrite> news;
  for (const StoredWrite& write : shipped.writes) {
    if (write.unseen) {
      return;  // the sender's row does not show it, so it is sent as a row that needs a decision
    }
    if (!seen_.covers(write.dot)) {
      news.push_back(write);
    }
  }
  const std::optional<Values> taken = news.empty() ? row(key) : shipped.row;
  if (outcome.exists != taken.has_value() || (outcome.exists && outcome.values != taken) ||
      read_back(news, taken, {}) != merged) {
    throw std::logic_error("the fast path and the join disagree");
  }
}

void Node::apply_base(Key key, const ShippedRow& shipped, const PullAnswer& answer) {
  // The fleet's writes are as the sender has them, whatever of them the own ones have overwritten; those lie on top.
  RowState own;
  RowState fleet = read_back(shipped.writes, shipped.row, shipped.counters);
  for (const Write& write : state(key).writes) {
    if (!answer.seen.covers(write.dot)) {
      (answer.outside.contains(write.dot.origin) ? own : fleet).writes.push_back(write);
    }
  }
  fleet.normalise();
  const Counters added = join(counters(key), shipped.counters);
  Values nothing;
  for (const ColumnNumber column : columns_) {
    nothing.emplace(column, Value{});
  }
  // A row that the fleet does not have is news, and shows what it shows.
  const bool news = !shipped.row && !settle(fleet, columns_, std::nullopt, nothing, book(key)).exists;
  const Sums totals = total_of(news ? counters(key) : added);
  for (Write& write : own.writes) {
    add_sums(write.values, totals);
  }
  for (Write& write : fleet.writes) {
    add_sums(write.values, total_of(added));
  }
  auto mine = base_of(row(key), counters(key));
  auto below = base_of(shipped.row, shipped.counters);
  for (auto* side : {&mine, &below}) {
    if (side->has_value()) {
      add_sums(**side, totals);
    }
  }
  // The sender's row does not show what it has set aside.
  const Outcome theirs = settle(fleet, columns_, below, std::nullopt, book(key));
  const std::optional<Values> base = theirs.exists ? std::optional<Values>(theirs.values) : std::nullopt;
  const BaseOutcome settled = settle_on_base(own, mine, fleet, base, book(key));
  store(key, settled.state, {settled.values.has_value(), settled.values.value_or(Values{}), {}, {}}, added);
}

void Node::store(Key key, const RowState& state, const Outcome& outcome, const Counters& counters) {
  for (const auto& [column, value] : outcome.values) {
    if (value && value->size() > kValueBytesMax) {
      throw std::logic_error("a value grows without end");  // as appended ones do where nodes never agree
    }
  }
  const Sums totals = total_of(counters);
  if (!counters.empty()) {
    Counters& now = counters_[key] = counters;
    for (auto& [column, origins] : now) {
      for (auto& [origin, contribution] : origins) {
        contribution.shown = contribution.total;
      }
    }
  }
  std::vector<StoredWrite> stored;
  for (const Write& write : state.writes) {
    std::optional<Values> kept;
    if (fault_ != Fault::kKeepNothing && must_keep_values(write, outcome)) {
      kept = write.values;
    }
    stored.push_back({write.dot, write.at, write.columns, write.deleted, std::move(kept), false, write.policy, totals});
  }
  if (stored.empty()) {
    change_.erase(key);
  } else {
    change_[key] = std::move(stored);
  }
  if (outcome.exists) {
    rows_[key] = outcome.values;
  } else {
    rows_.erase(key);
  }
}

// The join as always, but the row stays as the application sees it: new writes are stored with their values beside it.
void Node::set_aside(Key key, const RowState& merged, Counters counters) {
  if (!counters.empty()) {
    counters_[key] = std::move(counters);
  }
  std::map<Dot, StoredWrite> known;
  for (const StoredWrite& write : change_[key]) {
    known.emplace(write.dot, write);
  }
  std::vector<StoredWrite> stored;
  for (const Write& write : merged.writes) {
    const auto mine = known.find(write.dot);
    const bool unseen = mine == known.end() || mine->second.unseen;
    const bool kept = unseen || mine->second.kept.has_value();
    // Without what counters add, as they are in a join.
    stored.push_back({write.dot, write.at, write.columns, write.deleted,
                      kept ? std::optional<Values>(write.values) : std::nullopt, unseen, write.policy});
  }
  if (stored.empty()) {
    change_.erase(key);
  } else {
    change_[key] = std::move(stored);
  }
}

bool Node::pull(Node& other, WriteTime at, NodeId next) {
  auto asked = request();
  auto answer = other.answer(asked, at);
  if (!answer.gone || !next.valid() || !yields_to(answer)) {
    return apply(answer);
  }
  asked.was = std::exchange(asked.sender, next);
  return apply(other.answer(asked, at), next);
}

void Node::check() const {
  for (const auto& [key, writes] : change_) {
    const RowState live = state(key);
    RowState normal = live;
    normal.normalise();
    if (writes.empty() || normal != live) {
      throw std::logic_error("a stored state is out of order");
    }
    if (std::any_of(writes.begin(), writes.end(), [](const StoredWrite& write) { return write.unseen; })) {
      continue;
    }
    RowState shown = live;
    for (Write& write : shown.writes) {
      add_sums(write.values, total_of(counters(key)));
    }
    const Outcome outcome = settle(shown, columns_, row(key), std::nullopt, book(key));
    if (outcome.exists != row(key).has_value() || (outcome.exists && outcome.values != row(key))) {
      std::string text = "a row is not what its live writes make of it: node " + std::to_string(id_.value) + "\n";
      for (const Write& write : shown.writes) {
        text += "  " + std::to_string(write.dot.origin.value) + ":" + std::to_string(write.dot.counter) + " at " +
                std::to_string(write.at.micros) + " policy " + std::to_string(write.policy) + " columns " +
                write.columns.to_bits(4) + (write.deleted ? " deleted" : "") + to_string({{key, write.values}});
      }
      throw std::logic_error(text + " makes " + to_string({{key, outcome.values}}) + " and not " + to_string(rows_));
    }
  }
}

void Node::learn(NodeId sender, const std::set<NodeId>& members, const std::map<NodeId, VersionVector>& reports) {
  members_.insert(sender);
  if (fault_ != Fault::kReportsAlone) {
    members_.insert(members.begin(), members.end());
  }
  for (const auto& [member, report] : reports) {
    reports_[member].merge(report);
  }
}

VersionVector Node::stable() const {
  if (is_away(id_)) {
    return {};
  }
  if (fault_ != Fault::kForgetUnguarded) {
    return common(stable_vector(id_, seen_, members_, reports_, gone()), report());
  }
  VersionVector stable = seen_;
  for (const NodeId member : members_) {
    const auto report = reports_.find(member);
    if (member != id_) {
      stable = common(stable, report == reports_.end() ? VersionVector{} : report->second);
    }
  }
  return stable;
}

void Node::forget() {
  const VersionVector all_have = stable();
  for (auto line = change_.begin(); line != change_.end();) {
    const std::vector<Dot> dots = dots_of(line->second);
    if (!may_forget(dots, all_have)) {
      ++line;
      continue;
    }
    for (const Dot& dot : dots) {
      forgotten_.advance(dot);
    }
    if (fault_ == Fault::kForgetCounters) {
      counters_.erase(line->first);
    }
    line = change_.erase(line);
  }
}

std::size_t Node::live_writes() const {
  std::size_t count = 0;
  for (const auto& [key, writes] : change_) {
    count += writes.size();
  }
  return count;
}

RowState Node::state(Key key) const {
  const auto found = change_.find(key);
  return found == change_.end() ? RowState{} : read_back(found->second, row(key), counters(key));
}

std::optional<Values> Node::row(Key key) const {
  const auto found = rows_.find(key);
  return found == rows_.end() ? std::nullopt : std::optional<Values>(found->second);
}

}  // namespace mbsync::sim
