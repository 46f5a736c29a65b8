#include "peer_book.h"

#include <utility>

#include "log.h"
#include "pace.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"peer"};

using Clock = std::chrono::system_clock;

bool differs(std::chrono::milliseconds ahead) {
  return std::chrono::abs(ahead) > kSkewTolerated;
}

}  // namespace

PeerPages::Page<PeerNote>* PeerPages::page_of(const Member& peer) {
  const auto place = peers_.find(peer.id);
  if (place == peers_.end() && peers_.size() >= kPeersNoted) {
    return nullptr;
  }
  auto& page = place == peers_.end() ? peers_[peer.id] : place->second;
  // Of one that has only been announced the name is not known.
  if (page.note.peer.id != peer.id || (page.note.peer.name != peer.name && !peer.name.empty())) {
    page.note.peer = peer;
    page.changed = true;
  }
  page.touched = true;
  return &page;
}

PeerPages::Page<AddressNote>* PeerPages::page_of(const PeerAddress& address) {
  const auto place = addresses_.find(address);
  if (place == addresses_.end() && addresses_.size() >= kAddressesKept) {
    return nullptr;
  }
  auto& page = place == addresses_.end() ? addresses_[address] : place->second;
  if (place == addresses_.end()) {
    page.note.address = address;
    page.changed = true;
  }
  page.touched = true;
  return &page;
}

void PeerPages::asked(const Member& peer, const std::string& from, KeyUse key, Time now) {
  const std::lock_guard lock(mutex_);
  if (auto* page = page_of(peer); page != nullptr) {
    const auto& before = page->note.asked;
    page->changed = page->changed || !before || before->from != from || before->key != key;
    page->note.asked = PeerNote::Asked{now, from, key};
  }
}

void PeerPages::answered(const Member& peer, const PeerAddress& address, KeyUse key, Time now) {
  const std::lock_guard lock(mutex_);
  if (auto* page = page_of(peer); page != nullptr) {
    const auto& note = page->note;
    const bool was_away = note.failed && note.answered && note.failed->at >= note.answered->at;
    page->changed = page->changed || !note.answered || note.answered->key != key || was_away;
    page->note.answered = PeerNote::Answered{now, key};
  }
  if (auto* page = page_of(address); page != nullptr) {
    page->changed = page->changed || page->note.node != peer.id || !page->note.answered_at;
    page->note.node = peer.id;
    page->note.answered_at = now;
  }
}

void PeerPages::failed(const std::optional<Member>& peer, const PeerAddress& address, const Error& why, Time now) {
  const std::lock_guard lock(mutex_);
  const PeerNote::Failed failure{now, why.text()};
  const auto note_down = [&](auto* page) {
    if (page != nullptr) {
      page->changed = page->changed || !page->note.failed || page->note.failed->reason != failure.reason;
      page->note.failed = failure;
    }
  };
  if (peer) {
    auto* page = page_of(*peer);
    // It was there a moment ago.
    if (page != nullptr && page->note.answered && page->note.failed &&
        page->note.failed->at <= page->note.answered->at) {
      page->changed = true;
    }
    note_down(page);
  }
  note_down(page_of(address));
}

void PeerPages::discovery(const std::string& failure) {
  const std::lock_guard lock(mutex_);
  discovery_changed_ = discovery_changed_ || discovery_ != failure;
  discovery_ = failure;
}

template <typename Note>
bool PeerPages::is_due(const Page<Note>& page, Time now) {
  return page.changed || (page.touched && (now - page.stored >= kPeerNotesEvery || now < page.stored));
}

void PeerPages::clock_ahead(const Member& peer, std::chrono::milliseconds ahead) {
  const std::lock_guard lock(mutex_);
  if (auto* page = page_of(peer); page != nullptr) {
    const auto& before = page->note.clock_ahead;
    page->changed = page->changed || !before || differs(*before) != differs(ahead);
    page->note.clock_ahead = ahead;
  }
}

PeerNotes PeerPages::due(Time now) {
  const std::lock_guard lock(mutex_);
  PeerNotes notes;
  const auto collect = [&](auto& pages, auto& into) {
    for (auto& [key, page] : pages) {
      if (is_due(page, now)) {
        into.push_back(page.note);
        page.changed = page.touched = false;
        page.stored = now;
      }
    }
  };
  collect(peers_, notes.peers);
  collect(addresses_, notes.addresses);
  if (std::exchange(discovery_changed_, false)) {
    notes.discovery = discovery_;
  }
  return notes;
}

void PeerPages::put_back(const PeerNotes& notes) {
  const std::lock_guard lock(mutex_);
  for (const auto& note : notes.peers) {
    peers_[note.peer.id].changed = true;
  }
  for (const auto& note : notes.addresses) {
    addresses_[note.address].changed = true;
  }
  discovery_changed_ = discovery_changed_ || notes.discovery.has_value();
}

PeerBook::PeerBook(Store store)
    : store_(std::move(store)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

PeerBook::~PeerBook() = default;

void PeerBook::run(const std::stop_token& stop) {
  Pause pause(stop);
  Announcer announcer;
  bool begun = false;
  while (!stop.stop_requested()) {
    Result<void> done;
    if (!begun) {
      done = store_.begin();
      begun = done.has_value();
    }
    if (const auto notes = begun ? pages_.due(Clock::now()) : PeerNotes{}; !notes.empty()) {
      done = store_.write(notes);
      if (!done) {
        pages_.put_back(notes);
      }
    }
    // The database is away, most likely, of which others tell.
    if (announcer.is_news(done ? "" : done.error().text()) && !done) {
      log_debug(kDomain, "what was seen of peers could not be stored reason={}", log_value(done.error().text()));
    }
    pause(kPeerNotesLook);
  }
}

void PeerBook::asked(const Member& peer, const std::string& from, KeyUse key) {
  pages_.asked(peer, from, key, Clock::now());
}
void PeerBook::answered(const Member& peer, const PeerAddress& address, KeyUse key) {
  pages_.answered(peer, address, key, Clock::now());
}
void PeerBook::clock_ahead(const Member& peer, std::chrono::milliseconds ahead) {
  pages_.clock_ahead(peer, ahead);
}
void PeerBook::failed(const std::optional<Member>& peer, const PeerAddress& address, const Error& why) {
  pages_.failed(peer, address, why, Clock::now());
}
void PeerBook::discovery(const std::string& failure) {
  pages_.discovery(failure);
}

}  // namespace mbsync
