"""Downloads that a page starts: they go to the workspace."""

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .notes import Notes
from .places import Places
from .reading import clean_line

if TYPE_CHECKING:
    from playwright.async_api import Download

BEGIN_S = 2.0
"""How long after a page was not loaded a download may begin instead."""

MAX_NAME_CHARS = 100
MAX_SAME_NAMES = 1000
_UNWANTED = re.compile(r"[/\\\x00-\x1f]+")


class Downloads:
    """Counts those that began and notes how each ends."""

    def __init__(self, places: Places, notes: Notes) -> None:
        self.count = 0
        self._places = places
        self._notes = notes
        self._began = asyncio.Event()
        self._coming: set[asyncio.Task[None]] = set()

    def receive(self, download: "Download") -> None:
        """Sees to it that a download ends in the workspace."""
        self.count += 1
        self._began.set()
        task = asyncio.ensure_future(self._keep(download))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def next_after(self, count: int, seconds: float) -> bool:
        """Whether one began after the first `count`; waits for its end while there is time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, BEGIN_S)):
                while self.count <= count:
                    self._began.clear()
                    await self._began.wait()
        if self._coming:
            await asyncio.wait(self._coming, timeout=seconds)
        if self._coming:
            self._notes.add("a download goes on; a later snapshot tells when it is complete")
        return self.count > count

    async def _keep(self, download: "Download") -> None:
        from playwright.async_api import Error

        name = clean_line(download.suggested_filename, MAX_NAME_CHARS)
        try:
            arrived = await download.path()
            path = await asyncio.to_thread(keep, Path(arrived), self._places.downloads, name)
            size = path.stat().st_size
            shown = path.relative_to(self._places.workspace)
            self._notes.add(f"a download was saved as {str(shown)!r} ({size} bytes)")
        except (Error, OSError) as error:
            why = str(error).partition("\n")[0]
            self._notes.add(f"the download of {name!r} failed: {why}")


def keep(arrived: Path, folder: Path, name: str) -> Path:
    """Moves a file into a folder under a name that is free there, the given one if possible."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, dot, ending = (_UNWANTED.sub("_", name).lstrip(". ") or "download").rpartition(".")
    if not dot:
        stem, ending = ending, ""
    for number in range(MAX_SAME_NAMES):
        path = folder / f"{stem}{f'-{number}' if number else ''}{dot}{ending}"
        try:
            os.link(arrived, path)  # refuses a name that is taken, as a rename would not
        except FileExistsError:
            continue
        os.unlink(arrived)
        return path
    raise FileExistsError(f"there are {MAX_SAME_NAMES} files of that name")
