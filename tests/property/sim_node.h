// A node of mbsync in memory: the application's table, the captures of its triggers, mbsync's own tables, and the steps
// of the product (seal, answer a pull, apply an answer, forget), built on the real core. It stores what the product
// stores: a write's values only when they cannot be read from the row (CONFLICTS.md C7), read back before every join.
// No clock and no chance of its own; one thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "counters.h"
#include "membership.h"
#include "row_state.h"
#include "settle.h"
#include "stability.h"

namespace mbsync::sim {

using Key = int;

/// A rule that a node leaves out, to show that the tests notice.
enum class Fault {
  kNone,
  kForgetUnguarded,  ///< uses reports of members whose own writes it has not got yet (C8)
  kReportsAlone,     ///< takes over reports without the members that their author knew (C8)
  kKeepNothing,      ///< never stores a value beside the row (C7)
  kSealLate,         ///< does not seal before it applies an answer, so a fresh local write misses the join (C2)
  kJoinAsSiblings,   ///< judges a joining node's writes as siblings where the peer itself has forgotten nothing (C9)
  kTakeStaleRows,    ///< the fast path takes rows over even if all their writes have been seen before (C1)
  kReportUnseen,     ///< reports what it has, writes that the application has not seen included (C10)
  kSealOverUnseen,   ///< lets a local write overwrite what the application has not seen (C10)
  kOwnPolicy,        ///< judges by the policy that it has itself, not by the one that the writes were made under (C11)
  kForgetCounters,   ///< forgets what was added to a row together with its writes (C16)
  kAddAsWritten,     ///< ships what a row shows without what counters added to it (C16)
  kAwayAtOnce,       ///< does not wait for a member any more before all others have heard that it is away (C22)
  kTakeFromAway,     ///< takes what a member that is away writes (C22)
  kComeBackInStep,   ///< lets a member that was away come back as the one that it was (C22)
};

/// One line of mbsync.change.
struct StoredWrite {
  Dot dot;
  WriteTime at;
  ColumnSet columns;
  bool deleted = false;
  std::optional<Values> kept;  ///< nothing: the values stand in the row
  bool unseen = false;         ///< came while the application held the row, and has not reached it yet (C10)
  PolicyVersion policy = kBuiltInPolicy;
  Sums sums = {};  ///< what `kept` includes of the counters
};

struct PullRequest {
  NodeId sender;
  VersionVector seen;
  std::set<NodeId> members;
  std::map<NodeId, VersionVector> reports;
  std::optional<NodeId> was = {};  ///< who it was before it was told that the fleet does not wait for it any more (C22)
};

struct ShippedRow {
  std::vector<StoredWrite> writes;
  std::optional<Values> row;
  Counters counters = {};
};

struct PullAnswer {
  NodeId sender;
  VersionVector seen;
  std::set<NodeId> members;
  std::map<NodeId, VersionVector> reports;
  bool full = false;        ///< every row is in it, for an asker that joins or lacks what was forgotten (C9)
  VersionVector forgotten;  ///< what the sender's fleet has forgotten
  /// There is no answer yet: the fleet has to agree that the asker is away (C22).
  bool refused = false;
  bool gone = false;              ///< nor is there one: that is agreed, and the asker has to come back as another (C22)
  std::set<NodeId> staying = {};  ///< whom the sender does not take for away
  std::set<NodeId> outside = {};  ///< of a full answer: whose writes, if they are news, go on top of the rows (C9, C22)
  PolicyVersion policy = kBuiltInPolicy;
  std::map<Key, ShippedRow> rows;
  NodeId asker = {};
  WriteTime at = {};         ///< when it was made
  VersionVector asked = {};  ///< what the asker had seen
};

/// The rules of a policy version, made up: the same number means the same everywhere. Version 1 adds up column 2.
inline constexpr PolicyVersion kPolicies = 5;
const Rulebook& rules_of_simulation();

class Node {
 public:
  /// `columns`: the table's column numbers without the row mark. `fleet`: the members it knows of from the start; a
  /// node that is yet to join knows none.
  Node(NodeId id, std::vector<ColumnNumber> columns, const std::set<NodeId>& fleet = {}, Fault fault = Fault::kNone);

  /// The application writes these columns; a row that is not there is inserted, columns not given are NULL.
  void write(Key key, const Values& values, WriteTime at);
  /// The application adds to a column of a row that is there, under the policy that this node has: a write of the new
  /// value unless changes of the column add up. False if there is nothing to add to.
  bool increase(Key key, ColumnNumber column, const Decimal& by, WriteTime at);
  /// Puts a newer policy in force.
  void publish(PolicyVersion policy);
  /// Says that the fleet need not wait for this member any more. Not if half of the fleet would be left out, since the
  /// other half may say the same; but a node may leave out all others.
  void declare_away(NodeId member, WriteTime at);
  /// The application deletes the row, if there is one.
  void erase(Key key, WriteTime at);

  /// An application transaction writes the row and stays open: nobody else can write it until release(). False if
  /// another one holds the row already.
  bool hold(Key key, const Values& values, WriteTime at);
  /// It commits.
  void release(Key key);
  void release_all();
  /// Brings what came for held rows into those that are held no more.
  void settle_unseen();

