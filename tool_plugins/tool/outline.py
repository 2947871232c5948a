"""What a file says of itself before anything of it runs: its packages, and what is surely wrong.

It parses and looks; nothing is imported or evaluated. What only a run can tell (decorators, names
that are bound twice, an `__all__` that is computed) is left to `describing.py`.
"""

import ast
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .problems import (
    DICT_ARGUMENTS,
    GENERATOR,
    LIST_ARGUMENTS,
    NO_DOCSTRING,
    NO_HINT,
    NO_RESULT_HINT,
    Problem,
    schema_error,
    shorten,
)
from .script import read_script
from .signature import CONTEXT

MAX_WARNINGS = 20
MAX_DESCRIPTION_CHARS = 4000

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name is set: its line; of a function those of its parameters, too."""

    line: int
    parameters: dict[str, int] = field(default_factory=dict)
    decorated: bool = False


def outline(namespace: str, source: str) -> dict[str, Any]:
    """The report on a file, without its functions.

    Raises:
        ToolError: SCHEMA_ERROR, with everything that is wrong with it.
    """
    file = f"{namespace}.py"
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        tree = parse(file, source, whole=True)
    script = read_script(source)
    problems = [*script.problems, *_problems(tree)]
    if problems:
        raise schema_error(file, problems)
    told = [f"line {each.lineno}: {shorten(str(each.message))}" for each in raised]
    return {
        "python": sys.version.split()[0].rstrip("+"),
        "dependencies": script.dependencies,
        "requires_python": script.requires_python,
        "settings": script.settings,
        "description": shorten(ast.get_docstring(tree) or "", MAX_DESCRIPTION_CHARS),
        "warnings": [*script.warnings, *told][:MAX_WARNINGS],
        "functions": None,
    }


def parse(file: str, source: str, *, whole: bool = False) -> ast.Module:
    """The syntax of a file; `whole` finds errors, too, that are in no single statement.

    Raises:
        ToolError: SCHEMA_ERROR, it is no Python.
    """
    try:
        tree = ast.parse(source, file)
        if whole:
            compile(tree, file, "exec", dont_inherit=True)
        return tree
    except SyntaxError as exc:
        problem = Problem(f"no Python: {exc.msg}", exc.lineno or None)
    except (MemoryError, RecursionError):
        problem = Problem("no Python that can be read: it is nested too deeply")
    except ValueError as exc:  # NUL, and surrogates that stand alone
        problem = Problem(f"no Python: {exc}")
    raise schema_error(file, [problem])


def places(tree: ast.Module) -> dict[str, Place]:
    """Where the names of a file are set, also within its `if` and `try`; the last of each."""
    found: dict[str, Place] = {}
    for node in _statements(tree):
        if isinstance(node, _Definition):
            lines = {each.arg: each.lineno for each in _all_parameters(node.args)}
            found[node.name] = Place(node.lineno, lines, bool(node.decorator_list))
        elif isinstance(node, ast.ClassDef):
            found[node.name] = Place(node.lineno)
        elif isinstance(node, ast.Assign | ast.Import | ast.ImportFrom):
            # A function that is wrapped later is still where it was written.
            found |= {name: Place(node.lineno) for name in _names(node) if name not in found}
    return found


def _problems(tree: ast.Module) -> Iterator[Problem]:
    bound = Counter(_bound(tree))
    listed = _listed(tree, bound)
    for node in tree.body:
        if not isinstance(node, _Definition) or node.decorator_list or bound[node.name] > 1:
            continue
        if node.name in listed if listed is not None else not node.name.startswith("_"):
            yield from _problems_of(node)


def _problems_of(node: _Definition) -> Iterator[Problem]:
    if not (ast.get_docstring(node, clean=False) or "").strip():
        yield Problem(NO_DOCSTRING, node.lineno, node.name)
    arguments = node.args
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if each.annotation is None and each.arg != CONTEXT:
            yield Problem(NO_HINT, each.lineno, node.name, each.arg)
    for each, message in ((arguments.vararg, LIST_ARGUMENTS), (arguments.kwarg, DICT_ARGUMENTS)):
        if each is not None:
            yield Problem(message.format(each.arg), each.lineno, node.name, each.arg)
    if node.returns is None:
        yield Problem(NO_RESULT_HINT, node.lineno, node.name)
    if _yields(node):
        yield Problem(GENERATOR, node.lineno, node.name)


def _all_parameters(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from filter(None, (arguments.vararg, arguments.kwarg))


def _yields(node: _Definition) -> bool:
    left: list[ast.AST] = [*node.body]
    while left:
        each = left.pop()
        if isinstance(each, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(each, _Definition | ast.Lambda | ast.ClassDef):
            left += ast.iter_child_nodes(each)
    return False


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements in order, with those inside of `if`, `try` and the like, but not inside a def."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, _Definition | ast.ClassDef):
            inner = (ast.stmt, ast.excepthandler, ast.match_case)
            left += [e for e in reversed([*ast.iter_child_nodes(node)]) if isinstance(e, inner)]


def _bound(tree: ast.Module) -> Iterator[str]:
    """Each name as often as the file sets or deletes it. More than once: only a run can tell."""
    for node in tree.body:
        if isinstance(node, _Definition | ast.ClassDef):
            yield node.name
        else:
            yield from _names(node)


def _names(node: ast.stmt) -> Iterator[str]:
    """Names that a statement sets or deletes, and `__all__` wherever it is used."""
    for each in ast.walk(node):
        if isinstance(each, _Definition | ast.ClassDef):
            yield each.name
        elif isinstance(each, ast.alias):
            yield each.asname or each.name
        elif isinstance(each, ast.Name) and _may_change(each):
            yield each.id


def _may_change(name: ast.Name) -> bool:
    # What only looks at `__all__` may be a call of its `append`.
    return name.id == "__all__" or not isinstance(name.ctx, ast.Load)


def _listed(tree: ast.Module, bound: Counter[str]) -> set[str] | None:
    """The names in `__all__`; None if there is no such list, none if it is not simply a list."""
    if not bound["__all__"]:
        return None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        name, value = targets[0], getattr(node, "value", None)
        if isinstance(name, ast.Name) and name.id == "__all__" and bound["__all__"] == 1:
            items = value.elts if isinstance(value, ast.List | ast.Tuple) else []
            texts = [each.value for each in items if isinstance(each, ast.Constant)]
            return {each for each in texts if isinstance(each, str)}
    return set()
