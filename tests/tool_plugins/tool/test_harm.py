"""Files of custom tools that mean harm, as the action server meets them.

Some write to it themselves, past our program: nothing they say is believed.
"""

from typing import Any

import pytest

from tests.tool_plugins.worker.conftest import started, until
from tool_plugins.errors import ErrorCode

from .serving import PLAIN, Server, until_ready
from .serving import server as server

# What a file does that writes to the server in our program's place.
RAW = '''
import inspect, json, os, struct

def _call():
    """The number of the call that runs."""
    frame = inspect.currentframe()
    while "fields" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["fields"]["id"]

def _raw(*messages):
    for message in messages:
        body = message if isinstance(message, str) else json.dumps({"id": _call(), **message})
        data = struct.pack("!I", len(body)) + body.encode()
        while data:
            data = data[os.write(200, data):]
'''


async def test_no_file_can_say_that_its_build_is_missing(server: Server):
    await server.install(
        RAW
        + '''
def lie() -> None:
    """Says what only the server may."""
    details = {"missing": "build", "a": 1}
    _raw({"error": {"code": "NOT_FOUND", "message": "\\x1b[1mno", "details": details}})
    os._exit(0)
'''
    )
    error = await server.refused("lie")

    assert (error.code, error.message, error.details) == (ErrorCode.NOT_FOUND, "no", {"a": 1})


IMPORTS = [
    ("loop", "while True: pass", ErrorCode.TIMEOUT, "importing my_tools.py took longer"),
    ("exit", "import os; os._exit(0)", ErrorCode.SCHEMA_ERROR, "was ended with code 0"),
    ("sys.exit", "import sys; sys.exit(0)", ErrorCode.SCHEMA_ERROR, "SystemExit"),
    ("kill", "import os; os.kill(os.getpid(), 9)", ErrorCode.SCHEMA_ERROR, "SIGKILL"),
    ("segv", "import ctypes; ctypes.string_at(0)", ErrorCode.SCHEMA_ERROR, "SIGSEGV"),
    ("close", "import os; os.closerange(0, 1000)", ErrorCode.SCHEMA_ERROR, "process was ended"),
    ("print", "while True: print('x' * 10000)", ErrorCode.TIMEOUT, "importing"),
    (
        "children",
        "import subprocess\nsubprocess.Popen(['setsid', 'sleep', '100'])\n1/0",
        ErrorCode.SCHEMA_ERROR,
        "ZeroDivisionError",
    ),
    (
        "forks",
        "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(100)\n    time.sleep(.02)",
        ErrorCode.TIMEOUT,
        "importing",
    ),
    (
        "stop",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        ErrorCode.TIMEOUT,
        "importing",
    ),
    (
        "limit",
        "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (2**26, 2**26))\n"
        "x = [bytearray(2**20) for _ in range(100)]",
        None,
        "",
    ),
    ("nothing", "x = 1", ErrorCode.SCHEMA_ERROR, "no public function"),
    ("syntax", "def f(:", ErrorCode.SCHEMA_ERROR, "my_tools.py"),
    ("nested", f"x = {'(' * 9000}{')' * 9000}", None, ""),
]


@pytest.mark.parametrize(
    ("source", "code", "says"), [each[1:] for each in IMPORTS], ids=[each[0] for each in IMPORTS]
)
async def test_an_import_that_goes_wrong_is_an_error_and_leaves_nothing(
    server: Server, source: str, code: ErrorCode | None, says: str
):
    await server.install("x = 1", build="other")
    await until_ready(server)
    error = await server.not_described(source, timeout_s=2)

    assert error.code is code or code is None
    assert says in error.message
    # But for a spare, which has loaded nothing.
    await server.install(PLAIN, build="good")
    await until_ready(server)
    await until(lambda: len(started()) == 1)
    assert len((await server.describe(build="good"))["functions"]) == 3


async def test_a_fork_at_import_does_not_speak_for_its_parent(server: Server):
    await server.install("import os\nos.fork()\n" + PLAIN)

    assert len((await server.describe())["functions"]) == 3
    assert await server.run("add", a=1) == 2


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("os._exit(3)", "ended with code 3"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("os.closerange(0, 1000)", "ended with code 1"),
    ],
)
async def test_a_call_that_ends_its_process_is_an_error_of_the_tool(
    server: Server, how: str, says: str
):
    await server.install(
        f'''
import os

def die() -> None:
    """Ends the process."""
    print("last words")
    {how}

def pid() -> int:
    """Which process this is."""
    return os.getpid()
'''
    )
    error = await server.refused("die")

    assert (error.code, error.details) == (ErrorCode.TOOL_RAISED, {"logs": "last words\n"})
    assert says in error.message
    assert await server.run("pid") in started()


