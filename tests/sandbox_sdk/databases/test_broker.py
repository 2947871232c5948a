"""Databases in the life of sandboxes and groups, on a real server."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox_sdk import (
    Access,
    ConfigurationError,
    Database,
    DatabaseAccess,
    EngineError,
    SandboxGroup,
    TableAccess,
    ToolCallError,
)
from tests.fakes import eventually

ROOT = Path(__file__).parents[3]
POPULATION = """\
databases:
  shop:
    schema: |
      CREATE TABLE users (id int PRIMARY KEY, name text);
      CREATE TABLE notes (id int PRIMARY KEY, text text);
    fixtures:
      - {table: users, rows: [{id: 1, name: Ada}, {id: 2, name: Bob}]}
"""
ADD = {"query": "INSERT INTO notes VALUES ($1, 'x')", "params": [1]}

MakeGroup = Callable[..., SandboxGroup]


def copies(postgres: Any) -> set[str]:
    """What the server keeps of sandboxes: databases and roles."""
    query = (
        "SELECT datname FROM pg_database WHERE datname LIKE 'sbx\\_%' "
        "UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'sbx\\_%'"
    )
    with psycopg.connect(postgres.socket_url) as admin:
        return {row[0] for row in admin.execute(query)}


@pytest.fixture
def make(postgres: Any, state_dir: Path) -> Iterator[MakeGroup]:
    """Groups with one database, whose sandboxes leave nothing on the server."""
    file = state_dir / "population.yaml"
    file.write_text(POPULATION)

    def group(**given: Any) -> SandboxGroup:
        shop = {"name": "shop", "engine": "postgres", "url": postgres.socket_url, "access": "write"}
        fields = {name: given.pop(name) for name in ("url", "expose") if name in given}
        settings = {
            "engine": "in_process",
            "state_dir": state_dir,
            "database_access": DatabaseAccess(databases=(Database(**(shop | fields)),)),
            "initial_database_population_config": file,
        }
        return SandboxGroup(**(settings | given))

    assert copies(postgres) == set()
    yield group
    assert copies(postgres) == set()


async def test_two_sandboxes_do_not_see_what_the_other_writes(make: MakeGroup) -> None:
    async with (
        make() as group,
        await group.create_sandbox() as one,
        await group.create_sandbox() as other,
    ):
        await one.database.execute("shop", [ADD])

        assert (await one.database.query("shop", "SELECT id FROM notes")).rows == [[1]]
        assert (await other.database.query("shop", "SELECT id FROM notes")).rows == []


async def test_a_sandbox_that_uses_no_database_costs_none(make: MakeGroup, postgres: Any) -> None:
    async with make() as group, await group.create_sandbox() as sandbox:
        await sandbox.terminal.run("true")
        await sandbox.database.list()

        assert copies(postgres) == set()


async def test_the_end_of_a_sandbox_drops_what_it_had(make: MakeGroup, postgres: Any) -> None:
    async with make() as group:
        async with await group.create_sandbox() as sandbox:
            await sandbox.database.query("shop", "SELECT 1")
            assert len(copies(postgres)) == 1

        await eventually(lambda: copies(postgres) == set(), timeout_s=10)


async def test_a_reset_brings_the_first_state_back(make: MakeGroup) -> None:
    async with make() as group, await group.create_sandbox() as sandbox:
        await sandbox.database.execute("shop", [ADD])
        await sandbox.reset_database("shop")

        assert (await sandbox.database.query("shop", "SELECT id FROM notes")).rows == []
        with pytest.raises(ToolCallError, match="'stop'"):
            await sandbox.reset_database("stop")


async def test_one_sandbox_may_do_less_than_another(make: MakeGroup) -> None:
    users = Access(tables={"users": TableAccess(select=("name",), rows="id = 1")})
    async with (
        make() as group,
        await group.create_sandbox() as writer,
        await group.create_sandbox(database_access={"shop": users}) as reader,
        await group.create_sandbox(database_access={"shop": "none"}) as nobody,
    ):
        await writer.database.execute("shop", [ADD])
        assert (await reader.database.query("shop", "SELECT name FROM users")).rows == [["Ada"]]
        with pytest.raises(ToolCallError, match="permission denied for table notes"):
            await reader.database.query("shop", "SELECT text FROM notes")
        assert (await nobody.database.list()).databases == []
        with pytest.raises(ToolCallError, match="no database 'shop'"):
            await nobody.database.query("shop", "SELECT 1")


async def test_an_unknown_database_of_one_sandbox_is_refused_before_it_is_made(
    make: MakeGroup,
) -> None:
    async with make() as group:
        with pytest.raises(ConfigurationError, match="no database 'stop'"):
            await group.create_sandbox(database_access={"stop": "read"})

        assert await group.list_sandboxes() == []


@pytest.mark.docker
async def test_a_durable_sandbox_keeps_its_data_and_its_rights(
    make: MakeGroup, docker_state_dir: Path
) -> None:
    async def use(group: SandboxGroup, sandbox_id: str) -> None:
        sandbox = await group.get_sandbox(sandbox_id)
        assert (await sandbox.database.query("shop", "SELECT id FROM users")).rows == [[2]]
        with pytest.raises(ToolCallError, match="permission denied"):
            await sandbox.database.query("shop", "SELECT name FROM users")

    rule = Access(tables={"users": TableAccess(select=("id",), rows="id = 2")})
    first = make(engine="docker", ephemeral=False)
    async with first:
        sandbox = await first.create_sandbox(database_access={"shop": rule})
        await sandbox.start()
        await use(first, sandbox.id)
    async with make(engine="docker", ephemeral=False) as second:
        await use(second, sandbox.id)
        await second.end_sandbox(sandbox.id)


DIES = """
import asyncio, os, sys
from sandbox_sdk import SandboxGroup
async def main():
    group = SandboxGroup(engine="in_process", state_dir=sys.argv[1],
        initial_database_population_config=sys.argv[1] + "/population.yaml", database_access={
        "databases": [{"name": "shop", "engine": "postgres", "url": sys.argv[2]}]})
    await group.start_sandbox_group()
    sandbox = await group.create_sandbox()
    await sandbox.start()
    await sandbox.database.query("shop", "SELECT 1")
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def die(folder: Path, postgres: Any) -> None:
    """A server that is killed while its sandbox has a copy."""
    command = [sys.executable, "-W", "ignore", "-c", DIES, str(folder), postgres.socket_url]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9


