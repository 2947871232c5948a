"""Functions that are called in their worker, and what they do to it."""

import asyncio

import pytest

from tool_plugins.errors import ErrorCode

from .conftest import Load, lives

PLAIN = '''
import asyncio, os, sys, threading
from typing import Annotated
from pydantic import BaseModel, Field

class Book(BaseModel):
    title: str
    pages: Annotated[int, Field(gt=0)] = 1

def pid() -> int:
    """Which process this is."""
    return os.getpid()
'''


async def test_arguments_arrive_as_what_their_hints_say(load: Load):
    file = load(
        PLAIN
        + '''
from datetime import date

def describe(books: list[Book], /, day: date, *, copies: int = 2) -> list[str]:
    """Describes books."""
    return [f"{book.title} {book.pages * copies} {day:%d.%m.}" for book in books]
'''
    )

    books = [{"title": "A", "pages": 3}, {"title": "B"}]
    assert await file.call("describe", books=books, day="2026-05-04") == [
        "A 6 04.05.",
        "B 2 04.05.",
    ]


async def test_each_argument_that_does_not_fit_is_named_with_its_path(load: Load):
    file = load(
        PLAIN
        + '''
def store(books: list[Book], shelf: int) -> None:
    """Stores books."""
'''
    )
    error = await file.refused("store", books=[{"title": "A"}, {"pages": 0}], shelv=1)

    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert {each["field"]: each["message"] for each in error.details["fields"]} == {
        "books.1.title": "Field required",
        "books.1.pages": "Input should be greater than 0",
        "shelf": "Field required",
        "shelv": "unknown argument, did you mean 'shelf'?",
    }
    assert "my_tools.store: books.1.title: Field required" in error.message
    assert error.hint == "it takes: books, shelf"


async def test_only_tools_of_the_file_can_be_called(load: Load):
    file = load(PLAIN + "def _hidden() -> None:\n    'Hidden.'\n")

    codes = {(await file.refused(name)).code for name in ("_hidden", "Book", "os", "no_such")}
    assert codes == {ErrorCode.NOT_FOUND}


async def test_async_functions_share_one_loop_and_see_what_it_still_does(load: Load):
    file = load(
        PLAIN
        + '''
seen = []
tasks = []

async def begin() -> int:
    """Leaves a task behind."""
    tasks.append(asyncio.create_task(later()))
    return id(asyncio.get_running_loop())

async def later():
    await asyncio.sleep(0)
    seen.append("later")
    sys.exit(3)

async def go_on() -> tuple[int, list[str]]:
    """Waits for the task of the call before."""
    await asyncio.wait(tasks)
    return id(asyncio.get_running_loop()), seen

def blocking() -> int:
    """Has a loop of its own."""
    return asyncio.run(go_on_alone())

async def go_on_alone():
    return 5

async def stop() -> str:
    """Stops the loop it runs on."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "still here"
'''
    )
    first = await file.call("begin")

    assert await file.call("blocking") == 5
    assert await file.call("go_on") == [first, ["later"]]
    assert await file.call("stop") == "still here"


async def test_an_async_function_under_a_decorator_is_awaited(load: Load):
    file = load(
        PLAIN
        + '''
import functools

def traced(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def blocking(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return asyncio.run(function(*args, **kwargs))
    return wrapper

@traced
async def one() -> int:
    """One."""
    return 1

@blocking
async def two() -> int:
    """Two."""
    return 2
'''
    )

    assert (await file.call("one"), await file.call("two")) == (1, 2)


async def test_a_default_that_a_call_changed_is_new_for_the_next(load: Load):
    file = load(
        PLAIN
        + '''
def collect(value: int, into: list[int] = []) -> list[int]:
    """Collects."""
    into.append(value)
    return into
'''
    )

    assert await file.call("collect", value=1) == [1]
    assert await file.call("collect", value=2) == [2]


async def test_what_a_call_changes_around_it_is_as_before_for_the_next(load: Load):
    file = load(
        PLAIN
        + '''
import decimal, io, signal

def spoil() -> int:
    """Changes everything."""
    os.mkdir("below")
    os.chdir("below")
    os.umask(0o777)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.setrecursionlimit(200)
    sys.settrace(lambda *_: None)
    decimal.getcontext().prec = 2
    print("before")
    sys.stdout = io.StringIO()
    sys.stderr = None
    print("lost")
    os.close(1)
    return os.getpid()

def look() -> dict[str, object]:
    """What the next call finds."""
    print("heard")
    print("too", file=sys.stderr)
    with open("new", "w") as file:
        mode = os.stat(file.fileno()).st_mode & 0o777
    os.unlink("new")
    return {
        "pid": os.getpid(),
        "folder": os.path.basename(os.getcwd()),
        "mode": oct(mode),
        "handlers": [str(signal.getsignal(n)) for n in (signal.SIGALRM, signal.SIGTERM)],
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "recursion": sys.getrecursionlimit(),
        "trace": sys.gettrace() is not None,
        "precision": decimal.getcontext().prec,
    }
'''
    )
    before = await file.call("look")
    assert await file.call("spoil") == before["pid"]

    assert await file.call("look") == before
    assert before["folder"] == file.workspace.name
    assert before["mode"] == "0o644"
    assert file.logs == "heard\ntoo\nbefore\nheard\ntoo\n"


