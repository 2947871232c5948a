"""One database for all sandboxes, and for others who must not notice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from sandbox_sdk.databases.access import Access, TableAccess
from sandbox_sdk.databases.postgres.provisioner import PostgresProvisioner
from sandbox_sdk.options import new_sandbox_id
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ConfigurationError

from .shop import (
    READER,
    WRITER,
    as_operator,
    connect,
    fixture,
    leftovers,
    population,
    provisioner,
    refused,
    run,
)

NAME = "sdk_shared"
POLICIES = (
    "SELECT polrelid, polname FROM pg_policy UNION ALL "
    "SELECT oid, relrowsecurity::text FROM pg_class WHERE relkind = 'r' AND relnamespace >= 2200"
)
OPEN_SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text, tenant text);
INSERT INTO users VALUES (1, 'ann', 'acme'), (2, 'bob', 'evil'), (3, 'cleo', 'acme');
CREATE VIEW everybody AS SELECT * FROM users;
CREATE FUNCTION count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    AS 'SELECT count(*) FROM public.users';
CREATE ROLE sdk_clerk LOGIN PASSWORD 'clerk';
GRANT SELECT, INSERT ON users TO sdk_clerk;
"""
LIMITED = Access(tables={"users": TableAccess(select=True, insert=True, rows="tenant = 'acme'")})


def url(server: PostgresServer) -> str:
    return server.url.removesuffix("/postgres") + f"/{NAME}"


def shared(server: PostgresServer, **fields: Any) -> PostgresProvisioner:
    """One that shares the database; its name sets its roles apart from those of other tests."""
    return provisioner(url(server), name="common", isolation="shared", **fields)


