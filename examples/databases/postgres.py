"""A PostgreSQL server of its own, from the installed binaries."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ADMIN = "admin"
SYSTEM_USER = "postgres"
DEFAULTS = {"fsync": "off", "max_connections": "300", "shared_buffers": "64MB"}


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_binaries() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; None when there is no server here."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4])
    )
    if installed:
        return installed[-1].parent
    found = shutil.which("pg_ctl")
    return Path(found).resolve().parent if found else None


def _system_account() -> pwd.struct_passwd:
    """Who runs the server when root starts it."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise FileNotFoundError(
            f"PostgreSQL does not run as root, and there is no user {SYSTEM_USER!r}"
        ) from None


class PostgresServer:
    """Listens on loopback and on a unix socket in `folder`. Superuser `admin`, no password asked
    on the unix socket, password "admin" over TCP."""

    def __init__(
        self, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise FileNotFoundError("no PostgreSQL server: install the package postgresql")
        self.folder = folder
        self.port = port or free_port()
        self.data = folder / "data"
        self._binaries = binaries
        self._settings = {**DEFAULTS, **(settings or {})}

    @property
    def url(self) -> str:
        """Over TCP, as the superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The same, of another database."""
        return f"postgresql://{ADMIN}:{ADMIN}@127.0.0.1:{self.port}/{database}"

    @property
    def socket_url(self) -> str:
        """Over the unix socket, as the superuser."""
        return f"postgresql://{ADMIN}@/postgres?host={self.folder}&port={self.port}"

    def create(self) -> Self:
        """Makes the cluster, unless it is there."""
        if (self.data / "PG_VERSION").exists():
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        password.write_text(ADMIN)
        if os.geteuid() == 0:
            account = _system_account()
            for path in (self.folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        arguments = ["--username", ADMIN, "--pwfile", str(password), "--encoding", "UTF8"]
        arguments += ["--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync"]
        self._run("initdb", "--pgdata", str(self.data), "--locale", "C.UTF-8", *arguments)
        return self

    def start(self) -> Self:
        """Starts it and waits until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", log, "-o", options)
        return self

    def stop(self, *, mode: str = "fast") -> None:
        """Stops it; `mode` is fast or immediate (a crash)."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def running(self) -> bool:
        """Whether it runs, started by whatever process."""
        return self.running_port() is not None

    def running_port(self) -> int | None:
        """The port of the server that runs on this cluster; None when none does."""
        if self._try("pg_ctl", "status", "-D", str(self.data)).returncode:
            return None
        return int((self.data / "postmaster.pid").read_text().splitlines()[3])

    def _run(self, program: str, *arguments: str) -> None:
        done = self._try(program, *arguments)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")

    def _try(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:  # the server refuses to run as root
            command = ["setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}",
                       "--init-groups", "--", *command]  # fmt: skip
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
        )
