// Counts what goes through to another sink.
#pragma once

#include <cstdint>

#include "pull_sink.h"

namespace mbsync {

class CountingSink : public PullSink {
 public:
  explicit CountingSink(PullSink& sink) : sink_(sink) {}

  Result<void> header(const PullHeader& header) override { return sink_.header(header); }
  Result<void> table(const TableHeader& table) override { return sink_.table(table); }
  Result<void> rows(std::string_view copy_text) override {
    bytes_ += static_cast<std::int64_t>(copy_text.size());
    return sink_.rows(copy_text);
  }
  Result<void> table_end(std::int64_t rows) override {
    rows_ += rows;
    return sink_.table_end(rows);
  }
  Result<void> footer(const PullFooter& footer) override { return sink_.footer(footer); }

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  PullSink& sink_;
  std::int64_t rows_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace mbsync
