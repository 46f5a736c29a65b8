#include "verify_report.h"

#include <algorithm>
#include <numeric>

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

template <typename Count>
std::int64_t sum(const std::vector<TableVerdict>& tables, Count count) {
  return std::accumulate(tables.begin(), tables.end(), std::int64_t{0},
                         [&](std::int64_t so_far, const TableVerdict& table) { return so_far + count(table); });
}

Json differences_json(const std::vector<RowDifference>& rows) {
  auto list = Json::array();
  for (const auto& entry : rows) {
    list.push_back({{"key", entry.key}, {"what", to_string(entry.what)}, {"columns", entry.columns}});
  }
  return list;
}

Json or_null(const std::optional<Error>& failure) {
  return failure ? Json(failure->text()) : Json();
}

}  // namespace

std::int64_t PeerVerdict::rows() const {
  return sum(tables, [](const TableVerdict& table) { return table.rows; });
}
std::int64_t PeerVerdict::differences() const {
  return sum(tables, [](const TableVerdict& table) { return static_cast<std::int64_t>(table.differences.size()); });
}
std::int64_t PeerVerdict::undecided() const {
  return sum(tables, [](const TableVerdict& table) { return table.changing + table.waiting; });
}
std::int64_t PeerVerdict::not_compared() const {
  return sum(tables, [](const TableVerdict& table) { return std::int64_t{table.why.empty() ? 0 : 1}; });
}

bool PeerVerdict::equal() const {
  return !failure && std::all_of(tables.begin(), tables.end(),
                                 [](const TableVerdict& table) { return table.state == TableVerdict::State::kEqual; });
}

std::string_view VerifyReport::result() const {
  if (std::any_of(peers.begin(), peers.end(), [](const PeerVerdict& peer) { return peer.differences() > 0; })) {
    return "different";
  }
  const bool all = !failure && std::all_of(peers.begin(), peers.end(), [](const auto& peer) { return peer.equal(); });
  return all ? "equal" : "incomplete";
}

Json to_json(const TableVerdict& verdict) {
  return {{"table", verdict.table},
          {"result", to_string(verdict.state)},
          {"rows_compared", verdict.rows},
          {"rows_different", verdict.differences.size()},
          {"rows_changing", verdict.changing},
          {"rows_waiting", verdict.waiting},
          {"why_not", verdict.why.empty() ? Json() : Json(verdict.why)},
          {"differences", differences_json(verdict.differences)},
          {"repaired", differences_json(verdict.repaired)}};
}

Json to_json(const VerifyReport& report) {
  Json document{{"id", report.id},
                {"scheduled", report.scheduled},
                {"begun_at", report.begun_at},
                {"finished_at", report.finished_at},
                {"result", report.result()},
                {"failure", or_null(report.failure)},
                {"peers", Json::array()}};
  for (const auto& peer : report.peers) {
    Json entry{{"id", peer.peer.id.valid() ? Json(to_string(peer.peer.id)) : Json()},
               {"name", peer.peer.name},
               {"address", peer.address.empty() ? Json() : Json(peer.address)},
               {"failure", or_null(peer.failure)},
               {"rows_compared", peer.rows()},
               {"rows_different", peer.differences()},
               {"rows_undecided", peer.undecided()},
               {"tables_not_compared", peer.not_compared()},
               {"rows_repaired", peer.repaired},
               {"repair_trouble", peer.repair_trouble},
               {"tables", Json::array()}};
    for (const auto& table : peer.tables) {
      entry["tables"].push_back(to_json(table));
    }
    document["peers"].push_back(std::move(entry));
  }
  return document;
}

TableNote note_of(const TableVerdict& verdict) {
  TableNote note{verdict.table,  std::string(to_string(verdict.state)), verdict.why, verdict.rows, verdict.changing,
                 verdict.waiting};
  note.differences = differences_json(verdict.differences).dump(-1, ' ', false, Json::error_handler_t::replace);
  note.differing = static_cast<std::int64_t>(verdict.differences.size());
  return note;
}

}  // namespace mbsync
