// The mbsync command. One file per subcommand in commands/.
#include "commands/install.h"
#include "commands/keygen.h"
#include "commands/manual.h"
#include "commands/peers.h"
#include "commands/resolve.h"
#include "commands/rules.h"
#include "commands/run.h"
#include "commands/service.h"
#include "commands/show_config.h"
#include "commands/smoke_check.h"
#include "commands/status.h"
#include "commands/sync.h"
#include "commands/uninstall.h"
#include "commands/verify.h"
#include "commands/version.h"
#include "invocation.h"
#include "lone_thread.h"

int main(int argc, char** argv) {
  CLI::App app{"mbsync keeps the PostgreSQL databases of several machines in step, without a server in the middle.",
               "mbsync"};
  mbsync::Invocation invocation;
  app.require_subcommand(1);
  app.set_version_flag("--version", "mbsync " + mbsync::program_version(), "Print the version and exit");
  mbsync::add_install(app, invocation);
  mbsync::add_uninstall(app, invocation);
  mbsync::add_run(app, invocation);
  mbsync::add_service(app, invocation);
  mbsync::add_show_config(app, invocation);
  mbsync::add_smoke_check(app, invocation);
  mbsync::add_status(app, invocation);
  mbsync::add_sync(app, invocation);
  mbsync::add_verify(app, invocation);
  mbsync::add_peers(app, invocation);
  mbsync::add_resolve(app, invocation);
  mbsync::add_rules(app, invocation);
  mbsync::add_keygen(app, invocation);
  mbsync::add_version(app, invocation);
  mbsync::add_manual(app, invocation);
  mbsync::add_completion(app, invocation);
  // After the commands, which would inherit it.
  app.footer("\nExamples:\n  mbsync smoke-check && mbsync run\n  mbsync status\n  mbsync run --help\n");
  return mbsync::leave(mbsync::invoke(app, argc, argv, invocation));
}
