#!/usr/bin/env bash
# Runs the tests side by side. On a busy machine one of thousands may miss a deadline of its own:
# the few that fail are decided by running them again, alone. More than a few is a failure at once.
set -u
cd "$(dirname "$0")/.."
FEW=5

.venv/bin/python -m pytest --numprocesses 3 --no-loadscope-reorder "$@"
status=$?
[ "$status" -eq 1 ] || exit "$status"

failed=$(.venv/bin/python -m pytest --last-failed --collect-only --quiet "$@" | grep -c '::')
if [ "$failed" -gt "$FEW" ]; then
    exit "$status"
fi
echo "running the $failed that failed again, alone"
.venv/bin/python -m pytest --last-failed "$@"
