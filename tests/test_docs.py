"""Every code block of the documents is run; a block that no rule knows fails."""

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mcp import Client, StdioServerParameters

from sandbox_sdk import SandboxGroup, ToolCallError
from sandbox_sdk.databases.configuration import configure
from sandbox_sdk.documents import parse_document
from sandbox_sdk.egress.loading import parse_policy
from sandbox_sdk.search.configuration import configure_search
from tests.documents import ROOT, Block, blocks, documents, links
from tool_plugins.browser.definition import TOOLS as BROWSER
from tool_plugins.database.definition import TOOLS as DATABASE
from tool_plugins.registry import load_registry
from tool_plugins.tool.definition import REGISTRATION
from tool_plugins.tool.definition import TOOLS as CUSTOM
from tool_plugins.web.definition import TOOLS as WEB

BIN = Path(sys.executable).parent
# A "diagram" is drawn, not run. What is inside of `install` is run by test_packaging.py, a "yaml"
# by the tests of what reads such a file, the package in extending.md by test_plugins.py.
LANGUAGES = {"python", "sh", "json", "toml", "yaml", "diagram"}
TIMEOUT_S = 100
VARIABLES = {"SHOP_URL": "postgresql://admin@db.example/shop", "API_TOKEN": "secret"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What a reader's shell would have, with state of its own. Short, for the sake of sockets."""
    with TemporaryDirectory(prefix="docs-") as state:
        passed_on = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        yield passed_on | {"PATH": path, "SANDBOX_STATE_DIR": state}


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """Runs a program to its end, without a terminal, and returns what it printed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
        capture_output=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_block_says_how_it_is_run() -> None:
    unknown = [str(block) for block in blocks() if block.language not in LANGUAGES]
    assert unknown == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path: Path) -> None:
    assert [target for target in links(path) if not (path.parent / target).exists()] == []


@pytest.mark.docker
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_block_runs_and_prints_what_it_says(
    block: Block, environment: dict[str, str], tmp_path: Path
) -> None:
    printed = run([sys.executable, "-W", "error", "-c", block.text], environment, tmp_path)
    if block.output is not None:
        assert_matches(block.output, printed)


def assert_matches(expected: str, printed: str) -> None:
    """Compares line by line; `...` in what is expected stands for anything, also several lines."""
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*?")
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"printed:\n{printed}"


def shell_lines() -> list[tuple[Block, str]]:
    """Every command of every shell block; `\\` at the end of a line goes on in the next."""
    return [
        (block, line.strip())
        for block in blocks("sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]


@pytest.mark.docker
@pytest.mark.parametrize(
    ("block", "line"), shell_lines(), ids=lambda value: str(value).replace("/", "_")
)
def test_shell_line_works(
    block: Block, line: str, environment: dict[str, str], tmp_path: Path
) -> None:
    for pattern, check in RULES:
        if match := re.fullmatch(pattern, line):
            check(match, environment, tmp_path)
            return
    pytest.fail(f"{block}: no rule says how to run {line!r}")


def check_make(match: re.Match[str], environment: dict[str, str], _folder: Path) -> None:
    """A target exists. It is not run: this test may run inside of it."""
    assert run(["make", "--dry-run", match[1]], environment, ROOT)


def check_command(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """A command ends well. `serve` over stdio does, when its input is closed."""
    run(shlex.split(match[1]), environment, folder)


def check_http_server(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """A server answers on its address, and a client lists its tools there."""
    with http_server(shlex.split(match[0]), environment, folder) as url:
        assert "filesystem_read" in asyncio.run(tool_names(f"{url}/mcp"))


@contextmanager
def http_server(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """A server on a free port instead of the one that is written, ended by SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when the address answers; fails when the process ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    raise AssertionError("the server does not answer")


async def tool_names(target: str | StdioServerParameters) -> set[str]:
    """The tools that a client sees there."""
    async with Client(target) as client:
        return {tool.name for tool in (await client.list_tools()).tools}


def check_databases(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """The command takes the files that the documents show, each named in its first line."""
    write_files(folder)
    (folder / "population.yaml").write_text(
        "databases: {notes: {schema: 'CREATE TABLE pages (id INTEGER);'}}\n"
    )
    assert "database_query" in list_tools(match[0], environment, folder)


def check_egress(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """The server that such a command starts has the tools of the web."""
    write_files(folder)
    assert "web_fetch" in list_tools(match[0], environment, folder)


def write_files(folder: Path) -> None:
    """The files that the documents show, each named in its first line."""
    for block in blocks("yaml"):
        if name := re.match(r"# (\S+\.yaml)\n", block.text):
            (folder / name[1]).write_text(block.text)


def list_tools(serve: str, environment: dict[str, str], folder: Path) -> str:
    """What `sandbox-mcp tools` prints for the settings of a `serve`."""
    command = serve.replace("sandbox-mcp serve", "sandbox-mcp tools")
    return run(shlex.split(command), environment | VARIABLES, folder)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_block_is_what_a_file_may_hold(block: Block) -> None:
    text = block.text
    for name, value in VARIABLES.items():
        text = text.replace(f"${{{name}}}", value)
    document = parse_document(text.encode(), Path(str(block)))
    if "engine:" in block.text:
        configure(document.data, None, {})
    if "allow:" in block.text:
        parse_policy(document.data, {})
    if "provider:" in block.text:
        configure_search(document.data, {})


FILES_OF_TOOLS = [
    block
    for block in blocks("python")
    if block.document == "docs/custom_tools.md" and re.match(r"# \w+\.py\n", block.text)
]


async def test_a_file_of_tools_is_one(state_dir: Path) -> None:
    sandbox_group = SandboxGroup(engine="in_process", state_dir=state_dir)
    async with sandbox_group as group, await group.create_sandbox() as sandbox:
        for block in FILES_OF_TOOLS:
            namespace = block.text.removeprefix("# ").partition(".py")[0]
            if "# dependencies" in block.text:
                with pytest.raises(ToolCallError, match="the sandbox has no network"):
                    await sandbox.add_tools(block.text, namespace=namespace)
            else:
                assert (await sandbox.add_tools(block.text, namespace=namespace)).warnings == []
        assert len(sandbox.custom_tools()) == len(FILES_OF_TOOLS) - 1


def check_tools(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """The command finds the tools of such a folder, and a server takes it as well."""
    (folder / match[1]).mkdir()
    (folder / match[1] / "shelves.py").write_text(
        next(block.text for block in FILES_OF_TOOLS if block.text.startswith("# shelves.py"))
    )
    assert "shelves_shelf_of" in list_tools(match[0], environment, folder)


def check_registration(match: re.Match[str], environment: dict[str, str], folder: Path) -> None:
    """The server that such a command starts lets models register tools."""
    assert "tool_register" in list_tools(match[0], environment, folder)


Check = Callable[[re.Match[str], dict[str, str], Path], None]
RULES: tuple[tuple[str, Check], ...] = (
    (r"make (\w+)(?: .*)?", check_make),
    (r"sandbox-mcp serve --transport http", check_http_server),
    (r"sandbox-mcp serve --database-access .*", check_databases),
    (r"sandbox-mcp serve --egress-.*", check_egress),
    (r"sandbox-mcp (?:serve|tools) --tools (\S+)", check_tools),
    (r"sandbox-mcp serve --tool-registration", check_registration),
    (r"sandbox-mcp image build --browser", lambda *_: None),  # takes minutes: see its own tests
    (r"claude mcp add \S+ -- (.*)", check_command),
    (r"(sandbox-mcp .*)", check_command),
    (r"python3 -m venv env|env/bin/.*", lambda *_: None),  # run by test_packaging.py
    (r"pip install \./acme-words", lambda *_: None),  # run by test_plugins.py
)


@pytest.mark.docker
@pytest.mark.parametrize(
    "block",
    [block for block in blocks("json", "toml") if not block.text.startswith("# pyproject.toml")],
    ids=str,
)
def test_client_configuration_starts_the_server(
    block: Block, environment: dict[str, str], tmp_path: Path
) -> None:
    parsed = json.loads(block.text) if block.language == "json" else tomllib.loads(block.text)
    (servers,) = parsed.values()
    (entry,) = servers.values()
    if "url" in entry:
        command = ["sandbox-mcp", "serve", "--transport", "http"]
        with http_server(command, environment, tmp_path) as url:
            address = re.sub(r"^http://127\.0\.0\.1:8765", url, entry["url"])
            names = asyncio.run(tool_names(address))
    else:
        given = environment | entry.get("env", {})
        server = StdioServerParameters(
            command=entry["command"], args=entry["args"], env=given, cwd=tmp_path
        )
        names = asyncio.run(tool_names(server))
    assert {"filesystem_read", "terminal_run", "sandbox_create"} <= names


def test_the_tool_table_of_the_readme_is_complete() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+\.\w+)` \|", readme, re.MULTILINE)
    by_settings = (*DATABASE, *WEB, *BROWSER, *CUSTOM, *REGISTRATION)
    assert sorted(tool.name for tool in (*load_registry(), *by_settings)) == sorted(listed)
