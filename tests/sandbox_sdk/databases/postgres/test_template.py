"""Templates: filled from files, built once, never half built."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox_sdk.databases.access import Access
from sandbox_sdk.databases.population.contents import PopulationError
from sandbox_sdk.databases.population.seeding import seed
from sandbox_sdk.databases.postgres.names import copy_name
from sandbox_sdk.databases.postgres.target import PostgresTarget
from sandbox_sdk.options import new_sandbox_id
from tests.services.postgres import PostgresServer

from .shop import as_operator, fixture, leftovers, population, provisioner, run, script

ALL = Access(default="read")
ROOT = Path(__file__).parents[4]
TEMPLATES = "SELECT datname FROM pg_database WHERE datname LIKE 'sbxt%'"

TYPES = """
CREATE SCHEMA more;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN texts AS text[];
CREATE TABLE more.things (
    id int GENERATED ALWAYS AS IDENTITY, flag bool, amount numeric, note text, raw bytea,
    doc jsonb, plain json, day date, tags text[], grid int[], docs jsonb[], feeling mood,
    words texts, twice int GENERATED ALWAYS AS (2) STORED, preset text DEFAULT 'preset'
);
"""
THING = {
    "id": 7,
    "flag": True,
    "amount": Decimal("12345678901234567890.10"),
    "note": "a\tb\\N\n'quoted' ünï",
    "raw": b"\x00\xff",
    "doc": {"a": [1, Decimal("1.5"), None], "b": "\\"},
    "plain": ["x"],
    "day": "2024-02-29",
    "tags": ["a,b", 'c"d', None, "e\\f", "NULL", ""],
    "grid": [[1, 2], [3, 4]],
    "docs": [{"a": 1}, [2]],
    "feeling": "happy",
    "words": ["x y"],
}


async def test_values_arrive_as_what_they_are(postgres: PostgresServer) -> None:
    content = population(
        "1", schema=(script(TYPES),), fixtures=(fixture("more.things", [THING, {"id": 8}]),)
    )
    made, sandbox_id = provisioner(postgres, access=ALL, content=content), new_sandbox_id()
    await made.open()
    copy = await made.create(sandbox_id, ALL)
    columns = ", ".join(THING)

    (row,) = run(copy, f"SELECT {columns} FROM more.things WHERE id = 7")
    expected = dict(THING) | {"doc": {"a": [1, 1.5, None], "b": "\\"}}
    assert {name: str(value) for name, value in expected.items()} == {
        name: str(value) for name, value in zip(THING, row, strict=True)
    }
    assert run(copy, "SELECT twice, preset, flag FROM more.things WHERE id = 8") == [
        (2, "preset", None)
    ]

    await made.drop(sandbox_id)
    await made.aclose()


async def test_a_dump_with_settings_and_functions_is_run_whole(postgres: PostgresServer) -> None:
    dump = """
    SELECT pg_catalog.set_config('search_path', '', false);
    CREATE TABLE public.a (b int);
    CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.log VALUES (NEW.b); RETURN NEW; END; $$;
    CREATE TABLE public.log (b int);
    CREATE TRIGGER t BEFORE INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.f();
    """
    content = population(
        "2",
        schema=(script(dump),),
        fixtures=(script("INSERT INTO a VALUES (1)"), fixture("a", [{"b": 2}])),
        after=(script("CREATE INDEX ON a (b); UPDATE log SET b = b + 10"),),
    )
    made, sandbox_id = provisioner(postgres, access=ALL, content=content), new_sandbox_id()
    await made.open()
    copy = await made.create(sandbox_id, ALL)

    assert run(copy, "SELECT b FROM log ORDER BY 1") == [(11,), (12,)]

    await made.drop(sandbox_id)
    await made.aclose()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a syntax error": (
        {"schema": (script("CREATE TABLE a (b int);\n\nCRATE TABLE b (c int);", line=4),)},
        r'schema.sql:6: syntax error at or near "CRATE"',
    ),
    "a statement that fails": (
        {"schema": (script("CREATE TABLE a (b int);\nSELECT 1;\n\nSELECT 1/0;\nSELECT 2"),)},
        "schema.sql:4: division by zero",
    ),
    "a name that is not there": (
        {"schema": (script("SELECT 1;\nSELECT\n  nothing"),)},
        'schema.sql:3: column "nothing" does not exist',
    ),
    "a command of psql": (
        {"schema": (script("\\connect shop\nSELECT 1"),)},
        "schema.sql:1: syntax error.*commands of psql",
    ),
    "data inside of a script": (
        {"schema": (script("CREATE TABLE a (b int);\nCOPY a FROM STDIN;\n1\n\\."),)},
        "schema.sql:(2|3): (COPY FROM STDIN|syntax error)",
    ),
    "a transaction left open": (
        {"schema": (script("BEGIN; CREATE TABLE a (b int)"),)},
        "schema.sql:1: the script leaves a transaction open",
    ),
    "a script that ends the session": (
        {"schema": (script("SELECT pg_terminate_backend(pg_backend_pid())"),)},
        "schema.sql:1: terminating connection",
    ),
    "a script in the end": ({"after": (script("\nSELECT 1/0"),)}, "schema.sql:2: division by"),
    "an unknown table": ({"fixtures": (fixture("usres", [{"id": 1}]),)}, "did you mean 'users'"),
    "a value of another type": (
        {"fixtures": (fixture("users", [{"id": 1, "tenant": "a"}, {"id": "x", "tenant": "a"}]),)},
        "users.jsonl:2: table 'users': invalid input syntax for type integer",
    ),
    "a missing value": (
        {"fixtures": (fixture("users", [{"id": 1, "tenant": "a"}, {"id": 2, "tenant": None}]),)},
        "users.jsonl:2: table 'users', column 'tenant': null value in column",
    ),
    "a row twice": (
        {"fixtures": (fixture("users", [{"id": 1, "tenant": "a"}] * 3),)},
        "users.jsonl:2: table 'users': duplicate key .*already exists",
    ),
    "a row that refers to nothing": (
        {"fixtures": (fixture("orders", [{"user_id": 99}]),)},
        "orders.jsonl: table 'orders'.*violates foreign key.*99.* is not present",
    ),
    "a character that cannot be kept": (
        {"fixtures": (fixture("users", [{"id": 1, "tenant": "a\0b"}]),)},
        "users.jsonl:1: table 'users': .*NUL",
    ),
}


@pytest.fixture(scope="module")
def scratch(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database to fill."""
    as_operator(postgres, "CREATE DATABASE sdk_scratch")
    yield "sdk_scratch"
    as_operator(postgres, "DROP DATABASE sdk_scratch WITH (FORCE)")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_population_names_file_and_line(
    postgres: PostgresServer, scratch: str, name: str
) -> None:
    parts, words = BAD[name]
    as_operator(postgres, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", dbname=scratch)
    as_operator(postgres, "DROP SCHEMA IF EXISTS sales CASCADE", dbname=scratch)

    with (
        psycopg.connect(postgres.url, dbname=scratch, autocommit=True) as connection,
        pytest.raises(PopulationError, match=f"(?s){words}"),
    ):
        seed(population("3", **parts), PostgresTarget(connection), lambda line: None)


@pytest.mark.parametrize(
    "name", ["a syntax error", "a row twice", "a script that ends the session"]
)
async def test_a_bad_population_leaves_nothing(postgres: PostgresServer, name: str) -> None:
    parts, words = BAD[name]
    before, templates = leftovers(postgres), as_operator(postgres, TEMPLATES)
    made = provisioner(postgres, access=ALL, content=population("3", **parts))

    with pytest.raises(PopulationError, match=f"(?s){words}"):
        await made.open()

    await made.aclose()
    assert before == leftovers(postgres)
    assert templates == as_operator(postgres, TEMPLATES)


async def test_two_groups_that_start_at_once_fill_one_template(postgres: PostgresServer) -> None:
    begun: list[int] = []
    users = fixture("users", [{"id": 1, "tenant": "a"}], watch=lambda: begun.append(1))
    content = population("4", fixtures=(users,))
    groups = [provisioner(postgres, access=ALL, content=content) for _ in range(2)]

    await asyncio.gather(*(group.open() for group in groups))

    assert len(begun) == 1
    for group in groups:
        await group.aclose()


async def test_groups_that_maintain_from_other_databases_do_not_meet(
    postgres: PostgresServer,
) -> None:
    content = population("6", fixtures=(fixture("users", [{"id": 1, "tenant": "a"}]),))
    other = postgres.url.replace("/postgres", "/template1")
    groups = [provisioner(url, access=ALL, content=content) for url in (postgres, other)]

    await asyncio.gather(*(group.open() for group in groups))

    assert as_operator(postgres, f"{TEMPLATES} AND datname ~ '_new_'") == []
    for group in groups:
        await group.aclose()


CRASH = """
import asyncio, os, signal, sys
from tests.sandbox_sdk.databases.postgres.shop import fixture, population, provisioner

def die():
    os.kill(os.getpid(), signal.SIGKILL)

content = population("7", fixtures=(fixture("users", [{"id": 1, "tenant": "a"}], watch=die),))
asyncio.run(provisioner(sys.argv[1], access="read", content=content).open())
"""


async def test_a_builder_that_died_is_in_nobodys_way(postgres: PostgresServer) -> None:
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CRASH, postgres.url], check=False, cwd=ROOT
    )
    assert died.returncode == -9
    assert len(as_operator(postgres, f"{TEMPLATES} AND datname ~ '_new_'")) == 1

    content = population("7", fixtures=(fixture("users", [{"id": 1, "tenant": "a"}]),))
    made, sandbox_id = provisioner(postgres, access=ALL, content=content), new_sandbox_id()
    await made.open()
    copy = await made.create(sandbox_id, ALL)

    assert run(copy, "SELECT id FROM users") == [(1,)]
    assert as_operator(postgres, f"{TEMPLATES} AND datname ~ '_new_'") == []
    await made.drop(sandbox_id)
    await made.aclose()


