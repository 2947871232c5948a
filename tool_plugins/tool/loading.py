"""The user's file, imported from memory. Runs in a worker, where nothing is trusted any more.

A process loads one file, once. `loaded()` is that file, `function(name)` one of its tools.
"""

import linecache
import os
import sys
import traceback
import types
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tool_plugins import authoring  # noqa: F401 - so that no environment brings another
from tool_plugins.errors import ErrorCode, ToolError

from .problems import Problem, Unfit, describe_error, schema_error
from .selecting import select

if TYPE_CHECKING:
    from .signature import Function

ROOT = str(Path(__file__).resolve().parents[2])
PACKAGES_HINT = (
    'declare packages at the top of the file: "# /// script", "# dependencies = [...]", "# ///"'
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The file. `filename` is what its frames call it; `functions` are those that were built."""

    namespace: str
    source: str
    filename: str
    module: types.ModuleType
    functions: "dict[str, Function]" = field(default_factory=dict)


_files: list[Loaded] = []


def loaded() -> Loaded:
    """The file of this process.

    Raises:
        RuntimeError: there is none.
    """
    if not _files:
        raise RuntimeError("no file was loaded")
    return _files[0]


def function(name: str) -> "Function":
    """A tool of the file; the same object each time.

    Raises:
        ToolError: NOT_FOUND; SCHEMA_ERROR.
    """
    file = loaded()
    if name not in file.functions:
        from .building import build

        targets, _ = select(vars(file.module), file.filename)
        if name not in targets:
            raise ToolError(ErrorCode.NOT_FOUND, f"{file.filename} has no tool {name!r}")
        try:
            file.functions[name] = build(name, targets[name])
        except Unfit as exc:
            raise schema_error(file.filename, exc.problems) from exc
    return file.functions[name]


def load(namespace: str, source: str, environment: str | None, workspace: str) -> None:
    """Imports the file, in `workspace`, with the packages of the folder `environment`.

    Raises:
        ToolError: SCHEMA_ERROR, it cannot be imported.
        RuntimeError: this process has loaded one before, be it without success.
    """
    if _files:
        raise RuntimeError("a process loads one file")
    filename = f"{namespace}.py"
    # No statement can import a name with a colon, so it stands in no module's way; yet whoever
    # asks for the module of a class, as pydantic and pickle do, finds it.
    module = types.ModuleType(f"tool:{namespace}")
    module.__file__ = filename
    _files.append(Loaded(namespace, source, filename, module))
    os.chdir(workspace)
    sys.argv = [filename]
    if environment is not None:
        _put_first(environment)
    # Without a time of change it is taken for what a loader gave, and never looked for on disk.
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    sys.modules[module.__name__] = module
    process = os.getpid()
    try:
        exec(_compiled(source, filename), vars(module))  # noqa: S102 - what this process is for
    except BaseException as exc:  # sys.exit() among them
        if os.getpid() == process:
            _refuse(filename, exc)
    if os.getpid() != process:
        # A fork that came back: there must not be two who answer.
        os._exit(0)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _put_first(environment: str) -> None:
    """As in a virtual environment: behind the standard library, before everything of ours."""
    place = sys.path.index(ROOT) if ROOT in sys.path else len(sys.path)
    sys.path.insert(place, environment)


def _compiled(source: str, filename: str) -> types.CodeType:
    with warnings.catch_warnings():
        # The outline has told them.
        warnings.simplefilter("ignore")
        return compile(source, filename, "exec", dont_inherit=True)


def _refuse(filename: str, exc: BaseException) -> NoReturn:
    line = getattr(exc, "lineno", None) if isinstance(exc, SyntaxError) else None
    if line is None:
        frames = traceback.extract_tb(exc.__traceback__)
        line = next((each.lineno for each in reversed(frames) if each.filename == filename), None)
    hint = PACKAGES_HINT if isinstance(exc, ModuleNotFoundError) else ""
    problem = Problem(f"it cannot be imported: {describe_error(exc)}", line)
    raise schema_error(filename, [problem], hint) from exc
