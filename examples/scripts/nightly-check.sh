#!/bin/sh
# Looks whether mbsync is well, and writes a dated report. For cron, which sends what a job prints: this prints the report
# if something is wrong, and nothing otherwise.
#
#   nightly-check.sh [DIRECTORY]      where reports go; without it, reports in the current directory
#
#   15 3 * * *  root  /usr/local/bin/nightly-check.sh /var/log/mbsync
#
# Ends with 0 if all is well, 1 if something is wrong, 2 if no report can be written. Keeps the reports of 30 days.
set -u
umask 077
directory=${1:-reports}
mkdir -p "$directory" || exit 2
report=$directory/mbsync-$(date +%Y-%m-%d).txt

# Runs mbsync with these arguments, and notes what it says and how it ends; fails if it does.
look() {
  echo
  echo "== mbsync $*"
  mbsync "$@" 2>&1
  code=$?
  echo "(exit code $code)"
  [ "$code" -eq 0 ]
}

{
  verdict="all is well"
  echo "mbsync on $(hostname), $(date '+%Y-%m-%d %H:%M:%S %z')"
  look version || verdict="something is wrong"
  look smoke-check || verdict="something is wrong"
  look status || verdict="something is wrong"
  echo
  echo "$verdict"
} >"$report" || {
  echo "nightly-check.sh: $report cannot be written" >&2
  exit 2
}
find "$directory" -name 'mbsync-????-??-??.txt' -mtime +30 -exec rm -f {} +

# The last line was written last: a report that is cut off is no good news.
if [ "$(tail -n 1 "$report")" != "all is well" ]; then
  cat "$report"
  exit 1
fi
