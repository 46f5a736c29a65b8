#include "policy_desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "conflict_reader.h"
#include "connection.h"
#include "migrate.h"
#include "policy_check.h"
#include "policy_meaning.h"

namespace mbsync {
namespace {

constexpr const char* kPublishLock = "hashtext('mbsync policy')";
// A publication takes a moment; what lasts longer hangs.
constexpr const char* kLockTimeout = "10s";
constexpr int kTries = 3;  // a policy that arrives from a peer can get in between

PublishedPolicy policy_of(const pqxx::row& row) {
  return PublishedPolicy{row["version"].as<PolicyVersion>(), row["document"].c_str(), row["published_by"].c_str(),
                         row["published_at"].c_str()};
}

std::string select_policies(std::string_view which) {
  return fmt::format(
      "SELECT p.version, p.document, p.published_by, coalesce({}, '') AS published_at FROM mbsync.policy p {}",
      iso_sql("p.published_at"), which);
}

Result<std::optional<PublishedPolicy>> read_current(PgConnection& db) {
  const auto rows = db.exec(select_policies("ORDER BY p.version DESC LIMIT 1"));
  MBSYNC_TRY(rows);
  return rows->empty() ? std::optional<PublishedPolicy>() : policy_of((*rows)[0]);
}

}  // namespace

struct PolicyDesk::Impl {
  explicit Impl(std::unique_ptr<PgConnection> session) : connection(std::move(session)), db(*connection) {}

  std::unique_ptr<PgConnection> connection;
  PgConnection& db;

  // Runs `work` in one snapshot; what it has written stays only if it succeeded.
  template <typename Work>
  auto in_snapshot(const Work& work) -> decltype(work()) {
    MBSYNC_TRY(db.begin(PgConnection::Isolation::kRepeatableRead));
    auto result = work();
    if (!result) {
      db.rollback();
      return result;
    }
    MBSYNC_TRY(db.commit());
    return result;
  }

