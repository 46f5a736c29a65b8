// Listens to sources of peers, and keeps what they say. Any thread.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "peer_source.h"

namespace mbsync::test {

class Recorder : public PeerListener {
 public:
  void peer_found(std::string_view /*source*/, const Sighting& sighting) override {
    const std::lock_guard lock(mutex_);
    found_.push_back(sighting);
  }
  void peer_lost(std::string_view /*source*/, const std::string& handle) override {
    const std::lock_guard lock(mutex_);
    lost_.push_back(handle);
  }
  void source_works(std::string_view /*source*/) override {
    const std::lock_guard lock(mutex_);
    ++works_;
  }
  void source_fails(std::string_view /*source*/, const Error& why) override {
    const std::lock_guard lock(mutex_);
    failures_.push_back(why);
  }

  [[nodiscard]] std::vector<Sighting> found() const { return read(found_); }
  [[nodiscard]] std::vector<std::string> lost() const { return read(lost_); }
  [[nodiscard]] std::vector<Error> failures() const { return read(failures_); }
  [[nodiscard]] int works() const { return read(works_); }

 private:
  template <typename T>
  T read(const T& member) const {
    const std::lock_guard lock(mutex_);
    return member;
  }

  mutable std::mutex mutex_;
  std::vector<Sighting> found_;
  std::vector<std::string> lost_;
  std::vector<Error> failures_;
  int works_ = 0;
};

}  // namespace mbsync::test
