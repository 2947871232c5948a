"""How commands end when they do not end by themselves: deadlines, cancelling, kill."""

import asyncio
from collections.abc import Callable

import pytest

from tool_plugins.errors import ErrorCode

from .conftest import Tools, started, until

Limit = Callable[[int, int], None]

DAEMON = """env -i PATH=$PATH setsid python3 -c '
import os, time
for _ in range(2):
    if os.fork(): os._exit(0)
    os.setsid()
time.sleep(4321)' </dev/null >/dev/null 2>&1; """


@pytest.mark.parametrize(
    "command",
    [
        "sleep 100; echo not",
        "f() { sleep 100; echo not; }; g() { f; echo not; }; g; echo not",
        "trap '' TERM INT HUP; sleep 100",
        "(setsid nohup sh -c 'sleep 300 & sleep 301' >/dev/null 2>&1 &); sleep 100",
        DAEMON + "sleep 100",
        "sleep 100 & sleep 200 & wait",
        "while :; do :; done",
        "x=$(sleep 100); echo not",
        "for i in 1 2 3; do sleep 100; echo not; done",
        "while :; do sleep 100; echo not; done | cat",
        "read -r x < <(sleep 100); echo not",
    ],
)
async def test_the_deadline_kills_everything_and_keeps_the_shell(tools: Tools, command: str):
    await tools.run("export A=1; plain=2; cd /usr")
    shell = int(await tools.stdout("echo $$"))

    result = await tools.run(command, timeout_s=1)

    assert (result.status, result.exit_code) == ("timed_out", None)
    assert "not" not in result.stdout
    assert (started()) == {shell}
    assert await tools.stdout("echo $A $plain $PWD $$") == f"1 2 /usr {shell}\n"


async def test_what_the_command_changed_before_its_deadline_stays(tools: Tools):
    await tools.run("cd /usr; export A=changed; sleep 100", timeout_s=1)

    assert await tools.stdout("echo $A $PWD") == "changed /usr\n"


async def test_jobs_of_earlier_commands_outlive_a_deadline(tools: Tools):
    job = int(await tools.stdout("sleep 100 >/dev/null 2>&1 & echo $!"))
    # It has double-forked, so nothing but its mark tells it from what comes later. Its file says
    # that the last of its processes is there; then those on the way to it only have to end.
    await tools.run(DAEMON.replace("time.sleep", 'open("daemon", "w").close(); time.sleep'))
    await tools.run("until [ -e daemon ]; do sleep 0.01; done")
    await until(lambda: len(started()) == 3)
    earlier = started()

    result = await tools.run("sleep 200 & (setsid sleep 300 &) ; sleep 400", timeout_s=1)

    assert result.status == "timed_out"
    assert job in earlier
    assert started() == earlier


async def test_a_replaced_program_is_killed_and_the_state_restored(tools: Tools):
    await tools.run("export A=1")

    result = await tools.run("exec sleep 100", timeout_s=1)

    assert (result.status, result.shell_restarted) == ("timed_out", True)
    assert await tools.stdout("echo $A") == "1\n"


async def test_a_shell_that_ignores_us_is_replaced(tools: Tools):
    await tools.run("export A=1")

    result = await tools.run("trap '' RTMIN+9; while :; do :; done", timeout_s=1)

    assert (result.status, result.shell_restarted) == ("timed_out", True)
    assert await tools.stdout("echo $A") == "1\n"


@pytest.mark.parametrize(
    "bomb",
    [
        "b() { b | b & }; b; sleep 100",
        "python3 -c 'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass'",
        "while :; do sleep 100 & done",
    ],
)
async def test_a_fork_bomb_ends_at_the_deadline(pids_limit: Limit, tools: Tools, bomb: str):
    await tools.run("export A=1")
    pids_limit(int(await tools.stdout("echo $$")), 60)

    result = await tools.run(bomb, timeout_s=1)

    assert result.status == "timed_out"
    assert len(started()) <= 1
    assert await tools.stdout("echo $A") == "1\n"


async def test_cancelling_the_call_ends_the_command(tools: Tools):
    shell = int(await tools.stdout("echo $$"))
    call = asyncio.ensure_future(tools.run(DAEMON + "echo up; sleep 100"))
    await until(lambda: tools.events and "up" in tools.events[-1]["text"])

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert started() == {shell}
    assert await tools.stdout("echo $$") == f"{shell}\n"


