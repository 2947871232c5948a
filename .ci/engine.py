"""Finds a Docker Engine, or installs and starts one where that is possible.

    engine.py start             find or start one and leave it running
    engine.py run -- COMMAND    run COMMAND with an engine; one that was started for it ends with it

An engine that already answers (`DOCKER_HOST`, or the default socket) is used as it is and never
stopped. Installing is done on Debian and Ubuntu as root only; anywhere else this says what to run.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import docker
from docker.errors import DockerException
from packages import CACHE, PACKAGES, install, lock, may_install, missing, say, which

LOG = CACHE / "dockerd.log"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
SHARED_TIMEOUT_S = 1800

NEEDED = ("engine", "sandboxes")
BY_HAND = """\
Debian or Ubuntu:   sudo apt-get update
                    sudo apt-get install -y --no-install-recommends {packages}
                    sudo systemctl start docker        # or: sudo dockerd &
other systems:      install Docker Engine 20.10 or newer and start it
another engine:     export DOCKER_HOST=unix:///path/to/docker.sock
no permission:      sudo usermod -aG docker "$USER", then log in again"""


def fail(reason: str) -> None:
    """Ends the program with the reason and the commands that help."""
    packages = [package for group in NEEDED for package in PACKAGES[group].values()]
    by_hand = BY_HAND.format(packages=" ".join(packages))
    print(f"error: {reason}\n\n{by_hand}", file=sys.stderr)
    sys.exit(1)


def engine_error() -> str | None:
    """Why no engine answers; None when one does."""
    try:
        client = docker.from_env(timeout=20)
    except DockerException as error:
        return str(error)
    with contextlib.closing(client):
        try:
            client.ping()
        except (DockerException, OSError) as error:
            return str(error)
    return None


def start_engine() -> subprocess.Popen[bytes] | None:
    """Starts an engine. Returns its process, or None when systemd runs it."""
    if Path("/run/systemd/system").is_dir():
        say("starting the docker service")
        subprocess.run(["systemctl", "start", "docker"], check=True)
        process = None
    else:
        say(f"starting dockerd in the background (log: {LOG})")
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                [which("dockerd") or "dockerd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the command; the engine outlives it
            )
    try:
        wait_until_it_answers(process)
    except BaseException:  # also Ctrl-C: nothing may stay that nobody knows of
        if process is not None:
            stop_engine(process)
        raise
    return process


def wait_until_it_answers(process: subprocess.Popen[bytes] | None) -> None:
    """Waits for a started engine; ends the program with its last words if it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (error := engine_error()) is not None:
        died = process is not None and process.poll() is not None
        if died or time.monotonic() > deadline:
            if process is not None:
                print("".join(LOG.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr)
            fail(f"the Docker Engine was started but does not answer: {error}")
        time.sleep(0.3)


def stop_engine(process: subprocess.Popen[bytes]) -> None:
    """Ends an engine that this program started, and the network bridge it made."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if ip := which("ip"):
        subprocess.run([ip, "link", "delete", "docker0"], stderr=subprocess.DEVNULL, check=False)


def ensure_engine() -> subprocess.Popen[bytes] | None:
    """Makes sure that an engine answers. Returns the process of one that had to be started."""
    error = engine_error()
    if error and os.environ.get("DOCKER_HOST"):
        fail(f"no engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: {error}")
    if may_install():  # with an engine found, only what sandboxes use may still be missing
        installed = install(NEEDED if error else ("sandboxes",))
        if error and not installed:
            fail(f"no Docker Engine answers ({error}) and its packages could not be installed")
    for package in missing(["sandboxes"]).values() if error is None else ():
        say(f"{package} is not installed; some tests may need it")
    if error is None:
        say("a Docker Engine answers")
        return None
    if not may_install():
        fail(f"no Docker Engine answers: {error}")
    process = start_engine()
    say("the Docker Engine answers")
    return process


def wait_for_other_runs(handle: int) -> None:
    """Waits until no other run uses the engine any more, up to a bound."""
    deadline = time.monotonic() + SHARED_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.5)


def run(command: list[str]) -> int:
    """Runs the command with an engine and returns its exit code."""
    with lock("sandbox-sdk-users.lock", fcntl.LOCK_SH) as users:
        with lock("sandbox-sdk-start.lock", fcntl.LOCK_EX):
            process = ensure_engine()
        try:
            return run_command(command)
        finally:
            if process is not None:
                wait_for_other_runs(users)
                stop_engine(process)


def run_command(command: list[str]) -> int:
    """Runs the command in the foreground; SIGTERM and SIGHUP reach it, Ctrl-C does by itself."""
    child = subprocess.Popen(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    return child.wait()


def main() -> int:
    """Reads the command line."""
    CACHE.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    match sys.argv[1:]:
        case ["start"]:
            with lock("sandbox-sdk-start.lock", fcntl.LOCK_EX):
                process = ensure_engine()
            if process is not None:
                say(f"it stays, with process id {process.pid}; end it with: kill {process.pid}")
            return 0
        case ["run", "--", *command] if command:
            return run(command)
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
