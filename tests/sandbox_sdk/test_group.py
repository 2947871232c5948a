"""A group: whose sandboxes there are, how many, how long, and the one that is made unasked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk import (
    LOCAL,
    ComputeResources,
    ConfigurationError,
    GoneCause,
    GroupLimits,
    Principal,
    QuotaError,
    SandboxGoneError,
    SandboxGroup,
    SandboxNotFoundError,
    SandboxState,
    SandboxStateError,
)
from tests.fakes import FakeClock, FakeTools, WrappedEngine, eventually, nothing_left
from tests.sandbox_sdk.conftest import MakeGroup

ANNA, BERT = Principal(subject="anna"), Principal(subject="bert")


def test_what_is_not_built_yet_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="auth_config is not available"):
        SandboxGroup(auth_config=["something"])


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({"max_sandbox": 1}, "'max_sandbox'.*known limits: max_sandboxes"),
        ({"max_sandboxes": 0}, "max_sandboxes"),
        ({"idle_timeout_s": "soon"}, "idle_timeout_s"),
    ],
)
def test_bad_resource_limits_are_refused_by_name(limits: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        GroupLimits.parse(limits)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": ""}, "bad name"),
        ({"name": "a\nb"}, "bad name"),
        ({"environment": {"A-B": "1"}}, "A-B"),
        ({"environment": {"SANDBOX_TOKEN": "1"}}, "reserved"),
        ({"environment": {"A": "\0"}}, "bad value"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
        ({"compute_resources": {"cpus": 1}}, "ComputeResources"),
    ],
)
async def test_a_bad_setting_of_a_sandbox_is_refused_before_anything_is_written(
    fake_group: SandboxGroup, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        await fake_group.create_sandbox(**settings)

    assert await fake_group.list_sandboxes() == []


async def test_a_group_that_is_not_started_or_has_ended_says_so(make_group: MakeGroup) -> None:
    group = make_group()
    with pytest.raises(SandboxStateError, match="not started"):
        await group.create_sandbox()

    await group.start_sandbox_group()
    await group.end_group()
    await group.end_group()

    with pytest.raises(SandboxStateError, match="has ended"):
        await group.create_sandbox()
    with pytest.raises(SandboxStateError, match="starts once"):
        await group.start_sandbox_group()


async def test_ending_the_group_removes_every_sandbox(
    make_group: MakeGroup, engine: WrappedEngine
) -> None:
    async with make_group() as group:
        sandboxes = [await group.create_sandbox() for _ in range(5)]
        await asyncio.gather(*(each.start() for each in sandboxes))

    assert await engine.list({}) == []
    assert {SandboxState.ENDED} == {each.state for each in sandboxes}


async def test_ending_the_group_finishes_even_when_its_caller_is_cancelled(
    make_group: MakeGroup, engine: WrappedEngine
) -> None:
    group = make_group()
    await group.start_sandbox_group()
    await (await group.create_sandbox()).start()
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def slow_removal() -> None:
        reached.set()
        await let_go.wait()

    engine.hooks["remove"] = slow_removal
    ending = asyncio.create_task(group.end_group())
    await asyncio.wait_for(reached.wait(), 5)
    ending.cancel()
    let_go.set()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(ending, 5)
    assert await engine.list({}) == []


async def test_a_removal_that_hangs_does_not_hold_the_group_for_ever(
    make_group: MakeGroup, engine: WrappedEngine
) -> None:
    group = make_group()
    await group.start_sandbox_group()
    sandbox = await group.create_sandbox()
    await sandbox.start()

    async def never() -> None:
        await asyncio.Event().wait()

    engine.hooks["remove"] = never
    async with asyncio.timeout(5):
        await group.end_group(timeout_s=0.05)
    del engine.hooks["remove"]
    assert [sandbox.id] == [each.name for each in await engine.list({})]

    async with make_group():
        assert await engine.list({}) == []


async def test_an_engine_that_cannot_start_leaves_the_group_closed(
    make_group: MakeGroup, engine: WrappedEngine, state_dir: Path
) -> None:
    async def broken() -> None:
        raise OSError("no disk")

    engine.hooks["ensure_image"] = broken
    group = make_group()

    with pytest.raises(OSError, match="no disk"):
        await group.start_sandbox_group()

    assert not (state_dir / "state.db").exists()
    await group.end_group()


async def test_names_are_unique_among_an_owners_live_sandboxes(fake_group: SandboxGroup) -> None:
    first = await fake_group.create_sandbox("work")
    await fake_group.create_sandbox("work", principal=ANNA)

    with pytest.raises(SandboxStateError, match=f"'work' is already there.*{first.id}"):
        await fake_group.create_sandbox("work")

    await first.end()
    await fake_group.create_sandbox("work")


async def test_two_groups_may_use_the_same_name_at_once(make_group: MakeGroup) -> None:
    async with make_group() as one, make_group() as other:
        await one.create_sandbox("sandbox1")
        await other.create_sandbox("sandbox1")

        assert len(await one.list_sandboxes()) == 1


async def test_another_principals_sandbox_looks_like_none(fake_group: SandboxGroup) -> None:
    sandbox = await fake_group.create_sandbox(principal=ANNA)

    for attempt in (fake_group.get_sandbox, fake_group.end_sandbox):
        with pytest.raises(SandboxNotFoundError) as foreign:
            await attempt(sandbox.id, principal=BERT)
        with pytest.raises(SandboxNotFoundError) as missing:
            await attempt("sbx-none", principal=BERT)
        assert str(missing.value) == str(foreign.value).replace(sandbox.id, "sbx-none")
    assert await fake_group.list_sandboxes(principal=BERT) == []
    assert await fake_group.list_sandboxes(principal=LOCAL) == []
    assert sandbox is await fake_group.get_sandbox(sandbox.id, principal=ANNA)


async def test_a_users_subject_cannot_stand_in_for_the_local_principal(
    fake_group: SandboxGroup,
) -> None:
    sandbox = await fake_group.create_sandbox()

    with pytest.raises(SandboxNotFoundError):
        await fake_group.get_sandbox(sandbox.id, principal=Principal(subject="local"))


async def test_an_owner_learns_why_a_sandbox_is_gone_and_others_learn_nothing(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandbox = await fake_group.create_sandbox(principal=ANNA)
    await sandbox.start()
    await fake_group.end_sandbox(sandbox.id, principal=ANNA)
    await fake_group.end_sandbox(sandbox.id, principal=ANNA)
    await eventually(lambda: nothing_left(engine))

    with pytest.raises(SandboxGoneError):
        await fake_group.get_sandbox(sandbox.id, principal=ANNA)
    with pytest.raises(SandboxNotFoundError):
        await fake_group.get_sandbox(sandbox.id, principal=BERT)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_sandboxes": 2},
        {"max_cpus": 2.5},
        {"max_memory_mb": 1100},
        {"max_disk_mb": 2048},
    ],
)
async def test_a_sandbox_beyond_the_groups_limits_is_refused(
    make_group: MakeGroup, limits: dict[str, Any]
) -> None:
    async with make_group(resource_limits=limits) as group:
        first = await group.create_sandbox()
        await group.create_sandbox()

        with pytest.raises(QuotaError, match=next(iter(limits))):
            await group.create_sandbox()

        await first.end()
        await group.create_sandbox()


async def test_creates_that_come_together_cannot_pass_the_limit_together(
    make_group: MakeGroup,
) -> None:
    async with make_group(resource_limits={"max_sandboxes": 3}) as group:
        outcomes = await asyncio.gather(
            *(group.create_sandbox() for _ in range(10)), return_exceptions=True
        )

        assert sum(isinstance(each, QuotaError) for each in outcomes) == 7


async def test_fifty_first_calls_make_one_default_sandbox(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandboxes = await asyncio.gather(*(fake_group.default_sandbox(LOCAL) for _ in range(50)))

    assert len({each.id for each in sandboxes}) == 1
    assert engine.calls.count("create") == 1
    assert SandboxState.READY is sandboxes[0].state


async def test_each_principal_has_a_default_sandbox_and_gets_a_new_one_when_it_is_gone(
    fake_group: SandboxGroup,
) -> None:
    anna, bert = [await fake_group.default_sandbox(who) for who in (ANNA, BERT)]
    assert anna.id != bert.id
    assert anna is await fake_group.default_sandbox(ANNA)

    await anna.end()
    again = await fake_group.default_sandbox(ANNA)

    assert again.id != anna.id
    assert SandboxState.READY is again.state


async def test_a_sandbox_nobody_uses_ends_and_use_keeps_it(
    make_group: MakeGroup, clock: FakeClock
) -> None:
    async with make_group(resource_limits={"idle_timeout_s": 100}) as group:
        idle, used = [await group.create_sandbox() for _ in range(2)]
        await asyncio.gather(idle.start(), used.start())
        clock.advance(60)
        await used.execute("test.echo", {"text": "hi"})
        clock.advance(60)

        await group.sweep()

        assert (idle.state, idle.info().end_cause) == (SandboxState.ENDED, GoneCause.IDLE)
        assert SandboxState.READY is used.state


async def test_a_running_action_is_use(
    make_group: MakeGroup, clock: FakeClock, tools: FakeTools
) -> None:
    async with make_group() as group:
        sandbox = await group.create_sandbox(idle_timeout_s=10)
        await sandbox.start()
        running = asyncio.create_task(sandbox.execute("test.wait"))
        await asyncio.wait_for(tools.started.wait(), 5)
        clock.advance(1000)

        await group.sweep()
        assert SandboxState.READY is sandbox.state

        tools.release.set()
        assert (await running).ok


async def test_a_sandbox_ends_at_its_lifetime_although_it_is_used(
    make_group: MakeGroup, clock: FakeClock, tools: FakeTools
) -> None:
    async with make_group(resource_limits={"max_lifetime_s": 50}) as group:
        sandbox = await group.create_sandbox()
        await sandbox.start()
        running = asyncio.create_task(sandbox.execute("test.wait"))
        await asyncio.wait_for(tools.started.wait(), 5)
        clock.advance(51)

        await group.sweep()

        with pytest.raises(SandboxGoneError) as raised:
            await asyncio.wait_for(running, 5)
        assert GoneCause.TIMEOUT is raised.value.cause


async def test_the_sweep_runs_by_itself(make_group: MakeGroup, clock: FakeClock) -> None:
    async with make_group(sweep_interval_s=0.01) as group:
        sandbox = await group.create_sandbox(idle_timeout_s=10)
        clock.advance(11)

        await eventually(lambda: not sandbox.state.live)


async def test_what_is_known_of_a_sandbox(make_group: MakeGroup, clock: FakeClock) -> None:
    resources = ComputeResources(cpus=0.5, memory_mb=128, disk_mb=64)
    async with make_group(compute_resources=resources) as group:
        sandbox = await group.create_sandbox("work", principal=ANNA)
        created = sandbox.info()
        assert (SandboxState.CREATING, resources, ANNA) == (
            created.state,
            created.resources,
            created.owner,
        )
        assert created.expires_at is not None
        assert (created.expires_at - created.created_at).total_seconds() == 900

        await sandbox.start()
        assert "cpus" in {limit.name for limit in sandbox.limits}
        assert [sandbox.info()] == await group.list_sandboxes(principal=ANNA)
