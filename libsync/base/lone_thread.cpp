#include "lone_thread.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>

namespace mbsync {
namespace {

std::atomic<int> under_way = 0;

struct Counted {
  Counted() { ++under_way; }
  ~Counted() { --under_way; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

}  // namespace

void start_lone_thread(std::function<void()> work) {
  // Counted before it begins, so that nobody takes the process for one without.
  auto counted = std::make_shared<Counted>();
  std::thread([counted = std::move(counted), work = std::move(work)]() mutable {
    work();
    work = nullptr;  // what it owns goes while it still counts
  }).detach();
}

bool has_lone_threads() {
  return under_way > 0;
}

int leave(int code) {
  if (has_lone_threads()) {
    std::cout.flush();
    std::cerr.flush();
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}

}  // namespace mbsync
