#include "model.h"

#include <algorithm>
#include <tuple>

namespace mbsync::checker {
namespace {

bool earlier(const Write* a, const Write* b) {
  return std::tie(a->at, a->node) < std::tie(b->at, b->node);
}

}  // namespace

const Write* last_writer(const std::vector<const Write*>& siblings) {
  return *std::max_element(siblings.begin(), siblings.end(), earlier);
}

const Write* first_writer(const std::vector<const Write*>& siblings) {
  return *std::min_element(siblings.begin(), siblings.end(), earlier);
}

Model::Model(std::size_t nodes, Rows rows, Rules rules) : first_(std::move(rows)), rules_(std::move(rules)) {
  nodes_.resize(nodes);
  for (auto& node : nodes_) {
    node.rows = first_;
  }
}

void Model::change(std::size_t node, std::int64_t at, const Rows& after) {
  auto& own = nodes_[node];
  const auto touched = [&](const RowId& row, bool was_there) -> Pending& {
    auto [entry, fresh] = own.pending.try_emplace(row);
    if (fresh) {
      entry->second.was_there = was_there;
      entry->second.at = at;
    }
    entry->second.at = std::max(entry->second.at, at);
    return entry->second;
  };
  for (const auto& [row, values] : after) {
    const auto before = own.rows.find(row);
    const bool was_there = before != own.rows.end();
    if (was_there && before->second == values) {
      continue;
    }
    auto& pending = touched(row, was_there);
    pending.deleted = false;
    pending.values = values;
    for (std::size_t column = 0; column < values.size(); ++column) {
      if (!was_there || before->second[column] != values[column]) {
        pending.columns.insert(column);
      }
    }
  }
  for (const auto& [row, values] : own.rows) {
    if (after.contains(row)) {
      continue;
    }
    auto& pending = touched(row, true);
    pending.deleted = true;
    if (pending.image.empty() || at >= pending.deleted_at) {
      pending.image = values;
      pending.deleted_at = at;
    }
    for (std::size_t column = 0; column < values.size(); ++column) {
      pending.columns.insert(column);
    }
  }
  own.rows = after;
}

void Model::seal(std::size_t node) {
  auto& own = nodes_[node];
  const auto seen = own.knowledge;
  for (auto& [row, pending] : own.pending) {
    const auto known = [&, row = row](WriteId id) { return writes_[id].row == row; };
    if (pending.deleted && !pending.was_there && std::none_of(seen.begin(), seen.end(), known)) {
      continue;  // came and went, and nobody has ever heard of it
    }
    own.knowledge.insert(writes_.size());
    writes_.push_back(Write{writes_.size(), row, node, pending.at, std::move(pending.columns), pending.deleted,
                            pending.deleted && !pending.was_there,
                            pending.deleted ? std::move(pending.image) : std::move(pending.values), seen});
  }
  own.pending.clear();
}

void Model::learn(std::size_t node, const Knowledge& writes) {
  seal(node);
  auto& own = nodes_[node];
  own.knowledge.insert(writes.begin(), writes.end());
  own.rows = settle(own.knowledge);
}

std::map<RowId, Model::Live> Model::by_row(const Knowledge& knowledge) const {
  std::map<RowId, Live> rows;
  for (const auto id : knowledge) {
    rows[writes_[id].row].push_back(&writes_[id]);
  }
  return rows;
}

Model::Live Model::live(const Live& writes, std::optional<std::size_t> column) const {
  Live left;
  for (const auto* write : writes) {
    const auto has = [&](const Write* one) { return !column || one->columns.contains(*column); };
    const bool overwritten = std::any_of(writes.begin(), writes.end(), [&](const Write* later) {
      return has(later) && later->seen.contains(write->id);
    });
    if (has(write) && !overwritten) {
      left.push_back(write);
    }
  }
  return left;
}

std::optional<Values> Model::settle_row(const RowId& row, const Live& writes) const {
  const auto before = first_.find(row);
  const auto holders = live(writes, std::nullopt);
  const auto keeps = [](const Write* write) { return !write->deleted; };
  const bool exists = rules_.update_beats_delete
                          ? std::any_of(holders.begin(), holders.end(), keeps)
                          : !holders.empty() && std::all_of(holders.begin(), holders.end(), keeps);
  if (!exists) {
    return std::nullopt;
  }
  const std::size_t width = writes.front()->values.size();
  Values values(width);
  for (std::size_t column = 0; column < width; ++column) {
    auto siblings = live(writes, column);
    // What a deletion found counts where nobody else says anything.
    if (std::any_of(siblings.begin(), siblings.end(), keeps)) {
      std::erase_if(siblings, [](const Write* write) { return write->deleted; });
    }
    values[column] = siblings.empty() ? before->second[column] : rules_.column(siblings)->values[column];
  }
  return values;
}

Rows Model::settle(const Knowledge& knowledge) const {
  Rows rows = first_;
  for (const auto& [row, writes] : by_row(knowledge)) {
    if (auto values = settle_row(row, writes)) {
      rows[row] = std::move(*values);
    } else {
      rows.erase(row);
    }
  }
  return rows;
}

std::vector<Loss> Model::losses(std::size_t node, const Rows& shown) const {
  std::vector<Loss> lost;
  for (const auto& [row, writes] : by_row(nodes_[node].knowledge)) {
    const auto now = shown.find(row);
    for (const auto* write : live(writes, std::nullopt)) {
      if (write->deleted && !write->came_and_went && now != shown.end()) {
        lost.push_back({write, std::nullopt});
      }
    }
    for (std::size_t column = 0; column < writes.front()->values.size(); ++column) {
      for (const auto* write : live(writes, column)) {
        if (!write->deleted && (now == shown.end() || now->second[column] != write->values[column])) {
          lost.push_back({write, column});
        }
      }
    }
  }
  return lost;
}

}  // namespace mbsync::checker
