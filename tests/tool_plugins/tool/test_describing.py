"""Which functions of a file are tools, how they are described, and what is told of the others."""

import pytest

from tests.tool_plugins.worker.conftest import MakePool
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.describing import describe

from .describing import HEAD, Make
from .describing import described as described
from .describing import make as make
from .describing import refused as refused
from .test_loading import PROGRAM
from .test_loading import load as load_in


def test_a_function_is_described_whole(make: Make):
    source = '''
        import math

        def area(radius: float, unit: str = "m") -> float:
            """Computes the area of a circle.

            Of one that is flat.

            Args:
                radius: Half of the width.
                unit (str): What it is
                    measured in.

            Returns:
                float: In square units.
            """
            return math.pi * radius**2
    '''
    assert describe(make(source)) == {
        "functions": [
            {
                "name": "area",
                "line": 4,
                "description": "Computes the area of a circle.\n\nOf one that is flat.\n\n"
                "Returns:\n    float: In square units.",
                "input_schema": {
                    "type": "object",
                    "properties": {
                        "radius": {"type": "number", "description": "Half of the width."},
                        "unit": {
                            "type": "string",
                            "default": "m",
                            "description": "What it is\nmeasured in.",
                        },
                    },
                    "required": ["radius"],
                    "additionalProperties": False,
                },
                "output_schema": {"type": "number", "description": "In square units."},
                "context": False,
            }
        ],
        "warnings": [],
    }


STYLES = {
    "google": """Adds.

        Args:
            a: The first.
            b (int, optional): The second.

        Raises:
            ValueError: They do not fit.""",
    "google without a blank line": """Adds.
        Arguments:
            a: The first.
            b: The second.
        Raises:
            ValueError: They do not fit.""",
    "numpy": """Adds.

        Parameters
        ----------
        a : int
            The first.
        b : int, optional
            The second.

        Raises
        ------
        ValueError
            They do not fit.""",
    "numpy without a blank line": """Adds.
        Parameters
        ----------
        a
            The first.
        b
            The second.
        Raises
        ------
        ValueError
            They do not fit.""",
    "sphinx": """Adds.

        :param a: The first.
        :type a: int
        :param int b: The second.
        :raises ValueError: They do not fit.""",
    "sphinx without a blank line": """Adds.
        :param a: The first.
        :param b: The second.
        :raises ValueError: They do not fit.""",
    "epydoc": """Adds.

        @param a: The first.
        @param b: The second.
        @raise ValueError: They do not fit.""",
}


@pytest.mark.parametrize("style", STYLES)
def test_docstrings_of_every_style_are_read(described, style: str):
    function = described(
        f'def f(a: int, b: int) -> int:\n        """{STYLES[style]}\n        """\n'
    )
    properties = function["input_schema"]["properties"]

    assert properties["a"]["description"] == "The first."
    assert properties["b"]["description"] == "The second."
    assert function["description"].startswith("Adds.")
    # The parameters have their place; what else is said is for callers too.
    assert "The first" not in function["description"]
    assert "They do not fit." in function["description"]


@pytest.mark.parametrize(
    "docstring",
    [
        "Adds: a and b.\n\n    Parameters are numbers.\n    param a: x",
        "Adds.\n\n    Args:\n    a: not indented",
        "Adds.\n\n    Args:\n        a, the first",
        "Adds.\n\n    Attributes:\n        a: The first.",
    ],
)
def test_a_docstring_in_no_style_is_the_description(described, docstring: str):
    function = described(f'def f(a: int) -> int:\n    """{docstring}"""\n')

    assert function["description"] == docstring.replace("\n    ", "\n")
    assert "description" not in function["input_schema"]["properties"]["a"]


def test_what_follows_the_parameters_is_kept(described):
    function = described('''
        def f(a: int) -> int:
            """Adds.

            Args:
                a: The first.

            Call it once.

            Example:
                f(1)
            """
    ''')

    assert function["description"] == "Adds.\n\nCall it once.\n\nExample:\n    f(1)"


