"""The user's file, imported from memory. Runs in a worker, where nothing is trusted any more.

A process loads one file, once. `loaded()` is that file, `function(name)` one of its tools.
"""

import io
import linecache
import sys
import traceback
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    workspace: Path
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


def targets() -> tuple[dict[str, Any], list[Problem]]:
    """What stands under the names of its tools, and what is wrong with others (see `select`)."""
    file = loaded()
    return select(vars(file.module), file.filename)


def build(name: str, target: Any) -> "Function":
    """The tool of that name; the same object each time.

    Raises:
        Unfit: it cannot be one.
    """
    built = loaded().functions
    if name not in built:
        from . import building  # loads pydantic

        built[name] = building.build(name, target)
    return built[name]


def function(name: str) -> "Function":
    """A tool of the file.

    Raises:
        ToolError: NOT_FOUND; SCHEMA_ERROR.
    """
    file = loaded()
    if name in file.functions:
        return file.functions[name]
    found, _ = targets()
    if name not in found:
        raise ToolError(ErrorCode.NOT_FOUND, f"{file.filename} has no tool {name!r}")
    try:
        return build(name, found[name])
    except Unfit as exc:
        raise schema_error(file.filename, exc.problems) from exc


def load(namespace: str, source: str, environment: str | None, workspace: str) -> None:
    """Imports the file, with the packages of the folder `environment`.

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
    _files.append(Loaded(namespace, source, filename, Path(workspace), module))
    sys.argv = [filename]
    if environment is not None:
        _put_first(environment)
    # Without a time of change it is taken for what a loader gave, and never looked for on disk.
    lines = io.StringIO(source, newline=None).readlines()
    linecache.cache[filename] = (len(source), None, lines, filename)
    sys.modules[module.__name__] = module
    try:
        exec(_compiled(source, filename), vars(module))  # noqa: S102 - what this process is for
    except BaseException as exc:  # sys.exit() among them
        raise _import_error(filename, exc) from exc


def _put_first(environment: str) -> None:
    """As in a virtual environment: behind the standard library, before everything of ours."""
    place = sys.path.index(ROOT) if ROOT in sys.path else len(sys.path)
    sys.path.insert(place, environment)


def _compiled(source: str, filename: str) -> types.CodeType:
    with warnings.catch_warnings():
        # The outline has told them.
        warnings.simplefilter("ignore")
        return compile(source, filename, "exec", dont_inherit=True)


def _import_error(filename: str, exc: BaseException) -> ToolError:
    line = getattr(exc, "lineno", None) if isinstance(exc, SyntaxError) else None
    if line is None:
        frames = traceback.extract_tb(exc.__traceback__)
        line = next((each.lineno for each in reversed(frames) if each.filename == filename), None)
    hint = PACKAGES_HINT if isinstance(exc, ModuleNotFoundError) else ""
    problem = Problem(f"it cannot be imported: {describe_error(exc)}", line)
    return schema_error(filename, [problem], hint)
