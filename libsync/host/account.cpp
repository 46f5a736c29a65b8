#include "account.h"

#include <unistd.h>

namespace mbsync {

bool is_root() {
  return ::geteuid() == 0;
}

}  // namespace mbsync
