"""What becomes of exceptions of user code, however hostile."""

import asyncio
import linecache
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.raising import raised
from tool_plugins.worker.wire import error_fields

FILE = "my_tools.py"
Raise = Callable[[str], ToolError]


@pytest.fixture
def told() -> Raise:
    """What is told of calling `f` of a file."""

    def told(source: str) -> ToolError:
        source = dedent(source)
        names: dict[str, Any] = {"__name__": "tool:my_tools"}
        lines = source.splitlines(keepends=True)
        linecache.cache[FILE] = (len(source), None, lines, FILE)
        exec(compile(source, FILE, "exec"), names)
        try:
            outcome = names["f"]()
            if asyncio.iscoroutine(outcome):
                asyncio.run(outcome)
        except BaseException as exc:
            error = raised(exc, FILE)
            # It has to fit: details that are too large are left out on the wire.
            assert error_fields(error)["details"] == error.details
            return error
        raise AssertionError("it did not raise")

    return told


def test_an_exception_is_told_with_the_lines_of_the_file_and_of_what_it_called(told: Raise):
    error = told("""
        import json

        class Refused(Exception):
            pass

        def g(text):
            return json.loads(text)

        def f():
            try:
                g("{")
            except ValueError as exc:
                raise Refused("no JSON") from exc
    """)

    assert (error.code, error.message) == (ErrorCode.TOOL_RAISED, "Refused: no JSON")
    assert error.details["type"] == "Refused"
    lines = error.details["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == '  File "my_tools.py", line 12, in f'
    assert lines[2] == '    g("{")'
    assert any("json/decoder.py" in each for each in lines)
    assert "direct cause" in error.details["traceback"]
    assert lines[-1].endswith("Refused: no JSON")
    assert "tool_plugins" not in error.details["traceback"]
    assert __file__ not in error.details["traceback"]


def test_an_async_function_shows_nothing_of_the_loop(told: Raise):
    error = told("""
        import asyncio

        async def g():
            await asyncio.sleep(0)
            raise KeyError("a")

        async def f():
            await asyncio.gather(g())
    """)

    assert error.message == "KeyError: 'a'"
    assert "run_until_complete" not in error.details["traceback"]
    assert error.details["traceback"].splitlines()[1] == '  File "my_tools.py", line 9, in f'


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError", "ValueError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('now')", "GeneratorExit: now"),
        ("import asyncio; raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        ("raise MemoryError", "MemoryError"),
        ("import json; json.loads('')", "json.decoder.JSONDecodeError: Expecting value: line 1"),
        ("raise ExceptionGroup('two', [ValueError(1), OSError('b')])", "ExceptionGroup: two (2"),
        ("exec('1 +')", "SyntaxError: invalid syntax"),
    ],
)
def test_everything_that_can_be_raised_is_told(told: Raise, statement: str, message: str):
    error = told(f"def f():\n    {statement}\n")

    assert error.message.startswith(message)
    assert error.details["type"] == message.partition(":")[0]
    assert 'File "my_tools.py", line 2, in f' in error.details["traceback"]


def test_each_exception_of_a_group_is_shown(told: Raise):
    error = told("""
        def g(number):
            raise ValueError(number)

        def f():
            found = []
            for number in range(3):
                try:
                    g(number)
                except ValueError as exc:
                    found.append(exc)
            raise ExceptionGroup("some", found)
    """)

    assert all(f"ValueError: {number}" in error.details["traceback"] for number in range(3))


@pytest.mark.parametrize(
    "bodies",
    ["def f():\n    f()\n", "def f():\n    g()\ndef g():\n    h()\ndef h():\n    f()\n"],
    ids=["one", "three"],
)
def test_a_recursion_without_end_is_told_in_few_lines(told: Raise, bodies: str):
    error = told(bodies)

    assert error.message.startswith("RecursionError: maximum recursion depth exceeded")
    assert 'File "my_tools.py"' in error.details["traceback"]
    assert len(error.details["traceback"].splitlines()) < 100
    assert " more " in error.details["traceback"]


def test_a_traceback_that_is_too_long_keeps_its_end(told: Raise):
    error = told("""
        def f():
            error = None
            for number in range(500):
                try:
                    raise ValueError(f"{number} " + "\\x01" * 500) from error
                except ValueError as exc:
                    error = exc
            raise error
    """)

    lines = error.details["traceback"].splitlines()
    assert lines[0] == "..."
    assert lines[-1].startswith("ValueError: 499 ")
    assert max(map(len, lines)) <= 400


def test_a_long_text_is_cut(told: Raise):
    error = told("def f():\n    raise ValueError('x' * 10_000_000)\n")

    assert len(error.message) < 1100
    assert error.message.endswith("…")


HOSTILE = {
    "str": "class E(Exception):\n    def __str__(self): raise SystemExit",
    "str of another type": "class E(Exception):\n    def __str__(self): return 5",
    "str without end": "class E(Exception):\n    def __str__(self): return str(self)",
    "repr": "class E(Exception):\n    def __repr__(self): raise MemoryError",
    "text with methods": (
        "class S(str):\n"
        "    def __len__(self): raise SystemExit\n"
        "    def __str__(self): raise SystemExit\n"
        "    def __format__(self, spec): raise SystemExit\n"
        "class E(Exception):\n    def __str__(self): return S('x')"
    ),
    "every attribute": (
        "class E(Exception):\n    def __getattribute__(self, name): raise SystemExit(name)"
    ),
    "class": (
        "class M(type):\n"
        "    def __getattribute__(self, name): raise SystemExit(name)\n"
        "    def __hash__(self): raise SystemExit\n"
        "    def __eq__(self, other): raise SystemExit\n"
        "    def __instancecheck__(self, other): raise SystemExit\n"
        "class E(Exception, metaclass=M): pass"
    ),
    "module": "class E(Exception): pass\nE.__module__ = object()",
    "notes": "class E(Exception): __notes__ = [object(), 5]",
    "chain": (
        "class E(Exception):\n"
        "    def __init__(self):\n        self.__cause__ = self\n        self.__context__ = self"
    ),
    "tool error": (
        "from tool_plugins.authoring import ToolError\n"
        "class E(ToolError):\n"
        "    message = property(lambda self: 1 / 0)\n"
        "    hint = 5\n    code = None\n"
        "    def __init__(self): pass\n"
        "    def __str__(self): raise SystemExit"
    ),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_exception_is_told_all_the_same(told: Raise, how: str):
    error = told(f"{HOSTILE[how]}\ndef f():\n    raise E()\n")

    assert error.code is ErrorCode.TOOL_RAISED
    assert error.details["type"] == "E"
    assert type(error.message) is str


def test_what_a_tool_says_in_its_own_words_has_no_traceback(told: Raise):
    error = told("""
        from tool_plugins.authoring import ToolError

        def f():
            raise ToolError("no such shelf", hint="there are: 3, 7", code="NOT_FOUND")
    """)

    assert error.code is ErrorCode.TOOL_RAISED
    assert (error.message, error.hint) == ("no such shelf", "there are: 3, 7")
    assert error.details == {"type": "ToolError", "code": "NOT_FOUND"}


def test_frames_of_ours_are_left_out(told: Raise):
    error = told("""
        from tool_plugins.errors import ToolError

        def f():
            ToolError.as_dict(None)
    """)

    assert error.details["type"] == "AttributeError"
    assert "errors.py" not in error.details["traceback"]
    assert "in f" in error.details["traceback"]
