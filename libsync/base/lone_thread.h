// Threads that may be left behind: in a call of a library that cannot be interrupted, such as a name that is looked up,
// a database that accepts and says nothing, a daemon that hangs.
#pragma once

#include <functional>

namespace mbsync {

/// Runs `work` in a thread that nobody waits for; whatever it uses has to be its own. Throws std::system_error if no
/// thread is to be had.
void start_lone_thread(std::function<void()> work);

/// Whether such a thread is under way.
bool has_lone_threads();

/// For the end of main(): returns `code`. While there are lone threads it does not return but ends the process at once,
/// with all that was printed written out: the libraries' destructors would pull away what those threads work on.
int leave(int code);

}  // namespace mbsync