  /// Gives the captured writes their dot.
  void seal();
  [[nodiscard]] PullRequest request() const;
  /// Seals, learns from the request, and answers with what the asker lacks.
  PullAnswer answer(const PullRequest& request, WriteTime at = {});
  /// Seals, joins, and takes over vector, members and reports. False: nothing of it. `as`: who it will be from then on,
  /// if it has asked as another.
  bool apply(const PullAnswer& answer, std::optional<NodeId> as = {});
  /// A whole pull from `other`. False if there was no answer that counts. `next`: who it is to be if it has to come
  /// back as another.
  bool pull(Node& other, WriteTime at = {}, NodeId next = {});
  /// Forgets what is stable (C8).
  void forget();

  [[nodiscard]] NodeId id() const { return id_; }
  [[nodiscard]] bool is_away(NodeId member) const;
  /// With those about members: key -1 is about node 1.
  [[nodiscard]] const std::map<Key, Values>& rows() const { return rows_; }
  [[nodiscard]] const VersionVector& seen() const { return seen_; }
  [[nodiscard]] const VersionVector& forgotten() const { return forgotten_; }
  /// How many live writes are stored.
  [[nodiscard]] std::size_t live_writes() const;
  /// The row's live writes with all their values, as a join sees them.
  [[nodiscard]] RowState state(Key key) const;
  [[nodiscard]] std::optional<Values> row(Key key) const;
  [[nodiscard]] const std::vector<ColumnNumber>& columns() const { return columns_; }
  /// Throws std::logic_error with what is wrong: states out of order, or a row that is not what its live writes make of
  /// it. For nodes without captures.
  void check() const;

 private:
  struct Captured {
    WriteTime at;
    ColumnSet columns;
    std::optional<Values> deleted_row;
    Sums sums = {};
  };

  void capture(Key key, Captured captured);
  void apply_row(Key key, const ShippedRow& shipped, const PullAnswer& answer);
  void check_same_values(const RowState& mine, const RowState& theirs, const Counters& added) const;
  void apply_base(Key key, const ShippedRow& shipped, const PullAnswer& answer);
  void check_fast_path(Key key, const ShippedRow& shipped, const RowState& merged) const;
  void settle_row(Key key, RowState merged, const Counters& counters, std::optional<Values> mine,
                  std::optional<Values> theirs);
  void store(Key key, const RowState& state, const Outcome& outcome, const Counters& counters);
  void set_aside(Key key, const RowState& merged, Counters counters);
  [[nodiscard]] Counters counters(Key key) const;
  [[nodiscard]] const Rulebook& book(Key key) const;
  [[nodiscard]] const RowRules& rules_now(Key key) const;
  [[nodiscard]] AwayNodes away() const;
  /// Those who are away, where all others know it, or have known it once.
  [[nodiscard]] std::set<NodeId> gone() const;
  [[nodiscard]] Membership membership() const;
  void become(NodeId next, const PullAnswer& answer);
  /// Of those who are gone, what somebody who has come back has brought along.
  static VersionVector taken_of(const PullAnswer& answer);
  [[nodiscard]] bool has_unseen_of(NodeId origin) const;
  [[nodiscard]] bool yields_to(const PullAnswer& answer) const;
  /// With what the answer says of it: that it was taken back, a node may hear from that node alone.
  [[nodiscard]] bool is_away_after(NodeId member, const PullAnswer& answer) const;
  /// About a member: whether it is away, and whether it has asked to be taken back.
  void say(NodeId member, const Value& away, const Value& back, WriteTime at);
  [[nodiscard]] Value said(NodeId member, ColumnNumber what) const;
  /// What this node has said of members: that all have heard it, or that it is to be taken back.
  void look_after_away(WriteTime at);
  [[nodiscard]] VersionVector report() const;
  void learn(NodeId sender, const std::set<NodeId>& members, const std::map<NodeId, VersionVector>& reports);
  [[nodiscard]] VersionVector stable() const;

  NodeId id_;
  std::vector<ColumnNumber> columns_;
  Fault fault_;
  std::map<Key, Values> rows_;
  std::map<Key, std::pair<Values, WriteTime>> held_;  ///< what their transactions have written
  std::map<Key, std::vector<Captured>> capture_;
  std::map<Key, std::vector<StoredWrite>> change_;
  std::map<Key, Counters> counters_;
  PolicyVersion policy_ = kBuiltInPolicy;
  VersionVector seen_;
  VersionVector forgotten_;
  std::set<NodeId> members_;
  std::map<NodeId, VersionVector> reports_;
  std::set<NodeId> agreed_;    ///< members of whom all others have heard that they are away
  std::set<NodeId> declared_;  ///< who is away because this node says so
  VersionVector frozen_;       ///< what this node reports until all have heard what it says about who is away
  std::set<NodeId> former_;    ///< who it was itself
};

/// All values of stored writes, those that are not stored read from `row`; all without what counters add, and so is the
/// row itself in base_of().
RowState read_back(const std::vector<StoredWrite>& stored, const std::optional<Values>& row, const Counters& counters);
std::optional<Values> base_of(std::optional<Values> row, const Counters& counters);

/// "a=1 b=NULL" for each row, for messages of failed tests.
std::string to_string(const std::map<Key, Values>& rows);

}  // namespace mbsync::sim
