#include "address_limiter.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>

namespace mbsync {

std::string limit_group(std::string_view address) {
  in6_addr six{};
  const std::string text(address.substr(0, address.find('%')));
  if (::inet_pton(AF_INET6, text.c_str(), &six) != 1 || IN6_IS_ADDR_LINKLOCAL(&six)) {
    return std::string(address);
  }
  constexpr std::size_t kNetworkBytes = 8;
  std::string group;
  for (std::size_t i = 0; i < kNetworkBytes; i += 2) {
    group += fmt::format("{:02x}{:02x}:", six.s6_addr[i], six.s6_addr[i + 1]);
  }
  return group + ":/64";
}

double TokenBucket::left(Rate rate, Time now) const {
  const std::chrono::duration<double> passed = std::max(now, at_) - at_;
  // What was taken at a more generous rate counts no more than all that this one lets through.
  return rate.burst - std::max(0.0, std::min(taken_, rate.burst) - passed.count() * rate.each_second);
}

bool TokenBucket::take(Rate rate, Time now) {
  taken_ = rate.burst - left(rate, now);
  at_ = std::max(now, at_);
  const bool there = rate.burst - taken_ >= 1;
  taken_ += there ? 1 : 0;
  return there;
}

bool AddressLimiter::known(const Entry& entry, Time now) const {
  return entry.ever_known && now - entry.known_at < limits_.known_for;
}

bool AddressLimiter::worth_keeping(const Entry& entry, Time now) const {
  return entry.connections > 0 || known(entry, now) || !entry.failures.full(limits_.failures, now) ||
         !entry.requests.full(limits_.requests, now);
}

AddressLimiter::Entry& AddressLimiter::entry_of(std::string_view address, Time now) {
  std::string group = limit_group(address);
  if (const auto place = entries_.find(group); place != entries_.end()) {
    return place->second;
  }
  if (entries_.size() >= limits_.addresses) {
    std::erase_if(entries_, [&](const auto& entry) { return !worth_keeping(entry.second, now); });
  }
  return entries_.size() >= limits_.addresses ? rest_ : entries_[std::move(group)];
}

AddressLimiter::Verdict AddressLimiter::connected(std::string_view address, Time now) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entry_of(address, now);
  if (!entry.failures.any(known(entry, now) ? limits_.failures_known : limits_.failures, now)) {
    return Verdict::kTooManyFailures;
  }
  if (entry.connections >= limits_.connections) {
    return Verdict::kTooManyConnections;
  }
  ++entry.connections;
  return Verdict::kAdmitted;
}

void AddressLimiter::closed(std::string_view address, Time now) {
  const std::lock_guard lock(mutex_);
  // An entry that counts a connection stays, so this is where it was counted, but for one that was counted with the
  // rest and has got an entry of its own since.
  Entry& entry = entry_of(address, now);
  Entry& counted = entry.connections > 0 ? entry : rest_;
  counted.connections -= std::min<std::size_t>(counted.connections, 1);
}

void AddressLimiter::handshake_failed(std::string_view address, Time now) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entry_of(address, now);
  entry.failures.take(known(entry, now) ? limits_.failures_known : limits_.failures, now);
}

void AddressLimiter::handshake_done(std::string_view address, Time now) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entry_of(address, now);
  // That one of those for whom there is no room has the key says nothing of the others.
  if (&entry != &rest_) {
    entry.ever_known = true;
    entry.known_at = now;
  }
}

bool AddressLimiter::knows(std::string_view address, Time now) const {
  const std::lock_guard lock(mutex_);
  const auto place = entries_.find(limit_group(address));
  return place != entries_.end() && known(place->second, now);
}

bool AddressLimiter::request(std::string_view address, Time now) {
  const std::lock_guard lock(mutex_);
  return entry_of(address, now).requests.take(limits_.requests, now);
}

std::size_t AddressLimiter::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

SenderLimiter::Verdict SenderLimiter::begun(std::int64_t sender, Time now) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= limits_.senders && !entries_.contains(sender)) {
    std::erase_if(entries_, [&](const auto& entry) {
      return entry.second.exchanges == 0 && entry.second.requests.full(limits_.requests, now);
    });
    if (entries_.size() >= limits_.senders) {
      return Verdict::kTooManyRequests;  // more senders at once than a fleet has members
    }
  }
  Entry& entry = entries_[sender];
  if (entry.exchanges >= limits_.exchanges) {
    return Verdict::kTooManyExchanges;
  }
  if (!entry.requests.take(limits_.requests, now)) {
    return Verdict::kTooManyRequests;
  }
  ++entry.exchanges;
  return Verdict::kAdmitted;
}

void SenderLimiter::ended(std::int64_t sender) {
  const std::lock_guard lock(mutex_);
  if (const auto place = entries_.find(sender); place != entries_.end() && place->second.exchanges > 0) {
    --place->second.exchanges;
  }
}

}  // namespace mbsync