async def test_who_stops_waiting_ends_the_work(postgres: PostgresServer) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin() -> None:
        loop.call_soon_threadsafe(begun.set)

    content = population(
        "8",
        fixtures=(
            fixture("users", [{"id": 1, "tenant": "a"}], watch=begin),
            script("SELECT pg_sleep(600)"),
        ),
    )
    made = provisioner(postgres, access=ALL, content=content)
    opening = asyncio.create_task(made.open())
    await begun.wait()
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert as_operator(postgres, f"{TEMPLATES} AND datname ~ '_new_'") == []
    await made.aclose()


async def test_what_was_done_before_is_found_again(postgres: PostgresServer) -> None:
    begun: list[int] = []
    content = population(
        "9", fixtures=(fixture("users", [{"id": 1, "tenant": "a"}], watch=lambda: begun.append(1)),)
    )
    for _ in range(2):
        made = provisioner(postgres, access=ALL, content=content)
        await made.open()
        await made.aclose()

    assert len(begun) == 1


async def test_without_a_population_a_copy_is_empty_and_hardened(postgres: PostgresServer) -> None:
    access = Access(default="owner")
    made, sandbox_id = provisioner(postgres, access=access), new_sandbox_id()
    await made.open()
    copy = await made.create(sandbox_id, access)

    run(copy, "CREATE TABLE mine (a int)", "INSERT INTO mine VALUES (1)")
    name = copy_name(sandbox_id, "shop")
    query = "SELECT has_function_privilege('public', 'lo_create(oid)', 'EXECUTE')"
    assert as_operator(postgres, query, dbname=name) == [(False,)]
    await made.drop(sandbox_id)
    await made.aclose()
