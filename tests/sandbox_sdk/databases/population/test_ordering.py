"""The order in which tables are filled."""

import pytest

from sandbox_sdk.databases.population.ordering import dependency_order

CASES: dict[str, tuple[str, dict[str, set[str]], str]] = {
    "nothing refers to anything": ("cab", {}, "cab"),
    "what is referred to comes first": ("ab", {"a": {"b"}}, "ba"),
    "it already does": ("ba", {"a": {"b"}}, "ba"),
    "a chain": ("abc", {"a": {"b"}, "b": {"c"}}, "cba"),
    "through a table without rows": ("ac", {"a": {"b"}, "b": {"c"}}, "ca"),
    "a table refers to itself": ("ba", {"a": {"a"}}, "ba"),
    "it refers to itself and another": ("ab", {"a": {"a", "b"}}, "ba"),
    "a circle keeps its order": ("ab", {"a": {"b"}, "b": {"a"}}, "ab"),
    "a circle keeps its order from the other end": ("ba", {"a": {"b"}, "b": {"a"}}, "ba"),
    "what a circle needs comes before it": ("abc", {"a": {"b"}, "b": {"a", "c"}}, "cab"),
    "what needs a circle comes after all of it": (
        "dab",
        {"a": {"b"}, "b": {"a"}, "d": {"b"}},
        "abd",
    ),
    "independent tables that others need keep their order": ("tab", {"t": {"a", "b"}}, "abt"),
    "however much those need themselves": (
        "tab",
        {"t": {"a", "b"}, "a": {"x", "y"}, "x": set()},
        "abt",
    ),
    "each table once": ("abab", {"a": {"b"}}, "ba"),
}


@pytest.mark.parametrize(("tables", "dependencies", "expected"), CASES.values(), ids=CASES)
def test_a_table_comes_after_those_it_refers_to(
    tables: str, dependencies: dict[str, set[str]], expected: str
) -> None:
    assert list(expected) == dependency_order(tables, dependencies)
