#!/bin/sh
# Sets mbsync up as a service on this machine.
#
#   sudo ./install.sh [FILE]      FILE has DATABASE_URL=... and SYNC_REGISTRATION_KEY=...; without it service.env here
#
# Ends with what 'mbsync install' ends with: 0 done, 2 something has to be set, 3 the database, 4 the port.
set -u
file=${1:-service.env}

if ! command -v mbsync >/dev/null; then
  echo "install.sh: there is no mbsync on this machine: install its package first" >&2
  exit 2
fi
if [ ! -r "$file" ]; then
  echo "install.sh: $file cannot be read. It needs lines DATABASE_URL=... and SYNC_REGISTRATION_KEY=...;" >&2
  echo "install.sh: 'mbsync keygen' makes a key, the same one for all machines" >&2
  exit 2
fi
# Whoever reads the file can read and change the data.
chmod go= "$file" || exit 2

# Without a terminal it asks nothing, and leaves the firewall alone: it shows the commands for it.
mbsync install --env-file "$file" </dev/null || exit
# For the eye only: a first machine is alone, and says so.
mbsync status || true
