"""Files that are imported in their worker: what they find there, and what goes wrong with them."""

import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.tool_plugins.terminal.conftest import until
from tests.tool_plugins.worker.conftest import MakePool, lives, started
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.loading import Loaded, import_file
from tool_plugins.worker.pool import WorkerPool

PROGRAM = "tool_plugins.tool.program"
FUNCTION = 'def f() -> int:\n    """Counts."""\n    return 1\n'


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """The modules that were made here are gone afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("tool:"):
            del sys.modules[name]


def imported(source: str, namespace: str = "my_tools") -> Loaded:
    return import_file(namespace, dedent(source))


def refused(source: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        imported(source)
    assert caught.value.code is ErrorCode.SCHEMA_ERROR
    return caught.value


@pytest.fixture
def pool(make_pool: MakePool) -> WorkerPool:
    """One process, as cold as they come."""
    return make_pool(PROGRAM, size=1)


async def load(pool: WorkerPool, source: str, timeout_s: float = 20, **args: Any) -> dict[str, Any]:
    given = {"namespace": "my_tools", "source": dedent(source), "environment": None, **args}
    return await pool.call("load", {"workspace": "/", **given}, timeout_s=timeout_s)


async def names(pool: WorkerPool) -> list[str]:
    """The tools of the file that was loaded."""
    described = await pool.call("describe", {}, timeout_s=20)
    return [each["name"] for each in described["functions"]]


def test_a_file_stands_in_no_modules_way():
    file = imported("import json\ndef f() -> str:\n    'x'\n    return json.dumps(1)\n", "json")

    assert file.module.f() == "1"
    assert file.module.__file__ == "json.py"
    assert sys.modules["json"] is not file.module


def test_a_file_is_never_taken_for_a_program():
    assert not hasattr(imported("if __name__ == '__main__': ran = True").module, "ran")


def test_classes_of_a_file_are_found_by_their_name():
    file = imported("""
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Point:
            x: int
            after: Point | None = None
    """)
    point = file.module.Point(1, file.module.Point(2))

    assert pickle.loads(pickle.dumps(point)) == point


def test_tracebacks_show_the_lines_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tools.py").write_text("\n\nsomething else\n")
    file = imported("x = '\x0c'\ndef f():\n    raise ValueError('no')\n")

    with pytest.raises(ValueError, match="no") as caught:
        file.module.f()

    shown = "".join(traceback.format_exception(caught.value))
    assert "  File \"my_tools.py\", line 3, in f\n    raise ValueError('no')\n" in shown


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("\nimport sys\nsys.exit(3)", 3, "SystemExit: 3"),
        ("raise SystemExit", 1, "SystemExit"),
        ("\nraise KeyboardInterrupt", 2, "KeyboardInterrupt"),
        ("def g():\n    1 / 0\ng()", 2, "ZeroDivisionError: division by zero"),
        ("import json\n\njson.loads('{')", 3, "JSONDecodeError: Expecting property name"),
        ("def g(): g()\ng()", 1, "RecursionError: maximum recursion depth exceeded"),
        ("x = ' ' * (1 << 60)", 1, "MemoryError"),
        ("x = 1\nfrom os import nothing_like_it", 2, "ImportError: cannot import name"),
        ("\nexec('a b')", 2, "SyntaxError: invalid syntax"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
        ("a = 1\0", None, "SyntaxError: source code string cannot contain null bytes"),
        ("class E(Exception):\n    def __str__(self): exit()\nraise E", 3, "E"),
        ("raise ValueError('x' * 10_000_000)", 1, "ValueError: xxx"),
        ("raise BaseExceptionGroup('two', [SystemExit(), ValueError()])", 1, "BaseExceptionGroup"),
    ],
    ids=lambda value: ascii(value[:30]) if isinstance(value, str) else None,
)
def test_what_an_import_raises_is_a_problem_of_its_line(source: str, line: int | None, says: str):
    error = refused(source)

    assert [line] == [each["line"] for each in error.details["problems"]]
    place = "my_tools.py" if line is None else f"my_tools.py:{line}"
    assert error.message.startswith(f"{place}: it cannot be imported: {says}")
    assert len(error.message) < 400


def test_what_to_do_about_a_missing_package_is_said():
    error = refused("import no_such_package")

    assert "ModuleNotFoundError: No module named 'no_such_package'" in error.message
    assert "# dependencies = " in error.hint


def test_a_function_is_made_once_and_only_of_what_is_a_tool():
    file = imported(f"{FUNCTION}\ndef _g() -> int: ...\ndef h(a) -> int: ...\nx = 1\n")

    assert file.function("f") is file.function("f")
    for name in ("_g", "x", "no_such", "__builtins__"):
        with pytest.raises(ToolError, match="has no tool") as caught:
            file.function(name)
        assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(ToolError, match=r"h\(a\): it has no type hint"):
        file.function("h")


async def test_a_process_loads_one_file_and_describes_it(pool: WorkerPool):
    with pytest.raises(ToolError) as caught:
        await names(pool)
    assert caught.value.code is ErrorCode.INTERNAL

    assert await load(pool, FUNCTION) == {}
    assert await names(pool) == ["f"]

    with pytest.raises(ToolError) as caught:
        await load(pool, FUNCTION)
    assert caught.value.code is ErrorCode.INTERNAL
    assert await names(pool) == ["f"]


async def test_a_process_that_failed_to_load_describes_nothing(pool: WorkerPool):
    with pytest.raises(ToolError, match=r"my_tools\.py:1: it cannot be imported: SystemExit: 3"):
        await load(pool, "import sys; sys.exit(3)")

    for again in (names(pool), load(pool, FUNCTION)):
        with pytest.raises(ToolError) as caught:
            await again
        assert caught.value.code is ErrorCode.INTERNAL


async def test_the_outline_needs_no_file_and_a_warm_process_takes_one(pool: WorkerPool):
    args = {"namespace": "my_tools", "source": '"""Counts."""\nraise SystemExit'}
    assert (await pool.call("outline", args, timeout_s=20))["description"] == "Counts."

    assert await pool.call("warm", {}, timeout_s=20) == {}
    assert await pool.call("warm", {}, timeout_s=20) == {}
    await load(pool, FUNCTION)

    assert await names(pool) == ["f"]


async def test_packages_of_an_environment_come_behind_the_standard_library_and_before_ours(
    pool: WorkerPool, tmp_path: Path
):
    for name in ("extra", "colorsys", "trafilatura", "pydantic", "tool_plugins"):
        (tmp_path / f"{name}.py").write_text(f"WHOSE = {name!r}")
    source = """
        import colorsys, extra, pydantic, sys, trafilatura
        import tool_plugins.authoring
        assert extra.WHOSE and trafilatura.WHOSE
        assert not any(hasattr(each, "WHOSE") for each in (colorsys, pydantic, tool_plugins))
        assert sys.argv == ["my_tools.py"]
    """
    await load(pool, dedent(source) + FUNCTION, environment=str(tmp_path))


async def test_what_a_file_does_to_libraries_is_its_own_matter(pool: WorkerPool):
    source = """
        import inspect, json, linecache, sys

        def nothing(*args, **kwargs):
            "Breaks."
            raise RuntimeError("broken")

        for module, name in [
            (json, "dumps"), (json, "loads"), (json, "JSONEncoder"), (json, "JSONDecoder"),
            (linecache, "getlines"), (inspect, "getsource"), (sys, "exit"),
        ]:
            setattr(module, name, nothing)
        sys.stdout = sys.stderr = None
        sys.path.clear()
        del nothing
    """
    await load(pool, dedent(source) + FUNCTION)

    assert await names(pool) == ["f"]


async def test_what_is_printed_at_import_disturbs_nothing(pool: WorkerPool):
    source = "import os\nprint('{}' * 100_000)\nos.write(1, b'x' * 100)\nos.close(1)\nos.close(2)\n"
    await load(pool, source + FUNCTION)

    assert await names(pool) == ["f"]


async def test_a_fork_at_import_does_not_answer_too(pool: WorkerPool, tmp_path: Path):
    forked = tmp_path / "forked"
    source = (
        f"import os\nif os.fork() == 0:\n    open({str(forked)!r}, 'w').write(str(os.getpid()))\n"
    )
    await load(pool, source + FUNCTION)

    assert await names(pool) == ["f"]
    await until(lambda: forked.exists() and forked.read_text() != "")
    await until(lambda: not lives(int(forked.read_text())))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import os\nos._exit(0)", "ended with code 0"),
        ("import os\nos.abort()", "ended by SIGABRT"),
        ("import os\nos.closerange(3, 1000)", "ended with code 1"),
        ("import os\nos.kill(0, 9)", "ended by SIGKILL"),
    ],
    ids=["exit", "abort", "close", "kill"],
)
async def test_an_import_that_ends_its_process_is_told(pool: WorkerPool, source: str, why: str):
    with pytest.raises(ToolError, match=why) as caught:
        await load(pool, source)

    assert caught.value.code is ErrorCode.INTERNAL


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import threading\nthreading.Event().wait()",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import subprocess\nsubprocess.run(['setsid', 'sleep', '100'])",
    ],
    ids=["loop", "wait", "catch", "child"],
)
async def test_an_import_without_an_end_is_ended_with_all_that_came_of_it(
    pool: WorkerPool, source: str
):
    await pool.call("warm", {}, timeout_s=20)
    with pytest.raises(ToolError) as caught:
        await load(pool, source, timeout_s=0.5)

    assert caught.value.code is ErrorCode.TIMEOUT
    assert set() == started()


async def test_memory_that_is_not_there_is_a_problem_of_the_file(make_pool: MakePool):
    pool = make_pool(PROGRAM, size=1, memory_mb=200)
    with pytest.raises(ToolError) as caught:
        await load(pool, "x = 1\ny = bytearray(2_000_000_000)\n")

    assert caught.value.code is ErrorCode.SCHEMA_ERROR
    assert caught.value.message == "my_tools.py:2: it cannot be imported: MemoryError"
