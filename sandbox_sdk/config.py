"""Settings, and the only place of this package that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ENGINE = "docker"
ROOT_STATE_DIR = Path("/var/lib/sandbox-sdk")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where state is kept and what runs containers.

    `state_dir` holds the locks, the sockets and, unless `state_url` says otherwise, the database.
    Keep it short: a unix socket below it must stay within 108 bytes.
    """

    state_dir: Path
    state_url: str
    engine: str = DEFAULT_ENGINE
    image: str | None = None

    @classmethod
    def load(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        state_dir: Path | str | None = None,
        state_url: str | None = None,
        engine: str | None = None,
    ) -> "Settings":
        """Arguments first, then `SANDBOX_*` of the environment, then defaults."""
        chosen = state_dir or environment.get("SANDBOX_STATE_DIR")
        folder = Path(chosen) if chosen else _default_state_dir(environment)
        folder = folder.expanduser().absolute()
        url = state_url or environment.get("SANDBOX_STATE_URL")
        return cls(
            state_dir=folder,
            state_url=url or f"sqlite:///{folder / 'state.db'}",
            engine=engine or environment.get("SANDBOX_ENGINE") or DEFAULT_ENGINE,
            image=environment.get("SANDBOX_IMAGE") or None,
        )


def environment() -> Mapping[str, str]:
    """The environment of this process, for `${NAME}` in files of settings."""
    return os.environ


def _default_state_dir(environment: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return ROOT_STATE_DIR
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base) / "sandbox-sdk"
