"""Whether a group has room for one more sandbox."""

from collections.abc import Iterable

from container_runtime.spec import ComputeResources
from tool_plugins.errors import QuotaError

from .models import GroupLimits


def check_room(
    limits: GroupLimits, live: Iterable[ComputeResources], more: ComputeResources
) -> None:
    """Compares what the live sandboxes were promised, and `more`, with the group's limits.

    Raises:
        QuotaError: a limit would be exceeded; the message names it.
    """
    promised = [*live, more]
    totals: list[tuple[str, float, float | None]] = [
        ("max_sandboxes", len(promised), limits.max_sandboxes),
        ("max_cpus", sum(each.cpus for each in promised), limits.max_cpus),
        ("max_memory_mb", sum(each.memory_mb for each in promised), limits.max_memory_mb),
        ("max_disk_mb", sum(each.workspace_mb for each in promised), limits.max_disk_mb),
    ]
    for name, total, limit in totals:
        if limit is not None and total > limit:
            raise QuotaError(
                f"{name} is {limit:g} and one more sandbox would make it {total:g}",
                hint="end a sandbox first, or raise the limit",
            )
