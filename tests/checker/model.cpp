#include "model.h"

#include <algorithm>
#include <sstream>
#include <tuple>

namespace mbsync::checker {
namespace {

bool earlier(const Write* a, const Write* b) {
  return std::tie(a->at, a->node) < std::tie(b->at, b->node);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

bool begins_with(const std::vector<std::string>& lines, const std::vector<std::string>& beginning) {
  return lines.size() >= beginning.size() && std::equal(beginning.begin(), beginning.end(), lines.begin());
}

// C13: what all begin with, and then what each has behind it, unless another one has that and more.
Value appended(const std::vector<const Write*>& siblings, std::size_t column) {
  std::vector<std::vector<std::string>> texts;
  for (const auto* write : siblings) {
    if (write->values[column] && !write->values[column]->empty()) {
      texts.push_back(lines_of(*write->values[column]));
    }
  }
  std::vector<std::string> all;
  while (!texts.empty() && std::all_of(texts.begin(), texts.end(), [&](const auto& text) {
    return !text.empty() && text.front() == texts.front().front();
  })) {
    all.push_back(texts.front().front());
    for (auto& text : texts) {
      text.erase(text.begin());
    }
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    bool elsewhere = false;
    for (std::size_t k = 0; k < texts.size(); ++k) {
      elsewhere = elsewhere || (begins_with(texts[k], texts[i]) && (texts[k].size() > texts[i].size() || k < i));
    }
    if (!elsewhere) {
      all.insert(all.end(), texts[i].begin(), texts[i].end());
    }
  }
  std::string text;
  for (const auto& line : all) {
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

}  // namespace

const Write* last_writer(const std::vector<const Write*>& siblings) {
  return *std::max_element(siblings.begin(), siblings.end(), earlier);
}

const Write* first_writer(const std::vector<const Write*>& siblings) {
  return *std::min_element(siblings.begin(), siblings.end(), earlier);
}

const std::vector<Policy> kPolicies{
    {},
    {.columns = Policy::Choice::kFirst, .marker = Policy::Choice::kGreatest},
    {.columns = Policy::Choice::kPreferNonNull, .marker = Policy::Choice::kFirst, .delete_wins = true},
    {.whole_rows = true, .ranks = {}},
    {.columns = Policy::Choice::kRank, .marker = Policy::Choice::kRank, .delete_wins = true, .ranks = {3, 1, 2, 1, 2}},
    {.columns = Policy::Choice::kPreferNonNull,
     .marker = Policy::Choice::kRank,
     .whole_rows = true,
     .ranks = {1, 2, 1}},
    {.columns = Policy::Choice::kLast, .marker = Policy::Choice::kFirst, .whole_rows = true, .delete_wins = true},
    {.marker = Policy::Choice::kAppend},
    {.columns = Policy::Choice::kFirst, .marker = Policy::Choice::kFunction, .delete_wins = true},
    {.marker = Policy::Choice::kLeast, .whole_rows = true},
};

std::string document_of(const Policy& policy, const std::string& hash) {
  const auto word = [](Policy::Choice choice) {
    constexpr const char* kWords[] = {
        "last-writer-wins", "first-writer-wins", "node-priority", "prefer-non-null", "max", "min", "append"};
    return choice == Policy::Choice::kFunction
               ? std::string("{ rule = \"function\", function = \"") + kFunction + "\" }"
               : std::string("\"") + kWords[static_cast<std::size_t>(choice)] + "\"";
  };
  std::string text = "[nodes]\n";
  for (std::size_t node = 0; node < policy.ranks.size(); ++node) {
    text += "\"000000000000000" + std::to_string(node + 1) + "\" = " + std::to_string(policy.ranks[node]) + "\n";
  }
  text += "[[table]]\nname = \"*\"\nrule = " + word(policy.columns) + "\nmerge = \"" +
          (policy.whole_rows ? "row" : "field") + "\"\ndelete = \"" +
          (policy.delete_wins ? "delete-wins" : "update-wins") +
          "\"\n[table.columns]\nmarker = " + word(policy.marker) + "\n";
  if (policy.marker == Policy::Choice::kFunction) {
    text += std::string("[functions]\n\"") + kFunction + "\" = \"" + hash + "\"\n";
  }
  return text;
}

Model::Model(std::size_t nodes, Rows rows, Rules rules, std::vector<Shape> shapes)
    : first_(std::move(rows)), rules_(std::move(rules)), shapes_(std::move(shapes)) {
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
    if (pending.deleted && !pending.was_there) {
      continue;  // came and went, and nobody has ever heard of it
    }
    own.knowledge.insert(writes_.size());
    const auto together = [&, row = row](std::size_t column) { return in_group(own.policy, row.table, column); };
    if (!pending.deleted && std::any_of(pending.columns.begin(), pending.columns.end(), together)) {
      for (std::size_t column = 0; column < pending.values.size(); ++column) {
        if (together(column)) {
          pending.columns.insert(column);
        }
      }
    }
    writes_.push_back(Write{writes_.size(), row, node, pending.at, std::move(pending.columns), pending.deleted,
                            pending.deleted ? std::move(pending.image) : std::move(pending.values), seen, own.policy});
  }
  own.pending.clear();
}

void Model::publish(std::size_t node, std::size_t policy) {
  nodes_[node].policy = std::max(nodes_[node].policy, policy);
}

void Model::learn(std::size_t node, const Knowledge& writes, std::size_t policy) {
  seal(node);
  publish(node, policy);
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

Policy::Choice Model::choice(std::size_t policy, std::size_t table, std::size_t column) const {
  return column == shapes_[table].keys ? kPolicies[policy].marker : kPolicies[policy].columns;
}

bool Model::may_be_grouped(std::size_t policy, std::size_t table, std::size_t column) const {
  const auto rule = choice(policy, table, column);
  return kPolicies[policy].whole_rows && column >= shapes_[table].keys &&
         (rule == Policy::Choice::kLast || rule == Policy::Choice::kFirst || rule == Policy::Choice::kRank);
}

bool Model::in_group(std::size_t policy, std::size_t table, std::size_t column) const {
  std::size_t count = 0;
  for (std::size_t other = 0; other < shapes_[table].width; ++other) {
    count += may_be_grouped(policy, table, other) ? 1 : 0;
  }
  return count > 1 && may_be_grouped(policy, table, column);
}

// C11 to C13.
Value Model::judge(std::size_t table, std::size_t column, Live siblings) const {
  const auto newest = std::max_element(siblings.begin(), siblings.end(),
                                       [](const Write* a, const Write* b) { return a->policy < b->policy; });
  const auto policy = (*newest)->policy;
  if (policy == 0) {
    return rules_.column(siblings)->values[column];
  }
  const auto keep = [&](const std::function<bool(const Write*)>& good) {
    if (std::any_of(siblings.begin(), siblings.end(), good)) {
      std::erase_if(siblings, [&](const Write* write) { return !good(write); });
    }
  };
  auto rule = choice(policy, table, column);
  if (in_group(policy, table, column)) {
    // The first column that does not leave it to the last writer speaks for the group.
    for (std::size_t other = (*newest)->values.size(); other-- > shapes_[table].keys;) {
      if (in_group(policy, table, other) && choice(policy, table, other) != Policy::Choice::kLast) {
        rule = choice(policy, table, other);
      }
    }
    keep([&](const Write* write) {
      for (std::size_t other = 0; other < write->values.size(); ++other) {
        if (in_group(policy, table, other) && !in_group(write->policy, table, other)) {
          return false;
        }
      }
      return true;
    });
  }
  std::sort(siblings.begin(), siblings.end(), earlier);
  const bool alike = std::all_of(siblings.begin(), siblings.end(), [&](const Write* write) {
    return write->values[column] == siblings.front()->values[column];
  });
  switch (rule) {
    case Policy::Choice::kLast:
      break;
    case Policy::Choice::kAppend:
      if (!alike) {
        return appended(siblings, column);
      }
      break;
    case Policy::Choice::kFunction:
      if (!alike && siblings.size() == 2) {
        return siblings[0]->values[column].value_or("-") + "+" + siblings[1]->values[column].value_or("-");
      }
      break;
    case Policy::Choice::kLeast: {
      Value least;
      for (const auto* write : siblings) {
        const auto& value = write->values[column];
        least = value && (!least || *value < *least) ? value : least;
      }
      keep([&](const Write* write) { return write->values[column] == least; });
      break;
    }
    case Policy::Choice::kFirst:
      return first_writer(siblings)->values[column];
    case Policy::Choice::kRank: {
      const auto& ranks = kPolicies[policy].ranks;
      const auto rank = [&](const Write* write) { return write->node < ranks.size() ? ranks[write->node] : 1000; };
      int best = 1000;
      for (const auto* write : siblings) {
        best = std::min(best, rank(write));
      }
      keep([&](const Write* write) { return rank(write) == best; });
      break;
    }
    case Policy::Choice::kPreferNonNull:
      keep([&](const Write* write) { return write->values[column] && !write->values[column]->empty(); });
      break;
    case Policy::Choice::kGreatest: {
      Value greatest;  // NULL is less than anything
      for (const auto* write : siblings) {
        greatest = std::max(greatest, write->values[column]);
      }
      keep([&](const Write* write) { return write->values[column] == greatest; });
      break;
    }
  }
  return last_writer(siblings)->values[column];
}

std::optional<Values> Model::settle_row(const RowId& row, const Live& writes) const {
  const auto before = first_.find(row);
  const auto holders = live(writes, std::nullopt);
  const auto keeps = [](const Write* write) { return !write->deleted; };
  std::size_t policy = 0;
  for (const auto* write : holders) {
    policy = std::max(policy, write->policy);
  }
  const bool update_wins = policy == 0 ? rules_.update_beats_delete : !kPolicies[policy].delete_wins;
  const bool exists = update_wins ? std::any_of(holders.begin(), holders.end(), keeps)
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
    values[column] = siblings.empty() ? before->second[column] : judge(row.table, column, siblings);
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
      if (write->deleted && now != shown.end()) {
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
