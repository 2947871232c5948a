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
    "if it is a package, declare it at the top of the file: "
    '"# /// script", "# dependencies = [...]" and "# ///", each on a line of its own'
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The file. `filename` is what its frames call it; `functions` are those that were built."""

    namespace: str
    source: str
    filename: str
    module: types.ModuleType
    functions: "dict[str, Function]" = field(default_factory=dict)

    def targets(self) -> tuple[dict[str, Any], list[Problem]]:
        """What stands under the names of its tools, and what is wrong with others: `select`."""
        return select(vars(self.module), self.filename)

    def build(self, name: str, target: Any) -> "Function":
        """The tool of that name; the same object each time.

        Raises:
            Unfit: it cannot be one.
        """
        if name not in self.functions:
            from .building import build  # loads pydantic

            self.functions[name] = build(name, target)
        return self.functions[name]

    def function(self, name: str) -> "Function":
        """A tool of the file.

        Raises:
            ToolError: NOT_FOUND; SCHEMA_ERROR.
        """
        if name in self.functions:
            return self.functions[name]
        targets, _ = self.targets()
        if name not in targets:
            raise ToolError(ErrorCode.NOT_FOUND, f"{self.filename} has no tool {name!r}")
        try:
            return self.build(name, targets[name])
        except Unfit as exc:
            raise schema_error(self.filename, exc.problems) from exc


_files: list[Loaded | None] = []


def load(namespace: str, source: str, environment: str | None) -> None:
    """Imports the file of this process, with the packages of the folder `environment`.

    Raises:
        ToolError: SCHEMA_ERROR, it cannot be imported.
        RuntimeError: this process has tried one before.
    """
    if _files:
        raise RuntimeError("a process loads one file")
    _files.append(None)
    sys.argv = [f"{namespace}.py"]
    if environment is not None:
        # As in a virtual environment: behind the standard library, before everything of ours.
        place = sys.path.index(ROOT) if ROOT in sys.path else len(sys.path)
        sys.path.insert(place, environment)
    _files[0] = import_file(namespace, source)


def loaded() -> Loaded:
    """The file of this process.

    Raises:
        RuntimeError: there is none.
    """
    if not _files or _files[0] is None:
        raise RuntimeError("no file was loaded")
    return _files[0]


def function(name: str) -> "Function":
    """See `Loaded.function`."""
    return loaded().function(name)


def import_file(namespace: str, source: str) -> Loaded:
    """Runs the source as a module.

    Raises:
        ToolError: SCHEMA_ERROR, it cannot be imported.
    """
    filename = f"{namespace}.py"
    # No statement can import a name with a colon, so it stands in no module's way; yet whoever
    # asks for the module of a class, as pydantic and pickle do, finds it.
    module = types.ModuleType(f"tool:{namespace}")
    module.__file__ = filename
    sys.modules[module.__name__] = module
    # Without a time of change it is taken for what a loader gave, and never looked for on disk.
    lines = io.StringIO(source, newline=None).readlines()
    linecache.cache[filename] = (len(source), None, lines, filename)
    try:
        exec(_compiled(source, filename), vars(module))  # noqa: S102 - what this process is for
    except BaseException as exc:  # sys.exit() among them
        raise _import_error(filename, exc) from exc
    return Loaded(namespace, source, filename, module)


def _compiled(source: str, filename: str) -> types.CodeType:
    with warnings.catch_warnings():
        # The outline has told them.
        warnings.simplefilter("ignore")
        return compile(source, filename, "exec", dont_inherit=True)


def _import_error(filename: str, exc: BaseException) -> ToolError:
    line = exc.lineno if isinstance(exc, SyntaxError) and exc.filename == filename else None
    if line is None:
        frames = traceback.extract_tb(exc.__traceback__)
        line = next((each.lineno for each in reversed(frames) if each.filename == filename), None)
    hint = PACKAGES_HINT if isinstance(exc, ModuleNotFoundError) else ""
    text = f"SyntaxError: {exc.msg}" if isinstance(exc, SyntaxError) else describe_error(exc)
    problem = Problem(f"it cannot be imported: {text}", line)
    return schema_error(filename, [problem], hint)
