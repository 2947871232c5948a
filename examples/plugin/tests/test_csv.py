"""The tools of the installed package, in a sandbox that is none: no container is needed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk import Sandbox, SandboxGroup

BOOKS = """\
title;year;price
Emma;1815;9.5
Persuasion;1817;
"Pride; and Prejudice";1813;12
"""


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with a table of books."""
    group = SandboxGroup(engine="in_process", state_dir=tmp_path)
    async with group, await group.create_sandbox() as made:
        await made.upload("books.csv", BOOKS.encode())
        yield made


async def ask(sandbox: Sandbox, query: str, **more: Any) -> dict[str, Any]:
    """What the query gives; fails when it gives an error."""
    observation = await sandbox.execute("csv.query", {"path": "books.csv", "query": query, **more})
    assert observation.data is not None, observation.error
    return observation.data


async def test_a_table_is_described(sandbox: Sandbox) -> None:
    observation = await sandbox.execute("csv.describe", {"path": "books.csv"})
    assert observation.data == {
        "rows": 3,
        "columns": [
            {"name": "title", "type": "text", "empty": 0, "example": "Emma"},
            {"name": "year", "type": "integer", "empty": 0, "example": "1815"},
            {"name": "price", "type": "number", "empty": 1, "example": "9.5"},
        ],
    }


async def test_a_query_is_answered(sandbox: Sandbox) -> None:
    answer = await ask(sandbox, "SELECT title, price FROM data WHERE year < 1817 ORDER BY year")
    assert answer == {
        "columns": ["title", "price"],
        "rows": [["Pride; and Prejudice", 12], ["Emma", 9.5]],
        "truncated": False,
    }


async def test_more_rows_than_wanted_are_said_to_be_there(sandbox: Sandbox) -> None:
    answer = await ask(sandbox, "SELECT year FROM data", max_rows=2)
    assert (answer["rows"], answer["truncated"]) == ([[1815], [1817]], True)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("books.csv", "SELECT nothing FROM data", "QUERY_ERROR"),
        ("books.csv", "SELECT 1; SELECT 2", "QUERY_ERROR"),
        ("missing.csv", "SELECT 1", "NOT_FOUND"),
        ("../books.csv", "SELECT 1", "PATH_OUTSIDE_ROOT"),
        ("empty.csv", "SELECT 1", "UNSUPPORTED_CONTENT"),
        ("binary.csv", "SELECT 1", "UNSUPPORTED_CONTENT"),
        ("ragged.csv", "SELECT 1", "UNSUPPORTED_CONTENT"),
    ],
)
async def test_what_cannot_be_answered_is_told(
    sandbox: Sandbox, path: str, query: str, code: str
) -> None:
    await sandbox.upload("empty.csv", b"")
    await sandbox.upload("binary.csv", b"a,b\n\xff\xfe,1\n")
    await sandbox.upload("ragged.csv", b"a,b\n1,2,3\n")
    observation = await sandbox.execute("csv.query", {"path": path, "query": query})
    assert observation.error is not None
    assert observation.error.code == code
