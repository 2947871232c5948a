"""What becomes of every requested limit: what enforces it, how firmly, and whether it was seen.

Pure: takes facts, gives tables. Reading the facts is the engine's part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tool_plugins.errors import UnenforceableLimitError

from .spec import ComputeResources, EffectiveLimit, LimitClass

MIB = 2**20
SHM_MB = 16
SPOOL_MB = 64
TOLERANCE = 0.02
"""Two readings of one limit may differ by this much: kernels round to pages and periods."""

Mechanism = Literal["loop-ext4", "tmpfs"]
DISK_RATES = ("disk_read_mb_s", "disk_write_mb_s", "disk_read_iops", "disk_write_iops")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host can enforce.

    `missing` holds a reason for each control group facility the engine says it lacks: "memory",
    "cpu", "pids". `workspace_reason` says why the workspace is not a mounted file.
    """

    cgroup_version: int
    workspace: Mechanism
    workspace_reason: str = ""
    missing: Mapping[str, str] | None = None


def spool_mb(resources: ComputeResources) -> int:
    """Room for the output of commands; it counts against the memory limit."""
    return min(SPOOL_MB, resources.memory_mb // 4)


def settle(resources: ComputeResources, facts: HostFacts) -> ComputeResources:
    """Fills in the size of a workspace that was left to the host."""
    if resources.disk_mb is not None:
        return resources
    in_memory = facts.workspace == "tmpfs"
    size = resources.memory_mb // 2 if in_memory else resources.workspace_mb
    return resources.model_copy(update={"disk_mb": size})


def plan(resources: ComputeResources, facts: HostFacts) -> tuple[EffectiveLimit, ...]:
    """What will enforce each limit on that host, before anything is made.

    Raises:
        UnenforceableLimitError: a required limit would have class "none" or "measured-only", or
            cannot be met in full; the message names the missing piece.
    """
    resources = settle(resources, facts)
    table = (
        _group(resources, facts, "cpus", "cpu", "cfs-quota", "average", "per period of 100 ms"),
        _group(
            resources, facts, "memory_mb", "memory", "memory-cgroup", "hard", "no swap beyond it"
        ),
        _group(resources, facts, "pids", "pids", "pids-cgroup", "hard", "processes and threads"),
        _workspace(resources, facts),
        _limit(resources, "tmp_mb", "tmpfs", "hard", "counts against memory_mb"),
        _limit(resources, "open_files", "rlimit-nofile", "hard", "per process"),
        *(
            _disk_rate(resources, facts, name)
            for name in DISK_RATES
            if getattr(resources, name) is not None
        ),
    )
    if resources.enforcement == "required":
        _refuse(resources, facts, table)
    return table


def _refuse(
    resources: ComputeResources, facts: HostFacts, table: tuple[EffectiveLimit, ...]
) -> None:
    weak = [limit for limit in table if limit.limit_class in ("none", "measured-only")]
    if weak:
        reasons = "; ".join(f"{limit.name}: {limit.note}" for limit in weak)
        raise UnenforceableLimitError(
            f"this host cannot enforce {reasons}",
            hint="leave the limit out, or accept less with enforcement='best_effort'",
        )
    if facts.workspace == "tmpfs" and resources.workspace_mb >= resources.memory_mb:
        raise UnenforceableLimitError(
            f"disk_mb={resources.workspace_mb} cannot be had: the workspace is kept in memory "
            f"({facts.workspace_reason}) and memory_mb is {resources.memory_mb}",
            hint="ask for disk_mb below memory_mb, or accept less with enforcement='best_effort'",
        )


def _limit(
    resources: ComputeResources, name: str, mechanism: str, limit_class: LimitClass, note: str = ""
) -> EffectiveLimit:
    requested = float(getattr(resources, name))
    effective = None if limit_class == "none" else requested
    return EffectiveLimit(
        name=name,
        requested=requested,
        effective=effective,
        mechanism=mechanism,
        limit_class=limit_class,
        note=note,
    )


def _group(
    resources: ComputeResources,
    facts: HostFacts,
    name: str,
    facility: str,
    mechanism: str,
    limit_class: LimitClass,
    note: str,
) -> EffectiveLimit:
    reason = (facts.missing or {}).get(facility)
    if reason:
        return _limit(resources, name, "none", "none", reason)
    return _limit(resources, name, mechanism, limit_class, note)


def _workspace(resources: ComputeResources, facts: HostFacts) -> EffectiveLimit:
    if facts.workspace == "loop-ext4":
        return _limit(resources, "disk_mb", "loop-ext4", "hard", "the file system's own tables too")
    note = f"kept in memory, counts against memory_mb: {facts.workspace_reason}"
    return _limit(resources, "disk_mb", "tmpfs", "hard", note)


def _disk_rate(resources: ComputeResources, facts: HostFacts, name: str) -> EffectiveLimit:
    if facts.workspace != "loop-ext4":
        return _limit(resources, name, "none", "none", "the workspace is in memory, not on a disk")
    if reason := (facts.missing or {}).get("blkio"):
        return _limit(resources, name, "none", "none", reason)
    if facts.cgroup_version == 2:
        return _limit(resources, name, "io-cgroup", "average", "on the workspace's device")
    note = "direct I/O only: buffered writes are slowed when they are synced, not before"
    return _limit(resources, name, "blkio-v1-direct-only", "approximate", note)


def verify(
    table: tuple[EffectiveLimit, ...], readings: Mapping[str, float]
) -> tuple[EffectiveLimit, ...]:
    """The table with what was read back from the running container.

    A reading that differs from what was asked replaces `effective` and is not "verified", unless
    it is the smaller one (a file system keeps some room for itself).
    """
    return tuple(_verified(limit, readings.get(limit.name)) for limit in table)


def _verified(limit: EffectiveLimit, reading: float | None) -> EffectiveLimit:
    if reading is None or limit.effective is None:
        return limit
    holds = reading <= limit.requested * (1 + TOLERANCE)
    return limit.model_copy(update={"effective": reading, "verified": holds})
