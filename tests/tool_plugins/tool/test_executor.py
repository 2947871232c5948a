"""The wire actions of custom tools: what the host may ask of an action server, and gets back."""

import asyncio
import sys
from typing import Any

import pytest

from tests.tool_plugins.worker.conftest import lives, started, until
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.builds import MAX_BUILDS, MAX_PROCESSES

from .serving import PLAIN, Server, until_ready
from .serving import server as server


async def test_a_file_is_installed_described_and_called(server: Server):
    await server.install(PLAIN)
    report = await server.describe()

    assert report["python"].startswith("3.")
    assert [each["name"] for each in report["functions"]] == ["add", "pid", "wait"]
    assert (report["dependencies"], report["settings"], report["warnings"]) == ([], {}, [])
    assert await server.observe("add", a=1, b=2) == {
        "result": 3,
        "file": None,
        "logs": "adding 1 2\n",
        "logs_truncated": False,
    }


async def test_calls_and_the_description_meet_the_same_process(server: Server):
    await server.install(PLAIN)
    await server.describe()
    before = started()

    assert await server.run("pid") == await server.run("pid")
    assert await server.run("pid") in before


async def test_a_build_that_is_not_installed_says_so(server: Server):
    for refused in (server.observe("add", a=1), server.describe()):
        with pytest.raises(ToolError) as caught:
            await refused
        assert caught.value.code is ErrorCode.NOT_FOUND
        assert caught.value.details == {"missing": "build"}


async def test_nothing_of_a_file_runs_while_its_packages_are_missing(server: Server):
    await server.install(
        """
        # /// script
        # dependencies = ["humanize>=4"]
        # ///
        open("ran", "w").close()

        def f() -> None:
            '''Nothing.'''
        """
    )
    report = await server.describe()

    assert (report["dependencies"], report["functions"]) == (["humanize>=4"], None)
    assert list(server.host.workspace.iterdir()) == []


async def test_an_environment_comes_before_our_own_packages(server: Server):
    environment = server.host.workspace / "environment"
    environment.mkdir()
    (environment / "humanize.py").write_text("def big(n): return f'{n:,}'")
    await server.install(
        """
        # /// script
        # dependencies = ["humanize"]
        # ///
        import humanize

        def big(number: int) -> str:
            '''A number to read.'''
            return humanize.big(number)
        """,
        environment=str(environment),
    )

    assert [each["name"] for each in (await server.describe())["functions"]] == ["big"]
    assert await server.run("big", number=1_000_000) == "1,000,000"


async def test_calls_run_at_once_up_to_a_number_and_the_others_wait(server: Server):
    await server.install(PLAIN)
    path = server.host.workspace / "go"
    calls = [asyncio.create_task(server.run("wait", path="go")) for _ in range(MAX_PROCESSES + 1)]
    await until(lambda: len(list(server.host.workspace.glob("go.*"))) == MAX_PROCESSES)
    path.touch()
    pids = await asyncio.gather(*calls)

    assert len(set(pids)) == MAX_PROCESSES


async def test_a_process_for_each_call_is_another_each_time_and_gone_after_it(server: Server):
    await server.install(PLAIN, process="call")
    await server.describe()
    pids = [await server.run("pid") for _ in range(3)]

    assert len(set(pids)) == 3
    assert not any(lives(pid) for pid in pids)


async def test_the_next_file_is_described_in_a_process_that_is_ready(server: Server):
    await server.install(PLAIN)
    await until_ready(server)
    spare = started()
    await server.describe()

    assert {await server.run("pid")} == spare


@pytest.mark.parametrize("process", ["file", "call"])
async def test_what_is_dropped_takes_no_calls_and_finishes_those_that_run(
    server: Server, process: str
):
    await server.install(PLAIN, process=process)
    call = asyncio.create_task(server.run("wait", path="go"))
    await until(lambda: list(server.host.workspace.glob("go.*")))

    assert await server.do("drop", build="b") == {}
    assert (await server.refused("add", a=1)).details == {"missing": "build"}
    (server.host.workspace / "go").touch()
    pid = await call
    await until(lambda: not lives(pid))
    assert await server.do("drop", build="b") == {}


async def test_dropping_an_unused_file_ends_its_processes(server: Server):
    await server.install(PLAIN)
    pid = await server.run("pid")

    await server.do("drop", build="b")

    await until(lambda: not lives(pid))


async def test_a_file_that_is_installed_again_while_it_goes_stays(server: Server):
    await server.install(PLAIN)
    call = asyncio.create_task(server.run("wait", path="go"))
    await until(lambda: list(server.host.workspace.glob("go.*")))
    await server.do("drop", build="b")

    await server.install(PLAIN)
    (server.host.workspace / "go").touch()

    assert await call == await server.run("pid")


async def test_sources_have_a_limit_and_those_unused_for_longest_go(server: Server):
    await server.install(PLAIN, build="kept")
    call = asyncio.create_task(server.run("wait", build="kept", path="go"))
    await until(lambda: list(server.host.workspace.glob("go.*")))
    for number in range(MAX_BUILDS):
        await server.install("x = 1", build=str(number))
        if number == 5:
            await server.refused("f", build="0")

    assert "missing" in (await server.refused("f", build="1")).details
    assert "missing" not in (await server.refused("f", build="0")).details
    (server.host.workspace / "go").touch()
    assert isinstance(await call, int)


async def test_sources_have_a_limit_of_bytes(server: Server):
    for number in range(20):
        await server.install(f"x = {number}\n" + "#" * 1_000_000, build=str(number))

    assert "missing" in (await server.refused("f", build="3")).details
    assert "missing" not in (await server.refused("f", build="4")).details


