"""Follows the files of a group: what changes on disk is registered again.

It looks twice a second and compares, since the kernel tells of the folders it was asked about and
no more: not of a file behind a link, of one on another machine, nor of a folder that comes back.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from .sources import files_in

POLL_S = 0.5
GATHER_S = 0.2
"""Editors write a file in several steps: changes within this time are one."""

MAX_GATHERED = 10
"""A file that is written to all the time is read nevertheless."""

Seen = dict[Path, tuple[int, ...]]


class Watched:
    """The files an operator named: single ones, and all of some folders."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._folders = [path for path in paths if path.is_dir()]
        self._files = [path for path in paths if not path.is_dir()]
        self._seen: Seen = {}

    @property
    def empty(self) -> bool:
        """Whether nothing was named."""
        return not self._folders and not self._files

    def present(self) -> list[Path]:
        """The files that are there now, in a stable order. `changes` tells what changes since."""
        self._seen = self._look()
        return list(self._seen)

    def there(self) -> list[Path]:
        """The same, without a word to `changes`."""
        return list(self._look())

    def forget(self) -> None:
        """Lets `changes` tell of every file again."""
        self._seen = {}

    async def changes(self) -> AsyncIterator[set[Path]]:
        """Sets of paths that changed, came or went; without end."""
        while True:
            await asyncio.sleep(POLL_S)
            found = await asyncio.to_thread(self._look)
            if found == self._seen:
                continue
            for _ in range(MAX_GATHERED):
                await asyncio.sleep(GATHER_S)
                before, found = found, await asyncio.to_thread(self._look)
                if found == before:
                    break
            paths = self._seen.keys() | found.keys()
            changed = {path for path in paths if self._seen.get(path) != found.get(path)}
            self._seen = found
            if changed:
                yield changed

    def _look(self) -> Seen:
        return {path: state for path in self._paths() if (state := _state(path))}

    def _paths(self) -> Iterator[Path]:
        yield from (path for path in self._files if path.is_file())
        for folder in self._folders:
            yield from files_in(folder)


def _state(path: Path) -> tuple[int, ...]:
    """What is another once a file, or what a link leads to, has changed; () if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
