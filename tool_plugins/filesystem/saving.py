"""`filesystem.write`: a new file, new content for a file, or more at its end."""

import base64
import binascii
import hashlib
import os
import stat
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .diffs import unified_diff
from .editing import require_digest
from .errors import path_errors, shorten
from .paths import Location, Workspace
from .text import codec, encoding_of
from .writing import COPY_BYTES, Draft, Target, open_target, wanted_mode, write_all

MAX_CONTENT_BYTES = 10 * 1024 * 1024
MAX_DIFF_BYTES = 256 * 1024
# Reading a larger file again only to name its digest would cost more than the digest is worth.
MAX_DIGEST_BYTES = 64 * 1024 * 1024


def write(
    context: ToolContext,
    *,
    path: str,
    content: str,
    mode: str = "create",
    encoding: str = "utf-8",
    expected_sha256: str | None = None,
    executable: bool | None = None,
) -> dict[str, Any]:
    """Writes a file; see `WriteResult`."""
    data = _bytes_of(content, encoding)
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    with (
        path_errors(path),
        workspace.writing,
        open_target(workspace, location, create_parents=True) as target,
    ):
        _check(target, mode, expected_sha256)
        if mode == "append" and target.fd is not None:
            return _append(target, location, data, executable)
        return _replace(target, location, data, executable)


def _bytes_of(content: str, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            data = base64.b64decode(content, validate=True)
        else:
            data = content.encode()
    except (binascii.Error, ValueError) as error:
        code = ErrorCode.INVALID_ARGUMENT if encoding == "base64" else ErrorCode.ENCODING_ERROR
        raise ToolError(code, f"content is not valid {encoding}: {error}") from None
    if len(data) > MAX_CONTENT_BYTES:
        raise ToolError(
            ErrorCode.TOO_LARGE,
            f"content has {len(data)} bytes; one call writes at most {MAX_CONTENT_BYTES}",
            hint='write the rest with further calls and mode="append"',
            details={"size": len(data), "limit": MAX_CONTENT_BYTES},
        )
    return data


def _check(target: Target, mode: str, expected_sha256: str | None) -> None:
    if mode == "create" and target.fd is not None:
        raise ToolError(
            ErrorCode.ALREADY_EXISTS,
            f"{shorten(target.shown)!r} already exists",
            hint='use mode="overwrite" to replace it, or filesystem_edit to change a part of it',
        )
    if expected_sha256 is not None:
        found = None if target.fd is None else digest_of(target.fd)
        require_digest(target.shown, expected_sha256, found)


def _replace(
    target: Target, location: Location, data: bytes, executable: bool | None
) -> dict[str, Any]:
    diff, cut = _diff(target, location.relative, data)
    draft = Draft(target.folder)
    try:
        draft.write(data)
        draft.publish(target, executable=executable)
    finally:
        draft.discard()
    return {
        "path": location.relative,
        "bytes": len(data),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "created": target.before is None,
        "diff": diff,
        "diff_truncated": cut,
    }


def _append(
    target: Target, location: Location, data: bytes, executable: bool | None
) -> dict[str, Any]:
    fd, before = target.fd, target.before
    assert fd is not None
    assert before is not None
    target.require_unchanged()
    end = os.lseek(fd, 0, os.SEEK_END)
    try:
        write_all(fd, data)
    except OSError:
        os.ftruncate(fd, end)
        raise
    mode = wanted_mode(before.st_mode, executable=executable)
    if mode != stat.S_IMODE(before.st_mode):
        os.fchmod(fd, mode)
    size = end + len(data)
    return {
        "path": location.relative,
        "bytes": len(data),
        "size": size,
        "sha256": digest_of(fd) if size <= MAX_DIGEST_BYTES else None,
        "created": False,
        "diff": None,
        "diff_truncated": False,
    }


def digest_of(fd: int) -> str:
    """The SHA-256 of the whole file."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, COPY_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _diff(target: Target, path: str, data: bytes) -> tuple[str | None, bool]:
    """The diff to what is there; None for a new, a large or a binary file."""
    if target.fd is None or target.before is None:
        return None, False
    if max(target.before.st_size, len(data)) > MAX_DIFF_BYTES:
        return None, True
    old = os.pread(target.fd, MAX_DIFF_BYTES, 0)
    was, will_be = encoding_of(old), encoding_of(data)
    if was is None or will_be is None:
        return None, False
    return unified_diff(path, old.decode(codec(was)), data.decode(codec(will_be)))
