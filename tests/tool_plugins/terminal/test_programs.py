"""Programs beside a session: background, terminals, reading, writing, listing."""

import pytest
from pydantic import ValidationError

from tool_plugins.errors import ErrorCode

from .conftest import DEFINITIONS, Tools


async def test_a_background_program_starts_with_the_sessions_state(tools: Tools):
    await tools.run("cd /usr; export A=1; f() { echo fn; }")

    result = await tools.run(
        "echo $A $B $PWD; f; cd /; export A=2", background=True, env={"B": "b"}
    )

    assert (await tools.read_until(result.process_id, "fn")).stdout == "1 b /usr\nfn\n"
    assert await tools.stdout("echo $A $PWD") == "1 /usr\n"


async def test_a_background_program_answers_what_it_is_written(tools: Tools):
    result = await tools.run("while read -r x; do echo got $x; done; echo end", background=True)
    assert result.status == "running"
    process = result.process_id

    answer = await tools.call("write", process_id=process, text="one\n", wait_for="got", wait_s=5)
    assert answer.stdout == "got one\n"
    answer = await tools.call(
        "write", process_id=process, text="two", keys=["enter", "ctrl-d"], wait_for="end", wait_s=5
    )

    assert answer.stdout == "got two\nend\n"
    assert (await tools.ended(process)).exit_code == 0
    assert (
        await tools.refused("write", process_id=process, text="x")
    ).code == ErrorCode.UNSUPPORTED


async def test_a_large_input_is_written_whole(tools: Tools):
    result = await tools.run("wc -c", background=True)

    answer = await tools.call(
        "write",
        process_id=result.process_id,
        text="x" * 900_000,
        close_stdin=True,
        wait_for="900000",
        wait_s=10,
    )

    assert answer.matched


async def test_a_command_in_a_session_cannot_be_written_to(tools: Tools):
    result = await tools.run("sleep 100", wait_s=0)

    error = await tools.refused("write", process_id=result.process_id, text="x")

    assert error.code == ErrorCode.UNSUPPORTED


async def test_ctrl_c_interrupts_a_program_without_a_terminal(tools: Tools):
    result = await tools.run(
        "trap 'echo int; exit 3' INT; echo up; while :; do sleep 0.05; done", background=True
    )
    await tools.read_until(result.process_id, "up")

    await tools.call("write", process_id=result.process_id, keys=["ctrl-c"], wait_s=0)

    state = await tools.ended(result.process_id)
    assert (state.exit_code, state.stdout) == (3, "int\n")


async def test_a_key_that_needs_a_terminal_is_refused_without_one(tools: Tools):
    result = await tools.run("cat", background=True)

    error = await tools.refused("write", process_id=result.process_id, keys=["up"])

    assert error.code == ErrorCode.UNSUPPORTED
    with pytest.raises(ValidationError):
        DEFINITIONS["write"].arguments.model_validate({"process_id": "p1", "keys": ["any"]})


async def test_a_pty_is_a_controlling_terminal(tools: Tools):
    result = await tools.run(
        "tty; stty size; test -t 2 && echo tty; exec 3<>/dev/tty && echo own", pty=True
    )

    lines = result.stdout.splitlines()
    assert lines[0].startswith("/dev/pts/")
    assert lines[1:] == ["40 120", "tty", "own"]
    assert (result.status, result.exit_code, result.stderr) == ("exited", 0, "")


async def test_an_interactive_program_is_driven_by_keys(tools: Tools):
    result = await tools.run("python3 -q -E -S -i -c ''", pty=True, background=True)
    process = result.process_id
    await tools.read_until(process, ">>> ")

    answer = await tools.call(
        "write", process_id=process, text="6 * 7", keys=["enter"], wait_for="^42", wait_s=10
    )
    assert "42" in answer.stdout
    loop = "import time; print(chr(103) + 'o', flush=True); time.sleep(100)\n"
    await tools.call("write", process_id=process, text=loop, wait_for="^go", wait_s=10)
    answer = await tools.call(
        "write", process_id=process, keys=["ctrl-c"], wait_for="KeyboardInterrupt\n>>> ", wait_s=10
    )
    assert answer.matched
    await tools.call("write", process_id=process, text="raise SystemExit(4)\n", wait_s=0)

    assert (await tools.ended(process)).exit_code == 4


async def test_closing_the_input_of_a_terminal_ends_a_reader(tools: Tools):
    result = await tools.run("cat", pty=True, background=True)

    await tools.call("write", process_id=result.process_id, close_stdin=True, wait_s=0)

    assert (await tools.ended(result.process_id)).exit_code == 0


