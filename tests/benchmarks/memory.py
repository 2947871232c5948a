"""Budget of what an idle sandbox costs before its user runs anything."""

from pathlib import Path

from sandbox_sdk import SandboxGroup

from .baseline import docker
from .budget import Row

BUDGET_MB = 25
MIB = 2**20
CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Version 2 has one hierarchy, without a name; version 1 has one for memory.
CHARGES = {"": "memory.current", "memory": "memory.usage_in_bytes"}


async def rows(group: SandboxGroup) -> list[Row]:
    """Reads what the kernel charges to the control group of a sandbox that has done one action.

    That is what counts against its memory limit. Pages of the image that all sandboxes share are
    charged to the first who touches them; `alone` is what one would take if it shared with nobody.
    """
    async with await group.create_sandbox() as sandbox:
        await sandbox.filesystem.list(".")
        listing = await docker("top", sandbox.id, "-eo", "pid")
        processes = [int(line) for line in listing.split()[1:]]
        used = _charged(processes[0]) / MIB
        alone = sum(_proportional_kib(pid) for pid in processes) / 1024
    return [
        Row(
            what="idle memory of a sandbox",
            p50=f"{used:.1f} MB",
            p99="-",
            against=f"alone: {alone:.1f} MB",
            ratio=f"{len(processes)} processes",
            budget=f"<= {BUDGET_MB} MB",
            reasons=(f"{used - BUDGET_MB:.1f} MB too much",) if used > BUDGET_MB else (),
        )
    ]


def _charged(pid: int) -> int:
    """The bytes charged to the control group of a process."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller, file in CHARGES.items():
            place = CONTROL_GROUPS / controller / path.lstrip("/") / file
            if controller == controllers and place.exists():
                return int(place.read_text())
    raise RuntimeError(f"process {pid} has no memory control group")


def _proportional_kib(pid: int) -> int:
    """The `Pss` of a process: its own memory and its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no Pss")
