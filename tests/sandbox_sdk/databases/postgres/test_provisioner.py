"""Copies of sandboxes from their beginning to their end, on a real server."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from sandbox_sdk.databases.access import Access, TableAccess
from sandbox_sdk.databases.postgres.catalog import read_catalog
from sandbox_sdk.databases.postgres.names import copy_name
from sandbox_sdk.databases.postgres.provisioner import PostgresProvisioner
from sandbox_sdk.databases.postgres.rehearsal import rehearse
from sandbox_sdk.options import new_sandbox_id
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ConfigurationError, EngineError

from .shop import (
    OWNER,
    READER,
    WRITER,
    as_operator,
    connect,
    leftovers,
    population,
    provisioner,
    refused,
    run,
)

MANY = 50
ALL = Access(default="read")


@pytest.fixture(scope="module")
def made(postgres: PostgresServer) -> Iterator[PostgresProvisioner]:
    """A provisioner of the shop, opened."""
    one = provisioner(postgres, content=population())
    asyncio.run(one.open())
    yield one
    asyncio.run(one.aclose())


async def test_a_copy_is_one_sandboxs_own(made: PostgresProvisioner) -> None:
    first, second = new_sandbox_id(), new_sandbox_id()
    one, two = await made.create(first, WRITER), await made.create(second, WRITER)

    run(one, "DELETE FROM users WHERE id = 3")

    assert run(one, "SELECT count(*) FROM users") == [(1,)]
    assert run(two, "SELECT count(*) FROM users") == [(2,)]
    other = two.settings["conninfo"]["dbname"]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(one, dbname=other)
    for each in (first, second):
        await made.drop(each)


async def test_what_a_worker_gets(made: PostgresProvisioner) -> None:
    sandbox_id = new_sandbox_id()
    copy = await made.create(sandbox_id, READER)
    name = copy_name(sandbox_id, "shop")

    assert copy.driver == "sandbox_sdk.databases.postgres.driver:PostgresDriver"
    assert copy.settings.keys() == {"conninfo", "pool", "require_tls", "writable", "timeout_s"}
    conninfo = copy.settings["conninfo"]
    assert (conninfo["user"], conninfo["dbname"]) == (name, name)
    assert len(conninfo["password"]) == 43
    assert conninfo["password"] not in repr(copy)
    assert "admin" not in str(copy.settings)
    assert copy.settings["writable"] is False
    assert (await made.create(sandbox_id, WRITER)).settings["writable"] is True
    await made.drop(sandbox_id)


async def test_a_role_is_no_more_than_a_login(
    made: PostgresProvisioner, postgres: PostgresServer
) -> None:
    sandbox_id = new_sandbox_id()
    copy = await made.create(sandbox_id, READER)
    role = copy_name(sandbox_id, "shop")
    query = (
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, "
        f"rolbypassrls, rolconnlimit FROM pg_roles WHERE rolname = '{role}'"
    )

    assert as_operator(postgres, query) == [(True, *[False] * 6, 4)]
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(copy))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            connect(copy)
    await made.drop(sandbox_id)


async def test_a_template_that_was_dropped_is_made_again(postgres: PostgresServer) -> None:
    one = provisioner(postgres, access=ALL, content=population("a"))
    sandbox_id = new_sandbox_id()
    await one.open()
    (name,) = as_operator(
        postgres, "SELECT datname FROM pg_database WHERE datname ~ '^sbxt' ORDER BY oid DESC"
    )[0]
    as_operator(postgres, f"DROP DATABASE {name}")

    copy = await one.create(sandbox_id, ALL)

    assert run(copy, "SELECT count(*) FROM orders") == [(2,)]
    await one.drop(sandbox_id)
    await one.aclose()


async def test_a_condition_that_does_not_work_is_the_configurations_fault(
    made: PostgresProvisioner, postgres: PostgresServer
) -> None:
    before = leftovers(postgres)
    access = Access(tables={"users": TableAccess(select=True, rows="tenat = 'acme'")})

    with pytest.raises(ConfigurationError, match='column "tenat" does not exist'):
        await made.create(new_sandbox_id(), access)

    assert before == leftovers(postgres)


async def test_dropping_leaves_nothing(made: PostgresProvisioner, postgres: PostgresServer) -> None:
    before = leftovers(postgres)
    ids = [new_sandbox_id() for _ in range(3)]
    for sandbox_id, access in zip(ids, (READER, WRITER, OWNER), strict=True):
        copy = await made.create(sandbox_id, access)
        run(
            copy,
            "SET default_transaction_read_only = off",
            "ALTER ROLE CURRENT_USER SET work_mem = '1MB'",
            "ALTER ROLE CURRENT_USER IN DATABASE template1 SET work_mem = '1MB'",
        )
    assert before != leftovers(postgres)

    for sandbox_id in ids:
        await made.drop(sandbox_id)
        await made.drop(sandbox_id)

    assert before == leftovers(postgres)


async def test_the_server_itself_says_whose_copies_it_keeps(made: PostgresProvisioner) -> None:
    ids = {new_sandbox_id() for _ in range(2)}
    before = await made.copies()
    for sandbox_id in ids:
        await made.create(sandbox_id, READER)

    assert before | ids == await made.copies()

    for sandbox_id in ids:
        await made.drop(sandbox_id)
    assert before == await made.copies()


async def test_a_copy_that_is_there_keeps_its_data_and_gets_a_new_credential(
    made: PostgresProvisioner, postgres: PostgresServer
) -> None:
    sandbox_id = new_sandbox_id()
    first = await made.create(sandbox_id, WRITER)
    name = first.settings["conninfo"]["user"]
    run(
        first,
        "UPDATE users SET name = 'changed' WHERE id = 1",
        "ALTER ROLE CURRENT_USER PASSWORD 'known to a model'",
        "ALTER ROLE CURRENT_USER SET statement_timeout = 0",
        "ALTER ROLE CURRENT_USER SET search_path = pg_temp",
        f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET work_mem = '1MB'",
    )
    other = await made.create(new_sandbox_id(), WRITER)
    friend = other.settings["conninfo"]["user"]
    connect(first, password="known to a model").close()
    as_operator(postgres, f"GRANT {name} TO {friend}")

    second = await made.create(sandbox_id, WRITER)

    assert run(second, "SELECT name FROM users WHERE id = 1") == [("changed",)]
    for password in ("known to a model", first.settings["conninfo"]["password"]):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(first, password=password)
    assert run(second, "SHOW search_path") == [('"$user", public',)]
    assert run(second, "SHOW statement_timeout") == [("20s",)]
    assert run(second, "SHOW work_mem") == [("4MB",)]
    assert run(second, "SHOW temp_file_limit") == [("256MB",)]
    members = f"SELECT count(*) FROM pg_auth_members WHERE roleid = '{name}'::regrole"
    assert as_operator(postgres, members) == [(0,)]
    for copy in (second, other):
        await made.drop(f"sbx-{copy.settings['conninfo']['user'][4:30]}")


async def test_a_copy_that_is_there_gets_the_rules_of_now(made: PostgresProvisioner) -> None:
    sandbox_id = new_sandbox_id()
    await made.create(sandbox_id, WRITER)
    narrow = Access(tables={"users": TableAccess(select=("id",), rows="id = 2")})

    copy = await made.create(sandbox_id, narrow)

    assert run(copy, "SELECT id FROM users") == [(2,)]
    assert "permission denied" in refused(copy, "SELECT name FROM users")
    assert "permission denied" in refused(copy, "SELECT * FROM orders")
    await made.create(sandbox_id, OWNER)
    copy = await made.create(sandbox_id, Access(default="read"))
    assert run(copy, "SELECT count(*) FROM users") == [(3,)]
    assert "must be owner" in refused(
        copy, "SET default_transaction_read_only = off", "DROP TABLE orders"
    )
    await made.drop(sandbox_id)


async def test_an_owners_copy_is_still_its_own_after_a_restart(made: PostgresProvisioner) -> None:
    sandbox_id = new_sandbox_id()
    run(await made.create(sandbox_id, OWNER), "CREATE TABLE mine (a int)")

    again = await made.create(sandbox_id, OWNER)

    run(again, "ALTER TABLE mine ADD COLUMN b int", "DROP TABLE orders")
    await made.drop(sandbox_id)


async def test_many_sandboxes_begin_and_end_at_once(
    made: PostgresProvisioner, postgres: PostgresServer
) -> None:
    before = leftovers(postgres)
    ids = [new_sandbox_id() for _ in range(MANY)]

    copies = await asyncio.gather(*(made.create(each, READER) for each in ids))

    assert len({copy.settings["conninfo"]["password"] for copy in copies}) == MANY
    assert run(copies[-1], "SELECT count(*) FROM users") == [(2,)]
    await asyncio.gather(*(made.drop(each) for each in ids))
    assert before == leftovers(postgres)


async def test_a_running_statement_is_ended_with_its_session(made: PostgresProvisioner) -> None:
    sandbox_id = new_sandbox_id()
    copy = await made.create(sandbox_id, READER)
    failures: list[psycopg.Error] = []
    with connect(copy) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("SELECT 1")

        def endless() -> None:
            try:
                connection.execute("SELECT count(*) FROM generate_series(1, 100000000000)")
            except psycopg.Error as exc:
                failures.append(exc)

        thread = threading.Thread(target=endless)
        thread.start()
        await made.terminate(sandbox_id)
        await asyncio.to_thread(thread.join)

    assert [type(each) for each in failures] in (
        [psycopg.errors.AdminShutdown],
        [psycopg.OperationalError],
    )
    assert run(copy, "SELECT 1") == [(1,)]
    await made.drop(sandbox_id)


async def test_a_rule_that_fails_leaves_no_copy(
    made: PostgresProvisioner, postgres: PostgresServer
) -> None:
    before = leftovers(postgres)

    with pytest.raises(ConfigurationError, match="no table named 'usres'"):
        await made.create(new_sandbox_id(), Access(tables={"usres": "read"}))

    assert before == leftovers(postgres)


@pytest.fixture(scope="module")
def scratch(postgres: PostgresServer, made: PostgresProvisioner) -> Iterator[str]:
    """The name of a database with what the shop holds."""
    sandbox_id = new_sandbox_id()
    copy = asyncio.run(made.create(sandbox_id, OWNER))
    yield copy.settings["conninfo"]["dbname"]
    asyncio.run(made.drop(sandbox_id))


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(tables={"usres": "read"}), "no table named 'usres'.*did you mean 'users'"),
        (Access(schemas={"sale": "read"}), "no schema named 'sale'.*did you mean 'sales'"),
        (Access(tables={"users": TableAccess(select=("nme",))}), "did you mean 'name'"),
        (
            Access(tables={"users": TableAccess(select=True, rows="tenat = 'acme'")}),
            "rows of table 'users' does not work: column \"tenat\" does not exist",
        ),
        (Access(tables={"users": TableAccess(select=True, rows="id")}), "must be type boolean"),
        (Access(tables={"users": TableAccess(select=True, rows="id = ")}), "syntax error"),
        (
            Access(
                tables={
                    "users": TableAccess(select=True, rows="true) WITH CHECK (true); SELECT (1")
                }
            ),
            "syntax error|multiple commands",
        ),
        (
            Access(
                tables={"users": TableAccess(select=True, rows="id IN (SELECT 1 FROM secrets)")}
            ),
            "rows of table 'users' does not work: permission denied for table secrets",
        ),
        (
            Access(tables={"people": TableAccess(select=True, rows="id = 1")}),
            "row security for tables only",
        ),
    ],
)
def test_rules_that_do_not_work_are_refused(
    scratch: str, postgres: PostgresServer, access: Access, words: str
) -> None:
    database = provisioner(postgres, access=access).database
    before = leftovers(postgres)

    with psycopg.connect(postgres.url, dbname=scratch, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match=f"(?s)database 'shop': .*{words}"):
            rehearse(connection, database, read_catalog(connection))
        rehearse(connection, database.with_access(READER), read_catalog(connection))

    assert before == leftovers(postgres)


async def test_rules_are_tried_before_any_sandbox(postgres: PostgresServer) -> None:
    before = leftovers(postgres)
    access = Access(tables={"users": TableAccess(select=True, rows="tenat = 'acme'")})
    made = provisioner(postgres, access=access, content=population())

    with pytest.raises(ConfigurationError, match='column "tenat" does not exist'):
        await made.open()

    await made.aclose()
    assert before == leftovers(postgres)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "postgresql://a:hunter2@h1,h2/db"}, "'shop': the url names several hosts"),
        ({"url": "postgresql://a:hunter2@h", "isolation": "shared"}, "no database to share"),
        (
            {"url": "postgresql://a@h/?sslmode=disable", "require_tls": True},
            "'shop': require_tls is set",
        ),
        ({"access": {"tables": {"a.b.c": "read"}}}, "'a.b.c' has more than a schema"),
        ({"access": {"tables": {"": "read"}}}, "'' cannot be a name"),
        ({"access": {"tables": {"a.": "read"}}}, "'a.' cannot be a name"),
        ({"access": {"tables": {"a" * 64: "read"}}}, "cannot be a name"),
        ({"access": {"schemas": {"a\nb": "read"}}}, "cannot be a name"),
        ({"access": {"tables": {"a": {"select": ["x\0"]}}}}, "cannot be a name"),
    ],
)
def test_what_cannot_be_is_refused_without_a_server(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        provisioner("postgresql://a@h", **fields)

    assert "hunter2" not in str(caught.value)


async def test_a_sandbox_id_that_is_none_is_refused(made: PostgresProvisioner) -> None:
    with pytest.raises(ConfigurationError, match="is not the id of a sandbox"):
        await made.create("sbx-'; DROP ROLE admin", READER)


async def test_an_owner_is_not_made_in_a_shared_database(postgres: PostgresServer) -> None:
    made = provisioner(postgres, isolation="shared", access=READER)

    with pytest.raises(ConfigurationError, match="has no owner"):
        await made.create(new_sandbox_id(), OWNER)
    await made.aclose()


async def test_a_server_that_is_not_there_is_an_error_without_its_password(
    postgres: PostgresServer,
) -> None:
    gone = provisioner("postgresql://admin:hunter2@127.0.0.1:1/postgres")
    with pytest.raises(EngineError, match="cannot be reached") as unreachable:
        await gone.open()
    await gone.aclose()
    wrong = provisioner(postgres.url.replace(":admin@", ":hunter2@"))
    with pytest.raises(ConfigurationError, match="password authentication failed") as refusal:
        await wrong.open()
    await wrong.aclose()

    assert "hunter2" not in str(unreachable.value) + str(refusal.value)


async def test_a_server_in_clear_text_is_refused_where_tls_is_required(
    postgres: PostgresServer,
) -> None:
    made = provisioner(postgres, require_tls=True)

    with pytest.raises(ConfigurationError, match="does not support SSL"):
        await made.open()
    await made.aclose()


async def test_the_operator_may_use_a_unix_socket(postgres: PostgresServer) -> None:
    made, sandbox_id = (
        provisioner(postgres.socket_url, access=ALL, require_tls=True),
        new_sandbox_id(),
    )
    await made.open()
    copy = await made.create(sandbox_id, ALL)

    assert run(copy, "SELECT 1") == [(1,)]
    await made.drop(sandbox_id)
    await made.aclose()
    await made.aclose()
    with pytest.raises(EngineError, match="is closed"):
        await made.copies()


@pytest.fixture
def lesser(postgres: PostgresServer) -> Iterator[str]:
    """The url of an operator who is no superuser."""
    as_operator(postgres, "CREATE ROLE lesser LOGIN CREATEDB CREATEROLE PASSWORD 'lesser'")
    yield postgres.url.replace("admin:admin", "lesser:lesser")
    rows = as_operator(
        postgres,
        "SELECT format('DROP DATABASE %I', datname) FROM pg_database d "
        "JOIN pg_roles r ON r.oid = d.datdba WHERE rolname = 'lesser'",
    )
    as_operator(postgres, *(statement for (statement,) in rows), "DROP ROLE lesser")


async def test_a_server_that_cannot_hold_the_rules_is_refused_with_what_is_missing(
    lesser: str,
) -> None:
    made = provisioner(lesser, content=population())

    with pytest.raises(ConfigurationError) as caught:
        await made.open()

    await made.aclose()
    for words in ("temp_file_limit", "connect to database postgres", "best_effort", "superuser"):
        assert words in str(caught.value)


async def test_a_lesser_operator_is_accepted_with_warnings(
    lesser: str, postgres: PostgresServer
) -> None:
    before = leftovers(postgres)
    told: list[str] = []
    made = provisioner(lesser, content=population(), enforcement="best_effort", report=told.append)
    sandbox_id = new_sandbox_id()
    await made.open()
    copy = await made.create(sandbox_id, READER)

    warnings = [line for line in told if "warning" in line]
    for words in ("temporary files", "lo_create", "languages", "connect to database postgres"):
        assert any(words in line for line in warnings), words
    assert run(copy, "SELECT id FROM users ORDER BY 1") == [(1,), (3,)]
    assert "permission denied" in refused(copy, "SELECT * FROM secrets")
    copy = await made.create(sandbox_id, WRITER)
    run(copy, "INSERT INTO users (id, tenant) VALUES (9, 'acme')", "SELECT lo_create(0)")
    with connect(copy):
        await made.terminate(sandbox_id)
    run(await made.create(sandbox_id, OWNER), "DROP TABLE orders")
    # What everybody may do in another database is no obstacle either.
    with connect(copy := await made.create(sandbox_id, OWNER), dbname="postgres") as elsewhere:
        elsewhere.execute("SELECT lo_create(0)")
    await made.drop(sandbox_id)
    await made.aclose()
    assert before["roles"] == leftovers(postgres)["roles"]


@pytest.mark.parametrize("lacking", ["CREATEDB", "CREATEROLE"])
async def test_an_operator_who_can_make_nothing_is_refused(
    lesser: str, postgres: PostgresServer, lacking: str
) -> None:
    as_operator(postgres, f"ALTER ROLE lesser NO{lacking}")
    made = provisioner(lesser, enforcement="best_effort")

    with pytest.raises(ConfigurationError, match=f"lacks {lacking}"):
        await made.open()
    await made.aclose()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server a test may stop; it logs every statement and knows prepared transactions."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    settings = {"log_statement": "all", "max_prepared_transactions": "5"}
    server = PostgresServer(folder, settings=settings).create().start()
    yield server
    if server.running():
        server.stop(mode="immediate")
    shutil.rmtree(folder)


async def test_a_server_may_restart_and_never_sees_a_password(own_server: PostgresServer) -> None:
    made = provisioner(own_server, content=population())
    first, second = new_sandbox_id(), new_sandbox_id()
    await made.open()
    one = await made.create(first, WRITER)

    await asyncio.to_thread(own_server.stop)
    with pytest.raises(EngineError):
        await made.copies()
    await asyncio.to_thread(own_server.start)

    assert {first} == await made.copies()
    two = await made.create(second, READER)
    assert run(one, "SELECT id FROM users ORDER BY 1") == [(1,), (3,)]
    run(one, "BEGIN", "DELETE FROM users WHERE id = 3", "PREPARE TRANSACTION 'in the way'")
    await made.drop(first)
    await made.drop(second)
    await made.aclose()
    log = await asyncio.to_thread((own_server.folder / "log").read_text)
    assert "CREATE ROLE" in log
    for copy in (one, two):
        assert copy.settings["conninfo"]["password"] not in log
