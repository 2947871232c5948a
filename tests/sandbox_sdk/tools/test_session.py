"""The custom tools of one sandbox, where a step is cancelled, late, or met by another one."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk import Sandbox, SandboxGroup
from sandbox_sdk.actions import make_action
from sandbox_sdk.tools import packages
from sandbox_sdk.tools.models import Environment, Version
from sandbox_sdk.tools.packages import Packages
from sandbox_sdk.tools.session import ToolSession
from sandbox_sdk.tools.shelf import Shelf
from sandbox_sdk.tools.storage import Storage
from tests.fakes import FakeTools, eventually

from .versions import version

FIRST = '''
import os
def f() -> int:
    """Says which process this is."""
    return os.getpid()
'''
SECOND = 'def f() -> int:\n    """Answers."""\n    return 42\n'


def runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.fixture
async def sandbox(state_dir: Path) -> AsyncIterator[Sandbox]:
    async with (
        SandboxGroup(engine="in_process", state_dir=state_dir) as group,
        await group.create_sandbox() as started,
    ):
        yield started


async def test_what_is_written_down_is_shown_though_its_caller_is_gone(
    sandbox: Sandbox, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on, save = threading.Event(), threading.Event(), Storage.save

    def slowly(*given: object) -> None:
        writing.set()
        go_on.wait(10)
        save(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Storage, "save", slowly)
    registering = asyncio.create_task(sandbox.add_tools(SECOND, namespace="text"))
    await asyncio.to_thread(writing.wait, 10)
    registering.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await registering

    kept = Storage(state_dir / "tools").load(sandbox.id)
    assert [each.source.namespace for each in kept] == ["text"]
    assert await sandbox.tools.text.f() == 42


async def test_processes_of_an_earlier_version_go_with_it(sandbox: Sandbox) -> None:
    await sandbox.add_tools(FIRST, namespace="text")
    process = await sandbox.tools.text.f()
    assert runs(process)

    await sandbox.add_tools(SECOND, namespace="text")

    await eventually(lambda: not runs(process))


async def test_a_call_that_found_a_version_runs_it_though_another_took_its_place(
    sandbox: Sandbox,
) -> None:
    await sandbox.add_tools(SECOND, namespace="text")
    late = sandbox._planner.job(make_action("text.f", {}), None, None)
    await sandbox.add_tools(FIRST, namespace="text")

    async with sandbox.connected() as connection:
        observation = await late.execute(connection)

    assert observation.error is None
    assert observation.data is not None
    assert observation.data["result"] == 42


async def test_of_what_an_earlier_server_took_nothing_hides_a_built_in_tool(
    tmp_path: Path, tools: FakeTools
) -> None:
    storage = Storage(tmp_path)
    kept: list[Version] = [version("test.echo"), version("text.f")]
    storage.save("sbx-1", kept)

    def none() -> Any:
        return None

    nowhere = Packages(none, none)
    session = ToolSession(
        "sbx-1", Shelf("sandbox"), storage, tools.registry(), nowhere, nowhere, none
    )
    await session.restore()

    assert [each.namespace for each in session.shelf.own] == ["text"]


async def test_packages_of_a_build_that_is_inside_are_asked_for_again_after_a_while(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Environments:
        async def renew(self, environment: Environment) -> bool:
            asked.append(environment.key)
            return True

    session: Any = sandbox._life.tools
    session._packages = Packages(Environments, lambda: None)  # type: ignore[arg-type]
    found = version("text.f", text=SECOND, environment=Environment(key="k", path="/nowhere"))
    async with sandbox.connected() as connection:
        await session.ensure(connection, found)
        await session.ensure(connection, found)
        assert asked == ["k"]

        monkeypatch.setattr(packages, "RENEW_S", 0.0)
        await session.ensure(connection, found)
    assert asked == ["k", "k"]


async def test_packages_of_a_groups_file_are_had_again_under_the_groups_policy(
    sandbox: Sandbox,
) -> None:
    asked: list[str] = []

    def under(policy: str) -> Packages:
        class Environments:
            async def renew(self, environment: Environment) -> bool:
                asked.append(policy)
                return True

        return Packages(Environments, lambda: None)  # type: ignore[arg-type]

    session: Any = sandbox._life.tools
    session._packages, session._group_packages = under("sandbox"), under("group")
    ours = version("ours.f", text=SECOND, environment=Environment(key="k", path="/nowhere"))
    mine = version("mine.f", text=SECOND, environment=Environment(key="k", path="/nowhere"))
    session.shelf._below.put(ours)
    session.shelf.put(mine)

    async with sandbox.connected() as connection:
        await session.ensure(connection, ours)
        await session.ensure(connection, mine)

    assert asked == ["group", "sandbox"]
