#include "pg_node.h"

#include <stdexcept>

#include "database_url.h"
#include "wait_until.h"

namespace mbsync::test {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

}  // namespace

PgNode::PgNode(TempCluster& cluster, std::string database, const std::string& schema, const std::string& role)
    : cluster_(cluster), database_(std::move(database)) {
  cluster_.create_database(database_);
  cluster_.execute(database_, "ALTER DATABASE \"" + database_ + "\" OWNER TO " + role);
  if (!schema.empty()) {
    cluster_.execute(database_, "SET ROLE " + role + "; " + schema);
  }
  node_url_ = cluster_.url(database_);
  const std::string superuser = "postgres@";
  node_url_.replace(node_url_.find(superuser), superuser.size(), role + "@");
  store_ = std::make_unique<PgStore>(must(parse_database_url(node_url_)), database_, tables_);
}

PrepareReport PgNode::restart() {
  pulls_.clear();
  store_.reset();  // lets go of the database before the new one asks for it
  store_ = std::make_unique<PgStore>(must(parse_database_url(node_url_)), database_, tables_);
  // The server notices a moment later that the old one is gone.
  std::optional<Result<PrepareReport>> prepared;
  const bool decided = wait_until(std::chrono::seconds{10}, [&] {
    prepared = store_->prepare();
    return prepared->has_value() || prepared->error().kind != ErrorKind::kTransient;
  });
  return decided ? must(std::move(*prepared)) : prepare();
}

PrepareReport PgNode::prepare() {
  return must(store_->prepare());
}

Result<ApplyOutcome> PgNode::try_pull(PgNode& other) {
  auto session = std::move(pulls_[other.database_]);
  if (!session) {
    session = must(store_->open_pull(other.database_));
  }
  const auto request = must(session->ask(std::chrono::milliseconds{0}));
  must(other.store_->accept(request));
  if (auto answered = other.store_->answer(request, session->sink()); !answered) {
    return answered.error();
  }
  auto applied = session->apply();
  if (applied && applied->turned_down) {
    return *applied->turned_down;
  }
  if (applied) {
    pulls_[other.database_] = std::move(session);
  }
  return applied;
}

std::string PgNode::scalar(const std::string& sql) {
  if (!application_) {
    application_.emplace(url());
  }
  try {
    auto value = application_->scalar(sql);
    application_->execute("DISCARD ALL");
    return value;
  } catch (const SqlError&) {
    application_.reset();
    throw;
  }
}

ApplyOutcome PgNode::pull(PgNode& other) {
  return must(try_pull(other));
}

std::string PgNode::rows(const std::string& table) {
  return scalar("SELECT coalesce(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\"), '') FROM " + table + " r");
}

void exchange(std::initializer_list<PgNode*> nodes, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (auto* to : nodes) {
      for (auto* from : nodes) {
        if (to != from) {
          to->pull(*from);
        }
      }
    }
  }
}

}  // namespace mbsync::test
