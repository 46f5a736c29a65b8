// What rows should be, as plainly as it can be said (libsync/core/CONFLICTS.md C1 to C6): every write is remembered
// for ever, together with the set of all writes that its node knew when it was made, and a row is worked out from the
// writes each time it is asked for. No version vectors, no dots, no stored state, nothing forgotten; and not a line of
// libsync in it, since it is what libsync is compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace mbsync::checker {

using Value = std::optional<std::string>;  ///< nothing: NULL
using Values = std::vector<Value>;         ///< by column
using WriteId = std::size_t;
using Knowledge = std::set<WriteId>;

struct RowId {
  std::size_t table = 0;
  std::string key;
  bool operator==(const RowId&) const = default;
  bool operator<(const RowId& other) const { return std::tie(table, key) < std::tie(other.table, other.key); }
};
using Rows = std::map<RowId, Values>;

/// What one node did to one row between two looks at it.
struct Write {
  WriteId id = 0;
  RowId row;
  std::size_t node = 0;
  std::int64_t at = 0;                          ///< microseconds; the node's clock, which may be wrong
  std::set<std::size_t> columns;                ///< that it gave a value
  std::map<std::size_t, std::int64_t> added{};  ///< to counters (C16)
  bool deleted = false;                         ///< then it has all columns, and `values` is the row as it was
  Values values;                                ///< of a counter: without all that had been added to it
  Knowledge seen;                               ///< all that its node knew and showed; what it overwrites is among this
  std::size_t policy = 0;                       ///< that its node had
  // Of what mbsync has written by itself:
  Knowledge ended{};  ///< writes of the row that became another row of their own (C15)
  Knowledge taken{};  ///< writes of another row; what they added to counters counts for this one as well (C19)
};

/// What mbsync has written by itself on one node (C18). The model takes it as it comes, and wants it to be judged like
/// any other write from then on.
struct Mend {
  RowId row;
  std::int64_t at = 0;  ///< as Write
  std::set<std::size_t> columns{};
  bool deleted = false;
  Values image{};  ///< of a deletion
};

/// What the record says of some of them.
struct Apart {
  RowId row;  ///< under whose key the other was made as well
  std::size_t node = 0;
  std::int64_t at = 0;       ///< of the write that made the other
  bool of_newcomer = false;  ///< that has joined just now, so that nobody knows it
};
struct Union {
  RowId gone;
  RowId stays;
};
/// Of rows that were there before mbsync.
inline constexpr std::int64_t kTimeUnknown = std::numeric_limits<std::int64_t>::min();

/// Which of the siblings of a column stands. They are never empty, and none knew of another.
using Rule = std::function<const Write*(const std::vector<const Write*>& siblings)>;
const Write* last_writer(const std::vector<const Write*>& siblings);
const Write* first_writer(const std::vector<const Write*>& siblings);

/// What a policy says of all tables (C11 to C16); the first of kPolicies is what holds without any.
struct Policy {
  enum class Choice {
    kLast,
    kFirst,
    kRank,
    kPreferNonNull,
    kGreatest,
    kLeast,
    kAppend,
    kManual,
    kFunction,
    kUnion,
    kSum
  };
  Choice columns = Choice::kLast;
  Choice marker = Choice::kLast;  ///< of the column that names the transaction, a text
  bool unite_tags = false;        ///< the rule of the array, if there is one, is union
  bool count = false;             ///< and that of the counter is sum
  bool whole_rows = false;
  bool delete_wins = false;
  bool keep_both = false;
  bool unite_rows = false;
  bool park_rows = false;
  std::vector<int> ranks{};  ///< by node
};
extern const std::vector<Policy> kPolicies;
/// The same as a document of libsync/policy/POLICY.md; node i has the id i + 1. `hash`: mbsync.function_md5() of
/// kFunction.
std::string document_of(const Policy& policy, const std::string& hash);