LIES = {
    "attachments": {"attachments": {}},
    "too many": {"attachments": [{"mime_type": "image/png", "data": ""}] * 101},
    "attachment": {"attachments": ["image"]},
    "type": {"attachments": [{"mime_type": "image/png\r\nX: y", "data": ""}]},
    "no type": {"attachments": [{"data": ""}]},
    "base64": {"attachments": [{"mime_type": "image/png", "data": "no base64"}]},
    "no data": {"attachments": [{"mime_type": "image/png", "data": 7}]},
    "large": {"attachments": [{"mime_type": "image/png", "data": "AAAA" * 1_600_000}]},
    "file": {"file": "/etc/passwd"},
    "path": {"file": {"path": "../a", "bytes": 1, "mime_type": "text/plain"}},
    "folder": {"file": {"path": ".tool_results/../../a", "bytes": 1, "mime_type": "text/plain"}},
    "size": {"file": {"path": ".tool_results/a", "bytes": -1, "mime_type": "text/plain"}},
    "more": {"file": {"path": ".tool_results/a", "bytes": 1, "mime_type": "a/b", "x": 1}},
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
async def test_a_result_that_is_none_is_refused(server: Server, data: dict[str, Any]):
    await server.install(
        RAW
        + f'''
def lie() -> None:
    """Answers in our place."""
    _raw({{"data": {data!r}}})
    os._exit(0)
'''
    )
    error = await server.refused("lie")

    assert error.code is ErrorCode.INVALID_RESULT
    assert "malformed" in error.message


async def test_events_are_handed_on_only_in_the_form_they_have(server: Server):
    await server.install(
        RAW
        + '''
def lie(ctx) -> None:
    """Tells what nobody expects."""
    events = [
        {"event": "ask", "ask": 1, "tool": "terminal.run"},
        {"event": "observation", "observation": {}},
        {"event": ["stdout"]},
        {"event": "stdout", "text": "forged"},
        {"event": "progress"},
        {"event": "progress", "progress": True},
        {"event": "progress", "progress": 10**400},
        {},
        {"event": "progress", "progress": 1, "total": "2", "message": "m" * 10000, "x": "y"},
    ]
    _raw(*({"event": event} for event in events[:-1]))
    _raw('{"id":%d,"event":{"event":"progress","progress":1e999}}' % _call())
    _raw({"event": events[-1]})
'''
    )
    context, events = server.following()
    await server.observe("lie", context=context)

    assert events.qsize() == 1
    assert events.get_nowait() == {
        "event": "progress",
        "progress": 1.0,
        "total": None,
        "message": "m" * 500,
    }


@pytest.mark.parametrize(
    "request_",
    [
        '{"tool": 7}',
        '{"tool": "' + "x" * 81 + '"}',
        '{"tool": "a.b", "positional": {}}',
        '{"tool": "a.b", "named": []}',
        '{"tool": "a.b", "positional": [1e999]}',
        "{}",
    ],
    ids=["number", "long", "positional", "named", "infinity", "nothing"],
)
async def test_a_question_that_is_none_never_reaches_the_host(server: Server, request_: str):
    await server.install(
        RAW
        + f'''
def lie(ctx) -> None:
    """Asks what cannot be asked."""
    _raw('{{"id":%d,"ask":5,"request":%s}}' % (_call(), {request_!r}))
    print(os.read(200, 65536)[4:].decode())
'''
    )
    context, events = server.following()
    data = await server.observe("lie", context=context)

    assert '"code":"INVALID_ARGUMENT"' in data["logs"]
    assert {"stdout"} == {events.get_nowait()["event"] for _ in range(events.qsize())}


async def test_a_warm_call_is_quick_to_answer_after_a_flood(server: Server):
    """What a call printed does not stand in the way of the next."""
    await server.install(
        '''
import subprocess

def flood() -> None:
    """Leaves a child that goes on printing."""
    subprocess.Popen(["sh", "-c", "trap '' PIPE; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxx; done"])

def add(a: int) -> int:
    """Adds one."""
    return a + 1
'''
    )
    assert await server.run("flood") is None
    for number in range(5):
        assert await server.run("add", a=number) == number + 1


async def test_a_number_that_json_spells_and_does_not_have_is_refused(server: Server):
    await server.install(
        RAW
        + '''
def lie() -> None:
    """Answers in our place."""
    _raw('{"id": %d, "data": {"result": [1e999]}}' % _call())
    os._exit(0)
'''
    )
    error = await server.refused("lie")

    assert error.code is ErrorCode.INVALID_RESULT
