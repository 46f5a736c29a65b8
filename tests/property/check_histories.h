// Runs a property over many generated histories with RapidCheck, and says how to run the same ones again.
//
// MBSYNC_HISTORIES=n   how many (2000 unless told; 200 under a sanitizer, which makes one ten times as long)
// MBSYNC_SEED=n        which ones; a failure prints the seed that it was found with
// RC_PARAMS            RapidCheck's own settings, among them the "reproduce=..." it prints with a counterexample
#pragma once

#include <rapidcheck.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>

#include "history.h"

namespace mbsync::sim {

inline rc::Gen<History> any_history() {
  // RapidCheck grows numbers with the size of a case. Here a number is a step, so only their count may grow.
  const auto bits = rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint32_t>());
  return rc::gen::map(rc::gen::pair(bits, rc::gen::container<std::vector<std::uint32_t>>(bits)),
                      [](std::pair<std::uint32_t, std::vector<std::uint32_t>> parts) {
                        return History{parts.first, std::move(parts.second)};
                      });
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr long long kHistoriesDefault = 200;
#else
inline constexpr long long kHistoriesDefault = 2000;
#endif

/// The number in an environment variable, or `otherwise`.
inline long long number_from_environment(const char* name, long long otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

/// True if `property` holds for all of them. It takes histories with `*any_history()`.
template <typename Property>
bool check_histories(const std::string& name, Property&& property) {
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  params.maxSuccess = static_cast<int>(number_from_environment("MBSYNC_HISTORIES", kHistoriesDefault));
  params.maxSize = 150;
  if (std::getenv("MBSYNC_SEED") != nullptr) {
    params.seed = static_cast<std::uint64_t>(number_from_environment("MBSYNC_SEED", 0));
  }
  rc::detail::TestMetadata metadata;
  metadata.id = name;
  metadata.description = name;
  const auto result = rc::detail::checkTestable(std::forward<Property>(property), metadata, params);
  if (result.template is<rc::detail::SuccessResult>()) {
    return true;
  }
  rc::detail::printResultMessage(result, std::cerr);
  std::cerr << "\nThe same histories again: MBSYNC_SEED=" << params.seed << " MBSYNC_HISTORIES=" << params.maxSuccess
            << "\n";
  return false;
}

/// What `failure` says of the first history that shows one, or nothing if 20,000 do not. Always the same histories.
template <typename Failure>
std::string first_failure(Failure failure) {
  constexpr int kHistoriesMax = 20000;
  constexpr int kSize = 120;
  const rc::Gen<History> histories = any_history();
  rc::Random random(3);
  for (int count = 1; count <= kHistoriesMax; ++count) {
    History history = histories(random.split(), kSize).value();
    history.setup |= kLateJoiners;  // the rarer of these failures need them
    if (const std::string text = failure(history); !text.empty()) {
      return "history " + std::to_string(count) + ": " + text;
    }
  }
  return "";
}

}  // namespace mbsync::sim
