"""The embedded engine over its file: what holds when a worker dies, waits or is short of room."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.qdrant import local
from sandbox_sdk.databases.qdrant.local import LocalStore
from sandbox_sdk.databases.qdrant.storage import Storage
from tests.sandbox_sdk.databases.qdrant.conftest import Sandboxes, a_call, find, ids, put, remove
from tool_plugins.errors import ErrorCode, ToolError

WORKER = """
import json, sys
from sandbox_sdk.databases.qdrant.driver import QdrantDriver
from sandbox_sdk.databases.worker.driver import Call, Caps
driver = QdrantDriver(json.loads(sys.argv[1]))
call = Call(timeout_s=60, caps=Caps(100, 100000, 1000))
points = [{"id": each, "vector": [1, 0, 0]} for each in (10, 11)]
print(driver.upsert(call, {"collection": "docs", "points": points})["count"], flush=True)
sys.stdin.read()
"""


def start_worker(settings: dict[str, Any]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )


async def test_what_was_written_is_there_after_the_worker_was_killed(embedded: Sandboxes) -> None:
    (await embedded.add()).close()
    copy = await embedded.copy(embedded.ids[0])
    with start_worker(copy.settings) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "6\n"
        driver = embedded.connect(copy)
        with pytest.raises(ToolError) as caught:
            driver.search(a_call(timeout_s=0.2), {"collection": "docs", "vector": [1, 0, 0]})
        assert caught.value.code == ErrorCode.BUSY
        worker.send_signal(signal.SIGKILL)

    assert sorted(ids(find(driver))) == [1, 2, 3, 4, 10, 11]


async def test_a_waiting_worker_goes_on_when_the_last_one_lets_go(embedded: Sandboxes) -> None:
    first = await embedded.add()
    find(first)
    second = embedded.connect(await embedded.copy(embedded.ids[0]))
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(ids(find(second))))

    waiting.start()
    first.close()
    waiting.join(20)

    assert sorted(found) == [1, 2, 3, 4]


async def test_a_batch_the_file_cannot_hold_is_written_in_no_part(embedded: Sandboxes) -> None:
    (await embedded.add()).close()
    settings = (await embedded.copy(embedded.ids[0])).settings
    store = LocalStore(Path(settings["file"]), size_mb=1)
    driver = embedded.connect(await embedded.copy(embedded.ids[0]))
    driver._store = store
    large = [{"id": n, "vector": [1, 0, 0], "payload": {"a": "x" * 9000}} for n in range(50, 250)]

    with pytest.raises(ToolError, match="as large as it may become") as caught:
        put(driver, *large)

    assert caught.value.code == ErrorCode.DISK_QUOTA
    assert sorted(ids(find(driver))) == [1, 2, 3, 4]
    assert put(driver, large[0])["count"] == 5


async def test_file_and_engine_agree_when_a_write_fails_half_way(
    embedded: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await embedded.add()
    find(driver)

    def put_and_fail(*arguments: Any) -> None:
        real(*arguments)
        raise ValueError("no room in the engine")

    real = local._put
    with monkeypatch.context() as patched:
        patched.setattr(local, "_put", put_and_fail)
        with pytest.raises(ToolError, match="no room in the engine") as caught:
            put(driver, {"id": 9, "vector": [1, 0, 0]})

    assert caught.value.code == ErrorCode.QUERY_ERROR
    assert sorted(ids(find(driver))) == [1, 2, 3, 4]


async def test_short_memory_is_an_answer_and_the_next_call_works(
    embedded: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await embedded.add()

    def fail(*arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("sandbox_sdk.databases.qdrant.local._put", fail)
        with pytest.raises(ToolError) as caught:
            find(driver)

    assert caught.value.code == ErrorCode.TOO_LARGE
    assert len(ids(find(driver))) == 4


async def test_reading_a_large_collection_goes_on_in_the_next_call(
    embedded: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_sdk.databases.qdrant.local.PAGE_POINTS", 1)
    driver = await embedded.add()
    pages: list[int] = []
    real = Storage.page

    def page(self: Storage, collection: str, *, after: int, size: int) -> Any:
        pages.append(after)
        if len(pages) == 3:
            call.cancel()
        return real(self, collection, after=after, size=size)

    monkeypatch.setattr(Storage, "page", page)
    call = a_call()
    with pytest.raises(ToolError) as caught:
        driver.search(call, {"collection": "docs", "vector": [1, 0, 0]})

    assert caught.value.code == ErrorCode.TIMEOUT
    assert sorted(ids(find(driver))) == [1, 2, 3, 4]
    assert len(pages) == len(set(pages)) == 5


async def test_places_of_deleted_points_are_given_back(
    embedded: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_sdk.databases.qdrant.local.MAX_DEAD_POINTS", 1)
    driver = await embedded.add()

    remove(driver, ids=[1, 2, 3])

    assert driver._store._read == {}  # type: ignore[attr-defined]
    assert ids(find(driver)) == [4]
    assert put(driver, {"id": 1, "vector": [1, 0, 0]})["count"] == 2


async def test_many_threads_share_a_driver(embedded: Sandboxes) -> None:
    driver = await embedded.add()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for each in range(5):
                put(driver, {"id": 100 * number + each + 50, "vector": [1, 0, 0]})
                find(driver)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)

    assert failures == []
    assert (
        driver.schema(a_call(), pattern="docs", detail="full", limit=1)["items"][0]["row_estimate"]
        == 24
    )


async def test_a_file_that_is_gone_or_broken_is_said(embedded: Sandboxes) -> None:
    (await embedded.add()).close()
    copy = await embedded.copy(embedded.ids[0])
    file = Path(copy.settings["file"])
    for break_it in (lambda: file.write_bytes(b"x" * 5000), file.unlink):
        break_it()
        driver = embedded.connect(copy)
        with pytest.raises(ToolError) as caught:
            find(driver)
        assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
        driver.close()


def test_the_driver_starts_no_thread_before_it_is_used() -> None:
    program = (
        "import os, sandbox_sdk.databases.qdrant.driver\nprint(len(os.listdir('/proc/self/task')))"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}

    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )

    assert shown.stdout.strip() == "1"


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with closing(Storage.create(tmp_path / "f", {})) as storage:
        storage._connection.execute("UPDATE meta SET value = '0'")

    with pytest.raises(ValueError, match="another version"):
        Storage(tmp_path / "f")
