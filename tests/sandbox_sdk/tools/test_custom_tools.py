"""Python files become tools of a sandbox, from registering to calling, on every engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest

from sandbox_sdk import (
    Access,
    Action,
    ConfigurationError,
    Database,
    DatabaseAccess,
    ObservationEvent,
    OutputEvent,
    ProgressEvent,
    Sandbox,
    SandboxGroup,
    TableAccess,
    ToolCallError,
    UnknownToolError,
)

TEXT = '''
"""Texts."""
import asyncio
import os

from tool_plugins.authoring import AsyncContext, Context, ToolError


def count(text: str, letter: str = "a") -> int:
    """Counts a letter.

    Args:
        text: Where to count.
        letter: What to count.
    """
    print("counting", letter)
    return text.count(letter)


def who() -> dict[str, int]:
    """Says which process and user this is."""
    return {"pid": os.getpid(), "uid": os.getuid()}


def fail(message: str) -> None:
    """Fails."""
    raise ValueError(message)


def lines(path: str, ctx: Context) -> int:
    """Counts the lines of a file.

    Args:
        path: A file of the workspace.
    """
    ctx.progress(1, 2, "reading")
    return ctx.filesystem.read(path).total_lines


async def both(first: str, second: str, ctx: AsyncContext) -> list[str]:
    """Reads two files at once."""
    found = await asyncio.gather(ctx.filesystem.read(first), ctx.filesystem.read(path=second))
    return [each.content for each in found]


def shell(command: str, ctx: Context) -> str:
    """Runs a command."""
    return ctx.terminal.run(command).stdout


def outside(ctx: Context) -> str:
    """Asks for a file it may not read."""
    try:
        ctx.filesystem.read("/etc/shadow")
    except ToolError as error:
        return error.code
    return "read it"


def picture() -> bytes:
    """Gives the first bytes of a picture."""
    return b"\\x89PNG\\r\\n\\x1a\\n" + bytes(20)


def wait(file: str) -> str:
    """Says that it runs, and waits for a file."""
    import time
    open(f"{file}.started", "w").close()
    while not os.path.exists(file):
        time.sleep(0.01)
    return "old"
'''


async def appears(sandbox: Sandbox, path: str) -> None:
    """Returns when the file is there."""
    async with sandbox.watch() as changes:
        if (await sandbox.execute("filesystem.read", {"path": path})).ok:
            return
        async for change in changes:
            if change.path == path:
                return


@pytest.fixture
async def sandbox(group: SandboxGroup) -> AsyncIterator[Sandbox]:
    async with await group.create_sandbox() as started:
        yield started


@pytest.fixture
async def text(sandbox: Sandbox) -> Sandbox:
    """A sandbox with the tools above."""
    await sandbox.add_tools(TEXT, namespace="text")
    return sandbox


async def test_a_registered_function_is_described_and_called(sandbox: Sandbox) -> None:
    registered = await sandbox.add_tools(TEXT, namespace="text")

    count = registered.tools[0]
    assert (count.name, count.mcp_name) == ("text.count", "text_count")
    assert count.description.startswith("Counts a letter.")
    assert count.input_schema is not None
    assert count.input_schema["properties"]["letter"]["default"] == "a"
    assert "ctx" not in str([each.input_schema for each in registered.tools])

    observation = await sandbox.execute("text.count", {"text": "banana"})

    assert observation.error is None
    assert observation.tool == "text.count"
    assert observation.data is not None
    assert observation.data["result"] == 3
    assert observation.data["logs"] == "counting a\n"


async def test_tools_are_functions_of_the_sdk(text: Sandbox) -> None:
    assert await text.tools.text.count("banana", letter="n") == 2
    assert await text.tools.text.picture() == b"\x89PNG\r\n\x1a\n" + bytes(20)
    assert "count" in dir(text.tools.text)
    with pytest.raises(ToolCallError, match="no such letter") as raised:
        await text.tools.text.fail("no such letter")
    assert raised.value.code == "TOOL_RAISED"
    assert "raise ValueError(message)" in raised.value.details["traceback"]
    with pytest.raises(AttributeError, match="other"):
        _ = text.tools.other


async def test_a_call_runs_as_the_agent_in_a_process_that_stays(text: Sandbox) -> None:
    uid = (await text.terminal.run("id -u")).stdout.strip()

    first, second = await text.tools.text.who(), await text.tools.text.who()

    assert first == second
    assert str(first["uid"]) == uid


async def test_a_file_may_ask_for_a_process_for_each_call(text: Sandbox) -> None:
    block = '# /// script\n# [tool.sandbox-sdk]\n# process = "call"\n# ///\n'
    await text.add_tools(block + TEXT, namespace="fresh")
    first, second = await text.tools.fresh.who(), await text.tools.fresh.who()

    assert first["pid"] != second["pid"]


async def test_wrong_arguments_are_named_and_nothing_runs(text: Sandbox) -> None:
    observation = await text.execute("text.count", {"text": 5, "lettr": "a"})

    assert observation.error is not None
    assert observation.error.code == "INVALID_ARGUMENT"
    assert {each["field"] for each in observation.error.details["fields"]} == {"text", "lettr"}


async def test_a_tool_uses_the_sandbox_with_its_callers_rights(text: Sandbox) -> None:
    await text.upload("a.txt", b"one\ntwo\n")
    await text.upload("b.txt", b"three\n")

    assert await text.tools.text.lines("a.txt") == 2
    assert await text.tools.text.both("a.txt", "b.txt") == ["1→one\n2→two", "1→three"]
    assert await text.tools.text.shell("echo hello") == "hello\n"
    assert await text.tools.text.outside() == "PATH_OUTSIDE_ROOT"


async def test_progress_and_logs_arrive_while_it_runs(text: Sandbox) -> None:
    await text.upload("a.txt", b"one\n")

    events = [each async for each in text.stream("text.lines", {"path": "a.txt"})]
    printed = [each async for each in text.stream("text.count", {"text": "aa"})]

    assert [e.message for e in events if isinstance(e, ProgressEvent)] == ["reading"]
    assert isinstance(events[-1], ObservationEvent)
    assert "".join(e.text for e in printed if isinstance(e, OutputEvent)) == "counting a\n"


async def test_a_running_call_finishes_on_the_version_it_began_with(text: Sandbox) -> None:
    running = asyncio.create_task(text.tools.text.wait("go"))
    await appears(text, "go.started")

    changed = await text.add_tools(
        'def wait(file: str) -> str:\n    """Does not."""\n    return "new"\n', namespace="text"
    )
    assert await text.tools.text.wait("go") == "new"
    await text.upload("go", b"")

    assert await running == "old"
    assert any("count" in each for each in changed.changes)
    with pytest.raises(UnknownToolError):
        await text.execute("text.count", {"text": "a"})


async def test_a_change_that_does_not_work_leaves_the_last_good_version(text: Sandbox) -> None:
    with pytest.raises(ToolCallError, match=r"text\.py:1: broken") as raised:
        await text.add_tools("def broken(x):\n    return x\n", namespace="text")

    [listed] = text.list_tools().files
    assert raised.value.code == "SCHEMA_ERROR"
    assert listed.status == "ready"
    assert "SCHEMA_ERROR" in listed.error
    assert await text.tools.text.count("banana") == 3


async def test_a_first_file_that_does_not_work_leaves_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(ToolCallError):
        await sandbox.add_tools("def f(:", namespace="text")

    assert sandbox.list_tools().files == []


async def test_removed_tools_are_unknown(text: Sandbox) -> None:
    removed = await text.remove_tools("text")

    assert "text_count" in removed.removed
    assert text.list_tools().files == []
    with pytest.raises(UnknownToolError):
        await text.execute("text.count", {"text": "a"})
    with pytest.raises(ToolCallError, match="no custom tools"):
        await text.remove_tools("text")


async def test_sandboxes_have_tools_of_their_own(group: SandboxGroup) -> None:
    def source(answer: int) -> str:
        return f'def f() -> int:\n    """Answers."""\n    return {answer}\n'

    async with await group.create_sandbox() as one, await group.create_sandbox() as two:
        await one.add_tools(source(1), namespace="same")
        await two.add_tools(source(2), namespace="same")

        assert await one.tools.same.f() == 1
        assert await two.tools.same.f() == 2


@pytest.mark.parametrize("namespace", ["terminal", "tool", "sandbox", "bad-name", "9", "_private"])
async def test_a_namespace_of_ours_or_of_bad_form_is_refused(
    sandbox: Sandbox, namespace: str
) -> None:
    with pytest.raises(ToolCallError, match=namespace):
        await sandbox.add_tools(TEXT, namespace=namespace)


async def test_names_that_become_one_over_mcp_are_refused_with_both_places(
    sandbox: Sandbox,
) -> None:
    def source(function: str) -> str:
        return f'def {function}() -> None:\n    """Does nothing."""\n'

    await sandbox.add_tools(source("b_c"), namespace="a")

    with pytest.raises(ToolCallError, match=r"a_b_c") as raised:
        await sandbox.add_tools(source("c"), namespace="a_b")

    assert raised.value.code == "ALREADY_EXISTS"
    assert [each.namespace for each in sandbox.list_tools().files] == ["a"]


async def test_a_call_that_takes_too_long_is_ended_with_all_it_started(sandbox: Sandbox) -> None:
    source = '''
    def hang() -> None:
        """Hangs, and so does its child."""
        import subprocess, time
        subprocess.Popen(["sleep", "12345"], start_new_session=True)
        time.sleep(12345)
    '''
    await sandbox.add_tools(dedent(source), namespace="bad")

    observation = await sandbox.execute("bad.hang", timeout_s=1)

    assert observation.error is not None
    assert observation.error.code == "TIMEOUT"
    left = await sandbox.terminal.run("pgrep -f 'sleep 1234[5]'")
    assert left.stdout == ""


async def test_a_batch_may_name_custom_tools(text: Sandbox) -> None:
    done = await text.send_actions(
        [Action(tool="text.count", args={"text": "a"}), Action(tool="filesystem.list")]
    )

    assert [each.ok for each in done] == [True, True]
    with pytest.raises(UnknownToolError):
        await text.send_actions([Action(tool="text.other")])


async def test_files_of_a_group_are_tools_of_every_sandbox_and_are_followed(
    engine_name: str, state_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "text.py").write_text(TEXT)
    (folder / "broken.py").write_text("def f(x): pass\n")
    (folder / "_private.py").write_text("raise SystemExit")
    changed = asyncio.Event()
    group = SandboxGroup(engine=engine_name, state_dir=state_dir, tools=[folder])
    group.on_tools_changed(changed.set)

    async with group, await group.create_sandbox() as sandbox:
        status = {each.namespace: each.status for each in group.custom_files()}
        assert status == {"text": "ready", "broken": "failed"}
        assert await sandbox.tools.text.count("banana") == 3
        assert "tool.call" in [each.name for each in group.registry]
        assert "tool.register" not in [each.name for each in group.registry]

        changed.clear()
        (folder / "text.py").write_text('def f() -> int:\n    """Answers."""\n    return 42\n')
        await changed.wait()
        assert await sandbox.tools.text.f() == 42

        changed.clear()
        (folder / "text.py").unlink()
        await changed.wait()
        with pytest.raises(UnknownToolError):
            await sandbox.execute("text.f")


async def test_a_group_may_start_before_its_files_are_read(state_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(f"import time\ntime.sleep(1)\n{TEXT}")
    group = SandboxGroup(engine="in_process", state_dir=state_dir, tools=[file])

    await group.start_sandbox_group(wait_for_tools=False)
    try:
        async with await group.create_sandbox() as sandbox:
            before = group.custom_tools()
            assert (await sandbox.terminal.run("echo ready")).stdout == "ready\n"
            await group.tools_ready()
            assert before == []
            assert await sandbox.tools.slow.count("banana") == 3
    finally:
        await group.end_group()


@pytest.mark.docker
async def test_a_group_that_ends_while_its_files_are_read_leaves_nothing(
    docker_state_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "endless.py"
    file.write_text("while True: pass\n")
    group = SandboxGroup(state_dir=docker_state_dir, tools=[file])

    await group.start_sandbox_group(wait_for_tools=False)
    await group.end_group()  # the fixture finds what is left


def test_what_is_no_package_index_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no URL"):
        SandboxGroup(package_index="index.example/simple")


async def test_a_file_of_the_group_cannot_be_replaced_or_removed_from_a_sandbox(
    state_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "text.py"
    file.write_text(TEXT)

    async with (
        SandboxGroup(engine="in_process", state_dir=state_dir, tools=[file]) as group,
        await group.create_sandbox() as sandbox,
    ):
        with pytest.raises(ToolCallError, match=r"taken by text\.py"):
            await sandbox.add_tools(TEXT, namespace="text")
        with pytest.raises(ToolCallError) as raised:
            await sandbox.remove_tools("text")
        assert raised.value.code == "PERMISSION_DENIED"


@pytest.mark.docker
async def test_what_was_registered_survives_a_restart_of_the_server(
    docker_state_dir: Path,
) -> None:
    async with SandboxGroup(state_dir=docker_state_dir, ephemeral=False) as group:
        sandbox = await group.create_sandbox()
        await sandbox.start()
        await sandbox.add_tools(TEXT, namespace="text")
    async with SandboxGroup(state_dir=docker_state_dir, ephemeral=False) as group:
        again = await group.get_sandbox(sandbox.id)
        assert await again.tools.text.count("banana") == 3
        await again.end()


async def test_an_ended_sandbox_takes_its_tools_along(group: SandboxGroup, state_dir: Path) -> None:
    changed = asyncio.Event()
    group.on_tools_changed(changed.set)
    async with await group.create_sandbox() as sandbox:
        await sandbox.add_tools(TEXT, namespace="text")
        assert list((state_dir / "tools").glob("*.json")) != []
        changed.clear()
    await changed.wait()

    assert list((state_dir / "tools").glob("*.json")) == []
    assert group.custom_tools() == []


async def test_a_tool_has_its_sandboxs_databases_and_no_more_of_them(
    state_dir: Path, tmp_path: Path
) -> None:
    population = tmp_path / "population.yaml"
    population.write_text(
        "databases:\n  shop:\n    schema: CREATE TABLE users (name TEXT, card TEXT);\n"
        '    fixtures: [{table: users, rows: [{name: Ada, card: "4111"}]}]\n'
    )
    users = TableAccess(select=("name",))
    shop = Database(name="shop", engine="sqlite", access=Access(tables={"users": users}))
    source = '''
    from tool_plugins.authoring import Context

    def users(column: str, ctx: Context) -> list[list[str]]:
        """Reads a column."""
        return ctx.database.query("shop", f"SELECT {column} FROM users").rows
    '''

    async with (
        SandboxGroup(
            engine="in_process",
            state_dir=state_dir,
            database_access=DatabaseAccess(databases=(shop,)),
            initial_database_population_config=population,
        ) as group,
        await group.create_sandbox() as sandbox,
    ):
        await sandbox.add_tools(dedent(source), namespace="crm")
        assert await sandbox.tools.crm.users("name") == [["Ada"]]
        with pytest.raises(ToolCallError) as raised:
            await sandbox.tools.crm.users("card")

    assert raised.value.code == "TOOL_RAISED"
    assert raised.value.details["code"] == "PERMISSION_DENIED"
