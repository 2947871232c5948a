"""How much memory a process that runs custom tools may have of its own."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# Version 1 first: there, the file of version 2 is nowhere.
FILES = ("memory/memory.limit_in_bytes", "memory.max")
# Version 1 says "no limit" with the largest page-aligned number it can hold.
UNLIMITED_FROM = 1 << 62
UNLIMITED_MB = 4096


def worker_memory_mb(root: Path = CGROUP) -> int | None:
    """None where the kernel bounds the whole sandbox: that is the limit, and nothing below it.

    A limit of the process counts what a library only reserves, such as stacks of threads it starts
    for each processor of the machine; it would fail where there is plenty.
    """
    for name in FILES:
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        return None if text.isdigit() and int(text) < UNLIMITED_FROM else UNLIMITED_MB
    return UNLIMITED_MB
