#include "lan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <queue>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>

#include "wait_until.h"

namespace mbsync::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kInterface = "eth0";
constexpr std::size_t kFrameMax = 2048;

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  const std::string all = std::string(rest) + ":/usr/sbin:/sbin";
  rest = all;
  while (!rest.empty()) {
    const auto colon = std::min(rest.find(':'), rest.size());
    if (::access((std::string(rest.substr(0, colon)) + "/" + program).c_str(), X_OK) == 0) {
      return true;
    }
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return false;
}

std::string run(const std::string& command) {
  ChildOptions options;
  options.arguments = {"-c", command};
  ChildProcess shell{"/bin/sh", options};
  const auto code = shell.wait(std::chrono::seconds{20});
  return code == 0 ? "" : fmt::format("\"{}\" failed: {}{}", command, shell.out(), shell.err());
}

void must_run(const std::string& command) {
  if (const auto failure = run(command); !failure.empty()) {
    throw std::runtime_error(failure);
  }
}

// The host's end of the wire, opened in its namespace by a thread that is in no other.
int open_tap(const std::string& name_space) {
  int tap = -1;
  std::string failure;
  std::thread([&] {
    const int space = ::open(("/run/netns/" + name_space).c_str(), O_RDONLY | O_CLOEXEC);
    if (space < 0 || ::setns(space, CLONE_NEWNET) != 0) {
      failure = fmt::format("entering namespace {}: {}", name_space, std::strerror(errno));
    } else {
      tap = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
      ifreq request{};
      request.ifr_flags = IFF_TAP | IFF_NO_PI;
      std::strncpy(request.ifr_name, kInterface, IFNAMSIZ - 1);
      if (tap < 0 || ::ioctl(tap, TUNSETIFF, &request) != 0) {
        failure = fmt::format("making {} in {}: {}", kInterface, name_space, std::strerror(errno));
      }
    }
    ::close(space);
  }).join();
  if (!failure.empty()) {
    throw std::runtime_error(failure);
  }
  return tap;
}

}  // namespace

// Every frame goes to all other hosts, as on a hub; their kernels take what is theirs.
class Lan::Wire {
 public:
  Wire() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { carry(); }) {}
  ~Wire() {
    end_ = true;
    rouse();
    thread_.join();
    for (const auto tap : taps_) {
      ::close(tap);
    }
    ::close(wake_);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void add(int tap) {
    const std::lock_guard lock(mutex_);
    taps_.push_back(tap);
    rouse();
  }
  void set(std::size_t from, std::size_t to, Quality quality) {
    const std::lock_guard lock(mutex_);
    qualities_[{from, to}] = quality;
  }

 private:
  struct Frame {
    Clock::time_point due;
    std::uint64_t order;
    std::size_t to;
    std::string bytes;
    bool operator>(const Frame& other) const { return std::tie(due, order) > std::tie(other.due, other.order); }
  };

  void rouse() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
  }

  void carry() {
    std::uniform_real_distribution<double> chance(0, 1);
    while (!end_) {
      std::vector<pollfd> sockets{{wake_, POLLIN, 0}};
      int wait = 1000;
      {
        const std::lock_guard lock(mutex_);
        for (const auto tap : taps_) {
          sockets.push_back({tap, POLLIN, 0});
        }
        deliver();
        if (!under_way_.empty()) {
          const auto left = std::chrono::ceil<milliseconds>(under_way_.top().due - Clock::now()).count();
          wait = static_cast<int>(std::clamp<milliseconds::rep>(left, 0, wait));
        }
      }
      if (::poll(sockets.data(), sockets.size(), wait) < 0 && errno != EINTR) {
        return;
      }
      std::uint64_t count = 0;
      [[maybe_unused]] const auto taken = ::read(wake_, &count, sizeof count);
      const std::lock_guard lock(mutex_);
      for (std::size_t i = 1; i < sockets.size(); ++i) {
        if ((sockets[i].revents & POLLIN) == 0) {
          continue;
        }
        std::array<char, kFrameMax> buffer{};
        for (ssize_t got = 0; (got = ::read(sockets[i].fd, buffer.data(), buffer.size())) > 0;) {
          for (std::size_t to = 0; to < taps_.size(); ++to) {
            const auto quality = qualities_[{i - 1, to}];
            if (to != i - 1 && !quality.cut && (quality.loss == 0 || chance(random_) >= quality.loss)) {
              under_way_.push(Frame{Clock::now() + quality.delay, ++order_, to,
                                    std::string(buffer.data(), static_cast<std::size_t>(got))});
            }
          }
        }
      }
    }
  }

  void deliver() {
    while (!under_way_.empty() && under_way_.top().due <= Clock::now()) {
      const auto& frame = under_way_.top();
      // A host whose cable is out, or that is slow, loses it, as it does anywhere.
      [[maybe_unused]] const auto written = ::write(taps_[frame.to], frame.bytes.data(), frame.bytes.size());
      under_way_.pop();
    }
  }

  int wake_;
  std::atomic<bool> end_ = false;
  std::mutex mutex_;  // guards what follows
  std::vector<int> taps_;
  std::map<std::pair<std::size_t, std::size_t>, Quality> qualities_;
  std::priority_queue<Frame, std::vector<Frame>, std::greater<>> under_way_;
  std::uint64_t order_ = 0;
  std::mt19937_64 random_{7};
  std::thread thread_;
};

