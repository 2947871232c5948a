"""Which urls of servers are taken, and that none of them shows its password."""

from pathlib import Path

import pytest

from sandbox_sdk.databases.postgres.url import Server, parse_url
from tool_plugins.errors import ConfigurationError

SECRET = "hunter2"


def test_a_url_is_read_into_its_settings() -> None:
    url = f"postgresql://admin:{SECRET}%40@db.example:6000/shop?sslmode=verify-full&sslrootcert=/ca"

    assert parse_url(url) == Server(
        host="db.example",
        port=6000,
        user="admin",
        password=f"{SECRET}@",
        dbname="shop",
        sslmode="verify-full",
        sslrootcert="/ca",
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://a@h", Server(host="h", user="a")),
        ("postgresql://a@/db?host=/run/pg&port=7", Server("/run/pg", "a", 7, dbname="db")),
        ("postgresql://a@%2Frun%2Fpg/db", Server("/run/pg", "a", dbname="db")),
        ("postgresql://a@[::1]:7/db", Server("::1", "a", 7, dbname="db")),
        ("postgresql://a@h/?connect_timeout=3", Server("h", "a", connect_timeout=3)),
        ("postgresql://a@h/?ssl=true", Server("h", "a", sslmode="require")),
        (
            "postgresql://a@h/?sslcert=/c&sslkey=/k&application_name=x",
            Server("h", "a", sslcert="/c", sslkey="/k", application_name="x"),
        ),
    ],
)
def test_urls_that_are_taken(url: str, expected: Server) -> None:
    assert expected == parse_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host=h user=a", "is not PostgreSQL's"),
        (f"mysql://a:{SECRET}@h/db", "is not PostgreSQL's"),
        (f"postgresql://a:{SECRET}@h1,h2/db", "several hosts"),
        (f"postgresql://a:{SECRET}@h:1,/db", "several hosts"),
        (f"postgresql://a:{SECRET}@h/db?hostaddr=10.0.0.1", "'hostaddr' is not supported"),
        (f"postgresql://a:{SECRET}@h/db?options=-crole%3Dx", "'options' is not supported"),
        (f"postgresql://a:{SECRET}@h/db?service=x", "'service' is not supported"),
        (f"postgresql://a:{SECRET}@h/db?passfile=/etc/shadow", "'passfile' is not supported"),
        (f"postgresql://a:{SECRET}@h/db?allowLoadLocalInfile=true", "'allowLoadLocalInfile'"),
        (f"postgresql://a:{SECRET}@h/db?krbsrvname=x", "'krbsrvname' is not supported"),
        (f"postgresql://a:{SECRET}@h/db?%6fptions=-cx", "'%6fptions' is not supported"),
        (f"postgresql://a:{SECRET}%zz@h/db", "malformed"),
        (f"postgresql://a:{SECRET}@h/db?sslmode=maybe", "sslmode is unknown"),
        (f"postgresql://a:{SECRET}@h:0/db", "port is not a whole number"),
        (f"postgresql://a:{SECRET}@h:65536/db", "port is not a whole number"),
        (f"postgresql://a:{SECRET}@h/db?connect_timeout=0", "connect_timeout is not a whole"),
        (f"postgresql://a:{SECRET}@h/db?connect_timeout=-1", "connect_timeout is not a whole"),
        (f"postgresql://:{SECRET}@h/db", "names no user"),
        (f"postgresql://a:{SECRET}@/db", "names no host"),
        (f"postgresql://a:{SECRET}@h/postgresql:%2F%2Fevil", "connection string"),
        (f"postgresql://a:{SECRET}@h/?dbname=host%3Devil", "connection string"),
        (f"postgresql://a:{SECRET}@h/d%0Ab", "control character"),
        (f"postgresql://a:{SECRET}@h/d\nb", "control character"),
        (f"postgresql://a:x?{SECRET}=1&y@h/?bogus=1", "'bogus' is not supported"),
    ],
)
def test_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_url(url)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_clear_text_is_refused_where_tls_is_required(mode: str) -> None:
    with pytest.raises(ConfigurationError, match="allows clear text"):
        parse_url(f"postgresql://a@h/?sslmode={mode}", require_tls=True)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_is_taken_where_it_is_required(mode: str) -> None:
    assert mode == parse_url(f"postgresql://a@h/?sslmode={mode}", require_tls=True).sslmode


def test_required_tls_is_the_default_then() -> None:
    assert parse_url("postgresql://a@h").sslmode == "prefer"
    assert parse_url("postgresql://a@h", require_tls=True).sslmode == "require"


def test_a_unix_socket_needs_no_tls() -> None:
    url = "postgresql://a@/?host=/run/pg&sslmode=disable"

    assert parse_url(url, require_tls=True).sslmode == "disable"


def test_a_certificate_authority_means_that_the_server_is_verified() -> None:
    server = parse_url("postgresql://a@h", ca_file=Path("/ca.pem"))

    assert (server.sslmode, server.sslrootcert) == ("verify-full", "/ca.pem")


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_a_certificate_authority_that_would_not_be_asked_is_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match="does not verify"):
        parse_url(f"postgresql://a@h/?sslmode={mode}", ca_file=Path("/ca.pem"))


def test_two_certificate_authorities_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="differ"):
        parse_url("postgresql://a@h/?sslrootcert=/one", ca_file=Path("/two"))


def test_nobody_else_gets_the_operators_credentials() -> None:
    server = parse_url(f"postgresql://a:{SECRET}@h/?sslcert=/c&sslkey=/k&sslmode=require")

    settings = server.restricted(dbname="copy", user="role", password="other")

    assert {"sslcert", "sslkey"} & settings.keys() == set()
    assert SECRET not in str(settings)
    assert SECRET not in repr(server)
    assert settings["sslmode"] == "require"
