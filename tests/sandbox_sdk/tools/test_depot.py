"""Sets of packages on the disk: whole or not at all, sealed, bounded, made by one at a time."""

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest

from sandbox_sdk.tools.depot import DAY_S, Depot, NoRoom

MIB = 1024**2
KEY, OTHER = "aa11", "bb22"


@pytest.fixture
def depot(tmp_path: Path) -> Depot:
    return Depot(tmp_path / "own", tmp_path / "packages", 4 * MIB)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return tmp_path / "packages"


def fill(depot: Depot, key: str, *, size: int = 10, days: float = 0) -> None:
    """Makes a set that was used so many days ago."""
    draft = depot.draft(key)
    (draft / "folder").mkdir()
    (draft / "folder" / "file").write_bytes(bytes(size))
    (draft / "run").write_bytes(b"x")
    (draft / "run").chmod(0o777)
    (draft / "link").symlink_to("folder/file")
    depot.publish(draft, key)
    used = time.time() - days * DAY_S
    os.utime(draft.with_name(key), (used, used))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secret_is_made_once_and_nobody_elses(depot: Depot, tmp_path: Path) -> None:
    secret = depot.secret()
    assert len(secret) == 32
    assert Depot(tmp_path / "own", tmp_path / "packages", 1).secret() == secret
    assert Depot(tmp_path / "another", tmp_path / "packages", 1).secret() != secret
    assert mode(tmp_path / "own") == 0o700
    assert [(each.name, mode(each)) for each in (tmp_path / "own").iterdir()] == [("secret", 0o600)]


def test_set_is_sealed_and_where_it_lies_cannot_be_listed(depot: Depot, packages: Path) -> None:
    assert not depot.has(KEY)
    fill(depot, KEY)
    assert depot.has(KEY)
    found = {each.name: mode(each) for each in (packages / KEY).rglob("*")}
    assert found == {"folder": 0o555, "file": 0o444, "run": 0o555, "link": 0o444}
    assert (mode(packages / KEY), mode(packages)) == (0o555, 0o711)
    assert names(packages) == [KEY]


def test_draft_is_nobody_elses_and_goes_without_a_trace(depot: Depot, packages: Path) -> None:
    draft = depot.draft(KEY)
    (draft / "sealed").mkdir(mode=0o555)
    assert mode(draft) == 0o700
    assert not depot.has(KEY)
    depot.discard(draft)
    depot.discard(draft)
    assert names(packages) == []


async def test_draft_of_a_maker_that_was_killed_goes_with_the_next(
    depot: Depot, packages: Path
) -> None:
    async with depot.alone(OTHER):
        busy = depot.draft(OTHER)
        dead = depot.draft("cc33")
        (dead / "file").touch()
        again = depot.draft(KEY)
        assert names(packages) == sorted([busy.name, again.name])


async def test_one_at_a_time_makes_a_set(depot: Depot, tmp_path: Path) -> None:
    same = Depot(tmp_path / "own", tmp_path / "packages", MIB)
    order: list[str] = []

    async def second() -> None:
        async with same.alone(KEY):
            order.append("second")

    async with depot.alone(KEY):
        waiting = asyncio.create_task(second())
        async with same.alone(OTHER):  # another key is not held up
            for _ in range(10):
                await asyncio.sleep(0)
            order.append("first")
    await waiting
    assert order == ["first", "second"]


def test_least_recently_used_sets_make_room(depot: Depot, packages: Path) -> None:
    fill(depot, "oldest", size=MIB, days=9)
    fill(depot, "older", size=MIB, days=5)
    fill(depot, "used again", size=MIB, days=7)
    assert depot.has("used again")
    fill(depot, KEY, size=2 * MIB - 100_000)
    assert names(packages) == sorted(["older", "used again", KEY])


def test_sets_in_use_stay_though_there_is_no_room(depot: Depot, packages: Path) -> None:
    fill(depot, "today", size=3 * MIB, days=0.9)
    with pytest.raises(NoRoom):
        fill(depot, KEY, size=2 * MIB)
    assert depot.has("today")
    assert not depot.has(KEY)


def test_nothing_goes_while_there_is_room(depot: Depot) -> None:
    fill(depot, OTHER, days=300)
    fill(depot, KEY)
    assert depot.has(OTHER)
