#include "peer_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "dns_sd_source.h"
#include "log.h"
#include "other_fleet.h"
#include "parked_log.h"
#include "peer_trouble.h"
#include "protocol_limits.h"
#include "static_source.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"peer"};

using Clock = std::chrono::steady_clock;

}  // namespace

PeerLoop::PeerLoop(PeerContext& context, PeerDirectory::Peer peer)
    : context_(context),
      node_(peer.node),
      first_(peer.addresses.empty() ? PeerAddress{} : peer.addresses.front()),
      first_address_(peer.addresses.empty() ? "" : to_string(first_)),
      client_(std::move(peer.addresses), context.keys, PeerPatience{}, context.own) {}

void PeerLoop::run(const std::stop_token& stop) {
  Pause pause(stop);
  while (!stop.stop_requested()) {
    const auto pulled = pull_whatever_happens(stop, pause);
    if (pulled) {
      for (auto* backoff : {&backoff_, &refused_, &not_allowed_}) {
        backoff->reset();
      }
      continue;
    }
    if (client_.leads_to_itself()) {
      log_info(kDomain, "this address is the node's own, so it is left out peer={}", name());
      context_.directory.is_own(client_.reached().value_or(PeerAddress{}));
      break;
    }
    if (!stop.stop_requested()) {
      give_up(pulled.error());
      Pause backing_off(stop);
      {
        const std::lock_guard lock(mutex_);
        backing_off_ = &backing_off;
      }
      backing_off(patience());
      const std::lock_guard lock(mutex_);
      backing_off_ = nullptr;
    }
  }
  session_.reset();  // with what it keeps from being forgotten
  ended_ = true;
}

void PeerLoop::hurry() {
  const std::lock_guard lock(mutex_);
  if (backing_off_ != nullptr) {
    backing_off_->hurry();
  }
}

void PeerLoop::visit(const std::stop_token& stop, milliseconds patience) {
  Pause pause(stop);
  const auto until = Clock::now() + patience;
  while (!stop.stop_requested() && !in_step_ && Clock::now() < until) {
    const auto pulled = pull_whatever_happens(stop, pause);
    if (client_.leads_to_itself()) {
      context_.directory.is_own(client_.reached().value_or(PeerAddress{}));
      break;
    }
    if (!pulled) {
      if (!stop.stop_requested()) {
        give_up(pulled.error());
      }
      break;
    }
  }
  log_debug(kDomain, "visited peer={} in_step={}", name(), in_step_);
  session_.reset();
  ended_ = true;
}

bool PeerLoop::leads_to_copy(const std::stop_token& stop) {
  Pause pause(stop);
  const auto pulled = pull_whatever_happens(stop, pause);
  session_.reset();
  ended_ = true;
  if (client_.leads_to_itself()) {
    context_.directory.is_own(client_.reached().value_or(PeerAddress{}));
    return false;
  }
  log_debug(kDomain, "asked who announces this node's identity address={} answer={}", first_address_,
            pulled ? "another node" : log_value(pulled.error().log_text()));
  return !pulled && trouble_of(pulled.error().message) == PeerTrouble::kSameIdentity;
}

PeerLoop::Visited PeerLoop::visited() const {
  Visited visited;
  if (node_) {
    visited.peer = Member{*node_, node_name_};
  }
  visited.in_step = in_step_;
  visited.own = client_.leads_to_itself();
  visited.rows = rows_;
  visited.conflicts = conflicts_;
  visited.failure = failure_;
  if (!in_step_ && !failure_ && !visited.own) {
    visited.failure = Error{ErrorKind::kTransient, "it was not done in time", "try again; its log may say more"};
  }
  return visited;
}

std::string PeerLoop::name() const {
  const auto reached = client_.reached();
  const auto address = reached ? to_string(*reached) : first_address_;
  return node_name_.empty() ? address : fmt::format("{} address={}", log_value(node_name_), address);
}

bool PeerLoop::is_news(const std::string& text) {
  return context_.said.is_news(node_ ? to_string(*node_) : first_address_, text);
}

