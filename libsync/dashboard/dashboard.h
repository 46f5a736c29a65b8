// The page that a browser shows at the local port: a few small files that are part of the program, and their routes.
// The page holds no facts; it asks the API for them (libsync/service/openapi.json), with the token if there is one. So
// the files themselves need none.
#pragma once

#include <vector>

#include "local_http.h"

namespace mbsync {

/// "/" and "/dashboard/NAME". Each file has an ETag and is asked for anew each time, so that after an update of the
/// program no browser mixes old files with new ones.
std::vector<LocalRoute> dashboard_routes();

}  // namespace mbsync
