// The service around the run loop that `mbsync run` has in the foreground. No synchronisation logic of its own.
#include "commands/run.h"
#include "invocation.h"
#include "lone_thread.h"
#include "systemd_supervisor.h"

int main(int argc, char** argv) {
  CLI::App app{mbsync::kDaemonText, "mbsyncd"};
  mbsync::Invocation invocation;
  mbsync::SystemdSupervisor supervisor;
  mbsync::add_daemon(app, invocation, supervisor);
  return mbsync::leave(mbsync::invoke(app, argc, argv, invocation));
}
