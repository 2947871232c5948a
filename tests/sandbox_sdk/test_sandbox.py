"""Actions in one sandbox, over tools whose every step the test controls."""

import asyncio

import pytest

from sandbox_sdk import (
    Action,
    ConfigurationError,
    GoneCause,
    ObservationEvent,
    OutputEvent,
    ProtocolError,
    Sandbox,
    SandboxGoneError,
    SandboxGroup,
    SandboxState,
    SandboxStateError,
    UnknownToolError,
)
from tests.fakes import FakeTools, eventually


@pytest.fixture
async def sandbox(fake_group: SandboxGroup) -> Sandbox:
    sandbox = await fake_group.create_sandbox("work")
    await sandbox.start()
    return sandbox


async def test_an_action_comes_back_as_an_observation(sandbox: Sandbox) -> None:
    observation = await sandbox.execute(Action(tool="test.echo", args={"text": "hi"}, id="a1"))

    assert observation.ok
    assert (
        observation.action_id,
        observation.tool,
        observation.data,
    ) == ("a1", "test.echo", {"text": "hi"})


async def test_a_tool_failure_is_an_observation_not_an_exception(sandbox: Sandbox) -> None:
    observation = await sandbox.execute("test.fail")

    assert observation.error is not None
    assert observation.error.code == "NOT_FOUND"
    assert observation.error.hint == "look elsewhere"


async def test_every_bad_argument_is_named_and_nothing_runs(
    sandbox: Sandbox, tools: FakeTools
) -> None:
    observation = await sandbox.execute("test.echo", {"txt": "hi", "times": "many"})

    assert observation.error is not None
    assert observation.error.code == "INVALID_ARGUMENT"
    fields = {each["field"]: each for each in observation.error.details["fields"]}
    assert {"text", "txt", "times"} == fields.keys()
    assert fields["txt"]["nearest"] == "text"
    assert "did you mean 'text'?" in observation.error.message
    assert tools.order == []


async def test_an_unknown_tool_is_raised_with_the_known_ones(sandbox: Sandbox) -> None:
    with pytest.raises(UnknownToolError, match=r"test\.echo"):
        await sandbox.execute("test.nothing")


async def test_an_action_before_the_start_says_to_start(fake_group: SandboxGroup) -> None:
    sandbox = await fake_group.create_sandbox()

    with pytest.raises(SandboxStateError, match="start"):
        await sandbox.execute("test.echo", {"text": "hi"})


async def test_data_in_another_form_than_promised_ends_the_sandbox(sandbox: Sandbox) -> None:
    with pytest.raises(ProtocolError, match=r"test\.lie"):
        await sandbox.execute("test.lie")

    assert SandboxState.ENDED is sandbox.state


async def test_a_stream_tells_of_output_and_ends_with_the_observation(sandbox: Sandbox) -> None:
    events = [event async for event in sandbox.stream("test.echo", {"text": "live"})]

    assert [OutputEvent(event="stdout", text="live")] == events[:-1]
    assert isinstance(events[-1], ObservationEvent)
    assert events[-1].observation.data == {"text": "live"}


async def test_a_stream_refuses_bad_arguments_in_its_observation(sandbox: Sandbox) -> None:
    [event] = [event async for event in sandbox.stream("test.echo")]

    assert isinstance(event, ObservationEvent)
    assert event.observation.error is not None
    assert event.observation.error.code == "INVALID_ARGUMENT"


async def test_closing_a_stream_cancels_its_action(sandbox: Sandbox, tools: FakeTools) -> None:
    stream = sandbox.stream("test.wait")
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.wait_for(tools.started.wait(), 5)
    reading.cancel()
    await asyncio.wait({reading})

    await eventually(lambda: tools.cancelled)