def test_a_docstring_about_something_else_is_a_warning(make: Make):
    source = '''
        def f(a: int, ctx) -> int:
            """Adds.

            Args:
                a: The first.
                ctx: The context.
                c: The third.
            """
    '''
    assert describe(make(source))["warnings"] == [
        "line 2: f: its docstring describes 'c', which is no parameter"
    ]


def test_long_descriptions_are_cut_and_that_is_said(make: Make):
    source = f'def f(a: int) -> int:\n  """{"x" * 5000}\n\n  Args:\n    a: {"y" * 2000}\n  """\n'
    report = describe(make(source))
    (function,) = report["functions"]

    assert len(function["description"]) == 4000
    assert len(function["input_schema"]["properties"]["a"]["description"]) == 1000
    assert report["warnings"] == [
        "line 1: f: the description of 'a' is cut: it has more than 1000 characters",
        "line 1: f: its description is cut: it has more than 4000 characters",
    ]


def test_a_hint_says_more_than_a_docstring(described):
    function = described(f'''{HEAD}
def f(a: Annotated[int, Field(description="by hint")]) -> Annotated[int, Field(description="so")]:
    """Adds.

    Args:
        a: by docstring

    Returns:
        by docstring
    """
''')

    assert function["input_schema"]["properties"]["a"]["description"] == "by hint"
    assert function["output_schema"]["description"] == "so"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("def f() -> int: 'x'\ndef _g(a): ...\nclass C: ...\nfrom os.path import join", ["f"]),
        ("__all__ = ['g']\ndef f(a): ...\ndef g() -> int: 'x'", ["g"]),
        ("def f() -> int: 'x'\ndef g(a): ...\ndel g", ["f"]),
        ("try:\n    import nothing\nexcept ImportError:\n    def f() -> int: 'x'", ["f"]),
        ("async def f() -> int: 'x'", ["f"]),
        ("import functools\n@functools.lru_cache\ndef f(a: int) -> int: 'x'", ["f"]),
        ("@staticmethod\ndef f(a: int) -> int: 'x'", ["f"]),
        ("import json\nC = json.JSONEncoder()\nc = print\ndef f() -> int: 'x'", ["f"]),
        ("def _m():\n    def g() -> int: 'x'\n    return g\nf = _m()", ["f"]),
    ],
)
def test_the_tools_of_a_file_are_its_own_public_functions(
    make: Make, source: str, named: list[str]
):
    assert [each["name"] for each in describe(make(source))["functions"]] == named


def test_objects_that_cannot_be_looked_at_are_no_tools(described):
    """Such proxies are what web frameworks let people import."""
    function = described("""
        class _Proxy:
            @property
            def __class__(self): raise RuntimeError("no request")
            def __call__(self): ...
            def __getattr__(self, name): raise RuntimeError("no request")
        class _Endless:
            def __call__(self): ...
            def __getattr__(self, name): return _Endless()
        request, everything = _Proxy(), _Endless()
        def f() -> int: "Counts."
    """)

    assert function["name"] == "f"


def test_a_decorator_that_tells_what_it_wraps_changes_nothing(described):
    function = described("""
        import functools

        def _traced(function):
            @functools.wraps(function)
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        @_traced
        def f(a: int) -> int:
            "Adds."
    """)

    assert function["line"] == 11
    assert function["input_schema"]["properties"] == {"a": {"type": "integer"}}