@pytest.fixture
def before_us(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A database that is there already, with a user who is no sandbox."""
    as_operator(postgres, f"CREATE DATABASE {NAME}")
    as_operator(postgres, OPEN_SHOP, dbname=NAME)
    yield postgres
    as_operator(postgres, f"DROP DATABASE {NAME} WITH (FORCE)", "DROP ROLE sdk_clerk")


@pytest.fixture
def absent(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server without the database."""
    yield postgres
    as_operator(postgres, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


@pytest.fixture
async def accepting(before_us: PostgresServer) -> AsyncIterator[PostgresProvisioner]:
    """One that accepts what everybody may do in that database."""
    made = shared(before_us, access=LIMITED,
                       enforcement="best_effort")  # fmt: skip
    await made.open()
    yield made
    await made.aclose()


def clerk(server: PostgresServer, statement: str) -> list[Any]:
    with psycopg.connect(
        url(server).replace("admin:admin", "sdk_clerk:clerk"), autocommit=True
    ) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def test_it_is_made_once_from_its_population(absent: PostgresServer) -> None:
    begun: list[int] = []
    users = fixture("users", [{"id": 1, "tenant": "acme"}], watch=lambda: begun.append(1))
    content = population(fixtures=(users,))
    groups = [shared(absent, access=WRITER, content=content) for _ in range(2)]
    await asyncio.gather(*(group.open() for group in groups))
    first, second = new_sandbox_id(), new_sandbox_id()
    one = await groups[0].create(first, WRITER)
    two = await groups[1].create(second, READER)

    run(one, "INSERT INTO users (id, name, tenant) VALUES (2, 'x', 'acme')")

    assert run(two, "SELECT id FROM users ORDER BY 1") == [(1,), (2,)]
    assert "permission denied" in refused(two, "SELECT ssn FROM users")
    assert "permission denied for function" in refused(two, "SELECT lo_create(0)")
    assert len(begun) == 1
    for group, sandbox_id in zip(groups, (first, second), strict=True):
        assert {first, second} >= await group.copies()
        await group.drop(sandbox_id)
        await group.aclose()
    assert as_operator(absent, "SELECT id FROM users", dbname=NAME) == [(1,), (2,)]


async def test_another_population_for_it_is_refused(absent: PostgresServer) -> None:
    first = shared(absent, content=population())
    await first.open()
    await first.aclose()
    again = shared(absent, content=population())
    await again.open()
    await again.aclose()
    other = shared(absent, content=population("6"))

    with pytest.raises(ConfigurationError, match=r"made from another initial population.*drop"):
        await other.open()
    await other.aclose()


async def test_a_bad_population_leaves_no_database(absent: PostgresServer) -> None:
    before = leftovers(absent)
    made = shared(
        absent,
        content=population(fixtures=(fixture("users", [{"id": "x", "tenant": "a"}]),)),
    )

    with pytest.raises(ConfigurationError, match="invalid input syntax"):
        await made.open()

    await made.aclose()
    assert before == leftovers(absent)


async def test_one_that_is_not_there_needs_a_population(absent: PostgresServer) -> None:
    made = shared(absent, access=Access(default="read"))

    with pytest.raises(ConfigurationError, match=f"the server has no database '{NAME}'"):
        await made.open()
    await made.aclose()


async def test_one_of_others_takes_no_population(before_us: PostgresServer) -> None:
    made = shared(before_us, content=population(), enforcement="best_effort")

    with pytest.raises(ConfigurationError, match="was not made from an initial population"):
        await made.open()
    await made.aclose()


async def test_what_everybody_may_do_is_refused_with_the_statements_that_end_it(
    before_us: PostgresServer,
) -> None:
    as_operator(before_us, "GRANT SELECT (name) ON users TO PUBLIC", dbname=NAME)
    as_operator(before_us, "GRANT CREATE ON SCHEMA public TO PUBLIC", dbname=NAME)
    made = shared(before_us, access=LIMITED)

    with pytest.raises(ConfigurationError) as caught:
        await made.open()

    for words in (
        "lo_create",
        "languages",
        "temporary tables",
        "count_all",
        "public.users",
        "schema public",
    ):
        assert words in str(caught.value)
    statements = [line for line in str(caught.value).splitlines() if line.startswith("REVOKE")]
    assert len(statements) == 6
    as_operator(before_us, *statements, dbname=NAME)
    await made.open()
    await made.aclose()


async def test_what_is_accepted_is_told(before_us: PostgresServer) -> None:
    told: list[str] = []
    made = shared(before_us, access=LIMITED,
                       enforcement="best_effort", report=told.append)  # fmt: skip
    await made.open()
    await made.aclose()

    assert any("warning: sandboxes may call" in line for line in told)


async def test_other_users_notice_nothing(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    before = leftovers(before_us), as_operator(before_us, POLICIES, dbname=NAME)
    first, second = new_sandbox_id(), new_sandbox_id()
    one = await accepting.create(first, LIMITED)
    other = Access(tables={"users": TableAccess(select=("id",), rows="tenant = 'evil'")})
    two = await accepting.create(second, other)

    assert run(one, "SELECT id FROM users ORDER BY 1") == [(1,), (3,)]
    assert run(two, "SELECT id FROM users") == [(2,)]
    assert "violates row-level" in refused(one, "INSERT INTO users VALUES (9, 'x', 'evil')")
    run(one, "INSERT INTO users VALUES (9, 'x', 'acme')")
    assert "permission denied" in refused(two, "SELECT name FROM users")
    assert clerk(before_us, "SELECT count(*) FROM users") == [(4,)]
    clerk(before_us, "INSERT INTO users VALUES (10, 'y', 'evil')")

    await accepting.drop(first)
    assert run(two, "SELECT id FROM users ORDER BY 1") == [(2,), (10,)]
    await accepting.drop(second)
    await accepting.drop(second)
    assert clerk(before_us, "SELECT count(*) FROM users") == [(5,)]
    assert before == (leftovers(before_us), as_operator(before_us, POLICIES, dbname=NAME))


async def test_a_tables_own_policies_still_hold(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    as_operator(
        before_us,
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY small ON users USING (id < 3)",
        dbname=NAME,
    )
    sandbox_id = new_sandbox_id()
    copy = await accepting.create(sandbox_id, LIMITED)

    assert run(copy, "SELECT id FROM users") == [(1,)]
    assert clerk(before_us, "SELECT count(*) FROM users") == [(2,)]
    await accepting.drop(sandbox_id)
    assert clerk(before_us, "SELECT count(*) FROM users") == [(2,)]


async def test_policies_that_sleep_are_not_woken(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    as_operator(
        before_us, "CREATE POLICY hidden ON users AS RESTRICTIVE USING (false)", dbname=NAME
    )

    with pytest.raises(ConfigurationError, match="would hide rows from others"):
        await accepting.create(new_sandbox_id(), LIMITED)
    assert clerk(before_us, "SELECT count(*) FROM users") == [(3,)]


async def test_a_view_with_its_owners_rights_is_not_granted(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    sandbox_id = new_sandbox_id()
    copy = await accepting.create(sandbox_id, Access(default="read"))
    assert "permission denied for view" in refused(copy, "SELECT * FROM everybody")
    assert run(copy, "SELECT count(*) FROM users") == [(3,)]
    with pytest.raises(ConfigurationError, match="with its owner's rights"):
        await accepting.create(sandbox_id, Access(tables={"everybody": "read"}))

    as_operator(before_us, "ALTER VIEW everybody SET (security_invoker = on)", dbname=NAME)
    copy = await accepting.create(sandbox_id, Access(default="read"))
    assert run(copy, "SELECT count(*) FROM everybody") == [(3,)]
    await accepting.drop(sandbox_id)


async def test_a_role_is_renewed_without_losing_its_rights(accepting: PostgresProvisioner) -> None:
    sandbox_id = new_sandbox_id()
    first = await accepting.create(sandbox_id, LIMITED)
    second = await accepting.create(sandbox_id, LIMITED)

    assert run(second, "SELECT count(*) FROM users") == [(2,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(first)
    await accepting.drop(sandbox_id)


async def test_many_roles_begin_and_end_at_once(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    before = leftovers(before_us), as_operator(before_us, POLICIES, dbname=NAME)
    ids = [new_sandbox_id() for _ in range(8)]

    copies = await asyncio.gather(*(accepting.create(each, LIMITED) for each in ids))

    assert all(run(copy, "SELECT count(*) FROM users") == [(2,)] for copy in copies)
    assert set(ids) == await accepting.copies()
    await asyncio.gather(*(accepting.drop(each) for each in ids))
    assert before == (leftovers(before_us), as_operator(before_us, POLICIES, dbname=NAME))


async def test_dropping_ends_what_the_role_has_open(
    accepting: PostgresProvisioner, before_us: PostgresServer
) -> None:
    sandbox_id = new_sandbox_id()
    copy = await accepting.create(sandbox_id, LIMITED)
    connection = connect(copy)
    connection.execute("BEGIN")
    connection.execute("INSERT INTO users VALUES (9, 'x', 'acme')")

    await accepting.drop(sandbox_id)

    with pytest.raises(psycopg.OperationalError):
        connection.execute("COMMIT")
    connection.close()
    assert clerk(before_us, "SELECT count(*) FROM users") == [(3,)]
