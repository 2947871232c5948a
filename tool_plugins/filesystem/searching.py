"""`filesystem.grep`: ripgrep over a folder or a file."""

import asyncio
import os
import stat
from contextlib import suppress
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors
from .paths import Location, Workspace
from .records import LineRecords, NameRecords, Page
from .ripgrep import Ripgrep
from .writing import require_regular

TIMEOUT_S = 20.0

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
# Same files whatever the machine's and the user's settings are.
_FIXED = (
    "--no-config",
    "--no-messages",
    "--color=never",
    "--sort=path",
    "--hidden",
    "--no-require-git",
    "--no-ignore-global",
    "--no-ignore-dot",
)
_MODES = {
    "files": ("--files-with-matches", "--null"),
    "count": ("--count", "--null", "--with-filename"),
    "lines": ("--json",),
}


async def grep(
    tool: ToolContext,
    /,
    *,
    pattern: str,
    path: str = ".",
    glob: str | None = None,
    mode: str = "files",
    context: int = 0,
    ignore_case: bool = False,
    literal: bool = False,
    multiline: bool = False,
    limit: int = 250,
    offset: int = 0,
) -> dict[str, Any]:
    """Searches the content of files; see `GrepResult`."""
    if "\0" in pattern or "\0" in (glob or ""):
        raise ToolError(ErrorCode.INVALID_ARGUMENT, "a pattern cannot have a NUL character")
    arguments = [*_FIXED, *_MODES[mode]]
    if mode == "lines" and context:
        arguments.append(f"--context={context}")
    for wanted, option in (
        (ignore_case, "--ignore-case"),
        (literal, "--fixed-strings"),
        (multiline, "--multiline"),
        (multiline, "--multiline-dotall"),
    ):
        if wanted:
            arguments.append(option)
    if glob:
        arguments.append(f"--glob={glob}")
    # After the caller's own glob, because the last one that matches decides.
    arguments += ["--glob=!.git", "-e", pattern, "--"]
    page = Page(offset, limit)
    await _search(tool, arguments, path, page, mode=mode, context=context)
    return _result(page, offset)


async def _search(
    tool: ToolContext, arguments: list[str], path: str, page: Page, *, mode: str, context: int
) -> None:
    workspace = tool.host.service(Workspace)
    location = workspace.locate(path)
    with path_errors(path):
        place = workspace.open(location, _FLAGS)
    try:
        status = os.fstat(place)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder:
            require_regular(status, path)
        search = Ripgrep(
            tool.host, [*arguments, "./" if is_folder else "-"], place, is_folder=is_folder
        )
        if mode == "lines":
            records = LineRecords(page, context)
        else:
            records = NameRecords(page, counts=mode == "count")
        code = await _run(search, records)
    finally:
        os.close(place)
    _judge(search, code)
    for match in page.matches:
        match.path = _workspace_path(location, match.path, is_folder=is_folder)


async def _run(search: Ripgrep, records: LineRecords | NameRecords) -> int:
    """Runs in a thread, because ripgrep's user cannot be set on every event loop."""
    running = asyncio.ensure_future(asyncio.to_thread(search.run, records.feed, TIMEOUT_S))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        search.stop()
        # Bounded: the thread wakes at once and kills the process.
        with suppress(ToolError):
            await running
        raise
    finally:
        search.close()


def _judge(search: Ripgrep, code: int) -> None:
    """Exit codes of ripgrep: 0 found, 1 not found, 2 an error, of which some are partial."""
    if code < 0:
        raise ToolError(
            ErrorCode.TOO_LARGE,
            f"the search was ended by signal {-code}; it needed too much memory",
            hint='use mode="files" or "count", or search a smaller folder',
        )
    if code >= 2 and search.errors:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"the search could not be run: {search.errors[:2000]}",
            hint="set literal to search for the text itself, or mend the regular expression",
        )


def _workspace_path(location: Location, found: str, *, is_folder: bool) -> str:
    if not is_folder:
        return location.relative
    return "/".join((*location.names, found.removeprefix("./")))


def _result(page: Page, offset: int) -> dict[str, Any]:
    shown = offset + len(page.matches)
    more = page.total > shown
    return {
        "matches": [match.as_dict() for match in page.matches],
        "total": page.total,
        "truncated": more or not page.counting,
        "next_offset": shown if more and page.matches else None,
        "complete": page.counting,
    }
