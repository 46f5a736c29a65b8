// mbsync keygen: a new registration key. stdout gets the key and nothing else, so that a script can take it from there.
#pragma once

#include <string>

#include "invocation.h"

namespace mbsync {

void add_keygen(CLI::App& app, Invocation& invocation);
Result<void> run_keygen(Output& output);

/// 256 random bits in groups of four letters and digits that a person can read out: "K7QX-2MWE-...".
Result<std::string> generate_registration_key();

}  // namespace mbsync
