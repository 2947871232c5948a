"""Installs what is missing of the programs that the project runs, on Debian and Ubuntu as root.

    packages.py postgres neo4j    what these groups of PACKAGES need

Anywhere else it says what to install by hand, and goes on: tests that lack a server are skipped.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache"
LOCKS = Path("/run")  # shared by every checkout: there is one package manager per machine
INSTALL_LOCK = "sandbox-sdk-install.lock"

# By what needs them: the command that shows a program is there, and the package that brings it.
# The image of the sandboxes installs what builds it by itself.
PACKAGES: dict[str, dict[str, str]] = {
    "engine": {"dockerd": "docker.io", "iptables": "iptables"},
    # Two limit the size of workspaces; the tests search with the last outside of sandboxes too.
    "sandboxes": {"mkfs.ext4": "e2fsprogs", "losetup": "mount", "rg": "ripgrep"},
    "postgres": {"pg_ctl": "postgresql"},
    # The image of the tests' Neo4j is made of a Debian system and of Neo4j's own Java archives.
    "neo4j": {"mvn": "maven", "mmdebstrap": "mmdebstrap"},
}
BY_HAND = {
    "postgres": "PostgreSQL 13 or newer, so that `pg_ctl` is on the path",
    "neo4j": "Maven with a Java runtime 17 or newer, and mmdebstrap",
}
# Debian keeps the server's programs off the path, one folder for each version.
BEYOND_THE_PATH = ("/usr/sbin", "/sbin")
SERVER_PROGRAMS = Path("/usr/lib/postgresql")
CLUSTER_SETTING = Path("/etc/postgresql-common/createcluster.d/sandbox-sdk.conf")


def say(text: str) -> None:
    """Prints one line of progress at once."""
    print(f"==> {text}", flush=True)


def which(command: str) -> str | None:
    """The path of a command, also where it is installed but not on the path."""
    folders = [os.environ.get("PATH", ""), *BEYOND_THE_PATH]
    folders += [str(path) for path in sorted(SERVER_PROGRAMS.glob("*/bin"))]
    return shutil.which(command, path=os.pathsep.join(folders))


def may_install() -> bool:
    """Whether this may install packages."""
    return os.geteuid() == 0 and which("apt-get") is not None


def missing(groups: Iterable[str]) -> dict[str, str]:
    """The commands of the groups that are not there, with their packages."""
    return {
        command: package
        for group in groups
        for command, package in PACKAGES[group].items()
        if not which(command)
    }


def install(groups: Iterable[str]) -> bool:
    """Installs what is missing of the groups; False when some of it could not be installed."""
    with lock(INSTALL_LOCK, fcntl.LOCK_EX):
        packages = list(missing(groups).values())
        if not packages:
            return True
        say(f"installing {' '.join(packages)}")
        if _apt_get("update"):
            say("some package lists could not be fetched; going on with the others")
        with _no_database_cluster() if "postgresql" in packages else contextlib.nullcontext():
            if _apt_get("install", *packages) == 0:
                return True
            # One that cannot be had must not keep away the others.
            return not any([_apt_get("install", package) for package in packages])


def _apt_get(verb: str, *packages: str) -> int:
    # RUNLEVEL=1 keeps a package from starting a service by itself where there is no systemd.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    options = ["-y", "--no-install-recommends"] if packages else []
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", verb, *options, *packages]
    return subprocess.run(command, env=environment, check=False).returncode


@contextlib.contextmanager
def _no_database_cluster() -> Iterator[None]:
    """While the block runs, the package `postgresql` makes no cluster, so it starts none."""
    folder = CLUSTER_SETTING.parent
    folder.mkdir(parents=True, exist_ok=True)
    CLUSTER_SETTING.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        CLUSTER_SETTING.unlink()
        with contextlib.suppress(OSError):  # it holds settings of somebody else
            folder.rmdir()


@contextlib.contextmanager
def lock(name: str, mode: int) -> Iterator[int]:
    """Holds a lock file that every run on this machine shares."""
    folder = LOCKS if os.access(LOCKS, os.W_OK) else CACHE
    with (folder / name).open("a") as file:
        fcntl.flock(file, mode)
        yield file.fileno()


def explain(group: str) -> str:
    """What to do by hand about a group that is not complete."""
    packages = " ".join(missing([group]).values())
    return (
        f"{group} is not installed, so tests that need it are skipped. To have it:\n"
        f"      Debian or Ubuntu:   sudo apt-get update\n"
        f"                          sudo apt-get install -y --no-install-recommends {packages}\n"
        f"      other systems:      install {BY_HAND[group]}"
    )


def main() -> int:
    """Reads the command line."""
    CACHE.mkdir(exist_ok=True)
    groups = sys.argv[1:]
    if not groups or any(group not in BY_HAND for group in groups):
        print(f"{__doc__}\ngroups: {', '.join(BY_HAND)}", file=sys.stderr)
        return 2
    if may_install():
        install(groups)
    for group in groups:
        if missing([group]):
            say(explain(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())