async def test_cancelling_an_action_cancels_its_executor(
    sandbox: Sandbox, tools: FakeTools
) -> None:
    task = asyncio.create_task(sandbox.execute("test.wait"))
    await asyncio.wait_for(tools.started.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await eventually(lambda: tools.cancelled)
    assert SandboxState.READY is sandbox.state


async def test_an_action_that_misses_its_deadline_is_cancelled_and_the_sandbox_lives(
    sandbox: Sandbox, tools: FakeTools
) -> None:
    observation = await sandbox.execute("test.wait", timeout_s=0.05)

    assert observation.error is not None
    assert observation.error.code == "TIMEOUT"
    assert SandboxState.READY is sandbox.state
    assert (await sandbox.execute("test.echo", {"text": "still here"})).ok


async def test_a_mapping_of_actions_comes_back_as_a_mapping(sandbox: Sandbox) -> None:
    observations = await sandbox.send_actions(
        {
            "test.echo": {"description": "say it", "args": {"text": "hi"}},
            "test.fail": {},
        }
    )

    assert list(observations) == ["test.echo", "test.fail"]
    assert observations["test.echo"].data == {"text": "hi"}
    assert not observations["test.fail"].ok


async def test_labels_let_a_mapping_hold_one_tool_twice(sandbox: Sandbox) -> None:
    observations = await sandbox.send_actions(
        {
            "first": {"tool": "test.echo", "args": {"text": "1"}},
            "second": {"tool": "test.echo", "args": {"text": "2"}},
        }
    )

    assert observations["second"].data == {"text": "2"}


async def test_a_list_runs_in_order_and_comes_back_as_a_list(
    sandbox: Sandbox, tools: FakeTools
) -> None:
    texts = [str(number) for number in range(20)]

    observations = await sandbox.send_actions(
        [Action(tool="test.echo", args={"text": text}) for text in texts]
    )

    assert texts == tools.order
    assert texts == [each.data["text"] for each in observations if each.data]


async def test_parallel_actions_run_at_the_same_time(sandbox: Sandbox, tools: FakeTools) -> None:
    task = asyncio.create_task(
        sandbox.send_actions(
            [Action(tool="test.wait"), Action(tool="test.echo", args={"text": "meanwhile"})],
            parallel=True,
        )
    )
    await eventually(lambda: tools.order == ["meanwhile"])
    assert not task.done()
    tools.release.set()

    assert [each.tool for each in await task] == ["test.wait", "test.echo"]


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ({"test.echo": {"arg": {}}}, "unknown keys arg"),
        ({"test.echo": "hi"}, "not a mapping"),
        ({"test.echo": {"args": 5}}, "not a valid action"),
        (["test.echo"], "not an Action"),
    ],
)
async def test_a_malformed_batch_is_refused_before_anything_runs(
    sandbox: Sandbox, actions: object, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        await sandbox.send_actions(actions)  # type: ignore[call-overload]


async def test_an_unknown_tool_in_a_batch_stops_all_of_it(
    sandbox: Sandbox, tools: FakeTools
) -> None:
    with pytest.raises(UnknownToolError):
        await sandbox.send_actions({"test.echo": {"args": {"text": "x"}}, "test.none": {}})

    assert tools.order == []


async def test_ending_a_sandbox_ends_what_runs_in_it(sandbox: Sandbox, tools: FakeTools) -> None:
    running = asyncio.create_task(sandbox.execute("test.wait"))
    await asyncio.wait_for(tools.started.wait(), 5)

    await sandbox.end()

    with pytest.raises(SandboxGoneError) as raised:
        await asyncio.wait_for(running, 5)
    assert GoneCause.KILLED is raised.value.cause


async def test_ending_twice_is_fine_and_later_calls_say_it_is_gone(sandbox: Sandbox) -> None:
    await asyncio.gather(sandbox.end(), sandbox.end())
    await sandbox.end()

    with pytest.raises(SandboxGoneError):
        await sandbox.execute("test.echo", {"text": "hi"})
    with pytest.raises(SandboxGoneError):
        await sandbox.start()