def test_of_overloads_the_last_counts(described):
    function = described(f"""{HEAD}
@overload
def f(a: int) -> int: ...
@overload
def f(a: str) -> str: ...
def f(a: int | str) -> int | str:
    "Is."
""")

    assert function["output_schema"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert function["line"] == 8


DECORATED = "def _d(f):\n    def call(*args): ...\n    return call\n@_d\ndef f(a: int) -> int: 'x'"
INSTEAD = "class _D:\n    def __init__(self, f): ...\n@_D\ndef f(a: int) -> int: 'x'"


@pytest.mark.parametrize(
    ("source", "line", "named", "says"),
    [
        ("x = 1", None, None, "it has no public function"),
        ("__all__ = []", None, None, "it has no public function"),
        ("__all__ = 3", None, None, "__all__ is not a list of names"),
        ("__all__ = ['f']", None, "f", "it is in __all__, but not in the file"),
        ("__all__ = ['_f']\ndef _f(): ...", 2, "_f", "a name that begins with an underscore"),
        ("__all__ = ['C']\nclass C: ...", 2, "C", "a class is no tool"),
        ("__all__ = ['c']\nc = type('C', (), {})()", 2, "c", "it is no function but of type C"),
        ("__all__ = ['join']\nfrom os.path import join", 2, "join", "it is imported"),
        ("__all__ = ['f']\nf = __import__('functools').partial(int)", 2, "f", "it is no function"),
        ("\nf = lambda a: a", 2, "f", "a lambda has no type hints"),
        ("def f(a: int) -> int: ...", 1, "f", "it has no docstring"),
        ("def f(a: int) -> int: ...\nf.__doc__ = 3", 1, "f", "it has no docstring"),
        ("def f(a: int) -> int:\n '''\n Args:\n  a: x'''", 1, "f", "it has no docstring"),
        ("def f(a: int): 'x'", 1, "f", "its result has no type hint"),
        (DECORATED, 5, "f", "a decorator hides its parameters"),
        (INSTEAD, 4, "f", "a decorator made a _D of it"),
        ("@property\ndef f(self) -> int: 'x'", 2, "f", "a decorator made a property of it"),
        ("def f() -> Iterator[int]:\n 'x'\n yield 1", 1, "f", "a generator cannot be a tool"),
        ("async def f() -> list:\n 'x'\n yield 1", 1, "f", "a generator cannot be a tool"),
        ("def f() -> int: 'x'\nf.__signature__ = 3", 1, "f", "it cannot be read: TypeError"),
        ("def f() -> int: 'x'\nf.__wrapped__ = f", 1, "f", "it cannot be read: ValueError"),
    ],
    ids=lambda value: value[:40].replace("\n", " ") if isinstance(value, str) else None,
)
def test_what_is_no_tool_is_refused_with_its_place(
    refused, source: str, line: int | None, named: str | None, says: str
):
    if "Iterator" in source:
        source = source.replace("Iterator", "__import__('typing').Iterator")
    problem = refused(source).details["problems"][0]

    assert (line, named, None) == (problem["line"], problem["function"], problem["parameter"])
    assert problem["message"].startswith(says)


def test_a_file_has_so_many_tools(make: Make, refused):
    functions = [f"def f{number}() -> int: 'x'\n" for number in range(65)]

    assert len(describe(make("".join(functions[:64])))["functions"]) == 64
    assert "it has 65 tools; 64 are the most" in refused("".join(functions)).message


async def test_a_worker_describes_what_it_loaded(make_pool: MakePool):
    pool = make_pool(PROGRAM, size=1)
    await load_in(
        pool,
        f'''{HEAD}
class Node(BaseModel):
    children: list["Node"] = []

async def f(node: Node, colour: Literal["red", "blue"] = "red") -> Node:
    """Paints.

    Args:
        colour: With this.
    """
''',
    )
    report = await pool.call("describe", {}, timeout_s=20)

    (function,) = report["functions"]
    assert (function["name"], function["line"], function["context"]) == ("f", 7, False)
    assert function["input_schema"]["properties"]["colour"] == {
        "enum": ["red", "blue"],
        "type": "string",
        "default": "red",
        "description": "With this.",
    }
    assert function["output_schema"]["$ref"] == "#/$defs/Node"


async def test_a_worker_tells_what_is_wrong_and_where(make_pool: MakePool):
    pool = make_pool(PROGRAM, size=1)
    await load_in(pool, "def f(a: 'Nothing') -> int: 'x'\ndef g(b) -> int: 'x'\n")

    with pytest.raises(ToolError) as caught:
        await pool.call("describe", {}, timeout_s=20)

    assert caught.value.code is ErrorCode.SCHEMA_ERROR
    places = [(each["line"], each["parameter"]) for each in caught.value.details["problems"]]
    assert places == [(1, "a"), (2, "b")]
