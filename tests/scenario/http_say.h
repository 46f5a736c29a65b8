// Says something to a port of this machine in plain HTTP, as it is, and hears what comes back.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mbsync::test {

struct HttpAnswer {
  int status = 0;  ///< 0: nothing came
  std::string head;
  std::string body;
};

class HttpLine {
 public:
  /// Connects to 127.0.0.1, or throws std::runtime_error.
  explicit HttpLine(std::uint16_t port);
  ~HttpLine();
  HttpLine(const HttpLine&) = delete;
  HttpLine& operator=(const HttpLine&) = delete;

  void say(std::string_view text);
  /// Adds what comes to what has come, until `text` is in it; false if the time is up or the other side has closed.
  bool hear(std::string_view text, std::chrono::milliseconds patience);
  /// Until the other side closes; false if the time is up.
  bool hear_all(std::chrono::milliseconds patience);
  [[nodiscard]] const std::string& heard() const { return heard_; }

 private:
  int fd_;
  std::string heard_;
};

using HttpHeaders = std::map<std::string, std::string>;

/// Host is 127.0.0.1:port unless `headers` say otherwise; with a body it is a POST of JSON, unless they say otherwise.
HttpAnswer ask(std::uint16_t port, const std::string& path, const std::string& body = "", HttpHeaders headers = {},
               std::chrono::milliseconds patience = std::chrono::seconds{30});

}  // namespace mbsync::test
