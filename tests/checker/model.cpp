#include "model.h"

#include <algorithm>
#include <iterator>
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

// C13: the elements of all, in the order of time, each as often as the one that has it most often. Elements are words.
Value united(const std::vector<const Write*>& siblings, std::size_t column) {
  std::vector<std::string> all;
  for (const auto* write : siblings) {
    std::vector<std::string> lacking = all;
    std::istringstream in(write->values[column] ? write->values[column]->substr(1, write->values[column]->size() - 2)
                                                : "");
    for (std::string element; std::getline(in, element, ',');) {
      if (const auto known = std::find(lacking.begin(), lacking.end(), element); known != lacking.end()) {
        lacking.erase(known);
      } else {
        all.push_back(element);
      }
    }
  }
  std::string text;
  for (const auto& element : all) {
    text += (text.empty() ? "" : ",") + element;
  }
  return "{" + text + "}";
}

// Whether a rule looks at who wrote and when, and at no value.
bool is_of_writers(Policy::Choice choice) {
  return choice == Policy::Choice::kLast || choice == Policy::Choice::kFirst || choice == Policy::Choice::kRank ||
         choice == Policy::Choice::kManual;
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
    {.columns = Policy::Choice::kFirst, .marker = Policy::Choice::kGreatest, .unite_tags = true, .count = true},
    {.columns = Policy::Choice::kPreferNonNull, .marker = Policy::Choice::kFirst, .count = true, .delete_wins = true},
    {.unite_tags = true, .count = true, .whole_rows = true},
    {.columns = Policy::Choice::kRank, .marker = Policy::Choice::kRank, .delete_wins = true, .ranks = {3, 1, 2, 1, 2}},
    {.columns = Policy::Choice::kPreferNonNull,
     .marker = Policy::Choice::kRank,
     .count = true,
     .whole_rows = true,
     .ranks = {1, 2, 1}},
    {.columns = Policy::Choice::kLast, .marker = Policy::Choice::kFirst, .whole_rows = true, .delete_wins = true},
    {.marker = Policy::Choice::kAppend, .unite_tags = true, .unite_rows = true},
    {.columns = Policy::Choice::kFirst, .marker = Policy::Choice::kFunction, .count = true, .delete_wins = true},
    {.marker = Policy::Choice::kLeast, .whole_rows = true},
    {.count = true, .keep_both = true},
    {.columns = Policy::Choice::kManual, .marker = Policy::Choice::kManual, .whole_rows = true},
    {.count = true, .park_rows = true},
};

