"""Reads back, from the host's side, what really limits a running container.

Every reading may be missing (another machine, no permission); a missing one is left out, never
guessed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from container_runtime.limits import MIB
from container_runtime.spec import WORKSPACE
from tool_plugins.errors import EngineError

CGROUPS = Path("/sys/fs/cgroup")
_V1 = {"memory_mb": "memory", "cpus": "cpu", "pids": "pids", "blkio": "blkio"}
_THROTTLES = {
    "disk_read_mb_s": ("read_bps", "rbps", MIB),
    "disk_write_mb_s": ("write_bps", "wbps", MIB),
    "disk_read_iops": ("read_iops", "riops", 1),
    "disk_write_iops": ("write_iops", "wiops", 1),
}


def read_limits(pid: int, workspace: Path) -> dict[str, float]:
    """Limits by name, as the kernel holds them for process `pid` of the container."""
    found: dict[str, float] = {}
    for read in (_groups, _file_systems, _rlimits):
        with suppress(OSError, ValueError):
            found.update(read(pid))
    with suppress(OSError):
        if workspace.is_mount():
            found["disk_mb"] = _capacity_mb(workspace)
    return found


def check_workspace(pid: int, workspace: Path) -> None:
    """Refuses a container whose /workspace is not the mounted file that limits it.

    A runtime with a kernel of its own shows no /workspace to the host; what is mounted on our side
    is then all there is to see.

    Raises:
        EngineError: the engine bound something else, for instance out of another mount namespace.
    """
    device = os.stat(workspace).st_dev
    ours = f"{os.major(device)}:{os.minor(device)}"
    rows = map(str.split, Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    seen = {row[2] for row in rows if row[4] == WORKSPACE}
    if workspace.is_mount() and seen <= {ours}:
        return
    raise EngineError(
        "the engine did not mount the size-limited workspace",
        hint="engine and SDK must share a mount namespace, or use endpoint='tcp'",
    )


def _capacity_mb(path: Path) -> float:
    counts = os.statvfs(path)
    return counts.f_blocks * counts.f_frsize / MIB


def _file_systems(pid: int) -> dict[str, float]:
    root = Path(f"/proc/{pid}/root")
    return {"tmp_mb": _capacity_mb(root / "tmp"), "disk_mb": _capacity_mb(root / "workspace")}


def _rlimits(pid: int) -> dict[str, float]:
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            return {"open_files": float(line.split()[4])}
    return {}


def _groups(pid: int) -> dict[str, float]:
    folders = dict(_group_folders(pid))
    if "" in folders and (folders[""] / "memory.max").exists():
        return _unified(folders[""])
    return dict(_legacy(folders))


def _group_folders(pid: int) -> Iterator[tuple[str, Path]]:
    """The container's group folder of every hierarchy; "" is the unified one."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            base = CGROUPS / controllers if controllers else CGROUPS
            yield controller, Path(f"{base}{path}")


def _legacy(folders: dict[str, Path]) -> Iterator[tuple[str, float]]:
    with suppress(OSError, KeyError, ValueError):
        yield "memory_mb", int((folders["memory"] / "memory.limit_in_bytes").read_text()) / MIB
    with suppress(OSError, KeyError, ValueError):
        quota = int((folders["cpu"] / "cpu.cfs_quota_us").read_text())
        period = int((folders["cpu"] / "cpu.cfs_period_us").read_text())
        if quota > 0:
            yield "cpus", quota / period
    with suppress(OSError, KeyError, ValueError):
        yield "pids", int((folders["pids"] / "pids.max").read_text())
    for name, (file, _, unit) in _THROTTLES.items():
        with suppress(OSError, KeyError, ValueError, IndexError):
            text = (folders["blkio"] / f"blkio.throttle.{file}_device").read_text()
            yield name, int(text.split()[1]) / unit


def _unified(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    with suppress(OSError, ValueError):
        found["memory_mb"] = int((folder / "memory.max").read_text()) / MIB
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        found["cpus"] = int(quota) / int(period)
    with suppress(OSError, ValueError):
        found["pids"] = int((folder / "pids.max").read_text())
    with suppress(OSError):
        pairs = dict(
            part.split("=") for part in (folder / "io.max").read_text().split() if "=" in part
        )
        for name, (_, key, unit) in _THROTTLES.items():
            if pairs.get(key, "max") != "max":
                found[name] = int(pairs[key]) / unit
    return found
