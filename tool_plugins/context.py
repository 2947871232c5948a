"""What an executor is given inside the container. Standard library only.

An executor is `async def verb(context, **arguments) -> dict`, or a plain `def` of the same shape
that blocks on files only; the action server runs the latter in a worker thread. It returns the
fields of the tool's `Result` model, raises `ToolError` for what the caller can mend, and is
cancelled when the caller goes away: an async executor must then end everything it started.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Service = TypeVar("Service")
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that runs what an agent asks for. None as a field means "do not change user"."""

    uid: int
    gid: int
    tag_base: int
    """First supplementary group id that may mark a process tree (see `processes.py`)."""


@dataclass(slots=True)
class Host:
    """One per action server: the workspace, the agent's identity and the long-lived services.

    `identity` is None for the in-process engine, which runs everything as the current user.
    `home`, `tmp` and `spool` are folders that belong to the agent's user.
    """

    workspace: Path
    tmp: Path
    spool: Path
    identity: Identity | None = None
    environment: dict[str, str] = field(default_factory=dict)
    _services: dict[type, Any] = field(default_factory=dict)

    def service(self, kind: Callable[["Host"], Service]) -> Service:
        """The one instance of a long-lived service (`kind(host)`), made at first use.

        A service with an `async def aclose()` is closed when the server stops.
        """
        key: Any = kind
        if key not in self._services:
            self._services[key] = kind(self)
        return self._services[key]

    async def aclose(self) -> None:
        """Closes every service, newest first."""
        for service in reversed(list(self._services.values())):
            close = getattr(service, "aclose", None)
            if close is not None:
                await close()
        self._services.clear()


def _discard(event: dict[str, Any]) -> None:
    """What `emit` does when nobody streams."""


@dataclass(slots=True)
class ToolContext:
    """One per action. `emit` sends a live event; without a stream it does nothing.

    Events: `{"event": "stdout"|"stderr", "text": str}` and
    `{"event": "progress", "progress": float, "total": float|None, "message": str}`.
    `attach` adds binary content beside the result data.
    """

    host: Host
    emit: Emit = _discard
    attachments: list[dict[str, str]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether somebody follows the live events."""
        return self.emit is not _discard

    def attach(self, mime_type: str, data: str) -> None:
        """Adds an attachment; `data` is base64."""
        self.attachments.append({"mime_type": mime_type, "data": data})
