#include "request_memory.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <utility>

#include "check.h"
#include "transport_tuning.h"

namespace mbsync {

std::string base_name_of(const PullRequest& request) {
  constexpr std::size_t kNameBytes = 16;
  const std::string text = base_text(request);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  MBSYNC_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1,
               "SHA-256 cannot be computed");
  std::string name;
  for (std::size_t i = 0; i < kNameBytes; ++i) {
    name += fmt::format("{:02x}", digest.at(i));
  }
  return name;
}

std::shared_ptr<const PullRequest> RequestMemory::find(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto place =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.name == name; });
  if (place == entries_.end()) {
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, place);
  return place->request;
}

void RequestMemory::keep(const PullRequest& request) {
  if (request.members.size() + request.seen.counters().size() > tuning::kRequestKeptEntriesMax) {
    return;
  }
  auto name = base_name_of(request);
  if (find(name)) {
    return;
  }
  auto kept = std::make_shared<PullRequest>();
  kept->seen = request.seen;
  kept->members = request.members;
  const std::lock_guard lock(mutex_);
  entries_.push_front(Entry{std::move(name), std::move(kept)});
  if (entries_.size() > most_) {
    entries_.pop_back();
  }
}

}  // namespace mbsync
