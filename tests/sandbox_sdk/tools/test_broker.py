"""The files of a group while they change on disk."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_sdk import Sandbox, SandboxGroup
from sandbox_sdk.tools import broker
from sandbox_sdk.tools.registrar import Registrar

SOURCE = 'def f() -> int:\n    """Answers."""\n    return {}\n'


class Changes:
    """Waits for what is to be seen after the group's tools have changed."""

    def __init__(self, group: SandboxGroup) -> None:
        self._changed = asyncio.Event()
        group.on_tools_changed(self._changed.set)

    async def until(self, seen: Callable[[], bool]) -> None:
        while not seen():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 20)


def listed(sandbox: Sandbox) -> list[tuple[str, str]]:
    return [(each.namespace, each.status) for each in sandbox.list_tools().files]


async def test_a_name_that_is_free_again_is_the_next_files(state_dir: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        (folder / "text.py").write_text(SOURCE.format(number))
    group = SandboxGroup(engine="in_process", state_dir=state_dir, tools=[first, second])
    changes = Changes(group)
    async with group, await group.create_sandbox() as sandbox:
        assert await sandbox.tools.text.f() == 0

        await asyncio.to_thread((first / "text.py").unlink)
        origin = str(second / "text.py")
        await changes.until(lambda: [e.origin for e in group.custom_files()] == [origin])

        assert await sandbox.tools.text.f() == 1


async def test_a_name_that_is_no_text_is_told_and_nothing_else(
    state_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"\xff.py")).write_text(SOURCE.format(1))
    (tmp_path / "text.py").write_text(SOURCE.format(1))
    group = SandboxGroup(engine="in_process", state_dir=state_dir, tools=[tmp_path])
    async with group, await group.create_sandbox() as sandbox:
        files = (await sandbox.execute("tool.list")).model_dump_json()

        assert listed(sandbox) == [("?", "failed"), ("text", "ready")]
        assert "bad namespace" in files


async def test_an_error_nobody_expected_does_not_end_watching(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "text.py"
    file.write_text(SOURCE.format(1))
    group = SandboxGroup(engine="in_process", state_dir=state_dir, tools=[file])
    changes = Changes(group)
    admit, failed = Registrar.admit, list[object]()

    async def failing_once(self: Registrar, *given: object) -> object:
        if not failed:
            failed.append(given)
            raise RuntimeError("nobody expected it")
        return await admit(self, *given)  # pyright: ignore[reportArgumentType]

    async with group, await group.create_sandbox() as sandbox:
        before = sandbox.list_tools().files[0].version
        monkeypatch.setattr(broker, "RETRY_S", 0)
        monkeypatch.setattr(Registrar, "admit", failing_once)
        await asyncio.to_thread(file.write_text, SOURCE.format(2))
        await changes.until(lambda: sandbox.list_tools().files[0].version != before)

        assert failed
        assert await sandbox.tools.text.f() == 2
