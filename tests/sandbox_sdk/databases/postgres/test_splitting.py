"""Where the statements of a script begin."""

import pytest

from sandbox_sdk.databases.postgres.splitting import starts


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ;; -- nothing\n /* at; /* all; */ */ ;", []),
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("-- first;\nSELECT 1;\n/* ; */ SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' || \"a;b\"; SELECT 2", ["SELECT ';'", "SELECT 2"]),
        ("SELECT 'it''s;'; SELECT 2", ["SELECT 'it", "SELECT 2"]),
        (r"SELECT E'\';'; SELECT 2", ["SELECT E", "SELECT 2"]),
        ("DO $$ begin; end; $$; SELECT 2", ["DO $$", "SELECT 2"]),
        ("DO $a$ $$; $b$ ; $a$; SELECT 2", ["DO $a$", "SELECT 2"]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 "
            "END; END; SELECT 2",
            ["CREATE FUNCTION", "SELECT 2"],
        ),
        ("BEGIN; SELECT 1; END; SELECT 2", ["BEGIN", "SELECT 1", "END", "SELECT 2"]),
        ("SELECT CASE WHEN a THEN 1 END; SELECT 2", ["SELECT CASE", "SELECT 2"]),
    ],
)
def test_statements_are_found(text: str, statements: list[str]) -> None:
    found = starts(text)

    assert len(statements) == len(found)
    for offset, beginning in zip(found, statements, strict=True):
        assert text[offset:].startswith(beginning)