/// The function of Choice::kFunction, in SQL: all values in the order of time; of more than two siblings it wants to
/// know nothing.
inline constexpr const char* kFunction = "public.decide";
inline constexpr const char* kCreateFunction =
    "CREATE FUNCTION public.decide(siblings jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF "
    "jsonb_array_length(siblings) > 2 THEN RAISE EXCEPTION 'too many'; END IF; RETURN concat(coalesce(siblings -> 0 "
    "->> "
    "'value', '-'), '+', coalesce(siblings -> 1 ->> 'value', '-')); END $$";

/// What holds under the first policy.
struct Rules {
  Rule column = last_writer;
  bool update_beats_delete = true;
};

/// A write that stands nowhere, although nobody who knew it has written over it: it must be on record.
struct Loss {
  const Write* write;
  std::optional<std::size_t> column;  ///< nothing: it deleted the row, which is there all the same
};

/// What somebody showed and nobody shows any more, when a newcomer's row met the fleet's (C9): it must be on record.
struct Overruled {
  RowId row;
  std::size_t column;
  Value value;
};

enum class ColumnRole { kKey, kPlain, kMarker, kTags, kCounter };
/// Of a table.
struct Shape {
  std::vector<ColumnRole> roles;
  std::vector<std::set<std::size_t>> references{};  ///< the columns of each one that has several, and of those that
                                                    ///< have columns in common with it
};

class Model {
 public:
  /// Nodes that all have `rows` from the beginning, and nobody remembers whose they are. `shapes`: of the tables.
  Model(std::size_t nodes, Rows rows, Rules rules, std::vector<Shape> shapes);
  /// `node` has never met the others, and has `rows` from before mbsync. If it `joins` a fleet, its rows and writes go
  /// on top of the fleet's when it hears of them (C9); else it is the equal of the only other one.
  void begin_alone(std::size_t node, const Rows& rows, bool joins);

  /// What the application sees on a node.
  [[nodiscard]] const Rows& rows(std::size_t node) const { return nodes_[node].rows; }
  [[nodiscard]] bool joins(std::size_t node) const { return nodes_[node].joins; }

  /// What a statement did to one row.
  struct Difference {
    RowId row;
    bool was_there = false;
    bool is_there = false;
    Values values{};  ///< before, if it is gone
    std::set<std::size_t> columns{};
    std::map<std::size_t, std::int64_t> added{};
  };
  [[nodiscard]] std::vector<Difference> differences(std::size_t node, const Rows& before, const Rows& after) const;
  /// A statement on `node` did this.
  void change(std::size_t node, std::int64_t at, const std::vector<Difference>& differences);
  /// Whether triggers of `node` take a table's counters for counters; they learn it from the policy.
  void count(std::size_t node, std::size_t table, bool counted);
  /// What was changed since the last time becomes writes: from now on others can hear of it. Comes before every pull,
  /// on both sides, since what is not a write yet was made without knowledge of what comes.
  void seal(std::size_t node);
  [[nodiscard]] const Knowledge& knows(std::size_t node) const { return nodes_[node].knowledge; }
  /// `node` hears of writes, all at once, and of a policy before them. What it hears of `waiting` rows is not shown
  /// yet (C10, C21).
  void learn(std::size_t node, const Knowledge& writes, std::size_t policy, const std::set<RowId>& waiting);
  /// All that waits but `waiting` is shown.
  void settle_waiting(std::size_t node, const std::set<RowId>& waiting);
  /// What `node` would show without writes that became rows of their own.
  [[nodiscard]] Rows rows_without(std::size_t node, const std::vector<Apart>& aparts) const;
  /// mbsync has made these writes on `node`, on top of all that it shows; its rows are `shown` by now.
  void mend(std::size_t node, const std::vector<Mend>& mends, const std::vector<Apart>& aparts,
            const std::vector<Union>& unions, const Rows& shown, const std::set<RowId>& waiting);
  /// Whether somebody has deleted the row, as far as a node has heard.
  [[nodiscard]] bool has_deleted(std::size_t node, const RowId& row) const;
  /// A policy comes into force on a node; a lower one than it has does not.
  void publish(std::size_t node, std::size_t policy);
  [[nodiscard]] std::size_t policy(std::size_t node) const { return nodes_[node].policy; }

