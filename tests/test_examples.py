"""The example files, as they say it: the shop and its rules, a policy, a search, custom tools."""

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path

import psycopg
import pytest

from sandbox_sdk import Sandbox, SandboxGroup, ToolCallError
from sandbox_sdk.egress.judge import Judge
from sandbox_sdk.egress.loading import parse_policy
from sandbox_sdk.search.configuration import configure_search
from tests.documents import ROOT
from tests.services.postgres import PostgresServer
from tests.services.web import Answer, Web

SHOP = ROOT / "examples" / "databases" / "shop"
WEB = ROOT / "examples" / "web"
TOOLS = ROOT / "examples" / "tools"
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


def _wheel(name: str) -> bytes:
    """A package that is installed here, as the wheel it came from."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in distribution(name).files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                archive.write(str(file.locate()), str(file))
    return content.getvalue()


def _offer(web: Web, *packages: str) -> str:
    """The URL of an index that has them."""
    for name in packages:
        file = f"{name}-{distribution(name).version}-py3-none-any.whl"
        wheel = _wheel(name)
        web.text(f"/simple/{name.replace('_', '-')}/", f'<a href="/files/{file}">{file}</a>')
        web.route(f"/files/{file}", lambda _, wheel=wheel: Answer(wheel))
    return web.url("/simple", tls=True)


@pytest.fixture
async def equipped(web: Web, state_dir: Path) -> AsyncIterator[Sandbox]:
    """A sandbox that has the custom tools of the examples."""
    group = SandboxGroup(
        engine="in_process",
        state_dir=state_dir,
        tools=[TOOLS],
        egress_policy=web.policy(),
        package_index=_offer(web, "openpyxl", "et_xmlfile"),
    )
    async with group, await group.create_sandbox() as sandbox:
        yield sandbox


async def test_custom_tools_of_the_examples_measure_calculate_and_look(
    equipped: Sandbox, web: Web
) -> None:
    files = equipped.list_tools().files
    assert {each.namespace: each.error for each in files} == {
        "links": "",
        "spreadsheets": "",
        "text_statistics": "",
    }
    tools = equipped.tools

    counted = await tools.text_statistics.measure("All is well. Is it? It's well-known!")
    assert counted == {
        "characters": 36,
        "words": 7,
        "sentences": 3,
        "words_per_sentence": 2.3,
        "reading_minutes": 0.0,
    }
    repeated = await tools.text_statistics.frequent_words("Tea, tea, TEA and milk.", min_letters=3)
    assert list(repeated.items()) == [("tea", 3), ("and", 1), ("milk", 1)]

    rows = [["city", "sales"], ["Lyon", 3], ["Paris", 4.5], ["Lyon", 1], ["Nice", "none"]]
    assert await tools.spreadsheets.write("out/sales.xlsx", {"May": rows}) == {"May": 5}
    shown = await equipped.document.read("out/sales.xlsx")
    assert "| Paris | 4.5 |" in shown.content
    sums = await tools.spreadsheets.totals("out/sales.xlsx", "May", by="city", column="sales")
    assert sums == {"Lyon": 4.0, "Paris": 4.5}
    with pytest.raises(ToolCallError, match="no sheet 'June'"):
        await tools.spreadsheets.totals("out/sales.xlsx", "June", by="city", column="sales")

    web.text("/here", "<p>Here</p>")
    urls = (web.url("/here"), web.url("/gone", tls=True), web.url("/", host="evil.test"))
    await equipped.filesystem.write("notes.md", "[a]({}), <{}>, {}.".format(*urls))
    links = await tools.links.check("notes.md")
    assert [(each["url"], each["status"]) for each in links] == [
        (urls[0], "good"),
        (urls[1], "broken"),
        (urls[2], "not allowed"),
    ]