// A handshake that fails, or no answer at all, has a likelier reason where the peer announces another fleet or another
// version, or nothing.
Error PeerLoop::with_announcement(Error error) {
  if (!node_) {
    return error;
  }
  if (client_.refused_in_handshake()) {
    context_.directory.refused(*node_);
  }
  const auto peers = context_.directory.peers();
  const auto peer = std::find_if(peers.begin(), peers.end(), [this](const auto& entry) { return entry.node == node_; });
  if (peer == peers.end()) {
    return error;
  }
  if (client_.refused_in_handshake() && other_fleet_since(*peer, context_.fleet_tags)) {
    error = error.in(kSaysOtherFleet);
    error.hint = next_step(PeerTrouble::kOtherFleet, first_.port);
    return error;
  }
  for (const auto& view : peer->views) {
    if (view.present && view.said && view.said->protocol != kProtocolVersion) {
      return error.in(
          fmt::format("{} {}, and this node {}", kSaysOtherProtocol, view.said->protocol, kProtocolVersion));
    }
  }
  if (error.kind != ErrorKind::kTransient) {
    return error;
  }
  const auto sources = context_.directory.sources();
  const auto network = sources.find(std::string(DnsSdSource::kName));
  const bool announced = std::any_of(peer->views.begin(), peer->views.end(), [](const auto& view) {
    return view.present && (view.source == DnsSdSource::kName || view.source == StaticSource::kName);
  });
  const bool looks = network != sources.end() && network->second.works;
  return looks && !announced ? error.in(kSaysNotAdvertised) : error;
}

void PeerLoop::give_up(const Error& reason) {
  const auto error = with_announcement(reason);
  session_.reset();
  wait_ = false;
  in_step_ = false;
  ask_again_.reset();
  if (node_) {
    context_.health.failed(*node_, Clock::now(), error);
  }
  failure_ = error;
  if (!first_.host.empty()) {
    const auto who = node_ ? std::optional(Member{*node_, node_name_}) : std::nullopt;
    context_.book.failed(who, client_.reached().value_or(first_), error);
    context_.shared.activity.failed(who, to_string(client_.reached().value_or(first_)), error.text());
  }
  // That it is announced no more, too, is no news.
  if (is_news(reason.text())) {
    log_warning(kDomain, "not in step peer={} reason={}", name(), log_value(error.log_text()));
  }
  if (error.kind == ErrorKind::kRejected) {
    context_.shared.schema_suspect = true;
  }
}

milliseconds PeerLoop::patience() {
  if (answer_not_allowed_) {
    return not_allowed_.next();
  }
  return client_.refused_in_handshake() ? refused_.next() : backoff_.next();
}

// An exception that left the thread would end the node; a shortage that lasts only a moment is its likeliest cause.
Result<void> PeerLoop::pull_whatever_happens(const std::stop_token& stop, Pause& pause) {
  try {
    return pull(stop, pause);
  } catch (const std::exception& thrown) {
    return Error{ErrorKind::kTransient, fmt::format("pulling failed: {}", thrown.what()),
                 "it is tried again; if this goes on, look at the memory and at the limits of this machine"};
  }
}

// The answer could not be taken, and the next one perhaps can.
void PeerLoop::ask_again(Pause& pause) {
  const auto next = ask_again_.next(Clock::now());
  log_debug(kDomain, "answer out of date, asking again peer={}", name());
  if (next.overdue) {
    const std::string reason = fmt::format(
        "waits until {0} has joined the fleet; {0} must be able to reach this fleet itself: check its --peer / "
        "SYNC_PEERS and the firewall",
        node_name_.empty() ? first_address_ : node_name_);
    if (is_news(reason)) {
      log_warning(kDomain, "not in step peer={} reason={}", name(), log_value(reason));
    }
  }
  pause(next.wait);
  wait_ = false;
}

Result<void> PeerLoop::pull(const std::stop_token& stop, Pause& pause) {
  answer_not_allowed_ = false;
  if (!session_) {
    auto session = context_.shared.store.open_pull(first_address_);
    MBSYNC_TRY(session);
    session_ = std::move(*session);
  }
  // The peer answers sooner if it likes, and the next question follows; asking for more is not allowed.
  const auto wait_for_news = std::min(context_.interval.load(), milliseconds{kWaitMsMax});
  const auto request = session_->ask(wait_ ? wait_for_news : milliseconds{0});
  MBSYNC_TRY(request);
  AllowedSink sink(session_->sink(), context_.allowed, context_.shared.store.self());
  const auto asked = AllowedSink::Clock::now();
  const auto pulled = client_.pull(*request, sink);
  answer_not_allowed_ = sink.refused();
  if (const auto& stamp = sink.stamp()) {
    if (stamp->sender != clock_of_) {
      clock_of_ = stamp->sender;
      clock_gap_ = {};
    }
    clock_gap_.take(asked, stamp->sent, stamp->came);
  }
  MBSYNC_TRY(pulled);
  return apply(stop, pause);
}