async def test_the_deadline_holds_after_the_soft_one(tools: Tools):
    result = await tools.run("echo up; sleep 100", wait_s=0.2, timeout_s=0.6)
    assert result.status == "running"

    state = await tools.ended(result.process_id)

    assert (state.status, state.exit_code) == ("timed_out", None)


async def test_the_deadline_ends_a_command_under_a_terminal(tools: Tools):
    result = await tools.run(f"{DAEMON} echo up; sleep 100", pty=True, timeout_s=3)

    assert (result.status, result.stdout) == ("timed_out", "up\n")
    assert started() == set()


async def test_cancelling_ends_a_command_under_a_terminal(tools: Tools):
    call = asyncio.ensure_future(tools.run("echo up; sleep 100", pty=True))
    await until(lambda: tools.events)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert started() == set()


async def test_on_timeout_background_lets_it_go_on(tools: Tools):
    result = await tools.run(
        "mkfifo go; read -r x <go; echo $x", timeout_s=0.2, on_timeout="background"
    )
    assert result.status == "running"

    await tools.run("echo through >go", session="other")

    assert (await tools.ended(result.process_id)).status == "exited"


async def test_kill_ends_a_tree_that_ignores_the_signal(tools: Tools):
    result = await tools.run(
        f"trap '' TERM; {DAEMON} echo up; while :; do sleep 1; done", background=True
    )
    await tools.read_until(result.process_id, "up")

    killed = await tools.call("kill", process_id=result.process_id, grace_s=0.2)

    assert killed.status == "killed"
    assert len(killed.killed_pids) >= 3
    assert started() == set()


async def test_kill_lets_a_program_clean_up(tools: Tools):
    result = await tools.run(
        "trap 'echo cleaned; exit 5' TERM; echo up; while :; do sleep 0.05; done", background=True
    )
    await tools.read_until(result.process_id, "up")

    await tools.call("kill", process_id=result.process_id, grace_s=10)
    state = await tools.call("read", process_id=result.process_id)

    assert (state.status, state.exit_code, state.stdout) == ("killed", 5, "cleaned\n")


async def test_kill_of_a_command_keeps_its_session(tools: Tools):
    await tools.run("export A=1")
    result = await tools.run("sleep 100; echo not", wait_s=0)

    await tools.call("kill", process_id=result.process_id)

    state = await tools.ended(result.process_id)
    assert (state.status, state.stdout) == ("killed", "")
    assert await tools.stdout("echo $A") == "1\n"


async def test_kill_of_an_ended_command_ends_its_jobs_only(tools: Tools):
    first = await tools.run("sleep 100 & echo $!")
    second = await tools.run("sleep 200 & echo $!")

    killed = await tools.call("kill", process_id=first.process_id, grace_s=0)

    assert killed.killed_pids == [int(first.stdout)]
    assert int(second.stdout) in started()


async def test_kill_of_a_session_ends_all_and_forgets_its_state(tools: Tools):
    await tools.run("export A=1; sleep 100 &")
    running = await tools.run("sleep 200", wait_s=0)

    await tools.call("kill", session="main", grace_s=0)

    assert started() == set()
    assert (await tools.ended(running.process_id)).status == "killed"
    assert await tools.stdout("echo ${A-gone}") == "gone\n"


async def test_a_signal_can_be_sent_without_killing(tools: Tools):
    result = await tools.run(
        "trap 'echo got' USR1; echo up; while :; do sleep 0.05; done", background=True
    )
    await tools.read_until(result.process_id, "up")
    process = result.process_id

    sent = await tools.call("kill", process_id=process, signal="USR1")

    assert (sent.status, sent.killed_pids) == ("running", [])
    await tools.read_until(process, "got")


async def test_an_unknown_process_or_session_is_refused(tools: Tools):
    assert (await tools.refused("read", process_id="p99")).code == ErrorCode.PROCESS_NOT_FOUND
    assert (await tools.refused("kill", process_id="p99")).code == ErrorCode.PROCESS_NOT_FOUND
    assert (await tools.refused("kill", session="none")).code == ErrorCode.NOT_FOUND


async def test_no_room_for_a_process_is_said(pids_limit: Limit, tools: Tools):
    await tools.run("export A=1")
    pids_limit(int(await tools.stdout("echo $$")), 1)

    # The shell itself needs no new process for this.
    assert await tools.stdout("echo $A") == "1\n"
    result = await tools.run("/bin/true; echo not", timeout_s=1)

    assert result.status == "timed_out"
    assert "not" not in result.stdout
    assert "Resource temporarily unavailable" in result.stderr
