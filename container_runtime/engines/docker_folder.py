"""The host folder of one sandbox: its socket, its user table, its workspace.

Knows paths and modes, never what a file in a workspace says.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from container_runtime.image.start import group, passwd
from container_runtime.workspace import release
from tool_plugins.errors import ConfigurationError, EngineError

MAX_SOCKET_PATH = 100
"""A unix socket address holds 108 bytes; the rest is room for relative forms."""

SERVER_UID = 65432
"""The action server's user where the host side is root and may give files away."""

HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost\n"
"""Names a sandbox without a network knows; the engine writes none for it."""


@dataclass(frozen=True, slots=True)
class SandboxFolder:
    """`root`/run is what the container sees; the rest stays on the host."""

    root: Path

    @property
    def run(self) -> Path:
        """Bind-mounted at /run/sandbox."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        """Where the action server listens, as the host sees it."""
        return self.run / "control" / "action.sock"

    @property
    def image(self) -> Path:
        """The file behind the workspace."""
        return self.root / "workspace.img"

    @property
    def workspace(self) -> Path:
        """Where the workspace is mounted on the host."""
        return self.root / "workspace"

    def check(self) -> None:
        """Refuses a place whose socket path no socket address can hold.

        Raises:
            ConfigurationError: the state folder lies too deep.
        """
        if (length := len(os.fsencode(self.socket))) >= MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"the socket path {str(self.socket)!r} has {length} bytes, the limit is "
                f"{MAX_SOCKET_PATH - 1}",
                hint="choose a shorter state_dir or sandbox name",
            )

    def prepare(self, agent_uid: int) -> None:
        """Makes the folder; exactly one caller wins.

        Raises:
            EngineError: there is one already.
        """
        self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.root.mkdir(mode=0o700)
        except FileExistsError as error:
            raise EngineError(
                f"a sandbox {self.root.name!r} exists already, or was left half-made",
                hint="use `get` to take it over, or `remove` to clear it",
            ) from error
        control = self.socket.parent
        control.mkdir(parents=True)
        self.workspace.mkdir()
        tables = {"passwd": passwd(agent_uid), "group": group(agent_uid), "hosts": HOSTS}
        for name, text in tables.items():
            (self.run / name).write_text(text)
            (self.run / name).chmod(0o644)
        for path, mode in ((control, 0o700), (self.run, 0o711)):
            if os.geteuid() == 0:
                os.chown(path, SERVER_UID, SERVER_UID)
            path.chmod(mode)

    def remove(self) -> None:
        """Unmounts the workspace and deletes everything. Idempotent."""
        release(self.image, self.workspace)
        shutil.rmtree(self.root, ignore_errors=False, onerror=_ignore_missing)


def server_uid() -> int:
    """The user id of the action server: one that may enter the control folder with us."""
    return os.geteuid() or SERVER_UID


def _ignore_missing(_function: object, _path: object, info: tuple[object, object, object]) -> None:
    error = info[1]
    if isinstance(error, BaseException) and not isinstance(error, FileNotFoundError):
        raise error
