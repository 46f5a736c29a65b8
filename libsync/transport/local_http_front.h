// HTTP as the local port speaks it, without sockets and threads: reads a request from a stream, looks whether it may be
// answered, has a route answer it, writes the answer. One object serves many connections at a time.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "limited_stream.h"
#include "local_guard.h"
#include "local_http.h"
#include "socket.h"

namespace mbsync {

class LocalHttpFront {
 public:
  struct Options {
    LocalGuard guard;
    StopCheck stopped;
    /// Whether one more answer without an end may begin; it ends with the object that is returned.
    std::function<std::shared_ptr<void>()> begin_stream;
    std::function<void(std::string_view route, int status)> answered{};
    std::function<void(std::string_view why)> refused{};  ///< by the guard
    std::function<void(std::string_view why)> failed{};   ///< an answer could not be made
    std::function<void()> head_and_body_read{};           ///< called by the thread that serves, before a route answers
    std::function<void(bool has_end)> answer_begins{};    ///< the same, before an answer is sent
  };
  LocalHttpFront(Options options, std::vector<LocalRoute> routes);
  ~LocalHttpFront();
  LocalHttpFront(const LocalHttpFront&) = delete;
  LocalHttpFront& operator=(const LocalHttpFront&) = delete;

  /// One request; the connection is of no further use.
  void serve(LimitedStream& stream);
  /// Before the first serve(), and at the end.
  void set_open(bool open);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
