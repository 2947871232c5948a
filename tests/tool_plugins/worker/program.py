"""What the workers of these tests do, most of it bad. Runs in the worker."""

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.channel import LOWEST_CHANNEL_FD
from tool_plugins.worker.child import Call

Args = dict[str, Any]
STATE: dict[str, Any] = {"calls": 0}


def echo(args: Args, call: Call) -> Args:
    STATE["calls"] += 1
    return {"args": args, "pid": os.getpid(), "calls": STATE["calls"]}


def look(args: Args, call: Call) -> Args:
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    print("to nobody", sys.stdin.read(), flush=True)
    return {
        "uid": os.getuid(),
        "groups": status["Groups"].split(),
        "cwd": os.getcwd(),
        "path": sys.path,
        "fds": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "environment": dict(os.environ),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
        "data": resource.getrlimit(resource.RLIMIT_DATA)[1],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "owner": os.stat("/proc/self/mem").st_uid,
        "left": call.deadline - time.monotonic(),
    }


def refuse(args: Args, call: Call) -> Args:
    raise ToolError(
        ErrorCode.UNSUPPORTED_CONTENT, "not this", hint="that", details={"kind": "this"}
    )


def shout(args: Args, call: Call) -> Args:
    for _ in range(200):
        print("x" * 100_000)
        os.write(2, b"\0\0\0\2{}" * 1000)
    subprocess.run(["sh", "-c", "echo from a child; echo 2 >&2"], check=True)
    return {}


def tell(args: Args, call: Call) -> Args:
    for number in range(args["count"]):
        call.emit({"number": number})
    thread = threading.Thread(target=call.emit, args=({"number": -1},))
    thread.start()
    thread.join()
    return {}


def tell_for_ever(args: Args, call: Call) -> Args:
    while True:
        call.emit({})


def tell_too_much(args: Args, call: Call) -> Args:
    call.emit({"text": "x" * 2_000_000})
    return {}


def load(args: Args, call: Call) -> Args:
    print("loading", flush=True)
    if args.get("fail"):
        raise ToolError(ErrorCode.SCHEMA_ERROR, args["fail"])
    STATE["loaded"] = [*STATE.get("loaded", []), args["what"]]
    time.sleep(args.get("sleep", 0))
    return {}


def loaded(args: Args, call: Call) -> Args:
    STATE["calls"] += 1
    return {"pid": os.getpid(), "loaded": STATE.get("loaded", []), "calls": STATE["calls"]}


def printing(args: Args, call: Call) -> Args:
    """The same two lines from Python, from below it, from a library in C, and from a child."""
    for number in range(args.get("times", 1)):
        print("python", number, end=args.get("end", "\n"))
        print("error", number, file=sys.stderr)
        os.write(1, b"write\n")
        ctypes.CDLL(None).puts(b"library")
        subprocess.run(["sh", "-c", "echo child; echo child >&2"], check=True)
    return {}


def print_bytes(args: Args, call: Call) -> Args:
    os.write(1, b"\xff\x00\x1b[31m\xc3")
    print("\ud800")
    return {}


def print_for_ever(args: Args, call: Call) -> Args:
    """Here, or in a child that the call leaves behind."""
    STATE["child"] = subprocess.Popen(["cat", "/dev/zero"])
    while args["here"]:
        print("x" * 60_000)
    return {"pid": STATE["child"].pid}


def print_ahead(args: Args, call: Call) -> Args:
    """More than is read at once, all of it before the answer."""
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(1, b"x" * args["size"])
    return {}


def print_and_die(args: Args, call: Call) -> Args:
    os.write(1, b"last words")
    os._exit(1)


def unprint(args: Args, call: Call) -> Args:
    """Does away with its output, and leaves the folder."""
    os.close(1)
    os.close(2)
    os.chdir("/")
    return {"fd": os.open("/dev/null", os.O_WRONLY)}


def where(args: Args, call: Call) -> Args:
    print("here")
    return {"folder": os.getcwd()}


def ask(args: Args, call: Call) -> Args:
    return {"answer": call.ask(args["request"])}


def ask_refused(args: Args, call: Call) -> Args:
    try:
        call.ask({"size": "x" * args.get("size", 0)})
    except (ToolError, ValueError) as exc:
        return {"type": type(exc).__name__, "text": str(exc), "hint": getattr(exc, "hint", "")}
    return {}


