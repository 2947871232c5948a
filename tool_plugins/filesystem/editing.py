"""`filesystem.edit`: exact replacements on the bytes of a text file, all of them or none."""

import hashlib
import os
import re
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .diffs import unified_diff
from .errors import path_errors, shorten
from .matching import Matcher, Span, fitted
from .nearest import nearest_block
from .paths import Workspace
from .text import codec, encoding_of
from .writing import Draft, Target, open_target

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_LISTED_LINES = 20


def edit(
    context: ToolContext,
    *,
    path: str,
    edits: list[dict[str, Any]],
    dry_run: bool = False,
    expected_sha256: str | None = None,
) -> dict[str, Any]:
    """Replaces text in a file; see `EditResult`."""
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    with (
        path_errors(path),
        workspace.writing,
        open_target(workspace, location, create_parents=False) as target,
    ):
        before = load(target, expected_sha256)
        encoding = encoding_of(before)
        if encoding is None:
            raise ToolError(
                ErrorCode.BINARY_FILE,
                f"{shorten(path)!r} is not a text file",
                hint="write the whole file with filesystem_write, or change it with a program",
            )
        after, count = _edited(before, edits, encoding)
        if not dry_run:
            draft = Draft(target.folder)
            try:
                draft.write(after)
                draft.publish(target, executable=None)
            finally:
                draft.discard()
    text = codec(encoding)
    diff, cut = unified_diff(location.relative, before.decode(text), after.decode(text))
    return {
        "path": location.relative,
        "diff": diff,
        "diff_truncated": cut,
        "replacements": count,
        "first_changed_line": _first_difference(before, after, text),
        "sha256": hashlib.sha256(after).hexdigest(),
        "dry_run": dry_run,
    }


def load(target: Target, expected_sha256: str | None) -> bytes:
    """The bytes of the target's file, checked against the digest the caller saw."""
    if target.fd is None or target.before is None:
        raise FileNotFoundError(2, os.strerror(2))
    size = target.before.st_size
    if size > MAX_FILE_BYTES:
        raise ToolError(
            ErrorCode.TOO_LARGE,
            f"{shorten(target.shown)!r} has {size} bytes; at most {MAX_FILE_BYTES} can be edited",
            hint="change it with a program, for example sed",
            details={"size": size, "limit": MAX_FILE_BYTES},
        )
    data = b""
    while len(data) < size and (piece := os.read(target.fd, size - len(data))):
        data += piece
    require_digest(target.shown, expected_sha256, hashlib.sha256(data).hexdigest())
    return data


def require_digest(shown: str, expected: str | None, found: str | None) -> None:
    """Raises STALE_FILE unless the file is the one the caller expects, if it expects any."""
    if expected is None or expected.lower() == found:
        return
    what = "does not exist any more" if found is None else "was changed since it was read"
    raise ToolError(
        ErrorCode.STALE_FILE,
        f"{shorten(shown)!r} {what}",
        hint="read the file again and repeat the change on what is there now",
        details={"expected_sha256": expected, "sha256": found},
    )


def _edited(data: bytes, edits: list[dict[str, Any]], encoding: str) -> tuple[bytes, int]:
    """The bytes after every edit, each working on what the one before it left."""
    total = 0
    for index, one in enumerate(edits):
        old, new = one["old"], one["new"]
        if old == new:
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"edit {index}: old and new are the same text",
                details={"edit": index},
            )
        spans = _spans(data, old, encoding, index, replace_all=one.get("replace_all", False))
        data = _replaced(data, spans, one, encoding, index)
        total += len(spans)
    return data, total


def _spans(data: bytes, old: str, encoding: str, index: int, *, replace_all: bool) -> list[Span]:
    try:
        matcher = Matcher(old, encoding)
    except UnicodeEncodeError:
        # A character the file's encoding does not have cannot be in the file.
        raise _no_match(data, old, encoding, index) from None
    spans = matcher.spans(data) if replace_all else matcher.positions(data)
    if not spans:
        raise _no_match(data, old, encoding, index)
    if len(spans) > 1 and not replace_all:
        raise _several(data, spans, encoding, index)
    return spans


def _replaced(
    data: bytes, spans: list[Span], one: dict[str, Any], encoding: str, index: int
) -> bytes:
    old, new = one["old"], one["new"]
    pieces: list[bytes] = []
    position = 0
    for span in spans:
        try:
            pieces += [data[position : span.start], fitted(new, old, data, span, encoding)]
        except UnicodeEncodeError as error:
            raise ToolError(
                ErrorCode.ENCODING_ERROR,
                f"edit {index}: the file is {encoding} and cannot hold "
                f"{new[error.start : error.start + 1]!r}",
                hint="use other characters, or rewrite the file as UTF-8 with filesystem_write",
                details={"edit": index, "encoding": encoding},
            ) from None
        position = span.end
    return b"".join([*pieces, data[position:]])


def _several(data: bytes, spans: list[Span], encoding: str, index: int) -> ToolError:
    lines = [_line_at(data, span.start, encoding) for span in spans[:MAX_LISTED_LINES]]
    return ToolError(
        ErrorCode.MULTIPLE_MATCHES,
        f"edit {index}: old is in the file {len(spans)} times, first in lines "
        f"{', '.join(map(str, lines))}",
        hint="add lines around it until it is unique, or set replace_all",
        details={"edit": index, "count": len(spans), "lines": lines},
    )


def _no_match(data: bytes, old: str, encoding: str, index: int) -> ToolError:
    found = nearest_block(data.decode(codec(encoding)), old)
    details: dict[str, Any] = {"edit": index, "closest": None, "line": None, "similarity": 0.0}
    hint = "read the file again; old must be there character for character"
    if found is not None:
        details |= {
            "closest": found.closest,
            "line": found.line,
            "similarity": found.similarity,
        }
        hint = f"the closest text begins in line {found.line}; copy it from there exactly"
        if found.only_whitespace:
            hint = f"only white space differs from what line {found.line} begins; copy it exactly"
    if re.match(r"\s*\d+→", old):
        hint = "leave out the line numbers and arrows that filesystem_read puts before each line"
    return ToolError(
        ErrorCode.NO_MATCH,
        f"edit {index}: old is not in the file; nothing was changed",
        hint=hint,
        details=details,
    )


def _line_at(data: bytes, position: int, encoding: str) -> int:
    return data[:position].decode(codec(encoding), "replace").count("\n") + 1


def _first_difference(before: bytes, after: bytes, encoding: str) -> int:
    """The line of the first byte that differs; the last line's if one is the other's start."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[:middle] == after[:middle]:
            low = middle
        else:
            high = middle - 1
    return after[:low].decode(encoding, "ignore").count("\n") + 1
