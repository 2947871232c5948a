"""What may be done with a database, in words."""

from typing import Any

import pytest

from sandbox_sdk.databases.access import Access
from sandbox_sdk.databases.views import MOST_RULES, describe


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({"default": "none"}, "nothing"),
        ({"default": "read"}, "read"),
        ({"default": "owner"}, "read; write; create, alter and drop"),
        (
            {"tables": {"users": {"select": ["id", "name"], "rows": "tenant = 'acme'"}}},
            "users: read (id, name), rows where tenant = 'acme'; elsewhere nothing",
        ),
        (
            {"default": "read", "schemas": {"hr": "none"}, "tables": {"orders": "write"}},
            "nothing in schema hr; orders: read, insert, update, delete; elsewhere read",
        ),
        (
            {"tables": {"log": {"insert": True}, "x": "none"}},
            "log: insert; x: nothing; elsewhere nothing",
        ),
    ],
)
def test_rules_are_told_in_words(access: dict[str, Any], words: str) -> None:
    assert describe(Access.model_validate(access)) == words


def test_many_rules_are_counted() -> None:
    tables = {f"t{number}": "read" for number in range(MOST_RULES + 5)}
    told = describe(Access.model_validate({"tables": tables}))

    assert "t19: read; and 5 more rules; elsewhere nothing" in told
    assert "t20" not in told
