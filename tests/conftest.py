"""Fixtures every floor shares, and the check that a docker test leaves nothing behind."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from container_runtime.engine import Engine, load_engine
from container_runtime.engines.in_process import InProcessEngine
from sandbox_sdk import EngineError, SandboxGroup
from tests.fakes import FakeClock, FakeTools, WrappedEngine
from tests.services.postgres import PostgresServer, find_binaries
from tests.services.web import Web

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tests" / "tool_plugins"
NEO4J = ROOT / "tests" / "sandbox_sdk" / "databases" / "neo4j"
NEO4J_TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs what needs Neo4j late, because `make test` builds its image while others run, but not
    last: other processes need something to do meanwhile."""
    items.sort(key=lambda item: (TOOLS in item.path.parents, NEO4J in item.path.parents))
    for item in items:
        if NEO4J in item.path.parents:
            item.add_marker(pytest.mark.timeout(NEO4J_TIMEOUT_S))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A short name for bytes: what is compressed holds the time, and differs in each process."""
    return argname if isinstance(val, bytes) and len(val) > 20 else None


class ByFile(LoadScopeScheduling):
    """One process runs a file from its first test to its last, and one all of Neo4j, which starts
    slowly and under names of its own."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return str(NEO4J) if NEO4J in (ROOT / file).parents else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """See `ByFile`."""
    return ByFile(config, log)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A short folder, because unix sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    yield folder
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    left = [mount for mount in mounts if mount.startswith(f"{folder}/")]
    assert left == [], "a test left mounts behind"
    shutil.rmtree(folder)


@asynccontextmanager
async def _docker(state_dir: Path) -> AsyncIterator[Engine]:
    engine = load_engine("docker", state_dir=state_dir)
    try:
        await engine.connect()
    except EngineError as exc:
        await engine.aclose()
        pytest.skip(f"no Docker Engine: {exc}")
    try:
        yield engine
    finally:
        await engine.aclose()


@pytest.fixture
async def docker_state_dir(state_dir: Path) -> AsyncIterator[Path]:
    """The state folder of a test that uses Docker: skips without one, and checks for leaks."""
    async with _docker(state_dir) as engine:
        before = {each.name for each in await engine.list({})}
    yield state_dir
    async with _docker(state_dir) as engine:
        left = [each.name for each in await engine.list({}) if each.name not in before]
    assert [name for name in left if name.startswith("sbx-")] == []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run. Tests name their databases so that none meet."""
    if find_binaries() is None:
        pytest.skip("no PostgreSQL server: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = PostgresServer(folder).create().start()
    try:
        yield server
    finally:
        server.stop(mode="immediate")
        shutil.rmtree(folder)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Servers on loopback under names of their own, and a policy that lets sandboxes reach two."""
    with Web(tmp_path) as started:
        yield started


@pytest.fixture(params=["in_process", pytest.param("docker", marks=pytest.mark.docker)])
def engine_name(request: pytest.FixtureRequest) -> str:
    """Every engine a behaviour must hold on."""
    if request.param == "docker":
        request.getfixturevalue("docker_state_dir")
    return request.param


@pytest.fixture
async def group(engine_name: str, state_dir: Path) -> AsyncIterator[SandboxGroup]:
    """A started group with the built-in tools."""
    async with SandboxGroup(engine=engine_name, state_dir=state_dir) as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes when told."""
    return FakeClock()


@pytest.fixture
def tools() -> FakeTools:
    """Tools whose every step the test controls."""
    return FakeTools()


@pytest.fixture
def engine(state_dir: Path, tools: FakeTools) -> WrappedEngine:
    """The in-process engine with the fake tools, whose every step can be held or failed."""
    return WrappedEngine(InProcessEngine(state_dir=state_dir, executors=tools.executors()))
