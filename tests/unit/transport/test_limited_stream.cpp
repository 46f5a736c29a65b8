// Limits on what is read, whatever sizes it is asked for in.
#include "limited_stream.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <string>

using namespace mbsync;

namespace {

class TextStream : public LimitedStream {
 public:
  explicit TextStream(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] bool is_readable() const override { return true; }
  [[nodiscard]] bool is_writable() const override { return true; }
  ssize_t write(const char* /*bytes*/, std::size_t size) override { return static_cast<ssize_t>(size); }
  void get_remote_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
  void get_local_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
  [[nodiscard]] socket_t socket() const override { return 0; }

  /// Reads on until that fails, so many bytes at a time.
  std::string read_all(std::size_t at_a_time) {
    std::string all;
    std::string buffer(at_a_time, '\0');
    for (ssize_t taken = read(buffer.data(), at_a_time); taken > 0; taken = read(buffer.data(), at_a_time)) {
      all.append(buffer.data(), static_cast<std::size_t>(taken));
    }
    return all;
  }

 protected:
  ssize_t take(char* buffer, std::size_t size) override {
    const std::size_t taken = std::min(size, text_.size() - at_);
    std::memcpy(buffer, text_.data() + at_, taken);
    at_ += taken;
    return static_cast<ssize_t>(taken);
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

}  // namespace

TEST_CASE("limited stream: so many bytes and no more, and then it says so") {
  for (const std::size_t at_a_time : {1, 2, 3, 7, 100}) {
    TextStream stream("one\ntwo\nthree\n");
    stream.limit_reads(6);
    CHECK(stream.read_all(at_a_time) == "one\ntw");
    CHECK(stream.exhausted());
  }
  TextStream whole("one\ntwo\nthree\n");
  whole.limit_reads(14);
  CHECK(whole.read_all(14) == "one\ntwo\nthree\n");
}

TEST_CASE("limited stream: a line that is too long ends it, one that is just not does not") {
  for (const std::size_t at_a_time : {1, 2, 3, 7, 100}) {
    INFO(at_a_time);
    TextStream stream("123\n12345\n1\n");
    stream.limit_reads(LimitedStream::kNoLimit, 6);
    CHECK(stream.read_all(at_a_time) == "123\n12345\n1\n");
    CHECK_FALSE(stream.exhausted());

    TextStream longer("123\n123456\n1\n");
    longer.limit_reads(LimitedStream::kNoLimit, 6);
    const std::string read = longer.read_all(at_a_time);
    CHECK(read == "123\n123456");
    CHECK(longer.exhausted());
    // Behind the head there are no lines.
    longer.limit_reads(100);
    CHECK(longer.read_all(at_a_time) == "\n1\n");
  }
}
