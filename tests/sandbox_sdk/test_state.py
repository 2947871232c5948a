"""The tables: what is unique, what is compared before it is set, who may read the file."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from container_runtime.spec import ComputeResources
from sandbox_sdk import ConfigurationError, GoneCause, SandboxState, SandboxStateError
from sandbox_sdk.records import SandboxRecord
from sandbox_sdk.state import FIRST_AGENT_UID, State

RECORD = SandboxRecord(
    id="sbx-1",
    name="work",
    owner="user:anna",
    namespace="srv-1",
    server_id="srv-1",
    resources=ComputeResources(cpus=2),
    created_at=5.0,
    lease_expires_at=9.0,
)


async def test_a_row_comes_back_as_it_was_written(state: State) -> None:
    written = await state.add_sandbox(RECORD)

    assert written == await state.get_sandbox("sbx-1")
    assert replace(RECORD, agent_uid=FIRST_AGENT_UID) == written


async def test_a_state_changes_only_from_the_state_that_was_believed(state: State) -> None:
    await state.add_sandbox(RECORD)

    first = await state.end("sbx-1", cause=GoneCause.IDLE, failed=False, at=6.0)
    second = await state.end("sbx-1", cause=GoneCause.OOM, failed=False, at=7.0)
    start = await state.change("sbx-1", when=(SandboxState.CREATING,), to=SandboxState.READY)

    assert (first, second, start) == (True, False, False)
    row = await state.get_sandbox("sbx-1")
    assert row is not None
    assert (row.state, row.end_cause, row.ended_at) == (SandboxState.ENDED, GoneCause.IDLE, 6.0)


async def test_a_user_id_is_free_again_only_when_its_container_is_removed(state: State) -> None:
    names = ["a", "b", "c"]
    rows = [await state.add_sandbox(replace(RECORD, id=name, name=name)) for name in names]
    assert [FIRST_AGENT_UID + number for number in range(3)] == [row.agent_uid for row in rows]

    await state.end("b", cause=GoneCause.KILLED, failed=False, at=6.0)
    ended = await state.add_sandbox(replace(RECORD, id="d", name="d"))
    await state.mark_removed("b", at=7.0)
    removed = await state.add_sandbox(replace(RECORD, id="e", name="e"))

    assert ended.agent_uid == FIRST_AGENT_UID + 3
    assert removed.agent_uid == FIRST_AGENT_UID + 1


async def test_user_ids_are_unique_across_servers_that_write_at_once(state_dir: Path) -> None:
    url = f"sqlite:///{state_dir / 'state.db'}"
    states = await asyncio.gather(*(State.open(url) for _ in range(4)))
    rows = await asyncio.gather(
        *(
            state.add_sandbox(replace(RECORD, id=f"{server}-{row}", name=f"{server}-{row}"))
            for server, state in enumerate(states)
            for row in range(10)
        )
    )

    assert len({row.agent_uid for row in rows}) == 40
    assert len({state.installation_id for state in states}) == 1
    await asyncio.gather(*(state.aclose() for state in states))


async def test_a_taken_name_is_refused_until_its_sandbox_has_ended(state: State) -> None:
    await state.add_sandbox(RECORD)
    with pytest.raises(SandboxStateError, match="'work' is already there"):
        await state.add_sandbox(replace(RECORD, id="sbx-2"))

    await state.end("sbx-1", cause=GoneCause.KILLED, failed=False, at=6.0)

    await state.add_sandbox(replace(RECORD, id="sbx-2"))


async def test_only_one_heir_gets_a_sandbox(state: State) -> None:
    await state.add_sandbox(RECORD)

    assert await state.adopt("sbx-1", dead="srv-1", by="srv-2")
    assert not await state.adopt("sbx-1", dead="srv-1", by="srv-3")


async def test_leases_are_written_together(state: State) -> None:
    await state.add_sandbox(RECORD)
    await state.renew({"sbx-1": 77.0, "sbx-none": 1.0})

    row = await state.get_sandbox("sbx-1")
    assert row is not None
    assert row.lease_expires_at == 77.0


def modes_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("state.db*")}


async def test_nobody_else_may_read_the_database(state: State, state_dir: Path) -> None:
    await state.add_sandbox(RECORD)

    modes = modes_of(state_dir)

    assert {0o600} == set(modes.values())
    assert "state.db-wal" in modes


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nonsense", "nodb://x/y"])
async def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="state"):
        await State.open(url)
