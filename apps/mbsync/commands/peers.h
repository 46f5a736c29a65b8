// mbsync peers: who this node exchanges with; and with --diagnose, why one that should be there is not.
#pragma once

#include <string>

#include "commands/config_options.h"
#include "invocation.h"

namespace mbsync {

struct PeersOptions {
  ConfigOptions config;
  std::string diagnose;  ///< HOST, HOST:PORT, a node's name or id; empty: the list
};

void add_peers(CLI::App& app, Invocation& invocation);

/// `unreachable`: the diagnosis has found something that a person has to see to.
Result<void> run_peers(const PeersOptions& options, Output& output, bool& unreachable);

}  // namespace mbsync