  /// Everything that a node knows of and that `shown`, its rows, do not show. A write whose columns were all written
  /// over by somebody who knew it is none.
  [[nodiscard]] std::vector<Loss> losses(std::size_t node, const Rows& shown) const;
  [[nodiscard]] const std::vector<Overruled>& overruled() const { return overruled_; }

  /// The rows that come of a set of writes.
  [[nodiscard]] Rows settle(const Knowledge& knowledge) const { return settle(knowledge, {}); }
  [[nodiscard]] const Write& write(WriteId id) const { return writes_[id]; }
  [[nodiscard]] ColumnRole role(std::size_t table, std::size_t column) const { return shapes_[table].roles[column]; }

 private:
  struct Pending {
    bool was_there = false;  ///< before the first change
    std::int64_t at = 0;
    std::set<std::size_t> columns;
    std::map<std::size_t, std::int64_t> added;
    bool deleted = false;
    Values values;
    std::int64_t deleted_at = 0;
    Values image;  ///< as the latest deletion found it
  };
  struct Node {
    std::size_t policy = 0;
    bool joins = false;
    std::set<std::size_t> counted;  ///< tables
    Knowledge knowledge;
    std::map<RowId, Knowledge> unseen;  ///< by row that waits: what is not shown
    Rows fleet_rows;                    ///< rows that have waited since it joined, as the fleet had them
    Rows rows;
    std::map<RowId, Pending> pending;
  };
  using Live = std::vector<const Write*>;

  /// The writes of each row among `knowledge`.
  [[nodiscard]] std::map<RowId, Live> by_row(const Knowledge& knowledge) const;
  /// Of a row's writes, those of the column that nobody has written over; nothing for the column: the row's existence.
  [[nodiscard]] Live live(const Live& writes, std::optional<std::size_t> column, const Knowledge& ended = {}) const;
  [[nodiscard]] Policy::Choice choice(std::size_t policy, std::size_t table, std::size_t column) const;
  /// The columns that stay together with this one under a policy, itself among them; none: it is alone.
  [[nodiscard]] std::set<std::size_t> group(std::size_t policy, std::size_t table, std::size_t column) const;
  [[nodiscard]] Value judge(std::size_t table, std::size_t column, Live siblings) const;
  /// `ended`: writes that nobody counts any more, nor what they have written over.
  [[nodiscard]] Rows settle(const Knowledge& knowledge, const Knowledge& ended) const;
  [[nodiscard]] std::optional<Values> settle_row(const RowId& row, const Live& writes, const Knowledge& ended) const;
  /// What the writes have added to a counter, with what they took over from other rows.
  [[nodiscard]] std::int64_t added(const Live& writes, std::size_t column) const;
  /// What a write of `row` on `node` has seen of it.
  [[nodiscard]] Knowledge seen_of(const Node& node, const RowId& row) const;
  [[nodiscard]] Live shown_with(const Write& write) const;
  [[nodiscard]] bool is_apart(const Write& write, const Apart& apart) const;
  /// All of them are new, and none has seen another.
  void keep(Node& node, std::vector<Write> made);
  /// Adds to the counters among `values`.
  void add(const RowId& row, Values& values, const Live& writes, std::int64_t sign) const;
  void put_on_top(Node& newcomer, const Knowledge& fleet);
  void show_settled(Node& node, const std::set<RowId>& waiting);

  Rows first_;  ///< what was there before any write
  Rules rules_;
  std::vector<Shape> shapes_;
  std::vector<Node> nodes_;
  std::deque<Write> writes_;  ///< referred to by address, so they must not move
  std::vector<Overruled> overruled_;
};

}  // namespace mbsync::checker
