"""Sets of packages on the disk of this host, shared by every server of one installation.

All but `alone` blocks on the disk: call it from a worker thread.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from container_runtime.locks import try_lock
from container_runtime.packages import make_folder

DAY_S = 24 * 60 * 60
DRAFT = ".draft-"
LOCK_POLL_S = 0.1
SECRET_BYTES = 32


class NoRoom(Exception):
    """A set of packages does not fit beside those that are in use."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes do not fit")
        self.needed = needed


class Depot:
    """`folder` is for this installation's eyes only, `packages` what containers see.

    A set appears there whole or not at all, under a key that cannot be guessed. When the sets take
    more than `max_bytes`, those that nobody used for a day go, the least recently used first.
    """

    def __init__(self, folder: Path, packages: Path, max_bytes: int) -> None:
        self._folder = folder
        self._packages = packages
        self._max_bytes = max_bytes

    def secret(self) -> bytes:
        """What keys are made with: made once, and the same for every server here."""
        file = self._folder / "secret"
        try:
            return file.read_bytes()
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"secret-{secrets.token_hex(8)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(SECRET_BYTES))
        try:
            # Unlike a rename this never replaces the one that another server made meanwhile.
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
        return file.read_bytes()

    def has(self, key: str) -> bool:
        """Whether the set is there; from now on it counts as used."""
        try:
            os.utime(self._packages / key)
        except FileNotFoundError:
            return False
        return True

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """One at a time makes the set of that key, also among processes.

        Ends with the process that holds it, however that ends.
        """
        lock = self._open_lock(key)
        try:
            while not try_lock(lock):  # noqa: ASYNC110 - nothing tells of a lock that is free
                await asyncio.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(lock)

    def draft(self, key: str) -> Path:
        """An empty folder to put a set into. Who calls has locked the key."""
        make_folder(self._packages)
        self._clear(key)
        draft = self._packages / f"{DRAFT}{key}"
        draft.mkdir(mode=0o700)
        return draft

    def publish(self, draft: Path, key: str) -> None:
        """Makes a draft a set that nobody can change.

        Raises:
            NoRoom: the draft is as it was.
        """
        self._make_room(_size(draft))
        _seal(draft)
        draft.rename(self._packages / key)
        self.has(key)

    def discard(self, draft: Path) -> None:
        """Removes a draft. Idempotent."""
        _remove(draft)

    def _open_lock(self, key: str) -> int:
        # As many as there are first bytes: what is locked at the same time seldom shares one.
        file = self._folder / "locks" / f"{key[:2]}.lock"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _clear(self, key: str) -> None:
        """Removes drafts whose maker was killed: whoever makes one holds its lock."""
        for draft in self._packages.glob(f"{DRAFT}*"):
            other = draft.name.removeprefix(DRAFT)
            lock = self._open_lock(other)
            try:
                if other[:2] == key[:2] or try_lock(lock):
                    _remove(draft)
            finally:
                os.close(lock)

    def _make_room(self, needed: int) -> None:
        sets = [each for each in self._packages.iterdir() if not each.name.startswith(DRAFT)]
        used = {each: each.stat().st_mtime for each in sets}
        sizes = {each: _size(each) for each in sets}
        taken = sum(sizes.values())
        for each in sorted(used, key=lambda path: used[path]):
            if taken + needed <= self._max_bytes or used[each] > time.time() - DAY_S:
                break
            self._evict(each)
            taken -= sizes[each]
        if taken + needed > self._max_bytes:
            raise NoRoom(needed)

    def _evict(self, path: Path) -> None:
        # All at once, so that nobody finds half of it; under a name that no other draft has.
        draft = path.with_name(f"{DRAFT}{path.name}-{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):  # another server was quicker
            path.rename(draft)
            _remove(draft)


def _size(folder: Path) -> int:
    """Bytes on the disk."""
    total = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def _seal(folder: Path) -> None:
    """Lets everybody read it and nobody write it."""
    for parent, folders, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if os.stat(path).st_mode & 0o100 else 0o444)
        for name in folders:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555)  # noqa: S103 - to be read by every agent
    folder.chmod(0o555)


def _remove(folder: Path) -> None:
    """Removes a sealed folder too, which only root may do as it is."""
    for parent, folders, _ in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in folders)):
            if not os.path.islink(path):
                with suppress(FileNotFoundError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