LanHost::LanHost(Lan& lan, int number, const fs::path& directory)
    : lan_(lan),
      number_(number),
      name_(fmt::format("mbsync-{}-{}", ::getpid(), number)),
      address_(fmt::format("10.77.0.{}", number)),
      directory_(directory / name_) {
  fs::create_directories(directory_);
  must_run("ip netns add " + name_);
  lan_.wire_->add(open_tap(name_));
  ip("link set lo up");
  ip(fmt::format("addr add {}/24 dev {}", address_, kInterface));
  ip(fmt::format("link set {} up", kInterface));
  ip(fmt::format("route add 224.0.0.0/4 dev {}", kInterface));
}

LanHost::~LanHost() {
  stop_mdns();
  run("ip netns del " + name_);
}

void LanHost::ip(const std::string& arguments) const {
  must_run(fmt::format("ip -n {} {}", name_, arguments));
}

std::vector<std::string> LanHost::launcher() const {
  return {"ip", "netns", "exec", name_};
}

std::vector<std::pair<std::string, std::string>> LanHost::environment() const {
  return {{"DBUS_SYSTEM_BUS_ADDRESS", fmt::format("unix:path={}", (directory_ / "bus").string())}};
}

void LanHost::move_to(const std::string& address) {
  ip(fmt::format("addr del {}/24 dev {}", address_, kInterface));
  address_ = address;
  ip(fmt::format("addr add {}/24 dev {}", address_, kInterface));
  ip(fmt::format("route replace 224.0.0.0/4 dev {}", kInterface));
}

void LanHost::plug(bool in) {
  for (const auto& other : lan_.hosts_) {
    if (other.get() != this) {
      lan_.set(*this, *other, {0, milliseconds{0}, !in});
      lan_.set(*other, *this, {0, milliseconds{0}, !in});
    }
  }
}

ChildProcess LanHost::record(const fs::path& file) const {
  // Room for some thousand packets. Each place is as large as the longest one may be, so without -s there are eight.
  ChildOptions options;
  options.arguments = {"netns", "exec", name_,   "tcpdump", "-i",   kInterface,         "-n", "-U", "-s",
                       "2048",  "-B",   "16384", "-Z",      "root", "--immediate-mode", "-w", file};
  ChildProcess recorder("ip", std::move(options));
  if (!wait_until(std::chrono::seconds{20}, [&] { return recorder.err().find("listening on") != std::string::npos; })) {
    throw std::runtime_error(fmt::format("tcpdump does not start on {}: {}", name_, recorder.err()));
  }
  return recorder;
}

