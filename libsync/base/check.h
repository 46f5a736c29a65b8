// MBSYNC_CHECK: for bugs in our own code. On in release builds too: it stops the process before wrong rows can spread.
#pragma once

#include <string_view>

namespace mbsync::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition, std::string_view message);
}

#define MBSYNC_CHECK(condition, message)                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      ::mbsync::detail::check_failed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                            \
  } while (false)