  Result<Publication> write(std::string_view document, std::optional<PolicyVersion> over) {
    Publication publication;
    const auto highest = read_current(db);
    MBSYNC_TRY(highest);
    const auto holds = *highest ? (*highest)->version : kBuiltInPolicy;
    if (over && *over != holds) {
      return Error{ErrorKind::kRejected,
                   fmt::format("mbsync.policy: version {} holds meanwhile, published by {}", holds,
                               *highest ? (*highest)->published_by : "nobody"),
                   "look at it with 'mbsync rules show', and apply the document again if it is still right"};
    }
    auto check = check_policy(db, document);
    MBSYNC_TRY(check);
    publication.check = std::move(*check);
    publication.version = holds;
    if (!publication.check.faults.empty()) {
      return publication;
    }
    const auto text = to_text(publication.check.policy);
    // What cannot be read back would stop every node that has it.
    if (const auto again = read_policy_text(text, kStoredPolicyBytesMax); !again.faults.empty()) {
      publication.check.faults = again.faults;
      return publication;
    }
    if (text == (*highest ? (*highest)->document : std::string())) {
      return publication;
    }
    publication.version = next_policy_version(holds, text);
    const auto written = db.exec(
        "INSERT INTO mbsync.policy (version, document, published_by, published_at) SELECT $1, $2, n.name, "
        "clock_timestamp() FROM mbsync.node n WHERE n.is_self",
        {std::to_string(publication.version), text});
    MBSYNC_TRY(written);
    if (written->affected_rows() == 0) {
      return Error{ErrorKind::kNotFound, "mbsync.node: this database is no node yet, so it cannot publish a policy",
                   "start it once with 'mbsync run', then apply the document again"};
    }
    publication.published = true;
    return publication;
  }
};

PolicyDesk::PolicyDesk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PolicyDesk::~PolicyDesk() = default;

Result<std::unique_ptr<PolicyDesk>> PolicyDesk::open(const DatabaseUrl& url) {
  auto session = open_node_database(url, "rules");
  MBSYNC_TRY(session);
  return std::unique_ptr<PolicyDesk>(new PolicyDesk(std::make_unique<Impl>(std::move(*session))));
}

Result<std::optional<PublishedPolicy>> PolicyDesk::current() {
  return read_current(impl_->db);
}

Result<std::vector<PublishedPolicy>> PolicyDesk::history() {
  const auto rows = impl_->db.exec(select_policies("ORDER BY p.version DESC"));
  MBSYNC_TRY(rows);
  std::vector<PublishedPolicy> policies;
  for (const auto& row : *rows) {
    policies.push_back(policy_of(row));
  }
  return policies;
}

Result<PublishedPolicy> PolicyDesk::find(const std::string& version) {
  std::int64_t number = 0;
  const auto* const end = version.data() + version.size();
  const auto [stop, error] = std::from_chars(version.data(), end, number);
  if (error != std::errc{} || stop != end || number <= 0) {
    return Error{ErrorKind::kConfig, fmt::format("'{}' is no version of the policy", version),
                 "give a number as 'mbsync rules history' shows it"};
  }
  const auto all = history();
  MBSYNC_TRY(all);
  std::vector<const PublishedPolicy*> found;
  for (const auto& policy : *all) {
    if (policy.version == number || policy_serial(policy.version) == number) {
      found.push_back(&policy);
    }
  }
  if (found.empty()) {
    return Error{ErrorKind::kNotFound, fmt::format("mbsync.policy: there is no version {}", version),
                 "'mbsync rules history' shows those that are known here"};
  }
  if (found.size() > 1) {
    std::vector<std::string> choices;
    choices.reserve(found.size());
    for (const auto* policy : found) {
      choices.push_back(fmt::format("{} by {}", policy->version, policy->published_by));
    }
    return Error{
        ErrorKind::kRejected,
        fmt::format("mbsync.policy: {} nodes have published a version {} at the same time", found.size(), version),
        fmt::format("say which one: {}", fmt::join(choices, ", "))};
  }
  return *found.front();
}

Result<PolicyCheck> PolicyDesk::check(std::string_view document) {
  return impl_->in_snapshot([&] { return check_policy(impl_->db, document); });
}

Result<std::vector<TableMeaning>> PolicyDesk::meaning(const PublishedPolicy& policy) {
  const auto reading = read_policy_text(policy.document, kStoredPolicyBytesMax);
  if (!reading.faults.empty()) {
    return policy_error(reading.faults.front(), fmt::format("version {} in mbsync.policy", policy.version),
                        ErrorKind::kCorrupt);
  }
  const auto schema = impl_->in_snapshot([&] { return read_schema(impl_->db); });
  MBSYNC_TRY(schema);
  std::vector<TableMeaning> tables;
  for (const auto& table : schema->tables) {
    if (!table.internal) {
      tables.push_back(meaning_of(reading.policy, table));
    }
  }
  return tables;
}

Result<std::map<std::string, std::string>> PolicyDesk::node_names() {
  const auto rows = impl_->db.exec("SELECT id, name FROM mbsync.node");
  MBSYNC_TRY(rows);
  std::map<std::string, std::string> names;
  for (const auto& row : *rows) {
    names[to_string(NodeId{row[0].as<std::int64_t>()})] = row[1].c_str();
  }
  return names;
}

Result<Publication> PolicyDesk::publish(std::string_view document, std::optional<PolicyVersion> over) {
  auto& db = impl_->db;
  // The lock belongs to the session, since a snapshot that was taken while waiting for it would miss what was published
  // meanwhile.
  const auto locked =
      db.exec(fmt::format("SET lock_timeout = '{}'; SELECT pg_advisory_lock({})", kLockTimeout, kPublishLock));
  if (!locked && locked.error().message.find("lock timeout") != std::string::npos) {
    return Error{ErrorKind::kTransient, "mbsync.policy: another publication in this database does not end",
                 "wait for the other 'mbsync rules apply', or end it; then apply the document again"};
  }
  MBSYNC_TRY(locked);
  auto publication = impl_->in_snapshot([&] { return impl_->write(document, over); });
  for (int tries = 1; !publication && tries < kTries && !db.broken(); ++tries) {
    const auto kind = publication.error().kind;
    if (kind != ErrorKind::kTransient && kind != ErrorKind::kConflict) {
      break;
    }
    publication = impl_->in_snapshot([&] { return impl_->write(document, over); });
  }
  if (!db.broken()) {
    MBSYNC_TRY(db.run(fmt::format("SELECT pg_advisory_unlock({}); SET lock_timeout = 0", kPublishLock)));
  }
  return publication;
}

}  // namespace mbsync