void LanHost::start_mdns() {
  const auto bus_socket = (directory_ / "bus").string();
  std::ofstream(directory_ / "bus.conf")
      << "<busconfig><type>system</type><listen>unix:path=" << bus_socket
      << "</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow "
         "send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n";
  std::ofstream(directory_ / "avahi.conf") << "[server]\nhost-name=" << name_ << "\nallow-interfaces=" << kInterface
                                           << "\nenable-dbus=yes\nuse-ipv4=yes\nuse-ipv6=yes\n[wide-area]\n"
                                              "enable-wide-area=no\n[publish]\npublish-workstation=no\n";
  if (!bus_) {
    ChildOptions options;
    options.arguments = {"--config-file=" + (directory_ / "bus.conf").string(), "--nofork", "--nopidfile"};
    options.output_file = directory_ / "bus.log";
    bus_.emplace("dbus-daemon", options);
    if (!wait_until(std::chrono::seconds{10}, [&] { return fs::exists(bus_socket); })) {
      throw std::runtime_error("dbus-daemon does not start");
    }
  }
  // It keeps its pid and sockets below /run, which is therefore its own.
  ChildOptions options;
  options.arguments = {
      "netns",
      "exec",
      name_,
      "unshare",
      "-m",
      "--propagation",
      "private",
      "sh",
      "-c",
      fmt::format("mount -t tmpfs tmpfs /run && mkdir -p /run/avahi-daemon && exec avahi-daemon -f {} --no-drop-root "
                  "--no-chroot --no-rlimits",
                  (directory_ / "avahi.conf").string())};
  options.environment = environment();
  const auto log = directory_ / "avahi.log";
  fs::remove(log);
  options.output_file = log;
  mdns_.emplace("ip", options);
  const auto says = [&](std::string_view text) {
    std::ifstream file(log);
    const std::string all{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
    return all.find(text) != std::string::npos;
  };
  if (!wait_until(std::chrono::seconds{20}, [&] { return says("Server startup complete"); })) {
    throw std::runtime_error(fmt::format("avahi-daemon does not start on {}", name_));
  }
}

void LanHost::stop_mdns() {
  if (mdns_) {
    mdns_->signal(SIGTERM);
    (void)mdns_->wait(std::chrono::seconds{5});
    mdns_.reset();
  }
  if (bus_) {
    bus_->signal(SIGTERM);
    (void)bus_->wait(std::chrono::seconds{5});
    bus_.reset();
    fs::remove(directory_ / "bus");
  }
}

void LanHost::kill_mdns() {
  mdns_->kill();
  mdns_.reset();
}

std::optional<std::string> Lan::missing() {
  if (::geteuid() != 0) {
    return "network namespaces need root";
  }
  for (const auto* program : {"ip", "unshare"}) {
    if (!in_path(program)) {
      return fmt::format("there is no program '{}'", program);
    }
  }
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
    return "there is no /dev/net/tun";
  }
  const auto name = fmt::format("mbsync-{}-try", ::getpid());
  const auto failure = run(fmt::format(
      "ip netns add {0} && ip -n {0} tuntap add dev t0 mode tap; code=$?; ip netns del {0}; exit $code", name));
  return failure.empty() ? std::nullopt : std::optional("network namespaces cannot be made: " + failure);
}

std::optional<std::string> Lan::missing_mdns() {
  if (auto lacks = missing()) {
    return lacks;
  }
  for (const auto* program : {"avahi-daemon", "dbus-daemon"}) {
    if (!in_path(program)) {
      return fmt::format("there is no program '{}'", program);
    }
  }
  return std::nullopt;
}

std::optional<std::string> Lan::missing_recorder() {
  return in_path("tcpdump") ? std::nullopt : std::optional<std::string>("there is no program 'tcpdump'");
}

Lan::Lan() : wire_(std::make_unique<Wire>()) {
  std::string pattern = (fs::temp_directory_path() / "mbsync-lan-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error(fmt::format("mkdtemp: {}", std::strerror(errno)));
  }
  directory_ = pattern;
}

Lan::~Lan() {
  hosts_.clear();
  wire_.reset();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

LanHost& Lan::add_host() {
  hosts_.push_back(std::make_unique<LanHost>(*this, static_cast<int>(hosts_.size()) + 1, directory_));
  return *hosts_.back();
}

std::size_t Lan::index_of(const LanHost& host) const {
  const auto place =
      std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& candidate) { return candidate.get() == &host; });
  return static_cast<std::size_t>(place - hosts_.begin());
}

void Lan::set(const LanHost& from, const LanHost& to, Quality quality) {
  wire_->set(index_of(from), index_of(to), quality);
}

void Lan::set_all(Quality quality) {
  for (std::size_t from = 0; from < hosts_.size(); ++from) {
    for (std::size_t to = 0; to < hosts_.size(); ++to) {
      wire_->set(from, to, quality);
    }
  }
}

}  // namespace mbsync::test
