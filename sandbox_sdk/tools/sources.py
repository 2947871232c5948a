"""Sources of custom tools: Python files of the operator, or text. Reads them, and runs nothing."""

import errno
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tool_plugins.errors import ConfigurationError, ErrorCode, ToolError
from tool_plugins.invisible import one_line

from .models import Source
from .names import namespace_of, shown
from .problems import Problem, refusal

MAX_SOURCE_BYTES = 512 * 1024
MAX_ORIGIN_CHARS = 4200
"""A path, and some words: where a longer one is cut, two files look like one."""

_ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_UTF_8 = frozenset({"utf8", "utf8sig", "ascii", "usascii"})
_BROKEN = re.compile("[\x00\ud800-\udfff]")
_CODES = {
    errno.ENOENT: ErrorCode.NOT_FOUND,
    errno.ENOTDIR: ErrorCode.NOT_FOUND,
    errno.EACCES: ErrorCode.PERMISSION_DENIED,
    errno.EPERM: ErrorCode.PERMISSION_DENIED,
}


def parse_tools(given: Any) -> tuple[Path, ...]:
    """Files and folders of tools, as absolute paths in their order; none for None.

    Links are kept as they are: what they lead to may be replaced while it is watched.

    Raises:
        ConfigurationError: names what is no file of tools and no folder, or what is given twice.
    """
    if given is None:
        return ()
    if isinstance(given, Path | str):
        given = [given]
    if not isinstance(given, Iterable):
        raise _no_paths(given)
    paths: list[Path] = []
    names: dict[str, Path] = {}
    for each in given:
        path = _checked(each)
        if path in paths:
            raise ConfigurationError(f"tools has {path} twice")
        if not path.is_dir() and (other := names.setdefault(path.stem, path)) != path:
            raise ConfigurationError(
                f"the namespace {path.stem!r} of {path} is taken by {other}",
                hint="a file's name is the namespace of its tools: rename one",
            )
        paths.append(path)
    return tuple(paths)


def files_in(folder: Path) -> tuple[Path, ...]:
    """The files of tools in a folder, sorted by name; none where it is gone.

    Files whose names begin with `_` or `.` are no tools, and folders below it are not looked at.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return ()
    return tuple(
        path
        for path in found
        if path.suffix == ".py" and not path.name.startswith(("_", ".")) and path.is_file()
    )


def read_source(path: Path) -> Source:
    """The source in a file. Blocks: belongs into a thread.

    Raises:
        ToolError: it cannot be read, or see `namespace_of` and `source_of`.
    """
    namespace = namespace_of(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise ToolError(ErrorCode.NOT_REGULAR_FILE, f"{path} is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as exc:
        code = _CODES.get(exc.errno or 0, ErrorCode.INVALID_ARGUMENT)
        raise ToolError(code, f"{path} cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_SOURCE_BYTES:
        raise _too_large(namespace)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ToolError(
            ErrorCode.ENCODING_ERROR,
            f"{namespace}.py:{line}: is not UTF-8",
            hint="save the file as UTF-8",
        ) from None
    return source_of(namespace, text, origin_of(path))


def origin_of(path: Path) -> str:
    """How the origin of a file is told: its path, without what nothing shows."""
    return one_line(str(path), MAX_ORIGIN_CHARS)


def source_of(namespace: str, text: str, origin: str) -> Source:
    """A source, with line ends as Python reads them and without a byte order mark.

    Raises:
        ToolError: TOO_LARGE, or SCHEMA_ERROR with the line that Python could not read.
    """
    # A character is at least one byte: what is far too long is not copied first.
    if len(text) > MAX_SOURCE_BYTES or len(text.encode(errors="replace")) > MAX_SOURCE_BYTES:
        raise _too_large(namespace)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if found := _BROKEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        reason = f"the character U+{ord(found[0]):04X} may not stand in a file of Python"
        raise refusal(namespace, [Problem(reason, line)])
    if problem := _foreign_encoding(text):
        raise refusal(namespace, [problem], hint="save the file as UTF-8")
    if not text.strip():
        raise refusal(namespace, [Problem("the file is empty")])
    return Source(namespace=namespace, text=text, origin=one_line(origin, MAX_ORIGIN_CHARS))


def _foreign_encoding(text: str) -> Problem | None:
    """What PEP 263 says of the file, where that is not what it was read as."""
    for line, words in enumerate(text.split("\n", 2)[:2], start=1):
        if declared := _ENCODING.match(words):
            if re.sub("[-_]", "", declared[1].lower()) in _UTF_8:
                return None
            return Problem(f"its encoding is said to be {shown(declared[1])}, not UTF-8", line)
        if words.strip() and not words.lstrip().startswith("#"):
            return None
    return None


def _checked(given: Any) -> Path:
    if not isinstance(given, Path | str) or "\0" in str(given):
        raise _no_paths(given)
    path = Path(given).absolute()
    if path.is_dir():
        return path
    if not path.is_file():
        reason = "is not a regular file" if path.exists() else "does not exist"
        raise ConfigurationError(f"tools: {path} {reason}", hint="name a Python file or a folder")
    try:
        namespace_of(path)
    except ToolError as exc:
        raise ConfigurationError(f"tools: {path}: {exc.message}", hint=exc.hint) from None
    return path


def _no_paths(given: Any) -> ConfigurationError:
    return ConfigurationError(
        f"tools has {shown(str(given))}, a {type(given).__name__}",
        hint="use paths of Python files and of folders: tools=[Path('my_tools.py')]",
    )


def _too_large(namespace: str) -> ToolError:
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"{namespace}.py is larger than {MAX_SOURCE_BYTES} bytes",
        hint="a file of tools is small: put data beside it",
    )
