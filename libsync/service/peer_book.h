// Notes down what is seen of peers, and has it stored every now and then: for status, which is another process, and for
// the next start. Whoever tells it something does not wait.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "error.h"
#include "peer_note.h"

namespace mbsync {

/// The notes and when they are due. Any thread; time is passed in.
class PeerPages {
 public:
  using Time = WallClockTime;

  void asked(const Member& peer, const std::string& from, KeyUse key, Time now);
  void answered(const Member& peer, const PeerAddress& address, KeyUse key, Time now);
  /// `peer`: nobody, as long as it is not known who is there.
  void failed(const std::optional<Member>& peer, const PeerAddress& address, const Error& why, Time now);

  /// Why peers are not found by themselves; empty: they are.
  void discovery(const std::string& failure);
  void clock_ahead(const Member& peer, std::chrono::milliseconds ahead);

  /// What is to be stored now: at once what has changed, and after kPeerNotesEvery what has merely happened again.
  PeerNotes due(Time now);
  /// They could not be stored, and are due again.
  void put_back(const PeerNotes& notes);

 private:
  template <typename Note>
  struct Page {
    Note note;
    bool changed = false;  ///< news that somebody may be waiting for
    bool touched = false;
    Time stored{};
  };
  template <typename Note>
  static bool is_due(const Page<Note>& page, Time now);
  Page<PeerNote>* page_of(const Member& peer);
  Page<AddressNote>* page_of(const PeerAddress& address);

  std::mutex mutex_;  // guards what follows
  std::map<NodeId, Page<PeerNote>> peers_;
  std::map<PeerAddress, Page<AddressNote>> addresses_;
  std::string discovery_;
  bool discovery_changed_ = false;
};

/// The pages, and the thread that has them stored.
class PeerBook {
 public:
  struct Store {
    std::function<Result<void>()> begin;  ///< before the first notes
    std::function<Result<void>(const PeerNotes&)> write;
  };
  explicit PeerBook(Store store);
  ~PeerBook();  ///< stops
  PeerBook(const PeerBook&) = delete;
  PeerBook& operator=(const PeerBook&) = delete;

  void asked(const Member& peer, const std::string& from, KeyUse key);
  void answered(const Member& peer, const PeerAddress& address, KeyUse key);
  void failed(const std::optional<Member>& peer, const PeerAddress& address, const Error& why);
  void discovery(const std::string& failure);
  void clock_ahead(const Member& peer, std::chrono::milliseconds ahead);

 private:
  void run(const std::stop_token& stop);

  PeerPages pages_;
  const Store store_;
  std::jthread thread_;
};

}  // namespace mbsync
