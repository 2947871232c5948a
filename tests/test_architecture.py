"""The shape of the source: floors, doors, cycles, sizes, names. Reads files, imports little."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["tool_plugins", "container_runtime", "sandbox_sdk", "mcp_server"]

# A library enters at its door and nowhere else.
DOORS: dict[str, tuple[str, ...]] = {
    "charset_normalizer": ("tool_plugins.web.charset",),
    "docker": ("container_runtime.engines.docker",),
    "h11": ("sandbox_sdk.egress",),
    "httptools": ("container_runtime.wire",),
    "idna": ("sandbox_sdk.egress.rules",),
    "jwt": ("sandbox_sdk.databases.qdrant",),
    "lxml": ("tool_plugins.web", "tool_plugins.document"),
    "mammoth": ("tool_plugins.document",),
    "mcp": ("mcp_server",),
    "neo4j": ("sandbox_sdk.databases.neo4j",),
    "openpyxl": ("tool_plugins.document",),
    "playwright": ("tool_plugins.browser",),
    "psycopg": ("sandbox_sdk.databases.postgres",),
    "pypdf": ("tool_plugins.document",),
    "qdrant_client": ("sandbox_sdk.databases.qdrant",),
    "scramp": ("sandbox_sdk.databases.postgres",),
    "sqlalchemy": ("sandbox_sdk.state", "sandbox_sdk.databases"),
    "trafilatura": ("tool_plugins.web",),
    "yaml": ("sandbox_sdk.documents",),
}

# What is copied into the image: it finds the standard library and the action server's wheels.
INSIDE = ("container_runtime.archive", "container_runtime.relay", "container_runtime.server")
INSIDE_MAY_IMPORT = {
    "anyio",
    "charset_normalizer",
    "lxml",
    "mammoth",
    "openpyxl",
    "playwright",
    "pypdf",
    "starlette",
    "trafilatura",
    "uvicorn",
    "uvloop",
}
# Libraries that only the process of custom tools loads: the action server does without them.
OF_CUSTOM_TOOLS = {"docstring_parser", "pydantic", "pydantic_core"}
HOST_ONLY = ("definition", "arguments", "results")
HOST_ONLY_MODULES = {"tool_plugins.contract", "tool_plugins.plugins", "tool_plugins.registry"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for floor in FLOORS
    for path in sorted((ROOT / floor).rglob("*.py"))
    if "__pycache__" not in path.parts
}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def every_import(name: str, *, top_level: bool = False) -> Iterator[str]:
    """Absolute names of the modules a module imports; `top_level` leaves out lazy ones."""
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in _statements(TREES[name], top_level):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST, top_level: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (top_level and (lazy or typing_only)):
            yield node
            yield from _statements(node, top_level)


def runs_inside(name: str) -> bool:
    """Whether the module is loaded in the container."""
    if name.startswith(INSIDE):
        return True
    outside = name in HOST_ONLY_MODULES or name.rpartition(".")[2] in HOST_ONLY
    return name.startswith("tool_plugins") and not outside


@pytest.mark.parametrize("name", SOURCES)
def test_a_package_imports_only_from_floors_below(name: str) -> None:
    floor = FLOORS.index(name.split(".")[0])
    above = {each for each in every_import(name) if each.split(".")[0] in FLOORS[floor + 1 :]}

    assert above == set()


@pytest.mark.parametrize("name", SOURCES)
def test_a_library_enters_only_at_its_door(name: str) -> None:
    libraries = {each.split(".")[0] for each in every_import(name)}
    trespassing = {
        library for library in libraries & DOORS.keys() if not name.startswith(DOORS[library])
    }

    assert trespassing == set()


@pytest.mark.parametrize("name", [each for each in SOURCES if runs_inside(each)])
def test_what_runs_in_the_container_imports_only_what_is_there(name: str) -> None:
    foreign = {
        top
        for each in every_import(name)
        if (top := each.split(".")[0]) not in sys.stdlib_module_names
        and top not in INSIDE_MAY_IMPORT
        and not (top in OF_CUSTOM_TOOLS and name.startswith("tool_plugins.tool."))
        and not (each in SOURCES and runs_inside(each))
        and not any(runs_inside(parent) for parent in _parents(each))
        and each not in ("container_runtime", "tool_plugins")
    }

    assert foreign == set()


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        if name in SOURCES and name not in ("container_runtime", "tool_plugins"):
            yield name


@pytest.mark.parametrize("name", [each for each in SOURCES if not runs_inside(each)])
def test_the_host_imports_no_executor(name: str) -> None:
    executors = {each for each in every_import(name) if ".executor" in each and each in SOURCES}

    assert executors == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        name: {each for each in every_import(name, top_level=True) if each in SOURCES} - {name}
        for name in SOURCES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' → '.join((*path[path.index(name) :], name))}"
        if name in done:
            return
        for each in sorted(graph[name]):
            visit(each, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", SOURCES)
def test_files_and_functions_stay_small(name: str) -> None:
    assert len(SOURCES[name].read_text().splitlines()) <= MAX_FILE_LINES
    too_long = {
        node.name: lines
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _lines_without_docstring(node)) > MAX_FUNCTION_LINES
    }

    assert too_long == {}


def _lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0


@pytest.mark.parametrize("name", [name for name in SOURCES if name.count(".") < 2])
def test_public_names_are_sorted_and_exist(name: str) -> None:
    declared = _declared(TREES[name])
    if declared is None:
        return
    constants = [each for each in declared if each.isupper()]
    others = [each for each in declared if not each.isupper()]

    assert declared == sorted(constants) + sorted(others)
    module = importlib.import_module(name)
    assert [each for each in declared if not hasattr(module, each)] == []


def test_everything_the_sdk_imports_at_its_door_is_public() -> None:
    declared = set(_declared(TREES["sandbox_sdk"]) or ())
    lazy = [
        part for node in TREES["sandbox_sdk"].body if isinstance(node, ast.If) for part in node.body
    ]
    imported = {
        alias.asname or alias.name
        for node in (*TREES["sandbox_sdk"].body, *lazy)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }

    assert imported == declared


def _declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_and_public_name_says_what_it_is(name: str) -> None:
    if SOURCES[name].stat().st_size == 0:
        return
    assert ast.get_docstring(TREES[name]), "the module has no docstring"
    silent = [
        node.name
        for node in TREES[name].body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


HEAVY = [
    "docker",
    "mcp",
    "neo4j",
    "psycopg",
    "qdrant_client",
    "requests",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "yaml",
]


@pytest.mark.parametrize("statement", ["import sandbox_sdk", "from sandbox_sdk.models import *"])
def test_importing_the_sdk_loads_nothing_it_may_not_need(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    loaded = answer.stdout.split()
    assert [name for name in HEAVY if name in loaded] == []
    assert [name for name in loaded if name.endswith(".executor")] == []


def test_the_executor_of_custom_tools_loads_nothing_of_their_process():
    program = "import tool_plugins.tool.executor, sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert set(answer.stdout.split()) & (OF_CUSTOM_TOOLS | {"tool_plugins.tool.program"}) == set()