async def test_what_a_killed_server_left_is_dropped_by_the_next(
    make: MakeGroup, postgres: Any, state_dir: Path
) -> None:
    await asyncio.to_thread(die, state_dir, postgres)
    assert len(copies(postgres)) == 1

    async with make():
        assert copies(postgres) == set()


async def test_copies_of_another_installation_are_left_alone(
    make: MakeGroup, postgres: Any, state_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "population.yaml").write_text(POPULATION)
    await asyncio.to_thread(die, tmp_path, postgres)
    async with make() as group:
        await group.sweep()
        assert len(copies(postgres)) == 1

    async with make(state_dir=tmp_path):
        assert copies(postgres) == set()


async def test_a_copy_that_a_group_without_databases_could_not_reach_is_dropped_later(
    make: MakeGroup, postgres: Any, state_dir: Path
) -> None:
    await asyncio.to_thread(die, state_dir, postgres)
    async with SandboxGroup(engine="in_process", state_dir=state_dir):
        assert len(copies(postgres)) == 1

    async with make():
        assert copies(postgres) == set()


async def test_a_group_does_not_start_without_its_server(make: MakeGroup) -> None:
    group = make(url="postgresql://admin:geheim@127.0.0.1:1/postgres")
    with pytest.raises(EngineError) as refused:
        await group.start_sandbox_group()

    assert "127.0.0.1" in str(refused.value)
    assert "geheim" not in str(refused.value)


async def test_a_bad_population_stops_the_group_with_file_and_line(
    make: MakeGroup, state_dir: Path, postgres: Any
) -> None:
    file = state_dir / "population.yaml"
    file.write_text(POPULATION.replace("name: Ada}", "nmae: Ada}"))
    with pytest.raises(ConfigurationError, match=r"population\.yaml:7: .*nmae"):
        await make().start_sandbox_group()


async def test_calls_that_come_together_make_one_copy(make: MakeGroup, postgres: Any) -> None:
    async with make() as group, await group.create_sandbox() as sandbox:
        calls = [sandbox.database.query("shop", "SELECT count(*) FROM users") for _ in range(20)]
        answers = await asyncio.gather(*calls)

        assert [answer.rows for answer in answers] == [[[2]]] * 20
        assert len(copies(postgres)) == 1


PROGRAM = """\
import os, psycopg
with psycopg.connect(os.environ["SHOP_DATABASE_URL"]) as connection:
    print(connection.execute("SELECT id, text FROM notes").fetchall())
    try:
        connection.execute("DROP TABLE users")
    except psycopg.Error as error:
        print(type(error).__name__)
"""


