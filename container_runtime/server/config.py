"""The server's settings, read from the environment once and then handed down.

The token never stays in the environment: whatever the server starts would inherit it.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from tool_plugins.context import Host, Identity

from .egress import Egress

DEFAULT_SOCKET = "/run/sandbox/control/action.sock"
# Supplementary group ids from here up mark process trees. They belong to nobody: real ids of
# agents end at 2,000,000,000 (`ContainerSpec.agent_uid`).
TAG_BASE = 2_100_000_000
PREFIX = "SANDBOX_"
AGENT_ENVIRONMENT = {
    # What pip installs for the user comes last, so that it hides no program of the image.
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/workspace/.local/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    # The packages of the system are read-only, so there is nothing for pip to break.
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the engine asked of this server.

    `listen` (host and port) wins over `socket`. `agent_uid` None means: change no user. Without
    `egress` programs have no way out.
    """

    socket: Path
    listen: tuple[str, int] | None
    token: str | None
    server_uid: int | None
    agent_uid: int | None
    workspace: Path
    tmp: Path
    spool: Path
    environment: dict[str, str]
    egress: Egress | None

    def host(self) -> Host:
        """The executors' view of these settings."""
        identity = None
        if self.agent_uid is not None:
            identity = Identity(self.agent_uid, self.agent_uid, TAG_BASE)
        return Host(self.workspace, self.tmp, self.spool, identity, dict(self.environment))


def read_settings(environ: MutableMapping[str, str]) -> Settings:
    """Settings out of the environment; the token is removed from it.

    Raises:
        ValueError: a value is malformed, or TCP is asked for without a token.
    """
    token = environ.pop("SANDBOX_TOKEN", None)
    listen = _address(environ.get("SANDBOX_LISTEN"))
    if listen and not token:
        raise ValueError("SANDBOX_LISTEN needs SANDBOX_TOKEN")
    workspace = Path(environ.get("SANDBOX_WORKSPACE", "/workspace"))
    egress = environ.get("SANDBOX_EGRESS")
    return Settings(
        socket=Path(environ.get("SANDBOX_SOCKET", DEFAULT_SOCKET)),
        listen=listen,
        token=token,
        server_uid=_number(environ.get("SANDBOX_SERVER_UID")),
        agent_uid=_number(environ.get("SANDBOX_AGENT_UID")),
        workspace=workspace,
        tmp=Path(environ.get("SANDBOX_TMP", "/tmp")),  # noqa: S108 - the agent's own tmpfs
        spool=Path(environ.get("SANDBOX_SPOOL", "/run/spool")),
        environment=agent_environment(environ, workspace),
        egress=Egress(Path(egress)) if egress else None,
    )


def agent_environment(environ: MutableMapping[str, str], workspace: Path) -> dict[str, str]:
    """What agent processes inherit: the container's variables without the server's own."""
    inherited = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    user = {"HOME": str(workspace), "PWD": str(workspace), "USER": "agent", "LOGNAME": "agent"}
    return AGENT_ENVIRONMENT | inherited | user


def _address(text: str | None) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"SANDBOX_LISTEN {text!r} is not host:port")
    return host, int(port)


def _number(text: str | None) -> int | None:
    return int(text) if text else None
