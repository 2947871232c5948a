"""The limits this container runs under, as its own cgroup says; version 1 and 2."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Version 1 says "no limit" with the largest page-aligned number it can hold.
UNLIMITED_FROM = 1 << 62


def read_limits(root: Path = ROOT) -> dict[str, float | None]:
    """`memory_bytes`, `pids` and `cpus`; None where there is no limit or nothing to read."""
    if (root / "cgroup.controllers").exists():
        return {
            "memory_bytes": _number(root / "memory.max"),
            "pids": _number(root / "pids.max"),
            "cpus": _cpus(_words(root / "cpu.max")),
        }
    cpu = root / "cpu"
    quota = [*_words(cpu / "cpu.cfs_quota_us"), *_words(cpu / "cpu.cfs_period_us")]
    return {
        "memory_bytes": _number(root / "memory" / "memory.limit_in_bytes"),
        "pids": _number(root / "pids" / "pids.max"),
        "cpus": _cpus(quota),
    }


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    words = _words(path)
    if not words or not words[0].isdigit() or int(words[0]) >= UNLIMITED_FROM:
        return None
    return int(words[0])


def _cpus(words: list[str]) -> float | None:
    # A quota of "max" (version 2) or -1 (version 1) is no limit.
    if len(words) != 2 or not words[0].isdigit():
        return None
    return int(words[0]) / int(words[1])
