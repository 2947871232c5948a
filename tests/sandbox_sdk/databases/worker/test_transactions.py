"""Transactions that end by themselves."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox_sdk.databases.worker.alarms import Alarms
from sandbox_sdk.databases.worker.driver import Call, Caps
from sandbox_sdk.databases.worker.statements import TransactionOver
from sandbox_sdk.databases.worker.transactions import Handle, Handles
from tool_plugins.errors import ErrorCode, ToolError

from .drivers import ShelfDriver

FOR_EVER = 600.0


class Clockwork:
    """Alarms with a thread that rings them, as a worker has."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._stopped = False
        self.alarms = Alarms(self._woken.set)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            left = self.alarms.ring()
            self._woken.wait(left)
            self._woken.clear()

    def stop(self) -> None:
        self._stopped = True
        self._woken.set()
        self._thread.join()


@pytest.fixture
def clockwork() -> Iterator[Clockwork]:
    made = Clockwork()
    yield made
    made.stop()


@pytest.fixture
def ended() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def driver() -> ShelfDriver:
    return ShelfDriver({})


@pytest.fixture
def handles(clockwork: Clockwork, ended: list[tuple[str, str]]) -> Handles:
    return Handles(clockwork.alarms, lambda *each: ended.append(each))


@pytest.fixture
def add(handles: Handles, driver: ShelfDriver) -> Callable[..., None]:
    def begin(identity: str, *, idle_s: float = FOR_EVER, total_s: float = FOR_EVER) -> None:
        call = Call(timeout_s=60, caps=Caps(1, 1, 1))
        transaction = driver.begin(call, read_only=False, isolation=None)
        handles.add(identity, Handle("db", transaction, idle_s, total_s))

    return begin


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def error_of(handles: Handles, identity: str) -> ToolError:
    with pytest.raises(ToolError) as caught, handles.use(identity):
        pass
    return caught.value


def test_an_unused_transaction_is_rolled_back(
    handles: Handles, add: Callable[..., None], ended: list, driver: ShelfDriver
) -> None:
    add("kept")
    add("idle", idle_s=0.05)
    until(lambda: ended)

    assert ended == [("idle", "rolled back: not used for 0.05 s")]
    assert driver.shelf.journal.count("rollback") == 1
    error = error_of(handles, "idle")
    assert error.code == ErrorCode.TRANSACTION_ENDED
    assert "not used for 0.05 s" in error.message
    with handles.use("kept") as handle:
        assert handle.database == "db"


def test_a_transaction_in_use_is_not_idle_but_never_too_long_open(
    handles: Handles, add: Callable[..., None], ended: list
) -> None:
    add("used", idle_s=0.05)
    with handles.use("used"):
        add("canary", idle_s=0.1)
        until(lambda: ended)
    assert ended[0][0] == "canary"
    with handles.use("used"):
        pass

    add("long", total_s=0.05)
    until(lambda: ("long", "rolled back: open for 0.05 s") in ended)


def test_one_call_at_a_time_uses_a_transaction(handles: Handles, add: Callable[..., None]) -> None:
    add("tx")
    with handles.use("tx"):
        assert error_of(handles, "tx").code == ErrorCode.BUSY
    with handles.use("tx"):
        pass


def test_the_reason_of_an_end_is_kept(
    handles: Handles, add: Callable[..., None], ended: list, driver: ShelfDriver
) -> None:
    add("done")
    with handles.use("done") as handle:
        handle.over = "it was already committed"
    assert "already committed" in error_of(handles, "done").message

    add("broken")
    error = ToolError(ErrorCode.CONFLICT, "deadlock")
    with pytest.raises(ToolError, match="deadlock"), handles.use("broken"):
        raise TransactionOver(error, "rolled back: a conflict")
    assert ended[-1] == ("broken", "rolled back: a conflict")

    add("failed")
    with pytest.raises(ToolError, match="syntax"), handles.use("failed"):
        raise ToolError(ErrorCode.QUERY_ERROR, "syntax")
    with handles.use("failed"):
        pass

    add("closed")
    handles.end_all("other", "no")
    handles.end_all("db", "rolled back: closed")
    assert {"closed", "failed"} <= {identity for identity, _ in ended}
    assert error_of(handles, "closed").code == ErrorCode.TRANSACTION_ENDED


def test_an_alarm_that_was_cleared_does_not_ring(clockwork: Clockwork) -> None:
    rung: list[str] = []
    clockwork.alarms.set("a", 0.02, lambda: rung.append("a"))
    clockwork.alarms.clear("a")
    clockwork.alarms.set("b", FOR_EVER, lambda: rung.append("b"))
    clockwork.alarms.set("c", 0.05, lambda: rung.append("c"))
    until(lambda: rung)

    assert rung == ["c"]
