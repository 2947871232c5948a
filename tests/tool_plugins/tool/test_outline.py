"""What a file says of itself before anything of it runs."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.outline import MAX_WARNINGS, outline
from tool_plugins.tool.problems import MAX_PROBLEMS
from tool_plugins.worker.wire import error_fields

ROOT = Path(__file__).parents[3]
FUNCTION = 'def f() -> int:\n    """Counts."""\n    return 1\n'


def refused(source: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        outline("my_tools", source)
    assert caught.value.code is ErrorCode.SCHEMA_ERROR
    return caught.value


def problems(source: str) -> list[tuple[Any, ...]]:
    """Line, function, parameter and the beginning of the message, up to what it recommends."""
    return [
        (each["line"], each["function"], each["parameter"], each["message"].split(":")[0])
        for each in refused(dedent(source)).details["problems"]
    ]


def test_a_file_without_a_block_says_little():
    report = outline("my_tools", FUNCTION)

    assert report == {
        "python": sys.version.split()[0],
        "dependencies": [],
        "requires_python": None,
        "settings": {},
        "description": "",
        "warnings": [],
        "functions": None,
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_block_names_packages_python_and_settings(ending: str):
    source = dedent('''\
        """Reads tables.

          Of any size.
        """
        # /// script
        # dependencies = [
        #   "httpx>=0.27",
        #
        #   "rich",  # for tables
        # ]
        # requires-python = ">=3.11"
        # [tool.sandbox-sdk]
        # process = "call"
        # timeout_s = 2.5
        # ///
        # An ordinary comment right below.
    ''')
    report = outline("my_tools", source.replace("\n", ending) + FUNCTION)

    assert report["dependencies"] == ["httpx>=0.27", "rich"]
    assert report["requires_python"] == ">=3.11"
    assert report["settings"] == {"process": "call", "timeout_s": 2.5}
    assert report["description"] == "Reads tables.\n\nOf any size."
    assert report["warnings"] == []


def test_what_is_not_used_of_a_file_is_a_warning():
    source = (
        '# /// script\n# [tool.uv]\n# exclude-newer = "2026-01-01"\n# ///\nx = "\\d"\ny = 1 is 1\n'
    )

    warnings = outline("my_tools", source)["warnings"]

    assert warnings[0] == "line 1: [tool.uv] of the script block is not used"
    assert warnings[1].startswith("line 5: invalid escape sequence")
    assert warnings[2].startswith('line 6: "is" with')


def test_a_package_that_the_worker_has_loaded_already_is_a_warning():
    source = (
        '# /// script\n# dependencies = ["Pydantic_Core<2", "rich", "pydantic[email]"]\n# ///\n'
    )

    assert outline("my_tools", source)["warnings"] == [
        "line 2: pydantic-core is the sandbox's own, of whatever version that is",
        "line 2: pydantic is the sandbox's own, of whatever version that is",
    ]


def test_warnings_are_few():
    source = "x = '\\d'\n" * (MAX_WARNINGS + 5)

    assert len(outline("my_tools", source)["warnings"]) == MAX_WARNINGS


def test_a_block_ends_with_the_last_line_that_could_end_it():
    source = """\
