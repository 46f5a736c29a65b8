#include "fleet_tag_keeper.h"

#include <utility>

#include "log.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"peer"};

std::string known_or_new(const TagsByKey& known, const std::string& key) {
  if (key.empty()) {
    return "";
  }
  const auto place = known.find(key);
  return place != known.end() && is_fleet_tag(place->second) ? place->second : make_fleet_tag();
}

TagsByKey read(const FleetTagKeeper::Store& store) {
  auto known = store.read();
  if (!known) {
    log_warning(kDomain, "the fleet's tag is not known, another one is announced for now reason={}",
                log_value(known.error().log_text()));
  }
  return known ? std::move(*known) : TagsByKey{};
}

}  // namespace

FleetTagKeeper::FleetTagKeeper(const FleetKeys& keys, const Store& store) : FleetTagKeeper(keys, read(store), store) {}

FleetTagKeeper::FleetTagKeeper(const FleetKeys& keys, const TagsByKey& known, Store store)
    : current_(keys.current.identity()),
      next_(keys.next ? keys.next->identity() : ""),
      store_(std::move(store)),
      tags_(known_or_new(known, current_), known_or_new(known, next_)),
      said_(announced()) {}

TagsByKey FleetTagKeeper::by_key() const {
  TagsByKey tags;
  for (const auto& [key, use] : {std::pair{current_, KeyUse::kCurrent}, std::pair{next_, KeyUse::kNext}}) {
    if (const auto tag = tags_.of(use); !key.empty() && !tag.empty()) {
      tags.emplace(key, tag);
    }
  }
  return tags;
}

bool FleetTagKeeper::look_after(Time now) {
  const auto version = tags_.version();
  if ((is_stored_ && version == stored_) || now < not_before_) {
    return false;
  }
  not_before_ = now + kFleetTagPause;
  const auto written = store_.write(by_key());
  is_stored_ = written.has_value();
  stored_ = version;
  if (failures_.is_news(written ? "" : written.error().log_text()) && !written) {
    log_warning(kDomain, "the fleet's tag could not be stored reason={}", log_value(written.error().log_text()));
  }
  return std::exchange(said_, announced()) != said_;
}

}  // namespace mbsync
