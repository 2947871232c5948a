"""Budget of what an idle sandbox costs beyond its user's own processes."""

from pathlib import Path

from sandbox_sdk import SandboxGroup

from .baseline import docker
from .budget import Row

BUDGET_MB = 25
AGENT_UIDS_FROM = 100_000  # processes of these users are the user's own


async def rows(group: SandboxGroup) -> list[Row]:
    """Adds up the proportional memory of the init and the action server of one idle sandbox."""
    async with await group.create_sandbox() as sandbox:
        await sandbox.filesystem.list(".")
        listing = await docker("top", sandbox.id, "-eo", "pid,uid,comm")
        processes = [line.split(None, 2) for line in listing.splitlines()[1:]]
        ours = [pid for pid, uid, _ in processes if int(uid) < AGENT_UIDS_FROM]
        used = sum(_proportional_kib(int(pid)) for pid in ours) / 1024
    return [
        Row(
            what="idle memory of a sandbox",
            p50=f"{used:.1f} MB",
            p99="-",
            against=f"{len(ours)} processes",
            ratio="-",
            budget=f"<= {BUDGET_MB} MB",
            reasons=(f"{used - BUDGET_MB:.1f} MB too much",) if used > BUDGET_MB else (),
        )
    ]


def _proportional_kib(pid: int) -> int:
    """The `Pss` of a process: its own memory and its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no Pss")
