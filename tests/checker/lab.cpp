#include "lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "database_url.h"
#include "record_text.h"
#include "wait_until.h"

namespace mbsync::checker {
namespace {

using mbsync::test::SqlError;
using mbsync::test::SqlRows;
using mbsync::test::SqlSession;

template <typename T>
T must(Result<T> result, const std::string& what) {
  if (!result) {
    throw Failure(fmt::format("{}: {}", what, result.error().text()));
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

// What is asked after every pull is parsed and planned once.
void prepare_questions(SqlSession& session) {
  session.execute(fmt::format(
      "PREPARE waiting AS SELECT DISTINCT t.table_name, c.key, coalesce(p.reason, 'it is held') FROM mbsync.change c "
      "JOIN mbsync.synced_table t ON t.id = c.tab LEFT JOIN mbsync.parked p ON p.tab = c.tab AND p.key = c.key WHERE "
      "c.unseen; "
      "PREPARE mark AS SELECT coalesce((SELECT v.counter FROM mbsync.version_vector v JOIN mbsync.node n ON n.is_self "
      "AND "
      "v.origin = n.id), 0), EXISTS (SELECT FROM mbsync.capture c WHERE c.op <> 'U' OR position('t' IN c.cols) > 0 OR "
      "c.sums <> '{{}}'); "
      "PREPARE mends(bigint) AS SELECT t.table_name, c.key, CASE WHEN isfinite(c.at) THEN (extract(epoch FROM c.at) * "
      "1000000)::bigint ELSE {1} END, c.deleted, (SELECT string_agg(s.name || ' ' || s.number || ' ' || "
      "substring(c.cols "
      "FROM s.number + 1 FOR 1), ' ') FROM mbsync.synced_column s WHERE s.tab = c.tab AND NOT s.dropped), "
      "coalesce(c.kept, "
      "'') FROM mbsync.change c JOIN mbsync.node n ON n.is_self AND n.id = c.origin JOIN mbsync.synced_table t ON t.id "
      "= "
      "c.tab WHERE c.counter = $1 AND t.schema_name = 'public'; "
      "PREPARE vector AS SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM mbsync.version_vector; "
      "PREPARE record_text AS SELECT coalesce(string_agg(ROW(r.id, r.kind, r.table_name, r.key, r.dots, r.columns, "
      "r.versions, r.outcome, r.at, r.is_open)::text, E'\\n' ORDER BY r.id), '') FROM mbsync.conflict_record r; "
      "PREPARE record AS SELECT r.table_name, r.key, coalesce(v ->> 'key', r.key), CASE WHEN v ->> 'node' = 'fleet' "
      "THEN -1 ELSE ('x' || (v ->> 'node'))::bit(64)::bigint - 1 END, coalesce((extract(epoch FROM (v ->> "
      "'at')::timestamptz) * 1000000)::bigint::text, '0'), v ->> 'deleted', r.kind, r.id::text, r.outcome ->> 'rule', "
      "md5(r.key), n, a.key, coalesce(a.value, '{0}'), d ->> 'rule', coalesce(d ->> 'value', '{0}') FROM "
      "mbsync.conflict_record r CROSS JOIN jsonb_array_elements(r.versions) WITH ORDINALITY e(v, n) LEFT JOIN LATERAL "
      "jsonb_each_text(v -> 'values') a ON true CROSS JOIN LATERAL (SELECT r.outcome -> 'columns' -> a.key) o(d) "
      "ORDER BY r.id, n",
      Schema::kNull, kTimeUnknown));
}

// Rows that a database takes at one time and not at another. A schema of its own, since schemas come and go in public;
// and no key, so mbsync leaves the table alone.
constexpr const char* kCreateRefusal =
    "CREATE SCHEMA lab; CREATE TABLE lab.refused (digit text); "
    "CREATE FUNCTION lab.accepts(marker text) RETURNS bool STABLE LANGUAGE sql AS "
    "'SELECT NOT EXISTS (SELECT FROM lab.refused r WHERE r.digit = right($1, 1))'";

std::int64_t node_id(std::size_t node) {
  return static_cast<std::int64_t>(node) + 1;
}

}  // namespace

void Counts::add(const Counts& other) {
  taken += other.taken;
  refused += other.refused;
  pulls += other.pulls;
  outdated += other.outdated;
  crashes += other.crashes;
  published += other.published;
  cut += other.cut;
  cut_late += other.cut_late;
  held += other.held;
  waited += other.waited;
  joined += other.joined;
  for (const auto& [what, count] : other.conflicts) {
    conflicts[what] += count;
  }
}

std::string Counts::text() const {
  auto all = fmt::format(
      "{} transactions and {} that were refused, {} pulls and {} that came to nothing, {} crashes, {} connections cut "
      "({} too late), {} policies, {} transactions that stayed open, {} rows that waited, {} newcomers; conflicts:",
      taken, refused, pulls, outdated, crashes, cut, cut_late, published, held, waited, joined);
  for (const auto& [what, count] : conflicts) {
    all += fmt::format(" {} {}", count, what);
  }
  return all;
}

Lab::Lab(mbsync::test::TempCluster& cluster, const std::string& name) : cluster_(cluster) {
  for (std::size_t i = 0; i < kNodesMax; ++i) {
    Node node;
    node.database = fmt::format("{}_{}", name, static_cast<char>('a' + i));
    cluster_.create_database(node.database);
    node.application = application_session(node);
    node.holder = application_session(node);
    start(node);
    prepare_questions(*node.application);
    node.application->execute(kCreateFunction);
    node.application->execute(kCreateRefusal);
    function_hash_ = node.application->scalar(fmt::format("SELECT mbsync.function_md5('{}(jsonb)')", kFunction));
    // Ids in the order of the nodes, so that the model can tell whose write wins when times are equal.
    node.application->execute(fmt::format("UPDATE mbsync.node SET id = {} WHERE is_self", node_id(i)));
    start(node);
    nodes_.push_back(std::move(node));
  }
}

std::unique_ptr<SqlSession> Lab::application_session(const Node& node) {
  auto session = std::make_unique<SqlSession>(cluster_.socket_url(node.database));
  // It gives up at once on rows that the node's other transaction holds: nobody else will end that.
  session->execute(
      "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; "
      "SET bytea_output = 'hex'; SET lock_timeout = '20ms'");
  return session;
}

void Lab::start(Node& node) {
  node.pulls.clear();
  node.answered.clear();
  node.store.reset();
  node.store = std::make_unique<PgStore>(must(parse_database_url(cluster_.socket_url(node.database)), "database URL"),
                                         node.database);
  // The server may take a moment to notice that the connections of the last one are gone.
  std::string problem;
  const bool prepared = mbsync::test::wait_until(
      std::chrono::seconds{10},
      [&] {
        const auto done = node.store->prepare();
        problem = done ? "" : done.error().text();
        return bool(done) || done.error().kind != ErrorKind::kTransient;
      },
      std::chrono::milliseconds{1});
  if (!prepared || !problem.empty()) {
    throw Failure("prepare: " + problem);
  }
}

void Lab::use(const Schema& schema) {
  if (schema_) {
    reset(nodes_.size(), {}, false, {});
  }
  for (auto& node : nodes_) {
    if (schema_) {
      // An autovacuum that is at work on a table gives way only after a second.
      node.application->execute("DEALLOCATE rows; DEALLOCATE broken; BEGIN; SET LOCAL lock_timeout = '30s'; " +
                                schema_->drop() + "COMMIT");
      node.holder->execute("DEALLOCATE rows");
    }
    node.pulls.clear();  // their temporary tables are those of the last schema
    node.application->execute(schema.create());
    must(node.store->refresh(), "refresh");
    node.application->execute(
        fmt::format("PREPARE rows AS {}; PREPARE broken AS {}", schema.read(), schema.broken_constraints()));
    node.holder->execute(fmt::format("PREPARE rows AS {}", schema.read()));
  }
  schema_ = schema;
}

void Lab::reset(std::size_t nodes, const std::vector<std::string>& first_rows, bool newcomer,
                const std::vector<std::string>& own_rows) {
  const std::size_t fleet = !newcomer ? nodes : nodes == 2 ? 0 : nodes - 1;
  std::vector<std::string> members;
  std::vector<std::string> vectors;
  std::vector<std::string> reports;
  // Every node of the fleet has made one write that everybody had and forgot, so that nobody is a newcomer.
  for (std::size_t i = 0; i < fleet; ++i) {
    members.push_back(fmt::format("({}, '{}')", node_id(i), nodes_[i].database));
    vectors.push_back(fmt::format("({}, 1, 1)", node_id(i)));
    for (std::size_t k = 0; k < fleet; ++k) {
      reports.push_back(fmt::format("({}, {}, 1)", node_id(i), node_id(k)));
    }
  }
  const auto clear = fmt::format(
      "BEGIN; SET LOCAL session_replication_role = replica; {}"
      "DELETE FROM mbsync.capture; DELETE FROM mbsync.change; DELETE FROM mbsync.counter; DELETE FROM "
      "mbsync.conflict_record; DELETE FROM mbsync.parked; DELETE FROM mbsync.policy; DELETE FROM "
      "mbsync.version_vector; "
      "DELETE FROM mbsync.report; DELETE FROM mbsync.node WHERE NOT is_self; DELETE FROM lab.refused; ",
      schema_ ? schema_->clear() : "");
  const auto meet = fleet == 0 ? ""
                               : fmt::format(
                                     "INSERT INTO mbsync.node (id, name) VALUES {} ON CONFLICT DO NOTHING; INSERT INTO "
                                     "mbsync.version_vector VALUES {}; INSERT INTO mbsync.report VALUES {}; ",
                                     fmt::join(members, ", "), fmt::join(vectors, ", "), fmt::join(reports, ", "));
  std::string taken;
  for (std::size_t i = 0; i < nodes; ++i) {
    auto& node = nodes_[i];
    for (const auto other : node.answered) {
      node.pulls.erase(other);
    }
    node.answered.clear();
    node.holder->execute("ROLLBACK");
    node.holds = false;
    node.application->execute(clear + (i < fleet ? meet : "") + "COMMIT");
    renew_capture(i, false);
    if (i >= fleet) {
      make_own_rows(node, i + 1 == nodes ? own_rows : first_rows);
    } else if (i == 0) {
      for (const auto& insert : first_rows) {
        try {
          node.application->execute(insert);
          taken += insert + ";";
        } catch (const SqlError&) {
          continue;  // breaks a constraint
        }
      }
    } else if (!taken.empty()) {
      node.application->execute(taken);
    }
    if (i < fleet) {
      node.application->execute("DELETE FROM mbsync.capture");
    }
    must(node.store->seal_pending(), "seal");  // the store looks at its vectors again
  }
}

void Lab::make_own_rows(Node& node, const std::vector<std::string>& rows) {
  for (const auto& insert : rows) {
    try {
      node.application->execute(insert);
    } catch (const SqlError&) {
      continue;  // breaks a constraint
    }
  }
  node.application->execute("UPDATE mbsync.capture SET at = '-infinity'");
}

std::set<std::size_t> Lab::renew_capture(std::size_t number, bool counted) {
  auto& node = nodes_[number];
  std::set<std::size_t> waiting;
  if (!schema_ || !schema_->has_counters() || node.counted == counted) {
    return waiting;
  }
  for (const auto& name : must(node.store->refresh(), "refresh").waiting) {
    waiting.insert(table_number(name.substr(name.find('.') + 1)));
  }
  node.counted = waiting.empty() ? counted : node.counted;
  return waiting;
}

void Lab::check_refusal(const SqlError& error) {
  // Class 23: a constraint. Class 21: one statement meets a row twice. 27000: a cascade meets it twice. 55006: TRUNCATE
  // of a table whose constraints are still to be checked. 55P03: the node's other transaction holds the row. The
  // application must never see anything else.
  const auto& state = error.sqlstate;
  if (!state.starts_with("23") && !state.starts_with("21") && state != "27000" && state != "55006" &&
      state != "55P03") {
    throw Failure(fmt::format("the application's write fails: {} ({})", error.what(), state));
  }
  ++counts_.refused;
}

bool Lab::execute(SqlSession& session, const std::vector<std::string>& statements, std::int64_t at,
                  std::vector<Rows>& rows_after) {
  try {
    session.execute("BEGIN");
    for (const auto& statement : statements) {
      // Nothing else captures at present, so what the real clock has stamped since BEGIN is this statement's.
      rows_after.push_back(to_rows(session.query(fmt::format(
          "{}; UPDATE mbsync.capture SET at = 'epoch'::timestamptz + {} * interval '1 microsecond' WHERE at "
          "BETWEEN now() AND now() + interval '1 hour'; EXECUTE rows",
          statement, at++))));
    }
  } catch (const SqlError& error) {
    session.execute("ROLLBACK");
    check_refusal(error);
    return false;
  }
  return true;
}

bool Lab::write(std::size_t number, const std::vector<std::string>& statements, std::int64_t at,
                std::vector<Rows>& rows_after) {
  auto& session = *nodes_[number].application;
  if (!execute(session, statements, at, rows_after)) {
    return false;
  }
  try {
    session.execute("COMMIT");
  } catch (const SqlError& error) {
    check_refusal(error);
    return false;
  }
  ++counts_.taken;
  return true;
}

bool Lab::hold(std::size_t node, const std::vector<std::string>& statements, std::int64_t at,
               std::vector<Rows>& rows_after) {
  nodes_[node].holds = execute(*nodes_[node].holder, statements, at, rows_after);
  counts_.held += nodes_[node].holds ? 1 : 0;
  return nodes_[node].holds;
}

bool Lab::release(std::size_t node, bool commit) {
  nodes_[node].holds = false;
  try {
    nodes_[node].holder->execute(commit ? "COMMIT" : "ROLLBACK");
  } catch (const SqlError& error) {
    check_refusal(error);
    return false;
  }
  counts_.taken += commit ? 1 : 0;
  return commit;
}

void Lab::refuse(std::size_t node, const std::string& digits) {
  std::string sql = "DELETE FROM lab.refused";
  for (const auto digit : digits) {
    sql += fmt::format("; INSERT INTO lab.refused VALUES ('{}')", digit);
  }
  nodes_[node].application->execute(sql);
}

void Lab::ask(std::size_t node, std::size_t other) {
  auto& session = nodes_[node].pulls[other];
  if (!session) {
    session = must(nodes_[node].store->open_pull(nodes_[other].database), "open_pull");
  }
  nodes_[node].answered.insert(other);
  const auto request = must(session->ask(std::chrono::milliseconds{0}), "ask");
  must(nodes_[other].store->accept(request), "accept");
  must(nodes_[other].store->answer(request, session->sink()), "answer");
}

bool Lab::has_answer(std::size_t node, std::size_t other) const {
  return nodes_[node].answered.contains(other);
}

bool Lab::deliver(std::size_t node, std::size_t other) {
  // Until it is applied, what the peer was known to hold when it was asked is kept in mind.
  const auto outcome = nodes_[node].pulls.at(other)->apply();
  const bool held = !outcome && nodes_[node].holds && outcome.error().kind == ErrorKind::kTransient;
  if (!held && !outcome) {
    throw Failure("apply: " + outcome.error().text());
  }
  if (!held) {
    nodes_[node].answered.erase(other);
  }
  const bool applied = !held && !outcome->ask_again;
  ++(applied ? counts_.pulls : counts_.outdated);
  counts_.waited += applied ? static_cast<std::uint64_t>(outcome->set_aside) : 0;
  return applied;
}

bool Lab::deliver_and_cut(std::size_t node, std::size_t other, std::chrono::microseconds after) {
  const auto before = vector_text(node);
  auto& session = nodes_[node].pulls.at(other);
  const auto cut = fmt::format(
      "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND "
      "application_name = 'mbsync pull {}'",
      nodes_[other].database);
  std::optional<Error> error;
  {
    const std::jthread second([&] {
      std::this_thread::sleep_for(after);
      nodes_[node].application->execute(cut);
    });
    if (const auto done = session->apply(); !done) {
      error = done.error();
    }
  }
  nodes_[node].pulls.erase(other);
  nodes_[node].answered.erase(other);
  if (error && error->kind != ErrorKind::kTransient && error->kind != ErrorKind::kInDoubt) {
    throw Failure("apply, its connection cut: " + error->text());
  }
  const bool applied = vector_text(node) != before;
  ++counts_.cut;
  counts_.cut_late += applied ? 1 : 0;
  return applied;
}

void Lab::seal(std::size_t node) {
  must(nodes_[node].store->seal_pending(), "seal");
}

void Lab::forget(std::size_t node) {
  must(nodes_[node].store->forget_stable(), "forget");
}

void Lab::publish(std::size_t node, std::size_t policy) {
  const auto serial = static_cast<std::int64_t>(policy) << 32;
  nodes_[node].application->execute(fmt::format(
      "INSERT INTO mbsync.policy VALUES ({}, $policy${}$policy$, 'the checker', 'epoch') ON CONFLICT DO NOTHING",
      serial, document_of(kPolicies[policy], function_hash_)));
  ++counts_.published;
}

void Lab::settle(std::size_t node) {
  nodes_[node].application->execute("UPDATE mbsync.parked SET next_try = now()");
  must(nodes_[node].store->settle_unseen(), "settle");
}

void Lab::crash(std::size_t node) {
  start(nodes_[node]);
  ++counts_.crashes;
}

void Lab::sabotage(std::size_t node, const std::string& sql) {
  nodes_[node].application->execute("BEGIN; SET LOCAL session_replication_role = replica; " + sql + "; COMMIT");
}

Rows Lab::to_rows(const SqlRows& result) const {
  Rows rows;
  for (const auto& line : result.rows) {
    const std::size_t table = std::stoul(line[0]);
    Values values;
    for (std::size_t i = 0; i < schema_->tables()[table].columns.size(); ++i) {
      const auto& text = line[2 + i];
      values.push_back(text == Schema::kNull ? Value() : Value(text));
    }
    rows.emplace(RowId{table, line[1]}, std::move(values));
  }
  return rows;
}

Lab::Mark Lab::mark(std::size_t node) {
  const auto line = nodes_[node].application->query("EXECUTE mark").rows.at(0);
  return {std::stoll(line[0]), line[1] == "t"};
}

std::vector<Mend> Lab::mends(std::size_t node, const Mark& since) {
  const auto now = mark(node).counter;
  const auto seals = now - since.counter - (since.captures ? 1 : 0);
  if (seals == 0) {
    return {};
  }
  if (seals != 1) {
    throw Failure(fmt::format("{} seals in one pull", now - since.counter));
  }
  std::vector<Mend> all;
  for (const auto& line : nodes_[node].application->query(fmt::format("EXECUTE mends({})", now)).rows) {
    Mend mend;
    mend.row = {table_number(line[0]), line[1]};
    mend.at = std::stoll(line[2]);
    mend.deleted = line[3] == "t";
    const auto& columns = schema_->tables()[mend.row.table].columns;
    const auto image = line[5].empty() ? std::vector<Value>() : must(parse_record(line[5]), "record");
    mend.image.resize(columns.size());
    std::istringstream in(line[4]);
    std::string name;
    std::size_t number = 0;
    char held = '0';
    while (in >> name >> number >> held) {
      const auto place =
          std::find_if(columns.begin(), columns.end(), [&](const Column& one) { return one.name == name; });
      if (place == columns.end()) {
        throw Failure("there is no column " + name);
      }
      const auto index = static_cast<std::size_t>(place - columns.begin());
      if (held == '1') {
        mend.columns.insert(index);
      }
      if (mend.deleted && number <= image.size()) {
        mend.image[index] = image[number - 1];
      }
    }
    all.push_back(std::move(mend));
  }
  return all;
}

Rows Lab::rows(std::size_t node) {
  return to_rows(nodes_[node].application->query("EXECUTE rows"));
}

std::vector<std::string> Lab::broken_constraints(std::size_t node) {
  std::vector<std::string> all;
  for (const auto& line : nodes_[node].application->query("EXECUTE broken").rows) {
    all.push_back(line[0]);
  }
  return all;
}

std::size_t Lab::table_number(const std::string& name) const {
  for (std::size_t i = 0; i < schema_->tables().size(); ++i) {
    if (schema_->tables()[i].name == name) {
      return i;
    }
  }
  throw Failure("there is no table " + name);
}

std::map<RowId, std::string> Lab::waiting(std::size_t node) {
  std::map<RowId, std::string> all;
  const auto result = nodes_[node].application->query("EXECUTE waiting");
  for (const auto& line : result.rows) {
    all.emplace(RowId{table_number(line[0]), line[1]}, line[2]);
  }
  return all;
}

std::vector<Recorded> Lab::record(std::size_t node) {
  const auto result = nodes_[node].application->query("EXECUTE record");
  const auto value_of = [](const std::string& text) { return text == Schema::kNull ? Value() : Value(text); };
  std::vector<Recorded> all;
  std::string last;
  for (const auto& line : result.rows) {
    if (const auto version = line[7] + line[10]; version != last) {
      last = version;
      const auto table = table_number(line[0]);
      Recorded one;
      one.about = {table, line[1]};
      one.row = {table, line[2]};
      one.node = static_cast<std::size_t>(std::stoll(line[3]));
      one.at = std::stoll(line[4]);
      one.deleted = line[5] == "true";
      one.kind = line[6];
      one.id = line[7];
      one.existence = line[8];
      one.digest = line[9];
      all.push_back(std::move(one));
    }
    if (!line[11].empty()) {
      all.back().values[line[11]] = value_of(line[12]);
      if (!line[13].empty()) {
        all.back().decisions[line[11]] = {line[13], value_of(line[14])};
      }
    }
  }
  return all;
}

std::string Lab::record_text(std::size_t node) {
  return nodes_[node].application->scalar("EXECUTE record_text");
}

void Lab::count_conflicts(std::size_t node) {
  const auto result = nodes_[node].application->query(
      "SELECT r.kind || ':' || coalesce(r.outcome ->> 'rule', c.value ->> 'rule', ''), count(DISTINCT r.id) FROM "
      "mbsync.conflict_record r LEFT JOIN LATERAL jsonb_each(r.outcome -> 'columns') c ON true GROUP BY 1");
  for (const auto& line : result.rows) {
    counts_.conflicts[line[0]] += std::stoull(line[1]);
  }
}

std::int64_t Lab::live_writes(std::size_t node) {
  return std::stoll(nodes_[node].application->scalar("SELECT count(*) FROM mbsync.change"));
}

bool Lab::has_captures(std::size_t node) {
  return nodes_[node].application->scalar("SELECT count(*) FROM mbsync.capture") != "0";
}

std::string Lab::vector_text(std::size_t node) {
  return nodes_[node].application->scalar("EXECUTE vector");
}

}  // namespace mbsync::checker
