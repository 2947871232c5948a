"""What callers give, as the arguments of a call."""

import pytest

from tool_plugins.tool.describing import describe

from .describing import HEAD, Make
from .describing import described as described
from .describing import make as make
from .describing import refused as refused


@pytest.mark.parametrize(
    ("signature", "given", "positional", "named"),
    [
        ("a: int, b: int = 2", {"a": "1"}, [], {"a": 1, "b": 2}),
        ("a: int, /, b: int = 2, *, c: int = 3", {"a": 1, "c": 4}, [1], {"b": 2, "c": 4}),
        ("a: int = 1, b: int = 2, /", {"b": 3}, [1, 3], {}),
        ("a: 'P'", {"a": {"x": "1"}}, [], {"a": "P(x=1)"}),
        ("a: int = None", {}, [], {"a": None}),
        ("a: int = Field(3)", {}, [], {"a": 3}),
        ("a: list = Field(default_factory=lambda: [1])", {}, [], {"a": [1]}),
        ("a: tuple[int, ...]", {"a": [1]}, [], {"a": (1,)}),
        ("ctx, /, a: int", {"a": 1}, ["context"], {"a": 1}),
        ("a: int, ctx", {"a": 1}, [], {"a": 1, "ctx": "context"}),
        ("schema: int, model_config: int = 1", {"schema": 2}, [], {"schema": 2, "model_config": 1}),
    ],
)
def test_arguments_become_those_of_a_call(
    make: Make, signature: str, given: dict, positional: list, named: dict
):
    source = f"{HEAD}import dataclasses\n@dataclasses.dataclass\nclass P: x: int\n"
    function = make(f"{source}def f({signature}) -> int: 'x'").function("f")

    found_positional, found_named = function.bind(given, "context")

    if "P" in signature:
        found_named = {name: repr(value) for name, value in found_named.items()}
    assert (found_positional, found_named) == (positional, named)


def test_a_mutable_default_is_new_for_each_call(make: Make):
    function = make("def f(a: list = []) -> int: 'x'").function("f")

    function.bind({})[1]["a"].append(1)

    assert function.bind({}) == ([], {"a": []})


def test_a_default_that_is_compared_by_identity_is_the_same_for_each_call(make: Make):
    file = make("MISSING = object()\ndef f(a: object = MISSING) -> int: 'x'")

    assert file.function("f").bind({})[1]["a"] is file.module.MISSING


def test_an_alias_is_what_callers_say(make: Make):
    file = make(f'''{HEAD}
def f(a: Annotated[int, Field(alias="from")], b: int = Field(2, alias="to")) -> int:
    """Adds.

    Args:
        a: The first.
        to: The second.
    """
''')
    (function,) = describe(file)["functions"]

    assert function["input_schema"]["properties"] == {
        "from": {"type": "integer", "description": "The first."},
        "to": {"type": "integer", "default": 2, "description": "The second."},
    }
    assert file.function("f").bind({"from": 1}) == ([], {"a": 1, "b": 2})