@pytest.mark.parametrize(
    "harm",
    [
        "import builtins; builtins.len = lambda _: 7",
        "import builtins; del builtins.isinstance",
        "import json; json.dumps = json.loads = lambda *_, **__: {}",
        "import json; json.encoder.c_make_encoder = None; json.encoder.float = str",
        "import json; json.JSONEncoder.encode = lambda *_: '{}'",
        "os.close(0)",
        "sys.stdout.close()",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))",
    ],
)
async def test_after_what_cannot_be_put_back_the_next_call_has_a_new_process(load: Load, harm: str):
    file = load(
        PLAIN
        + f'''
def spoil() -> dict[str, float]:
    """Harms its process."""
    {harm}
    return {{"pid": os.getpid() + 0.5}}
'''
    )
    before = await file.call("pid")
    assert await file.call("spoil") == {"pid": before + 0.5}

    assert await file.call("pid") != before
    assert not lives(before)


async def test_after_a_lack_of_memory_the_next_call_has_a_new_process(load: Load):
    file = load(
        PLAIN
        + '''
def fill() -> int:
    """Takes more than there is."""
    return len(bytearray(1 << 60))
'''
    )
    before = await file.call("pid")
    error = await file.refused("fill")

    assert (error.code, error.message) == (ErrorCode.TOOL_RAISED, "MemoryError")
    assert await file.call("pid") != before


async def test_a_file_that_patches_json_from_the_start_still_answers(load: Load):
    file = load(
        PLAIN
        + '''
import json
json.JSONEncoder.default = lambda self, value: str(value)

def names() -> list[str]:
    """Names."""
    return ["a"]
'''
    )
    before = await file.call("pid")

    assert await file.call("names") == ["a"]
    assert await file.call("pid") == before


@pytest.mark.parametrize("how", ["os.fork", "libc.fork"])
@pytest.mark.parametrize("end", ["return {'pid': os.getpid()}", "sys.exit(0)", "1 / 0"])
async def test_a_fork_that_comes_back_never_answers(load: Load, how: str, end: str):
    file = load(
        PLAIN
        + f'''
import ctypes
libc = ctypes.PyDLL(None)

def split() -> dict[str, int]:
    """Comes back twice."""
    if child := {how}():
        status = os.waitpid(child, 0)[1]
        return {{"pid": os.getpid(), "status": status}}
    {end}
'''
    )
    pid = await file.call("pid")

    assert await file.call("split") == {"pid": pid, "status": 0}
    assert await file.call("pid") == pid


async def test_threads_that_go_on_are_not_in_the_way_of_the_next_call(load: Load):
    file = load(
        PLAIN
        + '''
from tool_plugins.authoring import Context

wait = threading.Event()
outcome = []

def leave(ctx: Context) -> None:
    """Leaves a thread behind that goes on to use its context."""
    def work():
        wait.wait()
        ctx.progress(1)
        try:
            ctx.filesystem.read("a")
        except RuntimeError as exc:
            outcome.append(str(exc))
    global thread
    thread = threading.Thread(target=work)
    thread.start()

def go_on() -> list[str]:
    """Lets it."""
    wait.set()
    thread.join()
    return outcome
'''
    )
    await file.call("leave")

    assert await file.call("go_on") == ["the call is over"]
    assert (file.events, file.asks) == ([], [])


async def test_what_a_child_and_a_library_in_c_print_belongs_to_its_call(load: Load):
    file = load(
        PLAIN
        + '''
import ctypes, subprocess

def speak() -> None:
    """Prints in every way."""
    print("half", end="")
    ctypes.CDLL(None).puts(b"library")
    subprocess.run(["echo", "child"])
    os.write(2, b"write\\n")

def quiet() -> None:
    """Prints nothing."""
'''
    )
    await file.call("speak")
    spoken = file.logs
    await file.call("quiet")

    assert sorted(spoken.replace("half", "half\n").split()) == ["child", "half", "library", "write"]
    assert file.logs == spoken


async def test_a_function_that_ends_its_process_is_told_and_the_next_call_works(load: Load):
    file = load(
        PLAIN
        + '''
def leave() -> None:
    """Ends the process."""
    os._exit(3)

def close() -> None:
    """Closes whatever is open."""
    os.closerange(0, 5000)
'''
    )
    left, closed = await file.refused("leave"), await file.refused("close")

    assert "ended with code 3" in left.message
    assert closed.code is ErrorCode.INTERNAL
    assert await file.call("pid")


async def test_a_timeout_ends_a_function_and_its_children(load: Load):
    file = load(
        PLAIN
        + '''
import subprocess

def hang() -> None:
    """Never ends, and ignores signals."""
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print(child.pid)
    while True:
        pass
'''
    )
    await file.call("pid")
    error = await file.refused("hang", timeout_s=0.5)

    assert error.code is ErrorCode.TIMEOUT
    assert not lives(int(file.logs))


async def test_a_tool_takes_other_types_of_json_than_python_has(load: Load):
    file = load(
        PLAIN
        + '''
from datetime import timedelta
from pydantic import ConfigDict
from uuid import UUID

class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    id: UUID
    parts: tuple[int, ...]

def take(value: Strict, wait: timedelta) -> tuple[Strict, timedelta]:
    """Takes them."""
    return value, wait
'''
    )
    value = {"id": "12345678-1234-5678-1234-567812345678", "parts": [1, 2]}

    assert await file.call("take", value=value, wait="PT5S") == [value, "PT5S"]


async def test_calls_that_wait_do_not_answer_each_other(load: Load):
    file = load(
        PLAIN
        + '''
async def echo(value: int) -> int:
    """Gives it back."""
    await asyncio.sleep(0)
    return value
'''
    )

    assert await asyncio.gather(*(file.call("echo", value=n) for n in range(9))) == list(range(9))
