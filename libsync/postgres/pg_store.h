// The database behind a node, as named operations. The door to this folder: service and applications include only this.
//
// Any thread may call anything; each call takes a session of its own from a small pool. Sealing, reading for a peer,
// applying and forgetting take turns under the engine's lock (a mutex here, an advisory lock in the database, so that a
// second program on the same database is safe too). The lock is never held while the network is used.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "database_url.h"
#include "digest_message.h"
#include "engine_turn.h"
#include "message.h"
#include "parked_row.h"
#include "peer_note.h"
#include "pull_sink.h"
#include "result.h"
#include "table_choice.h"
#include "verdict_note.h"

namespace mbsync {

struct PrepareReport {
  bool created = false;              ///< there was no schema mbsync before
  int tables = 0;                    ///< that take part
  int triggers_installed = 0;        ///< tables whose capture was made or renewed
  std::vector<std::string> rekeyed;  ///< tables whose key has changed: compared anew, as rows from before mbsync
  std::vector<std::string> waiting;  ///< tables whose triggers wait for an application transaction to end
  std::vector<std::pair<std::string, std::string>> refused;  ///< table, why it does not take part
  std::vector<std::string> still_in;              ///< tables that are to be left out and cannot be yet, with the reason
  std::vector<std::string> unmatched;             ///< patterns of the choice of tables that match none
  std::int64_t rows_adopted = 0;                  ///< rows from before mbsync that take part now
  bool bypasses_constraints = false;              ///< apply may set session_replication_role
  std::vector<std::string> application_triggers;  ///< "table: trigger" that will fire on apply
  std::vector<std::string> policy_trouble;  ///< what it decides by and is not so here: "public.pick(jsonb) is missing"
};

struct ApplyOutcome {
  Member sender;  ///< who answered
  std::int64_t rows = 0;
  std::int64_t merged = 0;
  std::int64_t conflicts = 0;
  std::int64_t set_aside = 0;     ///< rows that wait: the application holds them, or the database refuses them
  std::vector<ParkedRow> parked;  ///< of those, rows refused for the first time; a few of them
  std::int64_t missing = 0;       ///< unsent writes here whose row was removed with triggers switched off
  bool may_settle = false;        ///< rows that waited from before may be writable now: settle_unseen() is worth a try
  bool ask_again = false;         ///< nothing was applied; the next request should not wait (PullHeader::ask_again)
  /// The fleet had gone on without this node, and it has come back with this answer: who it is from now on.
  std::optional<Member> became = {};
  /// Nothing was applied, and the same answer will not do later either: why (CONFLICTS.md C22).
  std::optional<Error> turned_down = {};
};

/// A member that has not been heard of, and lacks something.
struct SilentMember {
  Member member;
  int days = 0;           ///< on which this node has heard of others, but not of it
  bool declared = false;  ///< just now: it was said here that it is away
};

struct SettleOutcome {
  std::int64_t waiting = 0;       ///< rows that the application still holds
  std::vector<ParkedRow> parked;  ///< as in ApplyOutcome
};

/// What status shows; read in one go, without the engine's lock.
struct StoreStatus {
  Member self;
  VersionVector seen;  ///< what this node has
  int schema_version = 0;
  int server_version = 0;                   ///< 150020 for 15.20
  std::int64_t captures = 0;                ///< writes not sealed yet
  std::optional<double> captures_oldest_s;  ///< age of the oldest of them, seconds
  std::int64_t live_writes = 0;             ///< writes that some member may still lack
  std::int64_t conflicts = 0;               ///< on record
  std::int64_t open_conflicts = 0;          ///< of these, a person must decide
  std::int64_t resolved_conflicts = 0;      ///< a person has decided; the rest was decided by rules
  std::int64_t unseen_rows = 0;             ///< rows whose news wait for an application transaction that holds them
  std::int64_t parked_rows = 0;             ///< rows that the database refuses; their news wait as well
  std::vector<ParkedRow> parked;            ///< the oldest of them, up to kParkedShown
  static constexpr int kParkedShown = 100;
  std::vector<std::string> policy_trouble;  ///< PrepareReport::policy_trouble, or why the policy cannot be read
  std::vector<std::string> tables;
  std::vector<std::pair<std::string, std::string>> refused;
  /// What is said of a member (CONFLICTS.md C22).
  struct MemberStanding {
    bool away = false;    ///< the fleet goes on without it
    bool agreed = false;  ///< all others have heard that, so it is not waited for any more
    bool banned = false;
    std::string reason;
    std::string said_by;  ///< a node's name
    std::string said_at;  ///< ISO time
    std::string back_as;  ///< the id under which it has come back, or empty
    int silent_days = 0;  ///< SilentMember::days
  };
  struct MemberStatus {
    Member member;
    bool self = false;
    std::string last_seen;           ///< ISO time, or empty
    std::int64_t behind_writes = 0;  ///< live writes here that the member has not reported to hold
    MemberStanding standing = {};
    /// Age of the oldest of `behind_writes`, seconds, by the clock of where it was written; nothing where there is
    /// none, or its time is unknown (rows from before mbsync).
    std::optional<double> behind_oldest_s = {};
    /// Seals that the member had when it was heard of last, and this node has not; each is one row or more.
    std::int64_t ahead_seals = 0;
  };
  std::vector<MemberStatus> members;
  PeersStatus peers;  ///< those that this node has exchanged with, or tried to

