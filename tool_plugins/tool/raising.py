"""What a function raised, as an error for its caller. Runs in a worker.

An exception of user code is user code: to ask it for its text may raise, or be another text each
time. Nothing here raises.
"""

import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tool_plugins import authoring
from tool_plugins.errors import ErrorCode, ToolError

MAX_TEXT_CHARS = 1000
MAX_LINE_CHARS = 400
MAX_TRACEBACK_BYTES = 12_000
"""As JSON: what is left of `wire.MAX_TRACE_CHARS` is for the rest of the details."""

MAX_FRAMES = 30
# Of a recursion without end these are enough to see what calls what.
LAST_FRAMES = 1000

_OURS = str(Path(__file__).resolve().parents[1]) + "/"
_type_name = type.__dict__["__qualname__"].__get__
_type_module = type.__dict__["__module__"].__get__


def raised(exc: BaseException, filename: str) -> ToolError:
    """TOOL_RAISED. `filename` is what the frames of the user's file call it."""
    # Not `isinstance`, which asks the exception itself.
    if issubclass(type(exc), authoring.ToolError):
        return _told(exc)
    text = _text(exc)
    name = _name(type(exc))
    return ToolError(
        ErrorCode.TOOL_RAISED,
        f"{name}: {text}" if text else name,
        hint=next((hint for kind, hint in _HINTS if issubclass(type(exc), kind)), ""),
        details={"type": name, "traceback": _traceback(exc, filename)},
    )


_HINTS: tuple[tuple[type, str], ...] = (
    (MemoryError, "try a part of it, or a smaller input"),
    (SystemExit, "a tool returns its result, or raises tool_plugins.authoring.ToolError"),
)


def _told(exc: BaseException) -> ToolError:
    """What the tool says in its own words. `code` is that of a tool it used."""
    code = _attribute(exc, "code")
    return ToolError(
        ErrorCode.TOOL_RAISED,
        _attribute(exc, "message") or _text(exc) or "the tool gives no reason",
        hint=_attribute(exc, "hint"),
        details={"type": _name(type(exc)), **({"code": code} if code else {})},
    )


def _attribute(exc: BaseException, name: str) -> str:
    """The text it has under that name; "" if it has none."""
    try:
        return _plain(getattr(exc, name, ""))
    except BaseException:  # no text, or a property of a class of the user's
        return ""


def _plain(text: str) -> str:
    """Without what a subclass of `str` may do, and not too long."""
    return _cut(str.__str__(text), MAX_TEXT_CHARS)


def _text(exc: BaseException) -> str:
    try:
        return _plain(str(exc))
    except BaseException:  # it is user code
        return "<its text cannot be had>"


def _name(kind: type) -> str:
    """Past a metaclass that may have its own idea of a name."""
    name, module = _type_name(kind), _type_module(kind)
    # That of a user's file has a colon in its name.
    known = isinstance(module, str) and ":" not in module
    if not known or module == "builtins" or kind is authoring.ToolError:
        return _plain(name)
    return _plain(f"{module}.{name}")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _traceback(exc: BaseException, filename: str) -> str:
    try:
        told = traceback.TracebackException.from_exception(
            exc, limit=-LAST_FRAMES, lookup_lines=False, compact=True
        )
        for each in _chain(told):
            each.stack = _Frames(_own(each.stack, filename))
        lines = "".join(told.format()).splitlines()
        return _fitting([_cut(line, MAX_LINE_CHARS) for line in lines])
    except BaseException:  # of what is looked at, much may be user code
        return ""


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An exception, and all that led to it or are in it."""
    left = [told]
    while left:
        each = left.pop()
        yield each
        left += [other for other in (each.__cause__, each.__context__) if other is not None]
        left += getattr(each, "exceptions", None) or ()


def _own(frames: list[traceback.FrameSummary], filename: str) -> list[traceback.FrameSummary]:
    """From the user's file on, and without ours: what calls it, and what `ctx` is.

    An exception that led to another may have been caught before it came to the file.
    """
    first = next((n for n, each in enumerate(frames) if each.filename == filename), 0)
    return [each for each in frames[first:] if not each.filename.startswith(_OURS)]


class _Frames(traceback.StackSummary):
    """Shows the first and the last ones where there are many that differ."""

    def format(self, **options: Any) -> list[str]:
        """See `traceback.StackSummary.format`."""
        lines = super().format(**options)
        if len(lines) <= MAX_FRAMES:
            return lines
        half = MAX_FRAMES // 2
        note = f"  ... {len(lines) - 2 * half} more frames ...\n"
        return [*lines[:half], note, *lines[-half:]]


def _fitting(lines: list[str]) -> str:
    """The end of it, which says most, if it is too long."""
    kept: list[str] = []
    room = MAX_TRACEBACK_BYTES
    for line in reversed(lines):
        room -= len(json.dumps(line)) + 1
        if room < 0:
            kept.append("...")
            break
        kept.append(line)
    return "\n".join(reversed(kept))
