"""Templates are built once, by one process, and are complete or not there."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_sdk.databases.population.building import build_once


def make_folder(path: Path) -> None:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "data").write_text("1")
    (path / "dangling").symlink_to("nowhere")


def make_file(path: Path) -> None:
    path.write_text("1")
    path.with_name(f"{path.name}-journal").write_text("beside")


def refuse(path: Path) -> None:
    raise AssertionError(f"{path} is built again")


@pytest.mark.parametrize("make", [make_folder, make_file])
def test_a_template_is_built_once_and_nothing_lies_beside_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    target = tmp_path / "templates" / "t1"

    assert target == build_once(target, make)
    assert target == build_once(target, refuse)
    assert [target] == list(target.parent.iterdir())
    assert target.parent.stat().st_mode & 0o777 == 0o700


def test_a_failed_build_leaves_nothing_and_the_next_one_builds(tmp_path: Path) -> None:
    target = tmp_path / "t1"

    def fail(path: Path) -> None:
        make_folder(path)
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        build_once(target, fail)
    assert list(tmp_path.iterdir()) == []
    build_once(target, make_folder)
    assert (target / "inner" / "data").read_text() == "1"


def test_a_build_that_makes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build_once(tmp_path / "t1", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_names_that_begin_alike_do_not_meet(tmp_path: Path) -> None:
    def outer(path: Path) -> None:
        build_once(tmp_path / "t1.building", make_file)
        build_once(tmp_path / "t", make_file)
        make_file(path)

    build_once(tmp_path / "t1", outer)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["t", "t1", "t1.building"]


# Appends a line when it begins to build, and waits there for a line of input: "fail" or nothing.
BUILDER = """
import sys
from pathlib import Path
from sandbox_sdk.databases.population.building import build_once

target = Path(sys.argv[1])

def build(path):
    path.mkdir()
    with target.with_name("log").open("a") as log:
        print("building", file=log)
    print("building", flush=True)
    if sys.stdin.readline() == "fail\\n":
        sys.exit("it failed")
    (path / "data").write_text("complete")

build_once(target, build)
print("there", (target / "data").read_text(), flush=True)
"""


def start_builder(target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def answer(builder: subprocess.Popen[str]) -> str:
    """Lets a builder go on, and says what it printed after that."""
    output, _ = builder.communicate("\n", timeout=30)
    assert builder.returncode == 0
    return output


def test_of_several_processes_one_builds(tmp_path: Path) -> None:
    target = tmp_path / "t1"
    first = start_builder(target)
    assert first.stdout is not None
    assert first.stdout.readline() == "building\n"
    others = [start_builder(target) for _ in range(3)]
    wait_for_lock([other.pid for other in others], tmp_path / ".t1.lock")

    assert not target.exists()
    assert answer(first) == "there complete\n"
    assert [answer(other) for other in others] == ["there complete\n"] * 3
    assert (tmp_path / "log").read_text() == "building\n"
    assert {target, tmp_path / "log"} == set(tmp_path.iterdir())


def test_a_process_that_dies_in_the_middle_leaves_the_build_to_the_next(tmp_path: Path) -> None:
    target = tmp_path / "t1"
    first = start_builder(target)
    assert first.stdout is not None
    assert first.stdout.readline() == "building\n"
    second = start_builder(target)
    wait_for_lock([second.pid], tmp_path / ".t1.lock")

    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)

    assert answer(second) == "building\nthere complete\n"
    assert {target, tmp_path / "log"} == set(tmp_path.iterdir())


def test_who_waited_for_a_failed_build_and_who_comes_later_do_not_build_both(
    tmp_path: Path,
) -> None:
    target = tmp_path / "t1"
    first = start_builder(target)
    assert first.stdout is not None
    assert first.stdout.readline() == "building\n"
    second = start_builder(target)
    wait_for_lock([second.pid], tmp_path / ".t1.lock")
    first.communicate("fail\n", timeout=30)
    assert second.stdout is not None
    assert second.stdout.readline() == "building\n"

    third = start_builder(target)
    wait_for_lock([third.pid], tmp_path / ".t1.lock")

    assert [answer(second), answer(third)] == ["there complete\n"] * 2


def wait_for_lock(pids: list[int], lock: Path) -> None:
    """Returns when all of these processes wait for the lock file (see /proc/locks)."""
    inode = f":{lock.stat().st_ino}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        waiting = {
            int(fields[5])
            for line in Path("/proc/locks").read_text().splitlines()
            if (fields := line.split())[1] == "->" and fields[6].endswith(inode)
        }
        if set(pids) <= waiting:
            return
        time.sleep(0.01)
    raise AssertionError("the processes do not wait for the lock")
