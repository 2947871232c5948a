"""Looking names up: what is found, what is not, and who waits for whom."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest

from sandbox_sdk.egress.resolver import (
    MAX_ADDRESSES,
    MAX_LOOKUPS,
    MAX_LOOKUPS_PER_OWNER,
    DnsError,
    Resolver,
)
from tests.fakes import eventually


class NameService:
    """Answers at once, unless a name begins with "slow": those wait for `release`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running = self.most = 0
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, host: str) -> list[str]:
        with self._lock:
            self.asked.append(host)
            self.running += 1
            self.most = max(self.most, self.running)
        if host.startswith("slow"):
            self.release.wait(30)
        with self._lock:
            self.running -= 1
        return ["192.0.2.1", "2001:db8::1"]


@pytest.fixture
async def names() -> AsyncIterator[NameService]:
    service = NameService()
    yield service
    service.release.set()
    await eventually(lambda: service.running == 0)


@pytest.fixture
async def slow(names: NameService) -> AsyncIterator[Resolver]:
    """A resolver that asks `names`."""
    started = Resolver(names)
    yield started
    await started.aclose()


def answering(answer: Callable[[], list[str]]) -> Resolver:
    return Resolver(lambda _host: answer())


async def test_the_system_is_asked_as_its_own_programs_ask_it(resolver: Resolver) -> None:
    found = await resolver.resolve("localhost", {}, 10)

    assert found
    assert all(each.is_loopback for each in found)
    assert len(found) == len(set(found))


async def test_a_name_that_is_not_there_is_an_error_in_words(resolver: Resolver) -> None:
    with pytest.raises(DnsError, match=r"'nothing\.invalid'"):
        await resolver.resolve("nothing.invalid", {}, 30)


async def test_the_policy_is_asked_first(slow: Resolver, names: NameService) -> None:
    hosts = {"api.test": ("127.0.0.1", "::1", "::ffff:10.0.0.1")}

    found = await slow.resolve("api.test", hosts, 5)

    assert found == (ip_address("127.0.0.1"), ip_address("::1"), ip_address("10.0.0.1"))
    assert names.asked == []


