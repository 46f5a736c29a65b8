// Every interval and bound of the run loop, with its unit and its reason.
#pragma once

#include <chrono>
#include <cstddef>

namespace mbsync {

using std::chrono::milliseconds;

/// How often the database is asked for captured writes while there are some: the floor of the time from a commit here
/// to its arrival at a peer. One asks in about 40 microseconds.
inline constexpr milliseconds kPollBusy{5};
/// The same when nothing has been written for kPollCalmAfter. A person does not notice 25 ms; the database does not
/// notice 40 short statements a second.
inline constexpr milliseconds kPollCalm{25};
inline constexpr milliseconds kPollCalmAfter{2000};

/// How long the heartbeat waits for its turn with the database each time, while an answer is applied: so that it is
/// seen that the node lives, however long that takes.
inline constexpr milliseconds kHeartbeatPatience{5'000};

/// How long captured writes may wait for a peer to pull them before they are sealed without one. Longer saves
/// transactions, shorter keeps mbsync.capture small when every peer is away.
inline constexpr milliseconds kSealAfter{1000};
/// How often stable writes are looked for, if any report has changed.
inline constexpr milliseconds kForgetEvery{1000};
/// How often conflicts that have been on record long enough are looked for; and how soon again while there are more,
/// since they are removed a few hundred at a time.
inline constexpr milliseconds kOldConflictsEvery{600'000};
inline constexpr milliseconds kOldConflictsNext{1000};
/// How often it is looked which members are silent: they are counted once a day, and this is for machines that are on
/// for an hour only.
inline constexpr milliseconds kSilentEvery{600'000};
/// How many days before the fleet goes on without a member it is warned of, each day.
inline constexpr int kSilentWarnDays = 30;
/// How often rows that were set aside, since the application held them, are looked at again: first, and doubled up to
/// the longest while they stay held. One look takes a few milliseconds.
inline constexpr milliseconds kSettleFirst{50};
inline constexpr milliseconds kSettleMax{1000};
/// How often tables, columns and triggers are compared with what is captured; also done at once when a table turns out
/// to have changed.
inline constexpr milliseconds kRefreshEvery{10'000};

/// How often it is looked after which peers to listen to, although nothing has changed: addresses that were left out
/// for a while come back.
inline constexpr milliseconds kPeersEvery{10'000};
/// How many of the peers that are not listened to are visited in SYNC_INTERVAL, and how long one visit may take before
/// it is the next one's turn: what it has not brought by then, those bring that are listened to.
inline constexpr int kVisitsEachInterval = 4;
inline constexpr milliseconds kVisitFor{60'000};
/// So many addresses of which nobody knows who is there are tried at a time, beside the peers that are listened to:
/// those of the configuration, before they have answered.
inline constexpr std::size_t kUnknownPeersMax = 32;

/// How often whoever announces this node's own identity is asked who it is, while nobody has answered there.
inline constexpr milliseconds kSuspectsEvery{30'000};

/// Waiting after a failure, doubled each time: first and longest. A machine that comes back is seen within the longest.
inline constexpr milliseconds kBackoffFirst{200};
inline constexpr milliseconds kBackoffMax{5000};

/// The same where the peer refuses the handshake: a key is wrong, and that is for a person to change. A server that is
/// knocked at more often takes it for an attack (transport_tuning.h), and then nobody hears the reason any more.
inline constexpr milliseconds kRefusedFirst{2'000};
inline constexpr milliseconds kRefusedMax{30'000};
/// The same where who answers is not among the allowed nodes. It makes its answer each time, for nothing.
inline constexpr milliseconds kNotAllowedFirst{60'000};
inline constexpr milliseconds kNotAllowedMax{600'000};

/// What is seen of peers is looked at for news as often as the first, and what has merely happened again is stored as
/// often as the second: a person who looks at status does not mind, and the database does not notice.
inline constexpr milliseconds kPeerNotesLook{1'000};
inline constexpr milliseconds kPeerNotesEvery{10'000};
/// Nodes that are noted down: more than a fleet has, as ids can be invented by whoever has the key.
inline constexpr std::size_t kPeersNoted = 4'096;

/// How often a peer is tried that announces another fleet and has refused the key. If somebody gives it the right one
/// it is started anew, and that is seen at once: this is for what nobody has thought of.
inline constexpr milliseconds kOtherFleetEvery{600'000};

/// Between two changes of the fleet's tag, which whoever has the key can cause: each is written to the database and
/// said on the network.
inline constexpr milliseconds kFleetTagPause{1'000};

/// How often an answer that is here already is tried again when rows are locked, and how long between (times the number
/// of tries so far). Together some 20 seconds; then it is pulled afresh.
inline constexpr int kApplyTries = 40;
inline constexpr milliseconds kApplyPause{25};

/// Before an answer that could not be taken is asked for again: so often after this, then doubled up to kBackoffMax.
inline constexpr milliseconds kAskAgainPause{50};
inline constexpr int kAskAgainQuick = 20;
/// When that has gone on for so long, a person hears of it. A peer that can reach this fleet tries to at least every
/// kBackoffMax; twice that and it cannot.
inline constexpr milliseconds kAskAgainPatience = 2 * kBackoffMax;

/// How often the statements under way are cancelled while the node stops: one that begins just after it was looked for
/// is caught the next time.
inline constexpr milliseconds kInterruptEvery{100};

/// Of so many askers it is known what was said about them last. A fleet has fewer members.
inline constexpr std::size_t kSendersKept = 256;

/// Of so many nodes that have asked, where they asked from is a place to look for them. A fleet has no more.
inline constexpr std::size_t kAskersLookedFor = 1'000;

/// Who asks for the status gets what was read no longer ago than this: a person does not mind, and any number of askers
/// costs the database one read a second.
inline constexpr milliseconds kStatusFreshFor{1'000};
/// How long an asker waits for the database; then the answer is that it does not answer.
inline constexpr milliseconds kStatusPatience{3'000};
/// How often lag and backlog are looked at for plots. Reading them takes some milliseconds.
inline constexpr milliseconds kSampleEvery{15'000};
/// How often events made of many rows are told, and how soon it is noticed that there is something to do.
inline constexpr milliseconds kLocalPortLook{1'000};
/// How often a local port that was taken is tried again.
inline constexpr milliseconds kLocalPortAgain{10'000};
/// Conflicts that are read or decided at a time, each in a session of its own; as many others wait for a moment.
inline constexpr int kDesksMax = 4;
/// Who may wait for a round with every peer: it takes a minute for each peer at worst, and a thread for who waits.
inline constexpr int kRoundsMax = 4;
/// How long a round with every peer is waited for by whoever asked for it, besides what the round itself takes: until
/// the peers have said that they have this node's writes.
inline constexpr milliseconds kSyncReportPatience{5'000};
/// Peers that are asked at a time in such a round.
inline constexpr std::size_t kRoundPeersAtOnce = 8;

/// Comparisons of rows that nobody asks for: the first look at whether one is due after the start, when peers have been
/// found and have caught up a little; how often it is looked again; and how often an order is looked for (who gives one
/// wakes the verifier, this is for stops).
inline constexpr milliseconds kVerifyFirst{10'000};
/// The same for a node that has never been compared: it may have joined a moment ago, and has other things to do.
inline constexpr milliseconds kVerifyNew{600'000};
inline constexpr milliseconds kVerifyAgain{600'000};
inline constexpr milliseconds kVerifyLook{1'000};
/// Before rows that differ are looked at a second time: longer than whatever is in the way for a moment only, such as
/// tables that a migration has just made, which are found within kRefreshEvery.
inline constexpr milliseconds kVerifyConfirm{12'000};
/// Where no index of the key helps, comparing n rows costs n * n / 5,000 looks at keys. By itself no node does that
/// with more rows than this: half a minute of a core or so.
inline constexpr std::int64_t kVerifyUnorderedRows = 200'000;

}  // namespace mbsync
