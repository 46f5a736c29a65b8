#include "http_say.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace mbsync::test {
namespace {

using Clock = std::chrono::steady_clock;

/// A body that came in chunks, put together.
std::string joined(std::string_view chunks) {
  std::string body;
  while (!chunks.empty()) {
    std::size_t size = 0;
    const auto line = chunks.find("\r\n");
    std::from_chars(chunks.data(), chunks.data() + std::min(line, chunks.size()), size, 16);
    if (line == std::string_view::npos || size == 0 || chunks.size() < line + 2 + size) {
      break;
    }
    body += chunks.substr(line + 2, size);
    chunks.remove_prefix(std::min(chunks.size(), line + 2 + size + 2));
  }
  return body;
}

}  // namespace

HttpLine::HttpLine(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    ::close(fd_);
    throw std::runtime_error(fmt::format("nobody listens on port {}", port));
  }
}

HttpLine::~HttpLine() {
  ::close(fd_);
}

void HttpLine::say(std::string_view text) {
  while (!text.empty()) {
    const auto sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;  // what is heard says why
    }
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool HttpLine::hear(std::string_view text, std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (heard_.find(text) == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
    pollfd entry{fd_, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0) {
      return false;
    }
    char buffer[16384];
    const auto taken = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (taken <= 0) {
      return false;
    }
    heard_.append(buffer, static_cast<std::size_t>(taken));
  }
  return true;
}

bool HttpLine::hear_all(std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  // A text that no answer has.
  hear(std::string_view("\0\0\0\0nobody says this", 20), patience);
  return Clock::now() < until;
}

HttpAnswer ask(std::uint16_t port, const std::string& path, const std::string& body, HttpHeaders headers,
               std::chrono::milliseconds patience) {
  HttpLine line(port);
  headers.try_emplace("Host", fmt::format("127.0.0.1:{}", port));
  if (!body.empty()) {
    headers.try_emplace("Content-Type", "application/json");
    headers.try_emplace("Content-Length", std::to_string(body.size()));
  }
  auto text = fmt::format("{} {} HTTP/1.1\r\n", body.empty() ? "GET" : "POST", path);
  for (const auto& [name, value] : headers) {
    text += value.empty() ? "" : fmt::format("{}: {}\r\n", name, value);
  }
  line.say(text + "\r\n" + body);
  line.hear_all(patience);
  HttpAnswer answer;
  const auto& heard = line.heard();
  const auto end = heard.find("\r\n\r\n");
  if (end == std::string::npos || heard.size() < 12) {
    return answer;
  }
  answer.status = std::stoi(heard.substr(9, 3));
  answer.head = heard.substr(0, end + 2);
  answer.body = heard.substr(end + 4);
  if (answer.head.find("chunked") != std::string::npos) {
    answer.body = joined(answer.body);
  }
  return answer;
}

}  // namespace mbsync::test
