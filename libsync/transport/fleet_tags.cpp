#include "fleet_tags.h"

#include <algorithm>

#include "process_tag.h"

namespace mbsync {
namespace {

constexpr std::size_t kDigits = 16;

std::string tag_or_none(std::string_view text) {
  return is_fleet_tag(text) ? std::string(text) : "";
}

}  // namespace

bool is_fleet_tag(std::string_view text) {
  return text.size() == kDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string make_fleet_tag() {
  return make_process_tag().substr(0, kDigits);
}

std::string agreed_fleet_tag(const std::string& a, const std::string& b) {
  return a.empty() || b.empty() ? std::max(a, b) : std::min(a, b);
}

FleetTags::FleetTags(std::string_view current, std::string_view next)
    : current_(tag_or_none(current)), next_(tag_or_none(next)) {}

std::string FleetTags::of(KeyUse key) const {
  const std::lock_guard lock(mutex_);
  return key == KeyUse::kNext ? next_ : current_;
}

bool FleetTags::has(std::string_view tag) const {
  const std::lock_guard lock(mutex_);
  return !tag.empty() && (tag == current_ || tag == next_);
}

void FleetTags::heard(KeyUse key, std::string_view tag) {
  if (!is_fleet_tag(tag)) {
    return;
  }
  const std::lock_guard lock(mutex_);
  auto& own = key == KeyUse::kNext ? next_ : current_;
  auto agreed = agreed_fleet_tag(own, std::string(tag));
  if (agreed != own) {
    own = std::move(agreed);
    ++version_;
  }
}

std::uint64_t FleetTags::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

}  // namespace mbsync
