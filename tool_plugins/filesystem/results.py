"""Results of the filesystem tools. Host side only."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from tool_plugins.contract import Result

PATH = "Path relative to the workspace."


class ReadResult(Result):
    """A window of a file."""

    path: str = Field(description=PATH)
    content: str = Field(
        description="Lines as `N→text`, or base64, or a note that the file is attached."
    )
    start_line: int = Field(description="Number of the first line shown; 0 if not text.")
    end_line: int = Field(description="Number of the last line shown.")
    total_lines: int = Field(description="Lines in the file.")
    size: int = Field(description="Bytes in the file.")
    encoding: str = Field(
        description="utf-8, utf-8-sig (with a byte order mark), utf-16-le, utf-16-be, cp1252, "
        "latin-1; base64 for that format, binary for an attachment."
    )
    newline: Literal["lf", "crlf", "mixed", "none"] = Field(description="Line ends of the file.")
    sha256: str = Field(description="Digest of the whole file, for expected_sha256.")
    truncated: bool = Field(description="Whether the file has more than what is shown.")
    next_line: int | None = Field(description="start_line to go on with; null at the end.")
    cut_lines: list[int] = Field(description="Lines shown only up to 2000 characters.")
    mime_type: str | None = Field(description="Type of the attached image or document.")


class WriteResult(Result):
    """A file was written."""

    path: str = Field(description=PATH)
    bytes: int = Field(description="Bytes written by this call.")
    size: int = Field(description="Bytes in the file now.")
    sha256: str | None = Field(
        description="Digest of the file now; null after appending to a file over 64 MiB."
    )
    created: bool = Field(description="Whether the file is new.")
    diff: str | None = Field(
        description="Unified diff to what was replaced; null for new, binary or large files and "
        "after an append."
    )
    diff_truncated: bool = Field(description="Whether the diff is cut or was left out for size.")


class EditResult(Result):
    """A file was changed, or would be."""

    path: str = Field(description=PATH)
    diff: str = Field(description="Unified diff of the change.")
    diff_truncated: bool = Field(description="Whether the diff is cut.")
    replacements: int = Field(description="How many places were replaced.")
    first_changed_line: int = Field(description="Number of the first line that differs.")
    sha256: str = Field(description="Digest of the changed file.")
    dry_run: bool = Field(description="True if nothing was written.")


class Entry(Result):
    """One file, folder or link."""

    path: str = Field(description=PATH)
    type: Literal["file", "directory", "symlink", "fifo", "socket", "device"] = Field(
        description="What it is; links are not followed."
    )
    size: int = Field(description="Bytes.")
    mtime: str = Field(description="Last change of the content, UTC, as 2026-01-31T12:00:00Z.")
    mode: str = Field(description="Permission bits in octal, such as 0644.")
    target: str | None = Field(description="Where a symlink points.")


class ListResult(Result):
    """What is in a folder, level by level."""

    path: str = Field(description=PATH)
    entries: Annotated[
        list[Entry], WithJsonSchema({"type": "array", "items": Entry.model_json_schema()})
    ] = Field(description="Entries, the upper levels first.")
    truncated: bool = Field(description="Whether entries are missing.")
    omitted: int = Field(description="Entries found but not shown.")
    complete: bool = Field(description="False if the tree was too large to look at all of it.")


class GlobResult(Result):
    """Files found by their path, newest first."""

    paths: list[str] = Field(description="Paths relative to the workspace, newest first.")
    total: int = Field(description="How many matched.")
    truncated: bool = Field(description="Whether paths are missing.")
    complete: bool = Field(description="False if the tree was too large to look at all of it.")


class Match(Result):
    """One match, or one file in the modes files and count."""

    path: str = Field(description=PATH)
    line: int | None = Field(description="Line number; null in the modes files and count.")
    text: str | None = Field(description="The line; cut after 1000 characters, then it says so.")
    count: int | None = Field(description="Matching lines of the file, in mode count.")
    before: list[str] = Field(description="Lines before it.")
    after: list[str] = Field(description="Lines after it.")


class GrepResult(Result):
    """Matches, ordered by path and line."""

    matches: Annotated[
        list[Match], WithJsonSchema({"type": "array", "items": Match.model_json_schema()})
    ] = Field(description="The matches from offset on.")
    total: int = Field(description="How many were found in all.")
    truncated: bool = Field(description="Whether there are more after the ones shown.")
    next_offset: int | None = Field(description="offset to go on with; null at the end.")
    complete: bool = Field(description="False if the search stopped at 100000 matches.")


class MoveResult(Result):
    """Something was moved or copied."""

    path: str = Field(description="Where it is now, relative to the workspace.")
    source: str = Field(description="Where it was, relative to the workspace.")
    copied: bool = Field(description="Whether the source is still there.")
    entries: int = Field(description="Files, links and folders copied; 1 for a move.")


class DeleteResult(Result):
    """Something was deleted."""

    path: str = Field(description="What was deleted, relative to the workspace.")
    deleted_count: int = Field(description="Files, links and folders deleted.")
