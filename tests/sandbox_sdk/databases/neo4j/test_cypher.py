"""Scripts are divided where a statement ends, and nowhere else."""

import pytest

from sandbox_sdk.databases.neo4j.cypher import Part, quoted, statements


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("", []),
        (" \n// nothing;\n/* here; */ ;;", []),
        ("RETURN 1", [Part(0, "RETURN 1")]),
        ("RETURN 1;\nRETURN 2;\n", [Part(0, "RETURN 1"), Part(1, "RETURN 2")]),
        ("RETURN 1; RETURN 2", [Part(0, "RETURN 1"), Part(0, "RETURN 2")]),
        ("// a\n\nRETURN\n1;", [Part(2, "RETURN\n1")]),
        ("RETURN ';' + \";\";RETURN 2", [Part(0, "RETURN ';' + \";\""), Part(0, "RETURN 2")]),
        (r"RETURN 'it\'s; ' ; RETURN 2", [Part(0, r"RETURN 'it\'s; '"), Part(0, "RETURN 2")]),
        ("MATCH (n:`a;``b;`) RETURN n", [Part(0, "MATCH (n:`a;``b;`) RETURN n")]),
        ("RETURN 1 // a; b\n+ 2;", [Part(0, "RETURN 1 // a; b\n+ 2")]),
        ("RETURN 1 /* ; \n ; */ + 2; RETURN 3", None),
        ("RETURN 'http://x'; RETURN 2", [Part(0, "RETURN 'http://x'"), Part(0, "RETURN 2")]),
        ("RETURN 'not closed; RETURN 2", [Part(0, "RETURN 'not closed; RETURN 2")]),
    ],
)
def test_a_script_is_divided_into_statements(script: str, parts: list[Part] | None) -> None:
    expected = parts or []
    if parts is None:
        expected = [Part(0, "RETURN 1 /* ; \n ; */ + 2"), Part(1, "RETURN 3")]

    assert list(statements(script)) == expected


def test_a_name_is_quoted() -> None:
    assert quoted("a`b c") == "`a``b c`"
