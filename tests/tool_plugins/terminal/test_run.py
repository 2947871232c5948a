"""terminal.run in a session: state, streams, results."""

import asyncio
import errno
import inspect
import os
import resource

import pytest
from pydantic import ValidationError

from tool_plugins.context import Host, Identity
from tool_plugins.errors import ErrorCode
from tool_plugins.terminal.definition import TOOLS
from tool_plugins.terminal.executor import EXECUTORS
from tool_plugins.terminal.service import Terminal

from .conftest import DEFINITIONS, Tools, until


def test_every_tool_has_an_executor_with_the_same_defaults():
    assert [tool.name.split(".")[1] for tool in TOOLS] == list(EXECUTORS)
    for tool in TOOLS:
        function = EXECUTORS[tool.name.split(".")[1]]
        assert tool.executor == f"{function.__module__}:{function.__name__}"
        parameters = dict(list(inspect.signature(function).parameters.items())[1:])
        fields = tool.arguments.model_fields
        assert list(fields) == list(parameters)
        for name, field in fields.items():
            default = parameters[name].default
            assert field.is_required() == (default is inspect.Parameter.empty), name
            if not field.is_required():
                assert field.default == default, name


@pytest.mark.parametrize(
    "arguments",
    [
        {"command": ""},
        {"command": "a\0b"},
        {"command": "\ud800"},
        {"command": "ls", "session": "../x"},
        {"command": "ls", "timeout_s": 0},
        {"command": "ls", "timeout_s": 601},
        {"command": "ls", "env": {"A=B": "1"}},
        {"command": "ls", "env": {"": "1"}},
        {"command": "ls", "env": {"UID": "0"}},
        {"command": "ls", "env": {"A": "x\0y"}},
        {"command": "ls", "env": {"A": "x" * 200_000}},
        {"command": "ls", "timeout": 5},
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object]):
    with pytest.raises(ValidationError):
        DEFINITIONS["run"].arguments.model_validate(arguments)


async def test_a_session_keeps_folder_variables_functions_and_options(tools: Tools):
    await tools.run("mkdir d; cd d; export A='x y'; B=2; f() { echo fn; }; shopt -s extglob")

    result = await tools.run("echo $A $B; f; shopt extglob; pwd")

    folder = str(tools.host.workspace / "d")
    assert f"x y 2\nfn\nextglob        \ton\n{folder}\n" == result.stdout
    assert folder == result.cwd


