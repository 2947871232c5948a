#!/usr/bin/env bash
# Runs the official MCP conformance suites against our server with the fixtures loaded:
# 0.1.16 whole (2025-11-25) and what 0.2.0-alpha.12 requires for 2026-07-28.
# Keeps Node.js 22 and the suites under .cache; "run.sh stable" or "run.sh next" runs one of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
python=${PYTHON:-$root/.venv/bin/python}
cache=$root/.cache/conformance
node=$cache/node_modules/.bin/node
chosen=${1:-all}

install() {
    if [[ -x $node && -f $cache/installed && $(<"$cache/installed") == "$1" ]]; then return; fi
    command -v npm >/dev/null || {
        echo "npm is needed to fetch the suites; on Debian or Ubuntu: apt-get install npm" >&2
        exit 2
    }
    echo "Fetching Node.js 22 and the conformance suites ..." >&2
    rm -rf "$cache"
    mkdir -p "$cache"
    echo '{"private": true}' >"$cache/package.json"
    # shellcheck disable=SC2086
    npm install --prefix "$cache" --no-audit --no-fund --loglevel=error $1 >&2
    echo "$1" >"$cache/installed"
}

suite=@modelcontextprotocol/conformance
install "node@22 stable@npm:$suite@0.1.16 next@npm:$suite@0.2.0-alpha.12"

work=$(mktemp -d)
server=
finish() {
    if [[ -n $server ]]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

PYTHONPATH=$root "$python" -m mcp_server serve --transport http --port 0 --engine in_process \
    --state-dir "$work/state" --extension tests.conformance.fixtures:extension \
    2>"$work/server.log" &
server=$!
url=
for _ in $(seq 100); do
    url=$(sed -nE 's|.*serving MCP at http://127\.0\.0\.1:([0-9]+)/mcp.*|http://localhost:\1/mcp|p' \
        "$work/server.log")
    [[ -n $url ]] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [[ -z $url ]]; then
    cat "$work/server.log" >&2
    exit 1
fi

failed=0
run() {
    local package=$1
    shift
    echo "== $package $*"
    (cd "$work" && "$node" "$cache/node_modules/$package/dist/index.js" server --url "$url" "$@") ||
        failed=1
}
if [[ $chosen != next ]]; then run stable --suite all; fi
if [[ $chosen != stable ]]; then run next --requirements 2026-07-28; fi
if ((failed)); then
    echo "== the server's log" >&2
    tail -n 50 "$work/server.log" >&2
fi
exit $failed
