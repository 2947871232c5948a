#!/usr/bin/env bash
# Makes .venv at the root: a Python of 3.11 or newer, every dependency at the version that
# constraints.txt pins, and the project itself, editable. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$1" >&2; shift; printf '       %s\n' "$@" >&2; exit 1; }

# A Python counts when it is new enough and can make an environment with pip in it.
usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
        if [ -n "$name" ] && usable "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    return 1
}

install_python() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "no Python 3.11 or newer that can make a virtual environment was found" \
            "Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y python3 python3-venv" \
            "elsewhere: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
    fi
    say "installing python3 and python3-venv"
    apt-get update || say "some package lists could not be fetched; going on with the others"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv
}

# What the environment is made of; the path is in it because a moved environment is a broken one.
inputs_key() { { pwd; cat pyproject.toml constraints.txt "$0"; } | sha256sum | cut -d' ' -f1; }

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9 # two runs at once: the second waits, then finds the work done

key=$(inputs_key)
if [ "$(cat .venv/.made-from 2>/dev/null)" = "$key" ] && .venv/bin/python -c '' 2>/dev/null; then
    say "the environment .venv is up to date"
    exit
fi

python=$(find_python) || { install_python; python=$(find_python); } \
    || die "the Python of this system is older than 3.11" "name a newer one: make PYTHON=/path/to/python3"
say "making the environment .venv with $("$python" --version)"
.venv/bin/python -c 'import pip' 2>/dev/null || "$python" -m venv --clear .venv

pip_install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --retries 10 \
        --constraint constraints.txt "$@" | sed -u '/^Requirement already satisfied/d'
}
say "installing the pinned dependencies (a minute or two at first)"
pip_install pip
pip_install build editables hatchling
say "installing the project"
pip_install --no-build-isolation --editable . --group dev
printf '%s\n' "$key" >.venv/.made-from
