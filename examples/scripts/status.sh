#!/bin/sh
# How the node of this machine is, with a last line in plain words.
#
#   ./status.sh [options for mbsync status ...]
#
# Ends with what 'mbsync status' ends with: 0 healthy, 1 degraded, 2 down.
set -u
mbsync status "$@"
code=$?
case $code in
  0) words="healthy: nothing is to be done" ;;
  1) words="degraded: it works, and something above wants a person" ;;
  2) words="down, or wrongly configured: nothing is exchanged; what the application writes meanwhile is kept. 'mbsync start', or the log" ;;
  *) words="'mbsync status' itself has failed (exit code $code)" ;;
esac
echo "status.sh: $words" >&2
exit "$code"