# /// script
# dependencies = ["rich"]
# [tool.notes]
# example = '''
# ///
# '''
# ///
"""
    assert outline("my_tools", source)["dependencies"] == ["rich"]


def test_a_block_of_another_kind_is_none_of_ours():
    assert outline("my_tools", "# /// other\n# dependencies = 3\n# ///\n")["dependencies"] == []


@pytest.mark.parametrize(
    ("block", "line", "says"),
    [
        ("# dependencies = 'a'\n# ///", 3, "dependencies of the script block must be a list of"),
        ("# dependencies = [1]\n# ///", 3, "dependencies of the script block must be a list of"),
        ("# requires-python = 3\n# ///", 3, "requires-python of the script block must be a str"),
        ("# dependancies = []\n# ///", 3, "'dependancies' is no key of the script block; there"),
        ("# tool = 1\n# ///", 3, "tool of the script block must be a table"),
        ("# [tool]\n# sandbox-sdk = 1\n# ///", 4, "[tool.sandbox-sdk] must be a table"),
        ("# [tool.sandbox-sdk]\n# proces = 'call'\n# ///", 4, "'proces' is no key of [tool.sand"),
        ("# [tool.sandbox-sdk]\n# process = 'x'\n# ///", 4, "process of [tool.sandbox-sdk] must"),
        ("# [tool.sandbox-sdk]\n# timeout_s = 0\n# ///", 4, "timeout_s of [tool.sandbox-sdk] mu"),
        ("# [tool.sandbox-sdk]\n# timeout_s = nan\n# ///", 4, "timeout_s of [tool.sandbox-sdk]"),
        ("# [tool.sandbox-sdk]\n# timeout_s = true\n# ///", 4, "timeout_s of [tool.sandbox-sdk]"),
        ("# [tool.sandbox-sdk]\n# timeout_s = 3601\n# ///", 4, "timeout_s of [tool.sandbox-sdk]"),
        ("# a = [\n# 'b' 'c'\n# ]\n# ///", 4, "the script block is no TOML"),
        ("# a = " + "[" * 50_000 + "\n# ///", 2, "the script block is no TOML"),
        ("# dependencies = []", 2, "the script block has no end"),
        ("#dependencies = []\n# ///", 2, "the script block has no end"),
        ("# ///\n\n# /// script\n# ///", 5, "a second script block"),
    ],
    ids=lambda value: value[:40].replace("\n", " ") if isinstance(value, str) else None,
)
def test_a_wrong_block_is_refused_by_line(block: str, line: int, says: str):
    error = refused(f"import x\n# /// script\n{block}\n")

    assert [line] == [each["line"] for each in error.details["problems"]]
    assert error.message.startswith(f"my_tools.py:{line}: {says}")


def test_everything_that_the_text_shows_is_told_at_once():
    source = """
        # /// script
        # colour = "red"
        # ///
        def first(a, b: int, *args, ctx, **options):
            yield a

        async def second(
            a: int,
            /,
            b,
        ) -> int:
            "   "
    """
    assert problems(source) == [
        (3, None, None, "'colour' is no key of the script block; there are"),
        (5, "first", None, "it has no docstring"),
        (5, "first", "a", "it has no type hint"),
        (5, "first", "args", "*args has no schema"),
        (5, "first", "options", "**options has no schema"),
        (5, "first", None, "its result has no type hint; write -> None if it returns nothing"),
        (5, "first", None, "a generator cannot be a tool"),
        (8, "second", None, "it has no docstring"),
        (11, "second", "b", "it has no type hint"),
    ]


def test_the_message_names_file_line_function_and_parameter():
    error = refused("\ndef f(a) -> int:\n    'Counts.'\n")

    assert error.message == "my_tools.py:2: f(a): it has no type hint"
    assert "underscore" in error.hint


def test_of_many_problems_some_are_told_and_all_are_counted():
    error = refused("".join(f"def f{n}(a) -> int:\n    'Counts.'\n" for n in range(500)))

    assert len(error.details["problems"]) == MAX_PROBLEMS
    assert error.message.endswith(f"and {500 - MAX_PROBLEMS} more")
    # It arrives whole at the other end.
    assert error.as_dict() == error_fields(error)


@pytest.mark.parametrize(
    "source",
    [
        "def _private(a): ...",
        "class A:\n    def method(self, a): ...",
        "def f() -> int:\n    'Counts.'\n    def inner(a): yield a\n    return sum(inner(1))",
        "def f() -> int:\n    'Counts.'\n    return (lambda: (yield))",
        "import x\n@x.decorated\ndef f(a): ...",
        "def f(a): ...\ndel f",
        "def f(a): ...\nf = 1",
        "def f(a): ...\nfrom x import f",
        "if True:\n    def f(a): ...",
        "__all__ = ['g']\ndef f(a): ...",
        "__all__: list[str] = []\ndef f(a): ...",
        "__all__ = [name for name in 'g']\ndef f(a): ...",
        "__all__ = []\n__all__.remove('f')\ndef f(a): ...",
        "__all__ = ['f']\n__all__ += ['g']\ndef f(a): ...",
    ],
)
def test_what_only_a_run_can_tell_is_left_to_it(source: str):
    assert outline("my_tools", source)["functions"] is None


def test_with_a_plain_list_only_those_are_looked_at():
    assert problems("__all__ = ('f',)\ndef f(a): 'x'\ndef g(b): 'y'\n")[0][:3] == (2, "f", "a")


@pytest.mark.parametrize(
    "source",
    [
        "a = 1\0",
        "a = '\ud800'",
        "def f(:",
        "    indented",
        "print 'hello'",
        "\x1b[31m",
        "\ufeff\ufeffx",
        "a = " + "9" * 5000,
        "return 1",
        "def f(a, a): ...",
        "(" * 100_000,
        "-" * 200_000 + "1",
        "a" + ".b" * 100_000,
        "1" + "+1" * 100_000,
        "lambda:" * 60_000 + "1",
        "if a: ...\n" + "elif a: ...\n" * 20_000,
        "".join(" " * depth + "if 1:\n" for depth in range(200)),
        "f'" + "{f'" * 1000,
    ],
    ids=lambda source: ascii(source[:12]),
)
def test_no_python_is_refused_whatever_it_is(source: str):
    error = refused(source)

    assert error.message.startswith("my_tools.py")
    assert "no Python" in error.message
    assert len(error.message) < 500


def test_nothing_of_a_file_runs(tmp_path: Path):
    touch = f"__import__('pathlib').Path({str(tmp_path)!r}, 'ran').touch()"
    function = f"@{touch}\ndef f(a: {touch} = {touch}) -> {touch}:\n    'x'\n"
    source = f"{touch}\n{function}class A({touch}): {touch}\n"

    outline("my_tools", source)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "module",
    ["tool_plugins.tool.outline", "tool_plugins.tool.program", "tool_plugins.tool.executor"],
)
def test_what_is_used_outside_of_a_worker_loads_no_pydantic(module: str):
    program = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert [each for each in loaded if each.split(".")[0].startswith("pydantic")] == []
