#include "compress.h"

#include <fmt/format.h>
#include <zstd.h>

#include <vector>

namespace mbsync {
namespace {

/// 8 MiB: what a decoder must hold in memory for a sender of level 19 and below.
constexpr int kWindowLogMax = 23;

Error zstd_error(std::string_view doing, std::size_t code, ErrorKind kind) {
  return Error{kind, fmt::format("cannot {}: {}", doing, ZSTD_getErrorName(code)), ""};
}

}  // namespace

struct Compressor::Impl {
  Impl(int level, ByteSink out) : context(ZSTD_createCCtx()), sink(std::move(out)), buffer(ZSTD_CStreamOutSize()) {
    MBSYNC_CHECK(context != nullptr, "no memory for a zstd compressor");
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  }
  ~Impl() { ZSTD_freeCCtx(context); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> run(std::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context, &out, &in, directive);
      if (ZSTD_isError(left) != 0) {
        return zstd_error("compress", left, ErrorKind::kInternal);
      }
      if (out.pos > 0) {
        MBSYNC_TRY(sink(std::string_view(buffer.data(), out.pos)));
      }
      if (directive == ZSTD_e_continue ? in.pos == in.size : left == 0) {
        return {};
      }
    }
  }

  ZSTD_CCtx* context;
  ByteSink sink;
  std::vector<char> buffer;
};

Compressor::Compressor(int level, ByteSink sink) : impl_(std::make_unique<Impl>(level, std::move(sink))) {}
Compressor::~Compressor() = default;
Result<void> Compressor::write(std::string_view bytes) {
  return impl_->run(bytes, ZSTD_e_continue);
}
Result<void> Compressor::flush() {
  return impl_->run({}, ZSTD_e_flush);
}
Result<void> Compressor::finish() {
  return impl_->run({}, ZSTD_e_end);
}

struct Decompressor::Impl {
  Impl(std::uint64_t limit, ByteSink out)
      : context(ZSTD_createDCtx()), sink(std::move(out)), buffer(ZSTD_DStreamOutSize()), bytes_max(limit) {
    MBSYNC_CHECK(context != nullptr, "no memory for a zstd decompressor");
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, kWindowLogMax);
  }
  ~Impl() { ZSTD_freeDCtx(context); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> run(std::string_view bytes) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    // A full output buffer may mean that there is more to come without any further input.
    bool more = false;
    while (in.pos < in.size || more) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t wanted = ZSTD_decompressStream(context, &out, &in);
      if (ZSTD_isError(wanted) != 0) {
        return zstd_error("decompress", wanted, ErrorKind::kCorrupt);
      }
      if (out.pos > bytes_max - bytes_out) {
        return Error{ErrorKind::kCorrupt, fmt::format("more than {} bytes after decompression", bytes_max), ""};
      }
      bytes_out += out.pos;
      if (out.pos > 0) {
        MBSYNC_TRY(sink(std::string_view(buffer.data(), out.pos)));
      }
      finished = wanted == 0;
      frames += finished ? 1U : 0U;
      more = !finished && out.pos == out.size;
    }
    return {};
  }

  ZSTD_DCtx* context;
  ByteSink sink;
  std::vector<char> buffer;
  std::uint64_t bytes_max;
  std::uint64_t bytes_out = 0;
  std::uint64_t frames = 0;
  bool finished = false;
};

Decompressor::Decompressor(std::uint64_t bytes_max, ByteSink sink)
    : impl_(std::make_unique<Impl>(bytes_max, std::move(sink))) {}
Decompressor::~Decompressor() = default;
Result<void> Decompressor::write(std::string_view bytes) {
  return impl_->run(bytes);
}
bool Decompressor::finished() const {
  return impl_->finished;
}
std::uint64_t Decompressor::frames() const {
  return impl_->frames;
}

}  // namespace mbsync
