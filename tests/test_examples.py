"""The example files, as they say it: the shop and what may be done there, a policy, a search."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from sandbox_sdk import Sandbox, SandboxGroup, ToolCallError
from sandbox_sdk.egress.judge import Judge
from sandbox_sdk.egress.loading import parse_policy
from sandbox_sdk.search.configuration import configure_search
from tests.documents import ROOT
from tests.services.postgres import PostgresServer

SHOP = ROOT / "examples" / "databases" / "shop"
WEB = ROOT / "examples" / "web"
LYON = [[1, "Ada Moreau"], [4, "Denis Petit"], [6, "Farid Haddad"]]


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the shop will be made; the access files ask for it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS example_shop WITH (FORCE)")
    monkeypatch.setenv("SHOP_URL", postgres.url_of("example_shop"))
    return postgres.url_of("example_shop")


@asynccontextmanager
async def member(name: str, state_dir: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with the access of that file."""
    group = SandboxGroup(
        name=name,
        engine="in_process",
        state_dir=state_dir,
        database_access=SHOP / f"{name}.yaml",
        initial_database_population_config=SHOP / "population.yaml",
    )
    async with group, await group.create_sandbox() as sandbox:
        yield sandbox


@pytest.mark.usefixtures("url")
async def test_the_reader_sees_some_columns_of_some_rows(state_dir: Path) -> None:
    async with member("reader", state_dir) as reader:
        found = await reader.database.query("shop", "SELECT id, name FROM customers ORDER BY id")
        assert found.rows == LYON
        with pytest.raises(ToolCallError, match="permission denied for table customers"):
            await reader.database.query("shop", "SELECT email FROM customers")


@pytest.mark.usefixtures("url")
async def test_the_reader_sees_what_the_writer_has_committed(state_dir: Path) -> None:
    async with member("reader", state_dir) as reader, member("writer", state_dir) as writer:
        sell = {"query": "UPDATE products SET stock = stock - 1 WHERE id = $1", "params": [1]}
        await writer.database.execute("shop", [sell])
        stock = await reader.database.query("shop", "SELECT stock FROM products WHERE id = 1")
        assert stock.rows == [[11]]
        with pytest.raises(ToolCallError, match="permission denied for table products"):
            await writer.database.execute("shop", [{"query": "UPDATE products SET price = 0"}])


def _uncommented(file: Path, folder: Path) -> Path:
    """A copy whose optional parts, which are comments, are there: `# name:` and what is below."""
    lines = file.read_text("utf-8").splitlines()
    copy = folder / file.name
    shown = [
        line[2:] if line.startswith(("# inject:", "# ca_file:", "#   ", "#     ")) else line
        for line in lines
        if "--" not in line and "SandboxGroup" not in line
    ]
    copy.write_text("\n".join(shown), "utf-8")
    return copy


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("index.example", 443, True),
        ("files.files.example", 443, True),
        ("files.example", 443, False),
        ("evilindex.example", 443, False),
        ("raw.githubusercontent.com", 443, True),
        ("gist.githubusercontent.com", 443, False),
        ("packages.internal", 8443, True),
        ("packages.internal", 443, False),
        ("git.example.com", 22, True),
        ("10.20.0.1", 443, False),
    ],
)
def test_the_policy_allows_what_its_comments_say(host: str, port: int, allowed: bool) -> None:
    policy = parse_policy(WEB / "policy.yaml", {})
    assert Judge(policy).judge(host, port).allowed == allowed


def test_what_the_policy_only_mentions_is_right_too(tmp_path: Path) -> None:
    policy = parse_policy(_uncommented(WEB / "policy.yaml", tmp_path), {"API_TOKEN": "t0k3n"})
    assert policy is not None
    (injected,) = policy.inject
    assert injected.headers["Authorization"].get_secret_value() == "Bearer t0k3n"
    assert policy.ca_file == tmp_path / "company-ca.pem"


def test_the_search_file_names_a_provider() -> None:
    provider = configure_search(WEB / "search.yaml", {})
    assert provider is not None
    assert provider.name == "searxng"
