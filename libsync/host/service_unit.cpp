#include "service_unit.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace mbsync {
namespace {

constexpr const char* kServiceTitle = "Multi-Business Sync Service";

/// systemd reads "%" as the start of something of its own, and parts words at spaces.
std::string quoted(const std::filesystem::path& path) {
  std::string text = "\"";
  for (const char c : path.string()) {
    if (c == '"' || c == '\\') {
      text += '\\';
    }
    text += c;
    if (c == '%' || c == '$') {
      text += c;
    }
  }
  return text + '"';
}

/// The same where the value is one path and no line of words.
std::string plain(const std::filesystem::path& path) {
  std::string text;
  for (const char c : path.string()) {
    text += c;
    if (c == '%') {
      text += c;
    }
  }
  return text;
}

// Exit code 2 means that a person has to change something first: starting it again would not help, and the log would
// bury the reason. All else is tried again, every five seconds or, where systemd can, ever more seldom down to once a
// minute. The watchdog's time is
// long, since one statement of a large database may take minutes, and a node that waits for the database is not one
// that hangs.
constexpr std::string_view kUnit = R"([Unit]
Description={title}
Documentation=man:mbsync(1)
After=network-online.target postgresql.service avahi-daemon.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} --config {config}
ExecReload=/bin/kill -HUP $MAINPID
User={user}
Group={user}
UMask=0077
Restart=on-failure
RestartSec=5
{pauses}RestartPreventExitStatus=2
TimeoutStartSec=infinity
TimeoutStopSec=30
WatchdogSec=900

# Its own directory is all it may write to; everything else is hidden or read-only.
{state}
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
)";

}  // namespace

std::string systemd_unit(const ServiceSpec& spec) {
  const std::filesystem::path state = "/var/lib";
  const bool usual = spec.data_dir.parent_path() == state;
  return fmt::format(fmt::runtime(kUnit), fmt::arg("title", kServiceTitle), fmt::arg("program", quoted(spec.program)),
                     fmt::arg("config", quoted(spec.config)), fmt::arg("user", spec.user),
                     fmt::arg("pauses", spec.growing_pauses ? "RestartSteps=6\nRestartMaxDelaySec=60\n" : ""),
                     fmt::arg("state", usual ? fmt::format("StateDirectory={}\nStateDirectoryMode=0700",
                                                           plain(spec.data_dir.filename()))
                                             : fmt::format("ReadWritePaths={}", quoted(spec.data_dir))));
}

bool knows_growing_pauses(std::string_view said) {
  constexpr std::string_view kBefore = "systemd ";
  constexpr int kSince = 254;
  int version = 0;
  if (said.starts_with(kBefore)) {
    const auto number = said.substr(kBefore.size());
    std::from_chars(number.data(), number.data() + number.size(), version);
  }
  return version >= kSince;
}

}  // namespace mbsync
