"""Workspaces that are mounted files: their size holds, and nothing of them stays."""

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from container_runtime.workspace import MIB, RESERVE_BYTES, Workspaces, leftovers, release
from tool_plugins.errors import EngineError

AGENT = 200_321


@pytest.fixture
async def workspaces(state_dir: Path) -> Workspaces:
    made = Workspaces(state_dir / "templates")
    if reason := await made.unavailable():
        pytest.skip(reason)
    return made


def loop_devices(folder: Path) -> list[str]:
    """Loop devices whose file lies below `folder`."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [path.parts[3] for path in files if path.read_text().startswith(str(folder))]


async def test_workspace_belongs_to_the_agent_and_is_empty(
    workspaces: Workspaces, state_dir: Path
) -> None:
    image, target = state_dir / "a.img", state_dir / "a"
    mounted = await workspaces.mount(image, target, size_mb=16, owner=AGENT)
    try:
        assert (target.stat().st_uid, target.stat().st_gid) == (AGENT, AGENT)
        assert list(target.iterdir()) == []
        assert 12 * MIB < mounted.size < 16 * MIB
        assert image.stat().st_blocks * 512 < MIB, "an empty workspace takes next to no room"
        assert image.stat().st_mode & 0o777 == 0o600
    finally:
        release(image, target)


async def test_workspace_refuses_what_does_not_fit(workspaces: Workspaces, state_dir: Path) -> None:
    image, target = state_dir / "a.img", state_dir / "a"
    await workspaces.mount(image, target, size_mb=16, owner=AGENT)
    try:
        (target / "fits").write_bytes(bytes(8 * MIB))
        with pytest.raises(OSError, match="No space left") as refused:
            (target / "does not").write_bytes(bytes(16 * MIB))
        assert refused.value.errno == errno.ENOSPC
    finally:
        release(image, target)


async def test_workspace_honours_no_device_and_no_set_user_id(
    workspaces: Workspaces, state_dir: Path
) -> None:
    image, target = state_dir / "a.img", state_dir / "a"
    await workspaces.mount(image, target, size_mb=16, owner=AGENT)
    try:
        options = os.statvfs(target).f_flag
        assert options & os.ST_NOSUID
        assert options & os.ST_NODEV
        assert not options & os.ST_NOEXEC
    finally:
        release(image, target)


async def test_release_leaves_no_mount_device_or_file(
    workspaces: Workspaces, state_dir: Path
) -> None:
    image, target = state_dir / "a.img", state_dir / "a"
    await workspaces.mount(image, target, size_mb=16, owner=AGENT)
    assert leftovers(state_dir) == [target]
    assert loop_devices(state_dir) != []
    for _ in range(2):
        release(image, target)
    assert leftovers(state_dir) == []
    assert loop_devices(state_dir) == []
    assert not image.exists()
    assert not target.exists()


async def test_release_takes_half_made_workspaces(state_dir: Path) -> None:
    image, target = state_dir / "a.img", state_dir / "a"
    release(image, target)
    image.write_bytes(b"")
    release(image, target)
    target.mkdir()
    release(image, target)
    assert os.listdir(state_dir) == []


async def test_many_workspaces_are_made_at_once(workspaces: Workspaces, state_dir: Path) -> None:
    pairs = [(state_dir / f"{n}.img", state_dir / str(n)) for n in range(20)]
    try:
        mounted = await asyncio.gather(
            *(workspaces.mount(image, target, size_mb=16, owner=AGENT) for image, target in pairs)
        )
        assert len({each.device for each in mounted}) == 20
        for each in mounted:
            (each.path / "mine").write_text(str(each.path))
        assert all((each.path / "mine").read_text() == str(each.path) for each in mounted)
    finally:
        for image, target in pairs:
            release(image, target)


async def test_workspace_is_refused_when_the_host_has_no_room(
    workspaces: Workspaces, state_dir: Path
) -> None:
    room = shutil.disk_usage(state_dir).free // MIB
    too_much = room - RESERVE_BYTES // MIB + 64
    with pytest.raises(EngineError, match="too little for a workspace") as refused:
        await workspaces.mount(state_dir / "a.img", state_dir / "a", size_mb=too_much, owner=0)
    assert "disk_mb" in refused.value.hint
    assert not (state_dir / "a.img").exists()


async def test_mount_points_with_odd_names_are_found(
    workspaces: Workspaces, state_dir: Path
) -> None:
    image, target = state_dir / "a.img", state_dir / "with space é"
    await workspaces.mount(image, target, size_mb=16, owner=AGENT)
    try:
        assert leftovers(state_dir) == [target]
    finally:
        release(image, target)
