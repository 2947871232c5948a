"""Sandboxes too small for a browser are told so, whichever way the kernel counts."""

from pathlib import Path

import pytest

from tool_plugins.browser.room import memory_mb, require_room
from tool_plugins.errors import ErrorCode, ToolError


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_sandbox_with_little_memory_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    write(tmp_path, memory_dot_max=str(200 * 1024**2), pids_dot_max="256")
    with pytest.raises(ToolError, match="memory_mb of at least 384; this one has 200") as caught:
        require_room(tmp_path)
    assert caught.value.code == ErrorCode.UNSUPPORTED


def test_sandbox_with_few_processes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, memory_dot_max=str(1024**3), pids_dot_max="64")
    with pytest.raises(ToolError, match="pids of at least 128; this one has 64"):
        require_room(tmp_path)


def test_first_version_of_control_groups_counts_too(tmp_path: Path) -> None:
    write(tmp_path, memory__memory_dot_limit_in_bytes=str(100 * 1024**2))
    assert memory_mb(tmp_path) == 100
    with pytest.raises(ToolError, match="this one has 100"):
        require_room(tmp_path)


def test_room_enough_or_without_limit_is_fine(tmp_path: Path) -> None:
    require_room(tmp_path)
    require_room(write(tmp_path, memory_dot_max="max", pids_dot_max="max"))
    require_room(write(tmp_path, memory_dot_max=str(1024**3), pids_dot_max="256"))