async def test_addresses_of_both_families_come_once_and_in_order() -> None:
    texts = ["2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "fe80::1%eth0"]
    resolver = answering(lambda: texts)

    found = await resolver.resolve("a.test", {}, 5)

    assert [str(each) for each in found] == ["2001:db8::1", "192.0.2.1", "fe80::1"]


async def test_no_answer_is_kept() -> None:
    """A name that changes is seen to change, and is checked again."""
    answers = iter([["192.0.2.1"], ["127.0.0.1"]])
    resolver = answering(lambda: next(answers))

    found = [await resolver.resolve("a.test", {}, 5) for _ in range(2)]

    assert found == [(ip_address("192.0.2.1"),), (ip_address("127.0.0.1"),)]


async def test_a_flood_of_addresses_is_cut() -> None:
    resolver = answering(lambda: [f"10.0.{n >> 8}.{n & 255}" for n in range(10_000)])

    assert len(await resolver.resolve("a.test", {}, 5)) == MAX_ADDRESSES


def _fail(error: BaseException) -> Callable[[], list[str]]:
    def answer() -> list[str]:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_fail(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "no host named"),
        (_fail(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")), "no answer"),
        (_fail(socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure")), "cannot be looked up"),
        (_fail(OSError(24, "Too many open files")), "cannot be looked up"),
        (_fail(UnicodeError("label too long")), "cannot be looked up"),
        (lambda: ["not an address"], "cannot be looked up"),
        (lambda: [], "has no address"),
    ],
)
async def test_every_failure_is_an_error_that_names_the_host(
    answer: Callable[[], list[str]], words: str
) -> None:
    with pytest.raises(DnsError, match=words) as error:
        await answering(answer).resolve("a.test", {}, 5)

    assert "'a.test'" in error.value.message


async def test_a_slow_name_is_given_up_at_its_deadline(slow: Resolver) -> None:
    with pytest.raises(DnsError, match=r"did not answer for 'slow\.test' within 0\.05 s"):
        await slow.resolve("slow.test", {}, 0.05)

    assert await slow.resolve("quick.test", {}, 5)


async def test_those_who_ask_for_one_name_share_one_look_up(
    slow: Resolver, names: NameService
) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(slow.resolve("slow.test", {}, 10)) for _ in range(500)]
        await eventually(lambda: names.running == 1)
        names.release.set()

    assert len({task.result() for task in asking}) == 1
    assert names.asked == ["slow.test"]


async def test_one_owner_cannot_hold_up_another(slow: Resolver, names: NameService) -> None:
    asking = [
        asyncio.create_task(slow.resolve(f"slow{n}.test", {}, 30, owner="greedy"))
        for n in range(1000)
    ]
    await eventually(lambda: names.running == MAX_LOOKUPS_PER_OWNER)

    assert await slow.resolve("quick.test", {}, 5, owner="patient")

    assert names.most <= MAX_LOOKUPS_PER_OWNER + 1
    names.release.set()
    assert all(await asyncio.gather(*asking))


async def test_there_are_never_more_threads_than_the_limit(
    slow: Resolver, names: NameService
) -> None:
    asking = [
        asyncio.create_task(slow.resolve(f"slow{n}.test", {}, 30, owner=f"sandbox-{n % 20}"))
        for n in range(MAX_LOOKUPS * 3)
    ]
    await eventually(lambda: names.running == MAX_LOOKUPS)
    names.release.set()

    assert all(await asyncio.gather(*asking))
    assert names.most == MAX_LOOKUPS
    assert len(names.asked) == MAX_LOOKUPS * 3


async def test_a_look_up_that_is_waited_for_no_more_still_counts(
    slow: Resolver, names: NameService
) -> None:
    """Else giving up quickly and asking again would be a way to any number of threads."""
    for n in range(MAX_LOOKUPS_PER_OWNER * 3):
        with pytest.raises(DnsError, match="did not answer"):
            await slow.resolve(f"slow{n}.test", {}, 0.02, owner="greedy")

    assert names.most == MAX_LOOKUPS_PER_OWNER
    names.release.set()
    await eventually(lambda: names.running == 0)
    assert await slow.resolve("quick.test", {}, 5, owner="greedy")


@pytest.mark.parametrize("moment", ["in the line", "when its turn comes"])
async def test_a_cancelled_caller_leaves_its_turn_to_the_next(
    slow: Resolver, names: NameService, moment: str
) -> None:
    first = [
        asyncio.create_task(slow.resolve(f"slow{n}.test", {}, 30, owner="one"))
        for n in range(MAX_LOOKUPS_PER_OWNER)
    ]
    await eventually(lambda: names.running == MAX_LOOKUPS_PER_OWNER)
    # As many as there are turns: were theirs lost, nobody else would get one.
    leaving = [
        asyncio.create_task(slow.resolve(f"leaving{n}.test", {}, 30, owner="one"))
        for n in range(MAX_LOOKUPS_PER_OWNER)
    ]
    staying = asyncio.create_task(slow.resolve("staying.test", {}, 30, owner="one"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if moment == "in the line":
        for each in leaving:
            each.cancel()
        await asyncio.sleep(0)
        names.release.set()
    else:
        names.release.set()
        for thread in threading.enumerate():
            if thread.name == "sandbox-resolver":
                thread.join(5)
        # Behind what those threads left for the loop, and before any task runs again.
        for each in leaving:
            asyncio.get_running_loop().call_soon(each.cancel)

    assert await asyncio.wait_for(staying, 5)
    await asyncio.gather(*leaving, *first, return_exceptions=True)
    again = [slow.resolve(f"more{n}.test", {}, 5, owner="one") for n in range(50)]
    assert all(await asyncio.gather(*again))


async def test_a_cancelled_caller_takes_the_answer_from_nobody_else(
    slow: Resolver, names: NameService
) -> None:
    asking = [asyncio.create_task(slow.resolve("slow.test", {}, 30)) for _ in range(3)]
    await eventually(lambda: names.running == 1)
    asking[0].cancel()
    await asyncio.sleep(0)
    names.release.set()

    assert await asking[1] == await asking[2]
    assert asking[0].cancelled()


async def test_closing_answers_all_who_wait_and_waits_for_no_thread(
    slow: Resolver, names: NameService
) -> None:
    count = MAX_LOOKUPS_PER_OWNER * 3
    asking = [
        asyncio.create_task(slow.resolve(f"slow{n}.test", {}, 60, owner="one"))
        for n in range(count)
    ]
    await eventually(lambda: names.running == MAX_LOOKUPS_PER_OWNER)

    await slow.aclose()
    await slow.aclose()

    outcomes = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
    assert [DnsError] * count == [type(each) for each in outcomes]
    with pytest.raises(DnsError, match="closed"):
        await slow.resolve("quick.test", {}, 5)
    assert len(names.asked) == MAX_LOOKUPS_PER_OWNER


def test_a_loop_may_end_before_its_look_ups_do() -> None:
    names = NameService()

    async def give_up() -> None:
        resolver = Resolver(names)
        with pytest.raises(DnsError):
            await resolver.resolve("slow.test", {}, 0.05)
        await resolver.aclose()

    asyncio.run(give_up())
    names.release.set()
    for thread in threading.enumerate():
        if thread.name == "sandbox-resolver":
            assert thread.daemon
            thread.join(5)