  bool node_runs = false;             ///< some process is the node of this database
  std::string node_connected_since;   ///< ISO time, or empty if that may not be seen
  std::uint16_t node_local_port = 0;  ///< of that process, on its machine; 0: it has none
  struct TableSize {
    std::string table;       ///< of schema mbsync
    std::int64_t bytes = 0;  ///< with indexes
  };
  std::vector<TableSize> sizes;
  std::vector<VerifyNote> verified;  ///< what comparisons of rows have found, without the rows themselves
  /// How many conflicts each rule has decided on; of the latest ten thousand on record.
  std::vector<std::pair<std::string, std::int64_t>> conflicts_by_rule;
};

/// Asks one peer, receives and applies its answers. One thread.
class PullSession {
 public:
  virtual ~PullSession() = default;
  /// The next request; its answer may take `wait` when there is nothing new. Until it has been applied or given up
  /// (next ask(), or the end of the session), nothing is forgotten that the peer may not have had when it answers.
  virtual Result<PullRequest> ask(std::chrono::milliseconds wait) = 0;
  /// Where the answer goes; good until the next ask().
  virtual PullSink& sink() = 0;
  /// Applies the answer that the sink has received whole. After `transient` it may be called again while usable().
  virtual Result<ApplyOutcome> apply() = 0;
  /// False once the connection to the database is lost, and the answer with it.
  [[nodiscard]] virtual bool usable() const = 0;
};

class PgStore {
 public:
  /// `tables`: which of the application's tables take part. `local_port`: where this process can be asked, told to
  /// whoever looks at the database; 0: nowhere.
  PgStore(DatabaseUrl url, std::string node_name, TableChoice tables = {}, std::uint16_t local_port = 0);
  ~PgStore();
  PgStore(const PgStore&) = delete;
  PgStore& operator=(const PgStore&) = delete;

  /// Connects, makes this process the node of this database (`transient` while another one is), migrates, installs
  /// capture, takes in rows that were there before. Repeat after the database went away.
  Result<PrepareReport> prepare();
  // Where there is a `patience`, others who are at work on the database are waited for so long, and then it is given up
  // as `cancelled`: an answer of millions of rows takes minutes to apply.

  /// Looks for new tables, changed columns and lost triggers.
  Result<PrepareReport> refresh(Patience patience = {});

  [[nodiscard]] Member self() const;  ///< after the first prepare()

  struct Captured {
    bool pending = false;  ///< writes that wait to be sealed
    bool stale = false;    ///< what captures is not what it should be: a table or the policy has changed: refresh()
  };
  /// Looks for captured writes and, if there are any, wakes who waits in wait_for_news(). Keeps the process's claim on
  /// the database: once it fails, prepare() again.
  Result<Captured> poll();
  /// Whether there is anything that the asker lacks, waiting up to `patience` for it.
  bool wait_for_news(const PullRequest& request, std::chrono::milliseconds patience);

  /// `rejected` for a request that must not be answered: own identity, knowledge that this database has lost.
  Result<void> accept(const PullRequest& request);
  Result<void> answer(const PullRequest& request, PullSink& sink);

  /// Reads in one snapshot, without the engine's lock; kArm and kTouch have effects (armed_rows.h). `rejected` where
  /// the asker is no member, or banned; the node itself may ask as well.
  Result<DigestAnswer> digest(const DigestRequest& request);

  /// What comparisons have found: kept, and as it is kept with all rows that differ.
  Result<void> store_verdicts(const VerifyNote& note);
  Result<std::vector<VerifyNote>> verdicts();
  /// Members that the fleet waits for, but this one; by name.
  Result<std::vector<Member>> other_members();

  Result<std::unique_ptr<PullSession>> open_pull(const std::string& peer);

  /// Seals what nobody has pulled, so that many writes of a row become one.
  Result<std::int64_t> seal_pending(Patience patience = {});
  Result<std::int64_t> forget_stable(Patience patience = {});
  /// Removes some of the conflicts that are decided and have been on record here for longer than `days`; how many. To
  /// be called again until it is zero.
  Result<std::int64_t> forget_conflicts(int days, Patience patience = {});
  /// Brings what was set aside into rows that the application does not hold any more, and tries rows again that the
  /// database refused, when it is time.
  Result<SettleOutcome> settle_unseen(Patience patience = {});

  /// Counts the days of silent members, and says of those that are over `days_max` (0: no limit) that they are away
  /// (CONFLICTS.md C22). Once a day is enough, more often does no harm.
  Result<std::vector<SilentMember>> look_after_silent(int days_max, Patience patience = {});

  /// What status shows of peers begins anew with this run of the node, where it depends on its keys.
  Result<void> begin_peer_notes(bool two_keys);
  /// Without the engine's lock; nobody waits for it.
  Result<void> store_peer_notes(const PeerNotes& notes);
  /// Where members have answered in the last kAddressesGoodFor, the latest first.
  Result<std::vector<AddressNote>> remembered_addresses();
  /// Those that were stored last.
  Result<TagsByKey> fleet_tags();
  /// Those of other keys go. A smaller one that is there already stays.
  Result<void> store_fleet_tags(const TagsByKey& tags);

  /// Gives up every statement that is under way; from then on everything fails with `cancelled`. Returns at once.
  /// Called again while it has had no effect for longer than a second and a half, it cuts the connections.
  void interrupt();

  /// For commands beside a running node; does not claim the database. `not_found` if there is no schema mbsync.
  static Result<StoreStatus> read_status(const DatabaseUrl& url);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