@pytest.mark.docker
async def test_a_program_in_the_sandbox_sees_the_same_data_with_the_same_rights(
    make: MakeGroup, docker_state_dir: Path
) -> None:
    group = make(engine="docker", expose=True)
    async with group, await group.create_sandbox() as sandbox:
        await sandbox.filesystem.write("look.py", PROGRAM)
        await sandbox.database.execute("shop", [ADD])
        ran = await sandbox.terminal.run("python3 look.py; env | grep -c DATABASE_URL")

    assert ran.stdout.split("\n")[:3] == ["[(1, 'x')]", "InsufficientPrivilege", "2"]


@pytest.mark.docker
async def test_a_program_reaches_nothing_unless_it_was_asked_for(
    make: MakeGroup, docker_state_dir: Path
) -> None:
    group = make(engine="docker")
    async with group, await group.create_sandbox() as sandbox:
        await sandbox.database.query("shop", "SELECT 1")
        ran = await sandbox.terminal.run("env | grep DATABASE; find /run/sandbox -name '.s.PG*'")

    assert ran.stdout == ""


async def test_what_cannot_be_exposed_is_refused(make: MakeGroup) -> None:
    docs = {"name": "docs", "engine": "qdrant", "expose": True}
    with pytest.raises(ConfigurationError, match="cannot be given qdrant"):
        make(database_access={"databases": [docs]})


FILE_PROGRAM = """\
import os, sqlite3
url = os.environ["NOTES_DATABASE_URL"]
with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
    connection.execute("INSERT INTO pages VALUES (2, 'second')")
    print(connection.execute("SELECT * FROM pages").fetchall())
"""


async def test_an_sqlite_database_becomes_a_file_of_the_sandbox(
    engine_name: str, state_dir: Path
) -> None:
    file = state_dir / "population.yaml"
    file.write_text(
        'databases: {notes: {schema: "CREATE TABLE pages (id INTEGER, text TEXT);", '
        "fixtures: [{table: pages, rows: [{id: 1, text: first}]}]}}"
    )
    notes = Database(name="notes", engine="sqlite", access=Access(default="owner"), expose=True)
    group = SandboxGroup(
        engine=engine_name,
        state_dir=state_dir,
        database_access=DatabaseAccess(databases=(notes,)),
        initial_database_population_config=file,
    )
    async with group, await group.create_sandbox() as sandbox:
        await sandbox.filesystem.write("look.py", FILE_PROGRAM)
        ran = await sandbox.terminal.run("python3 look.py")
        (shown,) = (await sandbox.database.list()).databases
        with pytest.raises(ToolCallError, match="a file of the sandbox") as refused:
            await sandbox.database.query("notes", "SELECT 1")
        command = refused.value.hint.replace("SELECT ...", "SELECT count(*) FROM pages")
        counted = await sandbox.terminal.run(command)

    assert ran.stdout == "[(1, 'first'), (2, 'second')]\n"
    assert shown.variable == "NOTES_DATABASE_URL"
    assert shown.file is not None
    assert shown.file.endswith("/.databases/notes.db")
    if engine_name == "docker":  # the Python of this machine may be older than the command
        assert counted.stdout == "(2,)\n"


def test_programs_are_not_given_a_file_with_less_than_every_right(make: MakeGroup) -> None:
    notes = {"name": "notes", "engine": "sqlite", "access": "write", "expose": True}
    with pytest.raises(ConfigurationError, match="a file knows no permissions"):
        make(database_access={"databases": [notes]}, initial_database_population_config=None)


@pytest.mark.docker
async def test_programs_of_an_adopted_sandbox_reach_their_database_again(
    make: MakeGroup, docker_state_dir: Path
) -> None:
    look = (
        "python3 -c \"import os, psycopg; psycopg.connect(os.environ['DATABASE_URL'])\" && echo in"
    )
    async with make(engine="docker", ephemeral=False, expose=True) as first:
        sandbox = await first.create_sandbox()
        await sandbox.start()
        assert (await sandbox.terminal.run(look)).stdout == "in\n"
    async with make(engine="docker", ephemeral=False, expose=True) as second:
        sandbox = await second.get_sandbox(sandbox.id)
        assert (await sandbox.terminal.run(look)).stdout == "in\n"
        await second.end_sandbox(sandbox.id)
