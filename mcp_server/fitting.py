"""Data within the limits of clients. What had to be left out is named where it is missing."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

MAX_TEXT_CHARS = 100_000
"""Characters of all strings of one result together: about what a model's client accepts."""
MAX_DATA_BYTES = 250_000
MIN_STRING_CHARS = 200

PIECE = frozenset({"offset", "next_offset", "total_chars"})
"""Fields of a result that is a piece of a text: the next one begins at `next_offset`."""
PIECES = ("content", "snapshot")
"""Fields that may hold such a text."""

MAX_NOTES = 20
"""How much is said of what was left out: a result has room for thousands of cuts."""
MAX_PATH_CHARS = 120

LeftOut = list[str]


def fits(data: dict[str, Any], *, spare: int = 0) -> bool:
    """Whether the data is within the limits less `spare`."""
    return _fits(data, MAX_TEXT_CHARS - spare, MAX_DATA_BYTES - spare)


def fit(
    data: dict[str, Any], *, spare: int = 0, anything: Collection[str] = ()
) -> tuple[dict[str, Any], LeftOut]:
    """The data within the limits less `spare`, and what was left out of it.

    Long strings lose their middle, long lists their end. Each cut is stated in its place, and a
    field `truncated` becomes true. A piece of a longer text loses its end, and `next_offset` says
    where that begins. The fields of `anything` hold any JSON: objects in them lose entries too.
    """
    return _fit(data, MAX_TEXT_CHARS - spare, MAX_DATA_BYTES - spare, anything)


def wire_size(value: Any) -> int:
    """Bytes of a JSON value on the wire, counted as the transport that escapes most."""
    return len(json.dumps(value))


def summed_up(left_out: LeftOut) -> LeftOut:
    """The first of many notes, and how many more there are."""
    more = len(left_out) - MAX_NOTES
    return [*left_out[:MAX_NOTES], f"and {more} more"] if more > 0 else left_out


def _fit(
    data: dict[str, Any], max_chars: int, max_bytes: int, anything: Collection[str] = ()
) -> tuple[dict[str, Any], LeftOut]:
    if _fits(data, max_chars, max_bytes):
        return data, []
    piece = _piece(data)
    if piece is not None:
        return _fit_piece(data, piece, max_chars, max_bytes)
    limit, widest = max_chars, _widest(data)
    while limit // 2 >= widest:
        limit //= 2  # it would cut nothing
    while True:
        cut = _Cut(limit, anything)
        smaller = cut.fields(data)
        if limit <= 1 or _fits(smaller, max_chars, max_bytes):
            break
        limit //= 2
    if cut.left_out and isinstance(smaller.get("truncated"), bool):
        smaller["truncated"] = True
    return smaller, summed_up(cut.left_out)


def _fit_piece(
    data: dict[str, Any], name: str, max_chars: int, max_bytes: int
) -> tuple[dict[str, Any], LeftOut]:
    """The text gets what all else leaves of the room, and that is half of it at least."""
    text: str = data[name]
    rest = {each: value for each, value in data.items() if each != name}
    rest, left_out = _fit(rest, max_chars // 2, max_bytes // 2)
    chars = max_chars - _chars(rest) - len(name)
    size = max_bytes - wire_size({**rest, name: ""})
    kept = text[: _longest(text[: max(chars, 0)], size)]
    smaller = {each: rest.get(each, kept) for each in data}
    if len(kept) < len(text):
        smaller["next_offset"] = data["offset"] + len(kept)
        left_out.append(f"{name}: the last {len(text) - len(kept)} of {len(text)} characters")
    if left_out and isinstance(smaller.get("truncated"), bool):
        smaller["truncated"] = True
    return smaller, left_out


@dataclass(slots=True)
class _Cut:
    """Copies whose strings are at most about `limit` long, and whose lists likewise."""

    limit: int
    anything: Collection[str]
    left_out: LeftOut = field(default_factory=list)

    def fields(self, data: dict[str, Any]) -> dict[str, Any]:
        """All fields of a result."""
        return {
            name: self.value(value, name, any_json=name in self.anything)
            for name, value in data.items()
        }

    def value(self, value: Any, path: str, *, any_json: bool) -> Any:
        """One value. In any JSON an object is a list of entries; elsewhere all fields stay."""
        if isinstance(value, str):
            return self._string(value, path)
        if isinstance(value, dict):
            entries = value.items()
            if any_json:
                entries = self._first(list(entries), path, "entries")
                entries = [(self._string(key, path), part) for key, part in entries]
            return {k: self.value(v, _below(path, f".{k}"), any_json=any_json) for k, v in entries}
        if isinstance(value, list | tuple):
            parts = self._first(value, path, "items")
            return [self.value(part, _below(path, "[]"), any_json=any_json) for part in parts]
        return value

    def _first(self, parts: Any, path: str, words: str) -> Any:
        keep = max(self.limit // 10, 1)
        if len(parts) > keep:
            self.left_out.append(f"{path}: the last {len(parts) - keep} of {len(parts)} {words}")
        return parts[:keep]

    def _string(self, text: str, path: str) -> str:
        limit = max(self.limit, MIN_STRING_CHARS)
        if len(text) <= limit:
            return text
        head, tail = limit * 3 // 4, limit // 4
        omitted = len(text) - head - tail
        self.left_out.append(f"{path}: {omitted} of {len(text)} characters")
        marker = f"\n[... {omitted} characters left out here to keep the answer small ...]\n"
        return text[:head] + marker + text[len(text) - tail :]


def _below(path: str, step: str) -> str:
    return path + step if len(path) + len(step) < MAX_PATH_CHARS else path


def _fits(data: dict[str, Any], max_chars: int, max_bytes: int) -> bool:
    # In this order, because it is quick to find out that much is too much.
    return wire_size(data) <= max_bytes and _chars(data) <= max_chars


def _piece(data: dict[str, Any]) -> str | None:
    """The field whose characters `offset` and `next_offset` count."""
    if not data.keys() >= PIECE or not isinstance(data["offset"], int):
        return None
    return next((name for name in PIECES if isinstance(data.get(name), str)), None)


def _longest(text: str, size: int) -> int:
    """How many of its first characters take at most `size` bytes on the wire."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if wire_size(text[:middle]) - 2 <= size:
            low = middle
        else:
            high = middle - 1
    return low


def _widest(value: Any) -> int:
    """The smallest limit that cuts nothing."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        parts = (max(len(key), _widest(part)) for key, part in value.items())
        return max(10 * len(value), max(parts, default=0))
    if isinstance(value, list | tuple):
        return max(10 * len(value), max(map(_widest, value), default=0))
    return 0


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _chars(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_chars, value))
    return 0