async def test_a_program_that_dies_tells_its_signal(tools: Tools):
    result = await tools.run("kill -ABRT $$", background=True)

    state = await tools.ended(result.process_id)

    assert (state.status, state.exit_code, state.signal) == ("exited", 134, "SIGABRT")


async def test_reading_goes_on_where_it_ended(tools: Tools):
    result = await tools.run("seq 60000; echo err >&2")
    process = result.process_id
    assert result.truncated

    text, cursor, more = "", "0", True
    while more:
        part = await tools.call("read", process_id=process, since=cursor, max_chars=9_999)
        assert part.omitted == 0
        assert len(part.stdout) + len(part.stderr) <= 9_999
        text, cursor, more = text + part.stdout, part.next_cursor, part.more

    assert text == "".join(f"{n}\n" for n in range(1, 60_001))
    again = await tools.call("read", process_id=process, since="0", max_chars=100)
    assert again.stdout.startswith("1\n2\n")


async def test_pieces_end_between_characters(tools: Tools):
    result = await tools.run("for i in $(seq 50000); do printf 'äöü€𝄞'; done")

    text, cursor, more = "", "0", True
    while more:
        part = await tools.call("read", process_id=result.process_id, since=cursor, max_chars=777)
        text, cursor, more = text + part.stdout, part.next_cursor, part.more

    assert text == "äöü€𝄞" * 50_000


async def test_what_is_lost_between_is_counted(tools: Tools):
    result = await tools.run("head -c 20000000 /dev/zero | tr '\\0' x; echo end")

    size, cursor, more, lost = 0, "0", True, 0
    while more:
        part = await tools.call(
            "read", process_id=result.process_id, since=cursor, max_chars=100_000
        )
        size, lost = size + len(part.stdout), lost + part.omitted
        cursor, more = part.next_cursor, part.more

    assert (size + lost, lost > 0) == (20_000_004, True)
    assert part.stdout.endswith("xxxend\n")


async def test_without_a_cursor_only_news_are_read(tools: Tools):
    result = await tools.run("mkfifo go; echo one; read -r x <go; echo two", wait_s=0.2)
    assert result.stdout == "one\n"

    await tools.run(": >go", session="other")

    assert (await tools.read_until(result.process_id, "two")).stdout == "two\n"
    assert (await tools.call("read", process_id=result.process_id)).stdout == ""


async def test_a_bad_cursor_or_pattern_is_refused(tools: Tools):
    process = (await tools.run("echo x")).process_id

    for arguments in ({"since": "x"}, {"wait_for": "(a"}, {"wait_for": r"(a)\1"}):
        error = await tools.refused("read", process_id=process, **arguments)
        assert error.code == ErrorCode.INVALID_ARGUMENT


async def test_waiting_for_what_never_comes_ends_with_the_program(tools: Tools):
    process = (await tools.run("echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")).process_id

    result = await tools.call("read", process_id=process, since="0", wait_for="(a+)+$", wait_s=30)

    assert result.matched is False


async def test_list_shows_what_runs_and_where_it_listens(tools: Tools):
    server = await tools.run(
        'python3 -uc \'import socket,time\ns=socket.create_server(("127.0.0.1",0))\n'
        "print(s.getsockname()[1],flush=True)\ntime.sleep(100)'",
        background=True,
    )
    port = int((await tools.read_until(server.process_id, r"\d+\n")).stdout)
    await tools.run("cd /usr")
    busy = await tools.run("sleep 100", session="busy", wait_s=0)

    listed = await tools.call("list")

    processes = {process.id: process for process in listed.processes}
    assert processes[server.process_id].ports == [port]
    assert processes[server.process_id].rss_bytes > 1_000_000
    assert processes[server.process_id].status == "running"
    sessions = {session.name: session for session in listed.sessions}
    assert (
        sessions["main"].cwd,
        sessions["main"].busy,
        sessions["main"].process_id,
    ) == ("/usr", False, None)
    assert (True, busy.process_id) == (sessions["busy"].busy, sessions["busy"].process_id)


async def test_only_so_many_ended_processes_are_kept(tools: Tools):
    first = (await tools.run(":")).process_id
    for _ in range(101):
        await tools.run(":")

    assert (await tools.refused("read", process_id=first)).code == ErrorCode.PROCESS_NOT_FOUND


async def test_list_leaves_out_what_ended_before_the_last_ten(tools: Tools):
    job = (await tools.run("sleep 100 </dev/null >/dev/null 2>&1 & :")).process_id
    ended = [(await tools.run(":")).process_id for _ in range(13)]

    listed = await tools.call("list")

    assert [process.id for process in listed.processes] == [job, *ended[3:]]
    assert listed.omitted == 3
