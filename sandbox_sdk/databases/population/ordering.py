"""The order in which tables are filled: what a table refers to comes before it."""

from collections.abc import Iterable, Mapping


def dependency_order(tables: Iterable[str], dependencies: Mapping[str, set[str]]) -> list[str]:
    """The tables, each once, so that those a table refers to stand before it.

    They keep the order they have, but for a table that must move to stand before one that refers
    to it. Tables that refer to each other in a circle stay together, in the order they have.
    """
    given = list(dict.fromkeys(tables))
    reached = {table: _reachable(table, dependencies) for table in given}
    ordered: dict[str, None] = {}

    def place(table: str) -> None:
        related = [each for each in given if each in reached[table]]
        for each in related:
            if each not in ordered and table not in reached[each]:
                place(each)
        circle = {each for each in related if table in reached[each]} | {table}
        ordered.update(dict.fromkeys(each for each in given if each in circle))

    for table in given:
        if table not in ordered:
            place(table)
    return list(ordered)


def _reachable(table: str, dependencies: Mapping[str, set[str]]) -> set[str]:
    """Every table that one refers to, directly or not; itself only if in a circle."""
    found: set[str] = set()
    waiting = [table]
    while waiting:
        for each in dependencies.get(waiting.pop(), set()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
