"""Arguments of the filesystem tools. Host side only."""

import warnings
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from tool_plugins.contract import Arguments

Path = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="Path relative to the workspace, or absolute below /workspace. Taken "
        "literally: `~`, `$VAR` and wildcards are not expanded.",
    ),
]
Folder = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="Where to look, relative to the workspace or absolute below /workspace.",
    ),
]
Digest = Annotated[
    str | None,
    Field(
        pattern=r"^[0-9a-fA-F]{64}$",
        description="SHA-256 the file must have now, as an earlier call reported it. If "
        "somebody changed the file since, the call fails with STALE_FILE and changes nothing.",
    ),
]


class ReadArguments(Arguments):
    """What to read."""

    path: Path
    start_line: int = Field(1, ge=1, le=1_000_000_000, description="First line to read, from 1.")
    max_lines: int = Field(2000, ge=1, le=2000, description="How many lines at most.")
    tail: bool = Field(
        False, description="Read the last max_lines lines instead; leave start_line at 1."
    )
    format: Literal["text", "base64"] = Field(
        "text",
        description="text: numbered lines; images and PDF files are attached. base64: the bytes "
        "of any file up to 1 MiB.",
    )


class WriteArguments(Arguments):
    """What to write."""

    path: Path
    content: str = Field(
        max_length=14_000_000, description="What to write, at most 10 MiB. Written as it is."
    )
    mode: Literal["create", "overwrite", "append"] = Field(
        "create",
        description="create: fail if the file exists. overwrite: replace the whole file, or "
        "create it. append: add at the end, or create it.",
    )
    encoding: Literal["utf-8", "base64"] = Field(
        "utf-8", description="How content is given: text written as UTF-8, or base64 of bytes."
    )
    expected_sha256: Digest = None
    executable: bool | None = Field(
        None, description="Set or clear the executable bits; null keeps them as they are."
    )


class Edit(Arguments):
    """One replacement."""

    old: str = Field(
        min_length=1,
        max_length=1_000_000,
        description="Text that is in the file now, character for character, without the line "
        "numbers of filesystem_read. Must be there exactly once unless replace_all is set.",
    )
    new: str = Field(max_length=1_000_000, description="Text to put there. Empty deletes.")
    replace_all: bool = Field(False, description="Replace every occurrence.")


class EditArguments(Arguments):
    """What to change."""

    path: Path
    edits: Annotated[
        list[Edit],
        Field(min_length=1, max_length=50),
        # Spelled out in place: some clients do not follow `$ref`.
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": 50, "items": Edit.model_json_schema()}
        ),
    ] = Field(
        description="Replacements, applied in order, each to the result of the one before. If "
        "one fails, none is applied.",
    )
    dry_run: bool = Field(False, description="Only report the diff; change nothing.")
    expected_sha256: Digest = None


class ListArguments(Arguments):
    """What to list."""

    path: Folder = "."
    depth: int = Field(1, ge=1, le=6, description="How many levels of folders to show.")
    include_hidden: bool = Field(False, description="Show names that begin with a dot.")
    respect_gitignore: bool = Field(
        True, description="Leave out what .gitignore files in the workspace name, and .git."
    )
    max_entries: int = Field(500, ge=1, le=5000, description="How many entries at most.")


class GlobArguments(Arguments):
    """Which files to find."""

    pattern: str = Field(
        min_length=1,
        max_length=1000,
        description="Pattern relative to path: `*`, `?`, `[a-z]`, `{a,b}`, and `**` for any "
        "number of folders, for example `src/**/*.{ts,tsx}`. Wildcards do not match a leading "
        "dot.",
    )
    path: Folder = "."
    limit: int = Field(200, ge=1, le=2000, description="How many paths at most.")


class GrepArguments(Arguments):
    """What to search for."""

    pattern: str = Field(
        min_length=1,
        max_length=10_000,
        description="Regular expression in ripgrep's (Rust) syntax: no look-around, no back "
        "references.",
    )
    path: Folder = "."
    glob: str | None = Field(
        None,
        max_length=1000,
        description="Only files this matches, for example `*.py`; `!*.min.js` leaves out.",
    )
    mode: Literal["files", "lines", "count"] = Field(
        "files",
        description="files: paths of the files that match. lines: each match with its line. "
        "count: matching lines per file.",
    )
    context: int = Field(
        0, ge=0, le=20, description="Lines to show before and after each match (mode lines)."
    )
    ignore_case: bool = Field(False, description="Take upper and lower case as equal.")
    literal: bool = Field(False, description="Take pattern as plain text.")
    multiline: bool = Field(
        False, description="Let matches span lines, and `.` match line ends too."
    )
    limit: int = Field(250, ge=1, le=2000, description="How many matches at most.")
    offset: int = Field(
        0, ge=0, le=100_000, description="Matches to skip; next_offset of the call before."
    )


# The argument is called `copy` whatever pydantic's deprecated method of that name is for.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message='Field name "copy"')

    class MoveArguments(Arguments):
        """What to move, and where to."""

        source: Path
        destination: Path
        copy: bool = Field(  # pyright: ignore[reportIncompatibleMethodOverride]
            False, description="Copy instead; folders with all that is in them."
        )
        overwrite: bool = Field(
            False, description="Replace an existing file, or an empty folder, at destination."
        )


class DeleteArguments(Arguments):
    """What to delete."""

    path: Path
    recursive: bool = Field(False, description="Delete a folder with everything in it.")