std::string document_of(const Policy& policy, const std::string& hash) {
  const auto word = [](Policy::Choice choice) {
    constexpr const char* kWords[] = {
        "last-writer-wins", "first-writer-wins", "node-priority", "prefer-non-null", "max", "min", "append", "manual"};
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
          (policy.delete_wins ? "delete-wins" : "update-wins") + "\"\nunique = \"" +
          (policy.unite_rows  ? "merge"
           : policy.park_rows ? "park"
                              : "auto") +
          "\"\n" + (policy.keep_both ? "keep_both = true\n" : "") + "[table.columns]\nmarker = " + word(policy.marker) +
          "\n" + (policy.unite_tags ? "tags = \"union\"\n" : "") + (policy.count ? "stock = \"sum\"\n" : "");
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

void Model::begin_alone(std::size_t node, const Rows& rows, bool joins) {
  auto& own = nodes_[node];
  own.rows.clear();
  change(node, kTimeUnknown, differences(node, {}, rows));
  seal(node);
  own.joins = joins;
}

void Model::count(std::size_t node, std::size_t table, bool counted) {
  if (counted) {
    nodes_[node].counted.insert(table);
  } else {
    nodes_[node].counted.erase(table);
  }
}

std::vector<Model::Difference> Model::differences(std::size_t node, const Rows& before, const Rows& after) const {
  std::vector<Difference> all;
  for (const auto& [row, values] : after) {
    const auto old = before.find(row);
    const bool was_there = old != before.end();
    if (was_there && old->second == values) {
      continue;
    }
    Difference one{row, was_there, true, values};
    for (std::size_t column = 0; column < values.size(); ++column) {
      if (was_there && old->second[column] == values[column]) {
        continue;
      }
      if (was_there && role(row.table, column) == ColumnRole::kCounter && nodes_[node].counted.contains(row.table)) {
        one.added[column] = std::stoll(*values[column]) - std::stoll(*old->second[column]);
      } else {
        one.columns.insert(column);
      }
    }
    all.push_back(std::move(one));
  }
  for (const auto& [row, values] : before) {
    if (!after.contains(row)) {
      Difference one{row, true, false, values};
      for (std::size_t column = 0; column < values.size(); ++column) {
        one.columns.insert(column);
      }
      all.push_back(std::move(one));
    }
  }
  return all;
}

void Model::change(std::size_t node, std::int64_t at, const std::vector<Difference>& differences) {
  auto& own = nodes_[node];
  for (const auto& one : differences) {
    auto [entry, fresh] = own.pending.try_emplace(one.row);
    auto& pending = entry->second;
    if (fresh) {
      pending.was_there = one.was_there;
      pending.at = at;
    }
    pending.at = std::max(pending.at, at);
    pending.columns.insert(one.columns.begin(), one.columns.end());
    for (const auto& [column, number] : one.added) {
      pending.added[column] += number;
    }
    pending.deleted = !one.is_there;
    if (one.is_there) {
      pending.values = one.values;
      own.rows[one.row] = one.values;
      continue;
    }
    if (pending.image.empty() || at >= pending.deleted_at) {
      pending.image = one.values;
      pending.deleted_at = at;
    }
    own.rows.erase(one.row);
  }
}

std::int64_t Model::added(const Live& writes, std::size_t column) const {
  std::int64_t sum = 0;
  Knowledge taken;
  const auto count = [&](const Write& write) {
    const auto number = write.added.find(column);
    sum += number == write.added.end() ? 0 : number->second;
  };
  for (const auto* write : writes) {
    count(*write);
    taken.insert(write->taken.begin(), write->taken.end());
  }
  for (const auto id : taken) {
    count(writes_[id]);
  }
  return sum;
}

Knowledge Model::seen_of(const Node& node, const RowId& row) const {
  auto seen = node.knowledge;
  if (const auto unseen = node.unseen.find(row); unseen != node.unseen.end()) {
    for (const auto id : unseen->second) {
      seen.erase(id);
    }
  }
  return seen;
}

void Model::add(const RowId& row, Values& values, const Live& writes, std::int64_t sign) const {
  for (std::size_t column = 0; column < values.size(); ++column) {
    if (role(row.table, column) == ColumnRole::kCounter && values[column]) {
      values[column] = std::to_string(std::stoll(*values[column]) + sign * added(writes, column));
    }
  }
}

void Model::seal(std::size_t node) {
  auto& own = nodes_[node];
  std::vector<Write> made;
  for (auto& [row, pending] : own.pending) {
    if (pending.deleted && !pending.was_there) {
      continue;  // came and went, and nobody has ever heard of it
    }
    if (!pending.deleted) {
      for (const auto column : std::set(pending.columns)) {
        pending.columns.merge(group(own.policy, row.table, column));
      }
    }
    Write write;
    write.row = row;
    write.node = node;
    write.at = pending.at;
    write.columns = std::move(pending.columns);
    write.added = std::move(pending.added);
    write.deleted = pending.deleted;
    write.values = pending.deleted ? std::move(pending.image) : std::move(pending.values);
    if (const auto fleet = own.fleet_rows.find(row); pending.deleted && fleet != own.fleet_rows.end()) {
      write.values = fleet->second;
    }
    write.seen = seen_of(own, row);
    write.policy = own.policy;
    add(row, write.values, shown_with(write), -1);
    made.push_back(std::move(write));
  }
  own.pending.clear();
  keep(own, std::move(made));
}

// A write, and those of its row that its node shows.
Model::Live Model::shown_with(const Write& write) const {
  Live shown{&write};
  for (const auto id : write.seen) {
    if (writes_[id].row == write.row) {
      shown.push_back(&writes_[id]);
    }
  }
  return shown;
}

void Model::keep(Node& node, std::vector<Write> made) {
  for (auto& write : made) {
    write.id = writes_.size();
    node.knowledge.insert(write.id);
    writes_.push_back(std::move(write));
  }
}

bool Model::is_apart(const Write& write, const Apart& apart) const {
  return write.row == apart.row && write.node == apart.node && (apart.of_newcomer || write.at == apart.at);
}

Rows Model::rows_without(std::size_t node, const std::vector<Apart>& aparts) const {
  auto knowledge = nodes_[node].knowledge;
  Knowledge ended;
  for (const auto& apart : aparts) {
    std::copy_if(knowledge.begin(), knowledge.end(), std::inserter(ended, ended.end()),
                 [&](WriteId id) { return !apart.of_newcomer && is_apart(writes_[id], apart); });
    std::erase_if(knowledge, [&](WriteId id) { return apart.of_newcomer && is_apart(writes_[id], apart); });
  }
  return settle(knowledge, ended);
}

void Model::mend(std::size_t node, const std::vector<Mend>& mends, const std::vector<Apart>& aparts,
                 const std::vector<Union>& unions, const Rows& shown, const std::set<RowId>& waiting) {
  auto& own = nodes_[node];
  for (const auto& apart : aparts) {
    if (apart.of_newcomer) {
      std::erase_if(own.knowledge,
                    [&](WriteId id) { return writes_[id].row == apart.row && writes_[id].node == node; });
    }
  }
  std::vector<Write> made;
  for (const auto& mend : mends) {
    Write write;
    write.row = mend.row;
    write.node = node;
    write.at = mend.at;
    write.columns = mend.columns;
    write.deleted = mend.deleted;
    const auto row = shown.find(mend.row);
    write.values = mend.deleted || row == shown.end() ? mend.image : row->second;
    write.seen = seen_of(own, mend.row);
    write.policy = own.policy;
    for (const auto& apart : aparts) {
      for (const auto id : write.seen) {
        if (write.row == apart.row && is_apart(writes_[id], apart)) {
          write.ended.insert(id);
        }
      }
    }
    for (const auto& one : unions) {
      for (const auto id : write.seen) {
        if (one.stays == mend.row && writes_[id].row == one.gone) {
          write.taken.insert(id);
          write.taken.insert(writes_[id].taken.begin(), writes_[id].taken.end());
        }
      }
    }
    add(write.row, write.values, shown_with(write), -1);
    if (row != shown.end()) {
      own.rows[mend.row] = row->second;  // what waits for it may wait on
    } else {
      own.rows.erase(mend.row);
    }
    made.push_back(std::move(write));
  }
  keep(own, std::move(made));
  show_settled(own, waiting);
}

bool Model::has_deleted(std::size_t node, const RowId& row) const {
  const auto& known = nodes_[node].knowledge;
  return std::any_of(known.begin(), known.end(),
                     [&](WriteId id) { return writes_[id].row == row && writes_[id].deleted; });
}

void Model::publish(std::size_t node, std::size_t policy) {
  nodes_[node].policy = std::max(nodes_[node].policy, policy);
}

void Model::learn(std::size_t node, const Knowledge& writes, std::size_t policy, const std::set<RowId>& waiting) {
  seal(node);
  publish(node, policy);
  auto& own = nodes_[node];
  if (own.joins) {
    put_on_top(own, writes);
    own.joins = false;
    own.fleet_rows = settle(writes);
  }
  for (const auto id : writes) {
    if (own.knowledge.insert(id).second && waiting.contains(writes_[id].row)) {
      own.unseen[writes_[id].row].insert(id);
    }
  }
  show_settled(own, waiting);
}

void Model::settle_waiting(std::size_t node, const std::set<RowId>& waiting) {
  seal(node);
  show_settled(nodes_[node], waiting);
}

void Model::show_settled(Node& node, const std::set<RowId>& waiting) {
  auto rows = settle(node.knowledge);
  for (const auto& row : waiting) {
    rows.erase(row);
    if (const auto old = node.rows.find(row); old != node.rows.end()) {
      rows.insert(*old);
    }
  }
  node.rows = std::move(rows);
  std::erase_if(node.unseen, [&](const auto& entry) { return !waiting.contains(entry.first); });
  std::erase_if(node.fleet_rows, [&](const auto& entry) { return !waiting.contains(entry.first); });
}

// C9.
void Model::put_on_top(Node& newcomer, const Knowledge& fleet) {
  const auto base = settle(fleet);
  const auto before = newcomer.knowledge;
  const auto of_fleet = by_row(fleet);
  for (const auto& [row, writes] : by_row(before)) {
    const auto known = of_fleet.find(row);
    for (const auto* write : writes) {
      if (write->at == kTimeUnknown && base.contains(row)) {
        newcomer.knowledge.erase(write->id);
        continue;
      }
      auto& own = writes_[write->id];
      own.seen.insert(fleet.begin(), fleet.end());
      if (own.deleted && base.contains(row)) {
        own.values = base.at(row);
        add(row, own.values, known == of_fleet.end() ? Live{} : known->second, -1);
      }
      if (known != of_fleet.end() && !base.contains(row)) {
        add(row, own.values, known->second, -1);  // the row shows what it showed
      }
    }
  }
  auto all = newcomer.knowledge;
  all.insert(fleet.begin(), fleet.end());
  // Of counters, what had been written and not what was added to it: that all stands.
  const auto written = [this](Rows shown, const Knowledge& knowledge) {
    const auto writes = by_row(knowledge);
    for (auto& [row, values] : shown) {
      if (const auto own = writes.find(row); own != writes.end()) {
        add(row, values, own->second, -1);
      }
    }
    return shown;
  };
  const auto outcome = written(settle(all), all);
  const auto keep = [&](const Rows& shown) {
    for (const auto& [row, values] : shown) {
      const auto now = outcome.find(row);
      for (std::size_t column = 0; column < values.size(); ++column) {
        if (now == outcome.end() || now->second[column] != values[column]) {
          overruled_.push_back({row, column, values[column]});
        }
      }
    }
  };
  keep(written(base, fleet));
  keep(written(newcomer.rows, before));
}

std::map<RowId, Model::Live> Model::by_row(const Knowledge& knowledge) const {
  std::map<RowId, Live> rows;
  for (const auto id : knowledge) {
    rows[writes_[id].row].push_back(&writes_[id]);
  }
  return rows;
}

Model::Live Model::live(const Live& writes, std::optional<std::size_t> column, const Knowledge& ended) const {
  Live left;
  for (const auto* write : writes) {
    const auto has = [&](const Write* one) { return !column || one->columns.contains(*column); };
    const bool overwritten = std::any_of(writes.begin(), writes.end(), [&](const Write* later) {
      return (has(later) && later->seen.contains(write->id)) || later->ended.contains(write->id);
    });
    if (has(write) && !overwritten && !ended.contains(write->id)) {
      left.push_back(write);
    }
  }
  return left;
}

Policy::Choice Model::choice(std::size_t policy, std::size_t table, std::size_t column) const {
  const auto& rules = kPolicies[policy];
  const auto& references = shapes_[table].references;
  const bool refers = std::any_of(references.begin(), references.end(),
                                  [&](const auto& reference) { return reference.contains(column); });
  if (refers && !is_of_writers(rules.columns)) {
    return Policy::Choice::kLast;  // no rule looks at such values
  }
  switch (role(table, column)) {
    case ColumnRole::kMarker:
      return rules.marker;
    case ColumnRole::kTags:
      return rules.unite_tags ? Policy::Choice::kUnion : rules.columns;
    case ColumnRole::kCounter:
      return rules.count ? Policy::Choice::kSum : rules.columns;
    case ColumnRole::kKey:
    case ColumnRole::kPlain:
      break;
  }
  return rules.columns;
}

// C12.
std::set<std::size_t> Model::group(std::size_t policy, std::size_t table, std::size_t column) const {
  std::set<std::size_t> columns;
  if (kPolicies[policy].whole_rows) {
    for (std::size_t other = 0; other < shapes_[table].roles.size(); ++other) {
      const auto rule = choice(policy, table, other);
      if (role(table, other) != ColumnRole::kKey && is_of_writers(rule)) {
        columns.insert(other);
      }
    }
  }
  for (const auto& reference : shapes_[table].references) {
    if (reference.contains(column)) {
      columns.insert(reference.begin(), reference.end());
    }
  }
  return columns.size() > 1 && columns.contains(column) ? columns : std::set<std::size_t>{};
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
  if (const auto together = group(policy, table, column); !together.empty()) {
    // The first column that does not leave it to the last writer speaks for the group.
    const auto speaker = std::find_if(together.begin(), together.end(), [&](std::size_t other) {
      return choice(policy, table, other) != Policy::Choice::kLast;
    });
    rule = speaker == together.end() ? rule : choice(policy, table, *speaker);
    keep([&](const Write* write) {
      const auto held = group(write->policy, table, column);
      return std::includes(held.begin(), held.end(), together.begin(), together.end());
    });
  }
  std::sort(siblings.begin(), siblings.end(), earlier);
  const bool alike = std::all_of(siblings.begin(), siblings.end(), [&](const Write* write) {
    return write->values[column] == siblings.front()->values[column];
  });
  switch (rule) {
    case Policy::Choice::kLast:
    case Policy::Choice::kManual:
    case Policy::Choice::kSum:
      break;
    case Policy::Choice::kUnion:
      if (!alike) {
        return united(siblings, column);
      }
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

std::optional<Values> Model::settle_row(const RowId& row, const Live& writes, const Knowledge& ended) const {
  const auto before = first_.find(row);
  const auto holders = live(writes, std::nullopt, ended);
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
    auto siblings = live(writes, column, ended);
    // What a deletion found counts where nobody else says anything.
    if (std::any_of(siblings.begin(), siblings.end(), keeps)) {
      std::erase_if(siblings, [](const Write* write) { return write->deleted; });
    }
    if (!siblings.empty()) {
      values[column] = judge(row.table, column, siblings);
    } else if (before != first_.end()) {
      values[column] = before->second[column];
    } else if (role(row.table, column) == ColumnRole::kKey) {
      values[column] = writes.front()->values[column];
    }
  }
  add(row, values, writes, 1);
  return values;
}

Rows Model::settle(const Knowledge& knowledge, const Knowledge& ended) const {
  Rows rows = first_;
  for (const auto& [row, writes] : by_row(knowledge)) {
    if (auto values = settle_row(row, writes, ended)) {
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
        auto values = write->values;
        add(row, values, writes, 1);
        if (!write->deleted && (now == shown.end() || now->second[column] != values[column])) {
          lost.push_back({write, column});
        }
      }
    }
  }
  return lost;
}

}  // namespace mbsync::checker
