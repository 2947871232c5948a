"""Converted pages, kept for some minutes: their next piece need not be fetched again."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Any

MAX_PAGES = 8
MAX_BYTES = 32 * 1024 * 1024
KEPT_S = 300.0

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page as text, and where it came from. `links` are text and URL."""

    final_url: str
    status: int
    content_type: str
    title: str
    content: str
    links: list[tuple[str, str]]
    note: str
    fetched_at: str


@dataclass(slots=True)
class Pages:
    """The last few pages by what was asked for, bounded in number, size and age."""

    _kept: OrderedDict[Key, tuple[float, Fetched]] = field(default_factory=OrderedDict)

    def get(self, key: Key) -> Fetched | None:
        """The page, unless it is gone or too old."""
        self._forget_old()
        found = self._kept.get(key)
        return found[1] if found is not None else None

    def put(self, key: Key, page: Fetched) -> None:
        """Keeps a page, and forgets what no longer fits."""
        self._forget_old()
        self._kept.pop(key, None)
        self._kept[key] = (time.monotonic(), page)
        while len(self._kept) > MAX_PAGES or self._size() > MAX_BYTES:
            self._kept.popitem(last=False)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._kept.popitem(last=False)

    def _size(self) -> int:
        return sum(getsizeof(page.content) for _, page in self._kept.values())