async def test_a_call_that_takes_too_long_is_ended_with_all_it_started(server: Server):
    await server.install(
        '''
import subprocess, time

def linger() -> None:
    """Waits with others."""
    print("before")
    subprocess.run(["sh", "-c", "(setsid sleep 100 &); (env -i setsid sleep 101 &)"])
    print("half a line", end="", flush=True)
    time.sleep(100)
'''
    )
    await until_ready(server)
    error = await server.refused("linger", timeout_s=3)

    assert (error.code, error.details) == (ErrorCode.TIMEOUT, {"logs": "before\nhalf a line"})
    await until(lambda: len(started()) <= 1)


async def test_a_call_that_its_caller_gives_up_is_ended(server: Server):
    await server.install(PLAIN)
    call = asyncio.create_task(server.run("wait", path="never"))
    await until(lambda: list(server.host.workspace.glob("never.*")))
    (mark,) = server.host.workspace.glob("never.*")

    call.cancel()
    await asyncio.wait([call])

    assert not lives(int(mark.suffix[1:]))
    assert await server.run("add", a=1) == 2


async def test_long_output_is_cut_in_the_middle_and_said_to_be(server: Server):
    await server.install(
        '''
def shout(lines: int) -> None:
    """Prints."""
    for line in range(lines):
        print("line", line, "x" * 90, "\\x1b[31m")
'''
    )
    data = await server.observe("shout", lines=20_000)

    assert data["logs_truncated"]
    assert len(data["logs"]) < 32_000
    assert data["logs"].startswith("line 0 x")
    assert "line 19999 x" in data["logs"]
    assert "\x1b" not in data["logs"]
    assert not (await server.observe("shout", lines=10))["logs_truncated"]


async def test_what_is_printed_and_reported_is_seen_while_it_happens(server: Server):
    await server.install(
        '''
import time

def slow(ctx) -> str:
    """Waits until it was heard."""
    print("hello ö")
    ctx.progress(1, 2, "half")
    while not (ctx.workspace / "heard").exists():
        time.sleep(0.005)
    print("bye", end="")
    return "done"
'''
    )
    context, events = server.following()
    call = asyncio.create_task(server.observe("slow", context=context))
    seen = [await events.get(), await events.get()]
    (server.host.workspace / "heard").touch()
    data = await call

    assert sorted(seen, key=lambda event: event["event"]) == [
        {"event": "progress", "progress": 1.0, "total": 2.0, "message": "half"},
        {"event": "stdout", "text": "hello ö\n"},
    ]
    assert events.get_nowait() == {"event": "stdout", "text": "bye"}
    assert data["logs"] == "hello ö\nbye"


ASKING = '''
from tool_plugins.authoring import Context, ToolError

def ask(path: str, ctx: Context) -> str:
    """Reads a file by the sandbox's own tool."""
    try:
        return ctx.filesystem.read(path, max_lines=2).content
    except ToolError as exc:
        return f"{exc.code} {exc}"
'''


async def test_what_a_tool_asks_reaches_the_host_and_the_answer_the_tool(server: Server):
    await server.install(ASKING)
    context, events = server.following()
    call = asyncio.create_task(server.observe("ask", path="a.txt", context=context, call="one"))
    asked = await events.get()
    answer = {"call": "one", "ask": asked["ask"], "data": {"content": "text"}}

    for ask, wrong in ((asked["ask"], "two"), (asked["ask"] + 1, "one")):
        with pytest.raises(ToolError) as caught:
            await server.do("answer", call=wrong, ask=ask, data={})
        assert caught.value.code is ErrorCode.NOT_FOUND
    assert await server.do("answer", **answer) == {}
    assert (await call)["result"] == "text"
    assert asked == {
        "event": "ask",
        "ask": asked["ask"],
        "tool": "filesystem.read",
        "positional": ["a.txt"],
        "named": {"max_lines": 2},
    }
    with pytest.raises(ToolError, match="ended"):
        await server.do("answer", **answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"error": {"code": "NOT_FOUND", "message": "no a.txt", "hint": "", "details": {}}},
            "NOT_FOUND no a.txt",
        ),
        ({"data": {"content": "x" * 17_000_000}}, "TOO_LARGE the answer is too large"),
    ],
    ids=["refusal", "too large"],
)
async def test_an_answer_may_be_a_refusal(server: Server, answer: dict[str, Any], expected: str):
    await server.install(ASKING)
    context, events = server.following()
    call = asyncio.create_task(server.observe("ask", path="a.txt", context=context, call="one"))

    await server.do("answer", call="one", ask=(await events.get())["ask"], **answer)

    assert (await call)["result"] == expected


async def test_a_call_that_nobody_follows_is_told_that_it_cannot_ask(server: Server):
    await server.install(ASKING)

    assert (await server.run("ask", path="a.txt")).startswith("UNSUPPORTED")


async def test_one_id_is_one_call(server: Server):
    await server.install(PLAIN)
    call = asyncio.create_task(server.observe("wait", path="go", call="same"))
    await until(lambda: list(server.host.workspace.glob("go.*")))

    error = await server.refused("add", a=1, call="same")

    assert error.code is ErrorCode.ALREADY_EXISTS
    (server.host.workspace / "go").touch()
    assert (await call)["result"] > 0


async def test_the_server_never_loads_what_only_workers_need():
    program = "import tool_plugins.tool.executor, sys; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    loaded = (await process.communicate())[0].decode().split()

    assert "tool_plugins.tool.builds" in loaded
    assert not {"pydantic", "pydantic_core", "docstring_parser"} & set(loaded)
    assert "tool_plugins.tool.program" not in loaded
