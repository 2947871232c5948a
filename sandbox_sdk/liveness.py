"""Which servers live. A lock on a file that the kernel lets go when its process dies.

Judges only servers of the same state folder on the same machine.
"""

import os
from pathlib import Path
from typing import Self

from container_runtime.locks import try_lock


class ServerLock:
    """Held for a server's life; another server that can take it knows that one is dead."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @staticmethod
    def path_of(state_dir: Path, server_id: str) -> Path:
        """Where that server's lock lies."""
        return state_dir / "servers" / f"{server_id}.lock"

    @classmethod
    def take(cls, state_dir: Path, server_id: str) -> Self | None:
        """The lock of that server, or None while its process lives."""
        path = cls.path_of(state_dir, server_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(descriptor):
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def release(self, *, discard: bool = False) -> None:
        """Lets go; `discard` also deletes the file, for a server that will not come back."""
        if self._descriptor is None:
            return
        if discard:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None
