// The service around the run loop that `mbsync run` has in the foreground. No synchronisation logic of its own.
#include "commands/run.h"
#include "invocation.h"
#include "systemd_supervisor.h"

int main(int argc, char** argv) {
  CLI::App app{"mbsyncd is the mbsync node as a service. Everything it needs comes from configuration.", "mbsyncd"};
  mbsync::Invocation invocation;
  mbsync::SystemdSupervisor supervisor;
  mbsync::add_run_options(app, invocation, supervisor);
  return mbsync::invoke(app, argc, argv, invocation);
}
