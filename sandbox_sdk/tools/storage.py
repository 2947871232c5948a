"""What was registered in each sandbox, on disk: a restarted server knows it again."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tool_plugins.errors import ErrorCode, ToolError

from .models import Version

MAX_BYTES = 8 * 1024 * 1024
"""Of all files of a sandbox, as they are written down. This host has them in memory, too."""

_VERSIONS = TypeAdapter(tuple[Version, ...])


class Storage:
    """One file for each sandbox with tools of its own. Blocks: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, sandbox_id: str) -> tuple[Version, ...]:
        """What was registered.

        Raises:
            ValueError: the file is not one of ours.
        """
        try:
            return _VERSIONS.validate_json(self._file(sandbox_id).read_bytes())
        except FileNotFoundError:
            return ()
        except ValidationError as exc:
            raise ValueError(f"{self._file(sandbox_id)} cannot be read") from exc

    def save(self, sandbox_id: str, versions: Sequence[Version]) -> None:
        """Writes it down, all or nothing.

        Raises:
            ToolError: QUOTA_EXCEEDED, it is more than `MAX_BYTES`; INTERNAL, this host's disk did
                not take it.
        """
        data = _VERSIONS.dump_json(tuple(versions))
        if len(data) > MAX_BYTES:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                f"all custom tools of the sandbox would take {len(data)} bytes, sources and "
                f"schemas together; {MAX_BYTES} fit",
                hint="remove a file of tools first",
            )
        file = self._file(sandbox_id)
        draft = file.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(data)
            draft.replace(file)
        except OSError as exc:
            with suppress(OSError):
                draft.unlink()
            raise ToolError(
                ErrorCode.INTERNAL, f"the server could not write the tools down: {exc.strerror}"
            ) from exc

    def drop(self, sandbox_id: str) -> None:
        """Removes what is kept of a sandbox. Idempotent."""
        file = self._file(sandbox_id)
        for each in (file, file.with_suffix(".new")):
            each.unlink(missing_ok=True)

    def _file(self, sandbox_id: str) -> Path:
        return self._folder / f"{sandbox_id}.json"
