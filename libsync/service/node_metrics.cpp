#include "node_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "node_status.h"

namespace mbsync {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

/// Peers that have figures of their own; whoever has the key can make up more.
constexpr std::size_t kPeersCounted = 1'000;

/// From a few milliseconds, a row or two, to minutes, a whole database.
const prometheus::Histogram::BucketBoundaries& buckets() {
  static const prometheus::Histogram::BucketBoundaries bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                              0.5,   1,      2.5,   5,    10,    30,   60,  300};
  return bounds;
}

MetricFamily gauge(std::string name, std::string help) {
  return {std::move(name), std::move(help), MetricType::Gauge, {}};
}

void put(MetricFamily& family, double value, const Labels& labels = {}) {
  ClientMetric metric;
  for (const auto& [name, text] : labels) {
    metric.label.push_back({name, text});
  }
  metric.gauge.value = value;
  family.metric.push_back(std::move(metric));
}

MetricFamily single(std::string name, std::string help, double value, const Labels& labels = {}) {
  auto family = gauge(std::move(name), std::move(help));
  put(family, value, labels);
  return family;
}

void add_peers(const NodeStatus& status, std::vector<MetricFamily>& families) {
  auto connected = gauge("mbsync_peer_connected", "1: the peer exchanges with this node; 0: it does not.");
  auto rows = gauge("mbsync_peer_lag_rows",
                    "direction=outgoing: row writes that the peer is not known to have; incoming: that it has and this "
                    "node lacks, at least.");
  auto seconds = gauge("mbsync_peer_lag_seconds",
                       "direction=outgoing: age of the oldest of these writes; incoming: time since this node last had "
                       "all that the peer had, 0 while it does.");
  for (const auto& peer : status.peers()) {
    if (peer.state == PeerState::kAway || peer.state == PeerState::kBanned) {
      continue;
    }
    const Labels who{{"peer", peer.peer.name}, {"node", to_string(peer.peer.id)}};
    const auto with = [&](const char* direction) {
      auto labels = who;
      labels.emplace_back("direction", direction);
      return labels;
    };
    put(connected, peer.state == PeerState::kConnected ? 1 : 0, who);
    put(rows, static_cast<double>(peer.outgoing_rows), with("outgoing"));
    put(rows, static_cast<double>(peer.incoming_rows), with("incoming"));
    put(seconds, peer.outgoing_s.value_or(0), with("outgoing"));
    if (peer.incoming_s) {
      put(seconds, *peer.incoming_s, with("incoming"));
    }
  }
  for (auto* family : {&connected, &rows, &seconds}) {
    if (!family->metric.empty()) {
      families.push_back(std::move(*family));
    }
  }
}

void add_store(const StoreStatus& store, std::vector<MetricFamily>& families) {
  const auto add = [&](const char* name, const char* help, std::int64_t value) {
    families.push_back(single(name, help, static_cast<double>(value)));
  };
  add("mbsync_capture_backlog_rows", "Captured writes that are not sealed yet.", store.captures);
  families.push_back(
      single("mbsync_capture_backlog_seconds", "Age of the oldest of them.", store.captures_oldest_s.value_or(0)));
  add("mbsync_live_writes", "Writes that are kept since some member may lack them.", store.live_writes);
  add("mbsync_held_rows", "Rows whose news wait for an application transaction that holds them.", store.unseen_rows);
  add("mbsync_parked_rows", "Rows that this database refuses.", store.parked_rows);
  add("mbsync_tables", "Tables that are synchronised.", static_cast<std::int64_t>(store.tables.size()));
  add("mbsync_tables_not_synchronised", "Tables that take no part.", static_cast<std::int64_t>(store.refused.size()));
  auto conflicts = gauge("mbsync_conflicts", "Conflicts on record, by what has become of them.");
  put(conflicts, static_cast<double>(store.open_conflicts), {{"state", "open"}});
  put(conflicts, static_cast<double>(store.conflicts - store.open_conflicts - store.resolved_conflicts),
      {{"state", "decided"}});
  put(conflicts, static_cast<double>(store.resolved_conflicts), {{"state", "resolved"}});
  families.push_back(std::move(conflicts));
  auto rules =
      gauge("mbsync_conflicts_by_rule", "Conflicts that each rule has decided on, of the latest 10000 on record.");
  for (const auto& [rule, count] : store.conflicts_by_rule) {
    put(rules, static_cast<double>(count), {{"rule", rule}});
  }
  if (!rules.metric.empty()) {
    families.push_back(std::move(rules));
  }
  auto compared = gauge("mbsync_verify_rows", "Rows that were compared with the peer's the last time.");
  auto differing =
      gauge("mbsync_verify_rows_different", "Rows of these that differ although both have the same writes.");
  auto undecided = gauge("mbsync_verify_rows_undecided",
                         "Rows that could not be compared: they kept changing, or wait on one side.");
  auto left = gauge("mbsync_verify_tables_not_compared", "Tables that could not be compared, or not to their end.");
  auto age = gauge("mbsync_verify_age_seconds", "Time since all tables were compared with the peer.");
  for (const auto& note : store.verified) {
    const Labels who{{"peer", note.peer.name}, {"node", to_string(note.peer.id)}};
    const auto sums = note.sums();
    put(compared, static_cast<double>(sums.rows), who);
    put(differing, static_cast<double>(sums.different), who);
    put(undecided, static_cast<double>(sums.undecided), who);
    put(left, static_cast<double>(sums.tables_left), who);
    if (!note.finished_at.empty()) {
      put(age, note.age_s, who);
    }
  }
  for (auto* family : {&compared, &differing, &undecided, &left, &age}) {
    if (!family->metric.empty()) {
      families.push_back(std::move(*family));
    }
  }
  auto sizes = gauge("mbsync_table_size_bytes", "Size of a table of schema mbsync, with its indexes.");
  for (const auto& size : store.sizes) {
    put(sizes, static_cast<double>(size.bytes), {{"table", size.table}});
  }
  if (!sizes.metric.empty()) {
    families.push_back(std::move(sizes));
  }
}

}  // namespace

