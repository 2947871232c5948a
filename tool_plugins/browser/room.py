"""Whether a sandbox is large enough for a browser, by what the kernel allows it."""

from pathlib import Path

from tool_plugins.errors import ErrorCode, ToolError

CGROUP = Path("/sys/fs/cgroup")
# Version 1 first: there, a file of version 2 is nowhere.
MEMORY_FILES = ("memory/memory.limit_in_bytes", "memory.max")
PIDS_FILES = ("pids/pids.max", "pids.max")
MIB = 1024 * 1024
MIN_MEMORY_MB = 384
"""With a small page open a sandbox uses 180 MB; what a page takes comes on top."""

MIN_PIDS = 128
"""Threads count: with a page open there are 75."""


def require_room(root: Path = CGROUP) -> None:
    """Refuses a sandbox in which the browser would be killed rather than work.

    Raises:
        ToolError: UNSUPPORTED, with what is needed and what there is.
    """
    memory, pids = _limit(root, MEMORY_FILES), _limit(root, PIDS_FILES)
    if memory is not None and memory < MIN_MEMORY_MB * MIB:
        raise _too_small("memory_mb", MIN_MEMORY_MB, memory // MIB)
    if pids is not None and pids < MIN_PIDS:
        raise _too_small("pids", MIN_PIDS, pids)


def memory_mb(root: Path = CGROUP) -> int | None:
    """The memory limit of the sandbox; None without one."""
    limit = _limit(root, MEMORY_FILES)
    return None if limit is None else limit // MIB


def _too_small(name: str, wanted: int, found: int) -> ToolError:
    return ToolError(
        ErrorCode.UNSUPPORTED,
        f"the browser needs a sandbox with {name} of at least {wanted}; this one has {found}",
        hint="use web_fetch, or ask the operator for a larger sandbox",
        details={"limit": name, "needed": wanted, "found": found},
    )


def _limit(root: Path, names: tuple[str, ...]) -> int | None:
    for name in names:
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None
