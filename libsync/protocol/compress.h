// zstd as a stream, on the way out and on the way in. Not thread-safe; one object a stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "result.h"

namespace mbsync {

/// Receives pieces of output; an error ends the stream and is returned to who fed it.
using ByteSink = std::function<Result<void>(std::string_view)>;

class Compressor {
 public:
  Compressor(int level, ByteSink sink);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  Result<void> write(std::string_view bytes);
  Result<void> flush();   ///< everything written so far comes out, decodable
  Result<void> finish();  ///< ends the frame, with its checksum; what is written later begins another one

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Decompressor {
 public:
  /// Takes one or more frames after each other. Output over `bytes_max` is `corrupt`, as are a window above 8 MiB and
  /// garbage. Bytes come out before the checksum behind them has been seen: only finished() vouches for them.
  Decompressor(std::uint64_t bytes_max, ByteSink sink);
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  Result<void> write(std::string_view bytes);
  [[nodiscard]] bool finished() const;         ///< the last byte fed ended a frame, and its checksum was right
  [[nodiscard]] std::uint64_t frames() const;  ///< how many have ended; counted once all of their output is out

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
