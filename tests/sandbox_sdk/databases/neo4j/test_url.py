"""A url is read into a closed set of settings, and shows nothing of itself when it is refused."""

from pathlib import Path

import pytest

from sandbox_sdk.databases.neo4j.url import Server, parse_url
from tool_plugins.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("bolt://u:p@h", Server("bolt://h:7687", "u", "p")),
        ("neo4j+s://u:p@h:1/db.1", Server("neo4j://h:1", "u", "p", True, None, "db.1")),
        ("bolt+s://u:p%40@[::1]:7687", Server("bolt://[::1]:7687", "u", "p@", True)),
        ("neo4j://us%2Fer:p@h/", Server("neo4j://h:7687", "us/er", "p")),
    ],
)
def test_a_url_is_understood(url: str, server: Server) -> None:
    assert parse_url(url) == server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://u:sesame@h", "not Neo4j's"),
        ("bolt+ssc://u:sesame@h", "does not verify"),
        ("bolt://h", "no user and password"),
        ("bolt://sesame@h", "no user and password"),
        ("bolt://u:sesame@", "no host"),
        ("bolt://u:sesame@a,b", "several"),
        ("bolt://u:sesame@h:port", "malformed"),
        ("bolt://u:sesame@h?policy=x", "parameters"),
        ("bolt://u:sesame@h#x", "parameters"),
        ("bolt://u:sesame@h/a/b", "path"),
        ("bolt://u:ses ame@h", "blank"),
    ],
)
def test_a_url_that_is_not_understood_is_refused_without_being_shown(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_url(url)

    assert "sesame" not in str(caught.value)


def test_clear_text_is_refused_where_tls_is_required(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-")
    with pytest.raises(ConfigurationError, match="clear text"):
        parse_url("bolt://u:p@h", require_tls=True)
    with pytest.raises(ConfigurationError, match="clear text"):
        parse_url("bolt://u:p@h", ca_file=authority)
    with pytest.raises(ConfigurationError, match="not a file"):
        parse_url("bolt+s://u:p@h", ca_file=tmp_path / "none.pem")

    server = parse_url("bolt+s://u:p@h", require_tls=True, ca_file=authority)
    assert (server.encrypted, server.ca_file) == (True, str(authority))


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "sesame" not in repr(parse_url("bolt://u:sesame@h"))