def ask_at_once(args: Args, call: Call) -> Args:
    """From many threads; each must get its own answer."""
    answers: dict[int, Any] = {}

    def asking(number: int) -> None:
        answers[number] = call.ask({"number": number})["number"]

    threads = [threading.Thread(target=asking, args=(n,)) for n in range(args["count"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": [answers[number] for number in range(args["count"])]}


LATER: list[str] = []


def ask_later(args: Args, call: Call) -> Args:
    """Leaves threads behind that wait for an answer, want to ask, and want to tell."""
    done = threading.Event()

    def waiting() -> None:
        try:
            call.ask({})
        except RuntimeError as exc:
            LATER.append(str(exc))

    def late() -> None:
        done.wait()
        waiting()
        call.emit({"late": True})
        LATER.append("told")

    threading.Thread(target=waiting, daemon=True).start()
    STATE["late"] = threading.Thread(target=late, daemon=True)
    STATE["late"].start()
    STATE["done"] = done
    return {}


def what_later(args: Args, call: Call) -> Args:
    STATE["done"].set()
    STATE["late"].join()
    return {"said": LATER}


def fork(args: Args, call: Call) -> Args:
    """Both processes go on, and both return."""
    pid = os.fork()
    if pid == 0:
        call.emit({"from": "the child"})
        return {"from": "the child"}
    return {"status": os.waitpid(pid, 0)[1]}


def give(args: Args, call: Call) -> Args:
    """Results no one can take."""
    return {
        "large": lambda: {"text": "x" * args.get("size", 0)},
        "nan": lambda: {"number": float("nan")},
        "object": lambda: {"object": object()},
        "list": lambda: [],
        "deep": _deep,
        "many": lambda: {"values": [0] * 1_000_000},
        "text": lambda: {"text": "a,[{" * 1_000_000},
        "surrogate": lambda: {"text": "a\ud800b"},
    }[args["what"]]()


def _deep() -> Any:
    value: Any = {}
    for _ in range(100_000):
        value = {"a": value}
    return value


def raising(args: Args, call: Call) -> Args:
    if args["what"] == "exit":
        sys.exit(3)
    if args["what"] == "recursion":
        return raising(args, call)
    if args["what"] == "import":
        import no_such_library  # noqa: F401
    if args["what"] == "large":
        raise ToolError(ErrorCode.NOT_FOUND, "x" * 10_000_000, details={"y": "y" * 10_000_000})
    raise ValueError("secret\x1b[31m text")


def die(args: Args, call: Call) -> Args:
    match args["how"]:
        case "exit":
            os._exit(7)
        case "segv":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "close":
            os.closerange(0, 1000)
        case "shutdown":
            with socket.socket(fileno=os.dup(LOWEST_CHANNEL_FD)) as channel:
                channel.shutdown(socket.SHUT_RDWR)
            time.sleep(100)
    return {}


def eat(args: Args, call: Call) -> Args:
    pieces = []
    while True:
        pieces.append(bytearray(1 << 20))


def sleep(args: Args, call: Call) -> Args:
    """Waits, with children and grandchildren that do everything not to be found."""
    script = "(setsid sleep 100 &) ; (env -i setsid sh -c '(sleep 101 &) ; exec sleep 102' &)"
    subprocess.run(["sh", "-c", script], check=True)
    running = subprocess.Popen(["sleep", "103"])
    call.emit({"pid": os.getpid(), "child": running.pid})
    if args.get("stopped"):
        os.kill(os.getpid(), signal.SIGSTOP)
    while args.get("busy"):
        pass
    time.sleep(100)
    return {}


def leave(args: Args, call: Call) -> Args:
    """Leaves a process behind that outlives the call."""
    return {"pid": subprocess.Popen(["setsid", "sleep", "100"]).pid}


def flee(args: Args, call: Call) -> Args:
    """Processes that are always others, for ten seconds: each starts the next and ends."""
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            for _ in range(500):
                if os.fork() != 0:
                    os._exit(0)
                time.sleep(0.02)
            os._exit(0)
    call.emit({"pid": os.getpid()})
    time.sleep(100)
    return {}


def say(args: Args, call: Call) -> Args:
    """Says what it should not, past what `Call` allows."""
    for piece in args["pieces"]:
        data = json.dumps(piece).encode() if isinstance(piece, dict) else piece.encode()
        if not args.get("raw"):
            data = struct.pack("!I", len(data)) + data
        while data:
            data = data[os.write(LOWEST_CHANNEL_FD, data) :]
    if args.get("half"):
        os.write(LOWEST_CHANNEL_FD, b"\0")
    if args.get("sleep"):
        time.sleep(100)
    return {"said": True}


def say_later(args: Args, call: Call) -> Args:
    """Speaks while it has nothing to do."""
    threading.Timer(0.2, say, ({"pieces": [{"id": 1, "data": {}}]}, call)).start()
    return {}


def say_values(args: Args, call: Call) -> Args:
    """Fifteen million bytes that would take gigabytes as values."""
    data = b'{"id":1,"data":{"a":[' + b"[],[]," * 2_500_000 + b"0]}}"
    with open(LOWEST_CHANNEL_FD, "wb", closefd=False) as channel:
        channel.write(struct.pack("!I", len(data)) + data)
    time.sleep(100)
    return {}


def say_quotes(args: Args, call: Call) -> Args:
    """A string without an end, for whoever looks for it from every quote."""
    data = b'{"id":1,"data":{"a":[' + b"1," * 200_000 + b'"' + b'\\"' * 6_000_000
    with open(LOWEST_CHANNEL_FD, "wb", closefd=False) as channel:
        channel.write(struct.pack("!I", len(data)) + data)
    time.sleep(100)
    return {}


def read(args: Args, call: Call) -> Args:
    texts = []
    for descriptor in call.descriptors:
        with open(descriptor, closefd=args["close"]) as file:
            texts.append(file.read())
    inherited = [os.get_inheritable(each) for each in call.descriptors if not args["close"]]
    return {"texts": texts, "inherited": inherited}


def fds(args: Args, call: Call) -> Args:
    return {"count": len(os.listdir("/proc/self/fd"))}


HANDLERS = {
    function.__name__: function
    for function in (
        echo, look, refuse, shout, tell, tell_for_ever, tell_too_much, give, raising, die, eat,
        sleep, leave, flee, say, say_later, say_values, say_quotes, read, fds, ask, ask_refused,
        ask_at_once, ask_later, what_later, fork, load, loaded, printing, print_bytes,
        print_for_ever, unprint, where, print_and_die, print_ahead,
    )
}  # fmt: skip
