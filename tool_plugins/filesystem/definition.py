"""The filesystem tools as a model sees them. Host side only."""

from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition

from .arguments import (
    DeleteArguments,
    EditArguments,
    GlobArguments,
    GrepArguments,
    ListArguments,
    MoveArguments,
    ReadArguments,
    WriteArguments,
)
from .results import (
    DeleteResult,
    EditResult,
    GlobResult,
    GrepResult,
    ListResult,
    MoveResult,
    ReadResult,
    WriteResult,
)

READ = """Read a file of the workspace.

Text comes as numbered lines (`N→text`): at most 2000 lines or 256 KiB per call, lines cut after \
2000 characters and named in cut_lines. If truncated, go on with start_line=next_line, or use \
tail=true for the end. PNG, JPEG, GIF and WebP images up to 5 MiB and PDF files up to 11 MiB are \
attached for you to look at. Keep sha256 if you mean to change the file later.
Prefer this to cat; to find something in many or large files use filesystem_grep first.
Errors: BINARY_FILE (use format="base64"), IS_DIRECTORY (use filesystem_list), TOO_LARGE, \
NOT_FOUND, NOT_REGULAR_FILE."""

WRITE = """Write a whole file, or add to its end. Missing parent folders are created.

mode="create" (default) never touches an existing file; "overwrite" replaces all of it and keeps \
its permissions; "append" adds at the end. Content is written as it is: nothing is added, and line \
ends are not changed. One call writes at most 10 MiB; append the rest.
To change part of a file use filesystem_edit: it is shorter and safer.
Errors: ALREADY_EXISTS (choose overwrite or another path), STALE_FILE (the file is not the one of \
expected_sha256: read it again), DISK_QUOTA, TOO_LARGE."""

EDIT = """Replace exact pieces of text in a file: all edits are applied, or none.

Each `old` must be in the file exactly once, unless replace_all is set; give a few lines around \
the place to make it unique. A line end in `old` and `new` stands for the file's own (LF or \
CRLF). All other bytes, the encoding and the permissions stay as they are. Works on text files up \
to 10 MiB.
Errors: NO_MATCH (details show the closest text, its line and likeness: copy from there), \
MULTIPLE_MATCHES (details give count and lines), STALE_FILE, BINARY_FILE, ENCODING_ERROR (the \
file's encoding lacks a character)."""

LIST = """List a folder, level by level, or describe one file.

Gives path, type, size, time and mode of each entry. The upper levels come first and large folders \
share the space, so a huge folder does not hide its neighbours; if truncated, list a subfolder or \
raise max_entries. Hidden names and what .gitignore names are left out unless you ask for them.
Prefer this to ls and tree; to find files by name use filesystem_glob."""

GLOB = """Find files by a pattern of their path, newest first.

`**` matches any number of folders, `{a,b}` alternatives. Links to folders are not entered; \
folders themselves are not reported; what .gitignore names is included. Looks at 50000 entries at \
most and says in `complete` if that was not all.
Use filesystem_grep to find files by content. Error: INVALID_ARGUMENT if the pattern is absolute \
or has `..`: give the folder as path."""

GREP = """Search the content of files with ripgrep.

Start with mode="files" to see where something is, then mode="lines" with context. Hidden files \
are searched; .git, binary files and what .gitignore names are not, unless path is that very file. \
Results are ordered by path; if truncated, go on with offset=next_offset.
Prefer this to grep and find. Errors: INVALID_ARGUMENT carries the message about a faulty regular \
expression (set literal=true to search for plain text); TIMEOUT after 20 s: narrow path or glob."""

MOVE = """Move, rename or copy a file or folder. Missing parent folders are created.

destination is the full new path, not the folder to put it in. An existing destination is never \
replaced unless overwrite is set (files, and empty folders only). Links are moved and copied as \
links. A copy appears whole or not at all.
Errors: ALREADY_EXISTS, NOT_FOUND, NOT_EMPTY, INVALID_ARGUMENT (destination is inside source)."""

DELETE = """Delete a file, a link, or a folder. There is no undo.

A folder that is not empty needs recursive=true. Of a link only the link is deleted, never what it \
points to. The workspace itself cannot be deleted.
Errors: NOT_FOUND, NOT_EMPTY (nothing was deleted), PERMISSION_DENIED."""

MODULE = "tool_plugins.filesystem.executor"
_LOOK = {"read_only": True, "destructive": False, "idempotent": True}


def _tool(
    verb: str,
    description: str,
    arguments: type[Arguments],
    result: type[Result],
    annotations: Annotations,
    function: str = "",
) -> ToolDefinition:
    return ToolDefinition(
        name=f"filesystem.{verb}",
        description=description,
        arguments=arguments,
        result=result,
        annotations=annotations,
        executor=f"{MODULE}:{function or verb}",
    )


TOOLS = (
    _tool("read", READ, ReadArguments, ReadResult, Annotations("Read a file", **_LOOK)),
    _tool("write", WRITE, WriteArguments, WriteResult, Annotations("Write a file")),
    _tool("edit", EDIT, EditArguments, EditResult, Annotations("Edit a file")),
    _tool(
        "list",
        LIST,
        ListArguments,
        ListResult,
        Annotations("List a folder", **_LOOK),
        "list_entries",
    ),
    _tool("glob", GLOB, GlobArguments, GlobResult, Annotations("Find files by name", **_LOOK)),
    _tool("grep", GREP, GrepArguments, GrepResult, Annotations("Search in files", **_LOOK)),
    _tool("move", MOVE, MoveArguments, MoveResult, Annotations("Move or copy")),
    _tool("delete", DELETE, DeleteArguments, DeleteResult, Annotations("Delete")),
)