Result<void> PeerLoop::apply(const std::stop_token& stop, Pause& pause) {
  for (int tries = 1;; ++tries) {
    const auto started = Clock::now();
    const auto outcome = session_->apply();
    if (outcome) {
      if (outcome->sender.id.valid()) {
        node_ = outcome->sender.id;
        node_name_ = outcome->sender.name;
        context_.health.answered(*node_, Clock::now());
        if (const auto reached = client_.reached()) {
          context_.directory.answered(*reached, *node_);
          context_.book.answered(outcome->sender, *reached, client_.key());
          look_at_clock(outcome->sender);
        }
      }
      if (outcome->became) {
        log_warning(kDomain,
                    "the fleet had gone on without this node, so it comes back as another; what only it had is kept "
                    "node={} peer={}",
                    to_string(outcome->became->id), name());
        context_.shared.is_another = true;
      }
      if (outcome->turned_down) {
        return *outcome->turned_down;
      }
      if (outcome->ask_again) {
        ask_again(pause);
      } else {
        applied(*outcome, Clock::now() - started);
      }
      return {};
    }
    if (outcome.error().kind != ErrorKind::kTransient || tries == kApplyTries || !session_->usable() ||
        stop.stop_requested()) {
      return outcome.error();
    }
    log_debug(kDomain, "trying again peer={} tries={} reason={}", name(), tries, log_value(outcome.error().text()));
    pause(kApplyPause * tries);
  }
}

// Rows do not depend on clocks, but which of two writes at once stands does.
void PeerLoop::look_at_clock(const Member& sender) {
  const auto gap = clock_gap_.ahead();
  if (!gap || clock_of_ != sender.id) {
    return;
  }
  context_.book.clock_ahead(sender, *gap);
  const std::string said_of = "clock " + to_string(sender.id);
  if (std::chrono::abs(*gap) <= kSkewTolerated) {
    context_.said.forget(said_of);
    return;
  }
  const bool ahead = *gap > milliseconds{0};
  if (context_.said.is_news(said_of, ahead ? "ahead" : "behind")) {
    log_warning(kDomain, "clocks differ peer={} its clock is {} s {} this one's; set both by the network (NTP)", name(),
                std::chrono::round<std::chrono::seconds>(std::chrono::abs(*gap)).count(),
                ahead ? "ahead of" : "behind");
  }
}

void PeerLoop::applied(const ApplyOutcome& outcome, std::chrono::nanoseconds took) {
  ask_again_.reset();
  failure_.reset();
  rows_ += outcome.rows;
  conflicts_ += outcome.conflicts;
  if (const auto reached = client_.reached(); reached && outcome.sender.id.valid()) {
    context_.shared.activity.applied(outcome.sender, to_string(*reached), outcome,
                                     std::chrono::duration_cast<std::chrono::microseconds>(took));
  }
  wait_ = true;
  in_step_ = true;
  context_.shared.reports_changed = true;
  if (is_news("")) {
    log_info(kDomain, "in step peer={}", name());
  }
  if (outcome.missing > 0) {
    log_warning(
        kDomain,
        "rows with unsent writes are gone, removed with triggers switched off; the peer's stand peer={} rows={}",
        name(), outcome.missing);
  }
  if (outcome.set_aside > 0 || outcome.may_settle) {
    context_.shared.rows_set_aside = true;
  }
  for (const auto& row : outcome.parked) {
    log_parked(kDomain, row, name());
  }
  if (outcome.rows > 0) {
    log_debug(kDomain, "applied peer={} rows={} merged={} conflicts={} set_aside={} ms={}", name(), outcome.rows,
              outcome.merged, outcome.conflicts, outcome.set_aside,
              std::chrono::duration_cast<milliseconds>(took).count());
  }
}

}  // namespace mbsync
