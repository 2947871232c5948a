"""Where the browser keeps things."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one sandbox's browser; none need exist."""

    workspace: Path
    tmp: Path

    @property
    def scratch(self) -> Path:
        """The browser's home: its profile, its trusted certificates, its shared memory."""
        return self.tmp / "sandbox-browser"

    @property
    def downloads(self) -> Path:
        """Where downloads end up."""
        return self.workspace / "downloads"

    @property
    def arriving(self) -> Path:
        """Where downloads are while they come, on the same file system."""
        return self.workspace / ".sandbox-downloads"

    @property
    def passing(self) -> tuple[Path, Path]:
        """What must not be left when the browser is gone."""
        return self.scratch, self.arriving

    def as_dict(self) -> dict[str, str]:
        """As it is sent to the worker."""
        return {"workspace": str(self.workspace), "tmp": str(self.tmp)}

    @classmethod
    def of(cls, fields: dict[str, str]) -> Self:
        """Out of `as_dict`."""
        return cls(Path(fields["workspace"]), Path(fields["tmp"]))