async def test_commands_run_as_the_agents_user(tools: Tools, identity: Identity | None):
    if identity is None:
        pytest.skip("without an identity the user stays")
    words = (await tools.stdout("id -u; id -g; id -G; grep CapEff /proc/self/status")).split()

    assert words[:3] == ["200777", "200777", "200777"]
    assert words[3].startswith(str(identity.tag_base // 10_000))
    assert int(words[-1], 16) == 0


async def test_exit_code_and_streams_are_separate(tools: Tools):
    result = await tools.run("echo out; echo err >&2; false")

    assert (result.status, result.exit_code, result.signal) == ("exited", 1, None)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert (result.stdout_bytes, result.stderr_bytes, result.truncated) == (4, 4, False)


async def test_a_signal_is_named(tools: Tools):
    result = await tools.run("sh -c 'kill -SEGV $$'")

    assert (result.exit_code, result.signal) == (139, "SIGSEGV")


@pytest.mark.parametrize(
    "command", ["echo 'unterminated", "if true; then", "echo }; {", "case x in", "cat <<EOF || ("]
)
async def test_a_syntax_error_does_not_wedge_the_session(tools: Tools, command: str):
    result = await tools.run(command)

    assert (result.status, result.shell_restarted) == ("exited", False)
    assert result.exit_code != 0
    assert await tools.stdout("echo next") == "next\n"


@pytest.mark.parametrize(
    "command", ["exit 7", "set -e; (exit 7); echo not", "exec bash -c 'exit 7'"]
)
async def test_state_outlives_the_shell(tools: Tools, command: str):
    await tools.run("cd /usr; export A=1; f() { echo fn; }; shopt -s expand_aliases; alias g=f")

    result = await tools.run(command)

    assert (result.status, result.exit_code, result.shell_restarted) == ("exited", 7, True)
    assert await tools.stdout("echo $A $PWD; g") == "1 /usr\nfn\n"


async def test_errexit_ends_with_its_command(tools: Tools):
    await tools.run("set -e; true")

    result = await tools.run("false")

    assert (result.exit_code, result.shell_restarted) == (1, False)


async def test_standard_input_is_empty_unless_given(tools: Tools):
    assert await tools.stdout("cat; echo end") == "end\n"
    assert await tools.stdout("cat", stdin="text äöü\n") == "text äöü\n"
    assert await tools.stdout("read -r x; echo $x; cat", stdin="1\n2\n") == "1\n2\n"


async def test_environment_and_folder_of_one_call_end_with_it(tools: Tools):
    await tools.run("export A='old value'; B=plain; cd /usr")

    frame = {"A": "new\nline", "B": "b", "C": "$(id) 'q'"}
    during = await tools.stdout(
        'printf "%s|" "$A" "$C" "$PWD"; env | grep -c ^B=; cd /; export D=kept',
        env=frame,
        cwd="/etc",
    )
    after = await tools.stdout(
        'printf "%s|" "$A" "$B" "${C-unset}" "$D" "$PWD"; env | grep -c ^B=; :'
    )

    assert during == "new\nline|$(id) 'q'|/etc|1\n"
    assert after == "old value|plain|unset|kept|/usr|0\n"


async def test_a_folder_that_is_not_there_is_refused(tools: Tools):
    assert (await tools.refused("run", command="ls", cwd="nowhere")).code == ErrorCode.NOT_FOUND


async def test_variables_that_steer_programs_reach_only_the_command(tools: Tools):
    script = tools.host.workspace / "start"
    script.write_text("echo hijacked\n")

    assert await tools.stdout("bash -c :", env={"BASH_ENV": str(script)}) == "hijacked\n"
    assert await tools.stdout("bash -c :; echo clean") == "clean\n"


async def test_the_environment_is_only_what_the_host_gives(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SANDBOX_TOKEN", "secret")

    names = {line.split("=")[0] for line in (await tools.stdout("env")).splitlines()}

    assert names == {*tools.host.environment, "PWD", "SHLVL", "_"}


async def test_closing_the_streams_does_not_lose_the_session(tools: Tools):
    await tools.run("exec 1>&- 2>&-; echo lost")

    assert await tools.stdout("echo back") == "back\n"


async def test_a_deleted_folder_does_not_wedge_the_session(tools: Tools):
    await tools.run("mkdir gone; cd gone; rmdir ../gone")

    assert await tools.stdout("cd ..; echo here") == "here\n"


async def test_output_cannot_fake_the_end(tools: Tools):
    result = await tools.run(
        "for fd in 198 /proc/$$/fd/198; do printf 'x\\n0\\n/\\0' >&$fd; done; echo real; (exit 3)"
    )

    assert (result.exit_code, result.stdout) == (3, "real\n")


async def test_a_command_has_its_three_streams_and_nothing_else(tools: Tools):
    assert await tools.stdout("python3 -c 'import os; print(os.listdir(\"/proc/self/fd\"))'") == (
        "['0', '1', '2', '3']\n"
    )


async def test_a_background_job_does_not_hold_the_answer_up(tools: Tools):
    result = await tools.run("(read -r line; echo late $line) <&3 & echo now", wait_s=5)
    assert (result.status, result.stdout) == ("exited", "now\n")

    job = await tools.run("mkfifo go; (read -r line <go; echo late $line) & echo now")
    await tools.stdout("echo clean; echo word >go")

    assert (await tools.read_until(job.process_id, "late word")).status == "exited"


async def test_a_busy_session_says_what_runs_and_others_go_on(tools: Tools):
    first = await tools.run("mkfifo go; read -r line <go; echo $line", wait_s=0)
    assert first.status == "running"

    error = await tools.refused("run", command="echo no")
    assert error.code == ErrorCode.BUSY
    assert error.details["process_id"] == first.process_id
    assert "read -r line" in error.details["command"]
    await tools.run("echo through >go", session="other")

    assert (await tools.read_until(first.process_id, "through")).stdout == "through\n"
    assert (await tools.ended(first.process_id)).exit_code == 0
    assert await tools.stdout("echo free") == "free\n"


async def test_sessions_run_in_parallel(tools: Tools):
    await tools.run("mkfifo a b")

    # Each waits for the other: one after the other they would never end.
    one, two = await asyncio.gather(
        tools.run("read -r x <a; echo 1 >b", session="one", wait_s=10),
        tools.run("echo 2 >a; read -r x <b", session="two", wait_s=10),
    )

    assert [one.status, two.status] == ["exited", "exited"]


async def test_live_output_arrives_before_the_end(tools: Tools):
    started = asyncio.ensure_future(tools.run("mkfifo go; echo first; read -r x <go; echo $x >&2"))
    await until(lambda: tools.events)

    assert tools.events == [{"event": "stdout", "text": "first\n"}]
    await tools.run("echo second >go", session="other")
    await started
    assert tools.events[-1] == {"event": "stderr", "text": "second\n"}


async def test_a_gigabyte_is_drained_in_bounded_memory(tools: Tools):
    tools.live = False
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    result = await tools.run("echo start; yes 0123456789 | head -c 1000000000; echo; echo end")

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (result.stdout_bytes, result.truncated) == (1_000_000_011, True)
    assert result.stdout.startswith("start\n0123456789\n")
    assert result.stdout.endswith("\nend\n")
    assert result.omitted == result.stdout_bytes - 30_000
    assert len(result.stdout) < 31_000
    assert grown < 16 * 1024
    assert await tools.stdout(f"head -c 17 {result.output_file}") == "start\n0123456789\n"


async def test_live_output_of_a_flood_costs_no_character(tools: Tools):
    await tools.run("yes äöü | head -n 100000")

    text = "".join(event["text"] for event in tools.events)
    assert text == "äöü\n" * 100_000


async def test_escape_codes_and_progress_lines_do_not_reach_the_reader(tools: Tools):
    result = await tools.run(
        r"printf '\e[31mred\e[0m \e]0;title\a\e]8;;http://x\e\\link\e]8;;\e\\\n';"
        r"printf ' 10%%\r 50%%\r100%%\n';"
        r"printf 'a\r\nb\r\n\xff\xc3'"
    )

    assert result.stdout == "red link\n100%\na\nb\n\ufffd\ufffd"


async def test_too_many_sessions_are_refused(tools: Tools):
    for number in range(32):
        await tools.run(":", session=f"s{number}")

    error = await tools.refused("run", command=":", session="one-more")

    assert error.code == ErrorCode.QUOTA_EXCEEDED


async def test_a_full_spool_loses_output_and_says_so(host: Host, tools: Tools):
    host.service(Terminal)._spool.free = 0

    result = await tools.run("seq 100000")

    assert (result.truncated, result.output_file) == (True, None)
    assert result.stdout.startswith("1\n2\n")
    assert result.stdout.endswith("\n100000\n")


async def test_a_full_disk_does_not_take_the_shell_away(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
):
    await tools.run("export A=1")
    make = os.mkfifo

    def full(path: str, mode: int) -> None:
        if path.startswith(str(tools.host.spool)):
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, mode)

    monkeypatch.setattr(os, "mkfifo", full)

    assert await tools.stdout("echo $A; cat", stdin="in") == "1\nin"
    assert list(tools.host.tmp.iterdir()) == []


async def test_output_files_share_a_budget(host: Host, tools: Tools):
    first = await tools.run("head -c 30000000 /dev/zero | tr '\\0' x")
    spool = host.service(Terminal)._spool
    spool.free = 10

    second = await tools.run("seq 100000")

    assert first.output_file
    assert (second.truncated, spool.free) == (True, 0)
    host.service(Terminal).process(first.process_id).forget()
    assert spool.free == 4 * 1024 * 1024
