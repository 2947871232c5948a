"""What was registered in a sandbox is known again after a restart."""

from pathlib import Path

import pytest

from sandbox_sdk.tools.storage import Storage
from tool_plugins.errors import ToolError

from .versions import version


def test_versions_come_back_as_they_were(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "tools")
    kept = (version("text.f", text="x = '\ud7ff'"), version("more.g", description="More."))

    storage.save("sbx-1", kept)

    assert Storage(tmp_path / "tools").load("sbx-1") == kept
    assert storage.load("sbx-2") == ()
    assert (tmp_path / "tools/sbx-1.json").stat().st_mode & 0o777 == 0o600


def test_a_dropped_sandbox_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.save("sbx-1", [version("text.f")])

    storage.drop("sbx-1")
    storage.drop("sbx-1")

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sbx-1.json").write_text('[{"source": 1}]')

    with pytest.raises(ValueError, match=r"sbx-1\.json"):
        Storage(tmp_path).load("sbx-1")


def test_a_disk_that_does_not_take_it_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.save("sbx-1", [version("text.f")])
    (tmp_path / "sbx-1.new").mkdir()

    with pytest.raises(ToolError, match="could not write"):
        storage.save("sbx-1", [])

    assert storage.load("sbx-1") == (version("text.f"),)


def test_all_files_of_a_sandbox_together_are_bounded(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    many = [version(f"text{n}.f", text="#" * 500_000) for n in range(17)]
    storage.save("sbx-1", many[:16])

    with pytest.raises(ToolError) as raised:
        storage.save("sbx-1", many)

    assert raised.value.code == "QUOTA_EXCEEDED"
    assert len(storage.load("sbx-1")) == 16