struct NodeMetrics::Impl {
  explicit Impl(const std::string& program_version)
      : version(program_version),
        rows_received(counter("mbsync_rows_received_total", "Rows that came from the peer and were applied.")),
        rows_sent(counter("mbsync_rows_sent_total", "Rows that were read for the peer.")),
        bytes_sent(counter("mbsync_sent_bytes_total", "Their size as text, before compression.")),
        rows_merged(counter("mbsync_rows_merged_total", "Rows that came and had to be merged with writes of this node.")
                        .Add({})),
        conflicts(counter("mbsync_conflicts_recorded_total", "Conflicts that were recorded while rows were applied.")
                      .Add({})),
        failures(
            counter("mbsync_pull_failures_total", "Exchanges with peers that did not come about or broke.").Add({})),
        requests(counter("mbsync_local_requests_total", "Requests on the local port, by status code.")),
        apply(histogram("mbsync_apply_duration_seconds", "Time to apply an answer that brought rows.")),
        answer(histogram("mbsync_answer_duration_seconds", "Time to seal and read an answer that had rows.")),
        seal(histogram("mbsync_seal_duration_seconds", "Time to seal captured writes that no peer pulled.")) {}

  prometheus::Family<prometheus::Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Histogram& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets());
  }
  /// A peer has one series, also if it is called otherwise than before: whoever has the key can call it anything. That
  /// of its former name ends.
  void count(prometheus::Family<prometheus::Counter>& family, const std::string& peer, const std::string& id,
             double by) {
    const std::lock_guard lock(mutex);
    const bool kept = peers.contains(id) || peers.size() < kPeersCounted;
    auto& series = peers[kept ? id : ""][&family];
    const std::string name = kept ? peer : "others";
    if (series.counter != nullptr && series.name != name) {
      family.Remove(series.counter);
      series.counter = nullptr;
    }
    if (series.counter == nullptr) {
      series = {name, &family.Add({{"peer", name}, {"node", kept ? id : ""}})};
    }
    series.counter->Increment(by);
  }

  const std::string version;
  mutable prometheus::Registry registry;
  std::mutex mutex;
  struct Series {
    std::string name;  ///< of the peer
    prometheus::Counter* counter = nullptr;
  };
  std::map<std::string, std::map<const void*, Series>> peers;  // by id, then by family; guarded by mutex
  prometheus::Family<prometheus::Counter>& rows_received;
  prometheus::Family<prometheus::Counter>& rows_sent;
  prometheus::Family<prometheus::Counter>& bytes_sent;
  prometheus::Counter& rows_merged;
  prometheus::Counter& conflicts;
  prometheus::Counter& failures;
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Histogram& apply;
  prometheus::Histogram& answer;
  prometheus::Histogram& seal;
};

NodeMetrics::NodeMetrics(const std::string& version) : impl_(std::make_unique<Impl>(version)) {}
NodeMetrics::~NodeMetrics() = default;

void NodeMetrics::applied(const std::string& peer, const std::string& id, const ApplyOutcome& outcome, double took) {
  impl_->count(impl_->rows_received, peer, id, static_cast<double>(outcome.rows));
  impl_->rows_merged.Increment(static_cast<double>(outcome.merged));
  impl_->conflicts.Increment(static_cast<double>(outcome.conflicts));
  if (outcome.rows > 0) {
    impl_->apply.Observe(took);
  }
}

void NodeMetrics::answered(const std::string& peer, const std::string& id, std::int64_t rows, std::int64_t bytes,
                           double took) {
  impl_->count(impl_->rows_sent, peer, id, static_cast<double>(rows));
  impl_->count(impl_->bytes_sent, peer, id, static_cast<double>(bytes));
  if (rows > 0) {
    impl_->answer.Observe(took);
  }
}

void NodeMetrics::pull_failed() {
  impl_->failures.Increment();
}

void NodeMetrics::sealed(double took) {
  impl_->seal.Observe(took);
}

void NodeMetrics::served(std::string_view route, int status) {
  impl_->requests.Add({{"route", std::string(route)}, {"code", std::to_string(status)}}).Increment();
}

std::string NodeMetrics::text(const NodeStatus& status) const {
  auto families = impl_->registry.Collect();
  families.push_back(single("mbsync_build_info", "The version of mbsync.", 1, {{"version", impl_->version}}));
  const auto judged = status.judge();
  auto verdict = gauge("mbsync_status", "1 for what 'mbsync status' says of this node, 0 for what it does not.");
  for (const auto one : {Health::kHealthy, Health::kDegraded, Health::kDown}) {
    put(verdict, judged.verdict == one ? 1 : 0, {{"status", std::string(to_string(one))}});
  }
  families.push_back(std::move(verdict));
  families.push_back(single("mbsync_database_up", "1: the database answers.", status.store ? 1 : 0));
  if (status.process) {
    families.push_back(
        single("mbsync_uptime_seconds", "Time since the process was started.", status.process->uptime_s));
  }
  families.push_back(single("mbsync_peers_connected", "Members that this node exchanges with.",
                            static_cast<double>(status.connected())));
  add_peers(status, families);
  if (status.store) {
    add_store(*status.store, families);
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace mbsync
