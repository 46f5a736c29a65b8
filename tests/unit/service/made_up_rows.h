// A table in memory that answers to a comparison as a database does, but for the hashing: what is hashed stands for
// itself. Keys are put in order as texts.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "digest_service.h"

namespace mbsync::test {

struct MadeUpRow {
  std::vector<std::string> values;
  std::vector<Dot> writes{};
  bool waits = false;
  bool captured = false;
  bool present = true;  ///< else there are only its writes
};

class MadeUpRows : public DigestSource {
 public:
  std::map<std::string, MadeUpRow> rows;
  VersionVector seen;
  VersionVector forgotten;
  std::vector<std::string> columns{"id", "note", "price"};
  std::string order = "text";
  std::function<void(const DigestRequest&)> before;                   ///< each question
  std::function<Result<std::int64_t>(const DigestRequest&)> on_take;  ///< of is_of_repair()
  bool backwards = false;  ///< the index here sorts the other way round, whatever `order` says
  std::optional<Error> failure;
  int asked = 0;

  Result<DigestAnswer> ask(const DigestRequest& request) override {
    ++asked;
    if (before) {
      before(request);
    }
    if (failure) {
      return *failure;
    }
    DigestAnswer answer;
    if (request.kind == DigestKind::kShape) {
      answer.key = {"id"};
      for (const auto& name : columns) {
        answer.columns.push_back({name, "text"});
      }
      answer.order = order;
      answer.estimate = static_cast<std::int64_t>(rows.size());
      if (!request.columns.empty() && request.columns != answer.columns) {
        answer.state = DigestState::kDiffers;
        answer.why = "column \"colour\" is missing there";
      }
    } else if (is_of_repair(request.kind)) {
      const auto taken = on_take(request);
      MBSYNC_TRY(taken);
      answer.rows = *taken;
    } else if (request.kind == DigestKind::kLook) {
      look(request, answer);
    } else {
      range(request, answer);
    }
    return answer;
  }

 private:
  static std::string hash(const MadeUpRow& row) { return fmt::format("{}", fmt::join(row.values, "|")); }

  void range(const DigestRequest& request, DigestAnswer& answer) const {
    std::vector<std::pair<std::string, const MadeUpRow*>> sorted;
    for (const auto& [key, row] : rows) {
      sorted.emplace_back(key, &row);
    }
    if (backwards) {
      std::reverse(sorted.begin(), sorted.end());
    }
    const auto is_above = [&](const std::string& key, const std::string& bound) {
      return backwards ? key < bound : key > bound;
    };
    std::map<std::string, std::string> hashes;  // a checksum goes by the keys' text
    for (const auto& [key, place] : sorted) {
      const auto& row = *place;
      if (!row.present || (request.above && !is_above(key, *request.above)) ||
          (request.upto && is_above(key, *request.upto))) {
        continue;
      }
      if (answer.rows == request.limit) {
        break;
      }
      ++answer.rows;
      if (request.kind == DigestKind::kRows) {
        answer.list.push_back({key, hash(row)});
      } else {
        hashes[key] = hash(row);
      }
      answer.last = key;
    }
    for (const auto& [key, text] : hashes) {
      answer.checksum += text + "\n";
    }
    if (answer.rows < request.limit) {
      answer.last.reset();
    }
  }

  void look(const DigestRequest& request, DigestAnswer& answer) const {
    answer.seen = seen;
    answer.forgotten = forgotten;
    for (const auto& key : request.keys) {
      RowLook entry{key};
      if (const auto place = rows.find(key); place != rows.end()) {
        entry.present = place->second.present;
        entry.writes = place->second.writes;
        entry.waits = place->second.waits;
        entry.captured = place->second.captured;
        if (entry.present) {
          entry.hash = hash(place->second);
          entry.columns = place->second.values;
        }
      }
      answer.looks.push_back(std::move(entry));
    }
  }
};

}  // namespace mbsync::test
