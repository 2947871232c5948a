"""What the processes are and are not, and that none is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_sdk.databases.worker.client import Worker, Workers
from sandbox_sdk.databases.worker.pipe import WorkerLost
from sandbox_sdk.databases.worker.process import MAX_DATA_BYTES

from .conftest import DRIVERS, Listener, Query, copy_of, querying

ROOT = Path(__file__).parents[4]

HOST = f"""
import asyncio, json, os, sys, time
from sandbox_sdk.databases.provisioner import Copy
from sandbox_sdk.databases.worker.client import Workers
from tests.sandbox_sdk.databases.worker.conftest import Listener, copy_of, querying

async def main():
    workers = Workers(["{DRIVERS}"])
    worker = await workers.spawn("victim", Listener())
    await worker.open("db", copy_of())
    child = os.fork() if sys.argv[1] == "forks" else None
    if child == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    pids = [worker.pid, workers._nursery._process.pid]
    print(json.dumps({{"pids": pids, "child": child}}), flush=True)
    await querying(worker)("stubborn", timeout_s=600)

asyncio.run(main())
"""


def proc(pid: int, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_text()


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in proc(pid, "status")
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def zygote_of(workers: Workers) -> int:
    assert workers._nursery is not None
    return workers._nursery._process.pid


@pytest.mark.parametrize("kind", ["alone", "forks"])
def test_nothing_is_left_of_a_killed_host(kind: str) -> None:
    command = [sys.executable, "-c", HOST, kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        told = json.loads(host.stdout.readline())
        try:
            assert all(alive(pid) for pid in told["pids"])
            host.kill()
            host.wait()
            until(lambda: not any(alive(pid) for pid in told["pids"]))
        finally:
            # The child has a copy of the host's end of every socket.
            if told["child"]:
                assert alive(told["child"])
                os.kill(told["child"], signal.SIGKILL)


async def test_closing_leaves_no_process(workers: Workers, worker: Worker) -> None:
    pids = [zygote_of(workers), worker.pid]
    await workers.aclose()
    await workers.aclose()

    await asyncio.to_thread(until, lambda: not any(alive(pid) for pid in pids))
    assert worker.lost


async def test_a_worker_is_confined(query: Query) -> None:
    lines = [row[0] for row in (await query("status"))["rows"]]
    assert {"NoNewPrivs:\t1", "Name:\tsandbox-1"} <= set(lines)
    rows = (await query("process"))["rows"]
    limits = proc(rows[0][0], "limits")
    data = next(line for line in limits.splitlines() if line.startswith("Max data size"))
    assert data.split()[3:5] == [str(MAX_DATA_BYTES)] * 2


async def test_a_worker_has_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, workers: Workers, listener: Listener
) -> None:
    monkeypatch.setenv("PGPASSWORD", "the operator's")
    worker = await workers.spawn("sandbox-1", listener)
    await worker.open("db", copy_of())
    environment = (await querying(worker)("process"))["rows"][0][1]

    assert "PYTHONPATH" in environment
    assert "the operator's" not in str(environment)
    assert not {"PGPASSWORD", "HOME", "PATH"} & json.loads(json.dumps(environment)).keys()


async def test_a_worker_loads_neither_the_sdk_nor_pydantic(worker: Worker) -> None:
    maps = proc(worker.pid, "maps")
    assert "libc" in maps
    assert "pydantic" not in maps


@pytest.mark.parametrize("victim", ["worker", "zygote"])
async def test_a_killed_process_is_replaced(
    workers: Workers, worker: Worker, listener: Listener, victim: str
) -> None:
    pid = worker.pid if victim == "worker" else zygote_of(workers)
    asking = asyncio.create_task(querying(worker)("wait"))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLost):
        await asking

    await asyncio.to_thread(until, lambda: not alive(worker.pid))
    another = await workers.spawn("sandbox-1", listener)
    await another.open("db", copy_of())
    assert (await querying(another)("rows 1 1"))["row_count"] == 1


async def test_two_sandboxes_have_two_processes(workers: Workers, listener: Listener) -> None:
    first, second = await asyncio.gather(*(workers.spawn(name, listener) for name in "ab"))
    await asyncio.gather(first.open("db", copy_of()), second.open("db", copy_of()))
    assert first.pid != second.pid

    with pytest.raises(WorkerLost):
        await querying(first)("exit")
    assert (await querying(second)("rows 1 1"))["row_count"] == 1


async def test_modules_that_cannot_be_preloaded_are_left_to_the_workers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: Listener,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "threaded_driver.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True)"
        f".start()\nfrom {DRIVERS} import ShelfDriver\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    workers = Workers(["threaded_driver", "no_such_module"])
    try:
        worker = await workers.spawn("sandbox-1", listener)
        copy = copy_of()
        await worker.open("db", type(copy)("threaded_driver:ShelfDriver", {}))
        assert (await querying(worker)("rows 1 1"))["row_count"] == 1
    finally:
        await workers.aclose()
    assert "no_such_module could not be loaded ahead" in caplog.text
    assert "it starts threads" in caplog.text


async def test_what_is_preloaded_is_there_after_the_fork(listener: Listener) -> None:
    workers = Workers([DRIVERS])
    try:
        await workers.start()
        zygote = zygote_of(workers)
        worker = await workers.spawn("sandbox-1", listener)
        await worker.open("db", copy_of())
        assert (await querying(worker)("rows 1 1"))["row_count"] == 1
        assert zygote_of(workers) == zygote
    finally:
        await workers.aclose()


async def test_a_cancelled_spawn_costs_no_other_worker(
    workers: Workers, worker: Worker, query: Query, listener: Listener
) -> None:
    for turns in range(6):
        spawning = asyncio.create_task(workers.spawn("another", listener))
        for _ in range(turns):
            await asyncio.sleep(0)
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
    assert (await query("rows 1 1"))["row_count"] == 1
    children = f"/proc/{zygote_of(workers)}/task/{zygote_of(workers)}/children"
    await asyncio.to_thread(until, lambda: Path(children).read_text().split() == [str(worker.pid)])
