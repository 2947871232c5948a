"""Follows the files of a group: what changes on disk is registered again."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from watchfiles import awatch

from .sources import files_in

GATHER_MS = 200
"""Editors write a file in several steps: changes within this time are one."""


class Watched:
    """The files an operator named: single ones, and all of some folders."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._folders = [path for path in paths if path.is_dir()]
        self._files = [path for path in paths if not path.is_dir()]

    @property
    def empty(self) -> bool:
        """Whether nothing was named."""
        return not self._folders and not self._files

    def present(self) -> list[Path]:
        """The files that are there now, in a stable order."""
        found = [path for path in self._files if path.is_file()]
        return found + [path for folder in self._folders for path in files_in(folder)]

    async def changes(self) -> AsyncIterator[set[Path]]:
        """Sets of paths that changed, came or went, while the iterator is open."""
        # Folders, not files: editors put another file in a file's place.
        folders = {*self._folders, *(path.parent for path in self._files)}
        watching = awatch(*sorted(folders), recursive=False, step=GATHER_MS, debounce=4 * GATHER_MS)
        async for batch in watching:
            touched = {Path(path) for _change, path in batch}
            mine = {path for path in touched if self._is_mine(path)}
            if mine:
                yield mine

    def _is_mine(self, path: Path) -> bool:
        if path in self._files:
            return True
        return path.parent in self._folders and path.suffix == ".py" and path.name[0] not in "._"
