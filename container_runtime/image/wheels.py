"""Fetches the action server's wheels for the engine's architecture with pip.

Only ready-made wheels, only the pinned versions; nothing of them is run on the host.
"""

import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tool_plugins.errors import ImageError

from .inputs import HERE, PYTHON_VERSION

DOWNLOAD_TIMEOUT_S = 600
_GLIBCS = ("2_34", "2_28", "2_17")
_HINT = "pip needs a package index: see `pip config list`, or set PIP_INDEX_URL, then try again"


def fetch(architecture: str, cache: Path, report: Callable[[str], None]) -> list[Path]:
    """The wheels of requirements.txt, from `cache` where they are already.

    Raises:
        ImageError: pip is missing or cannot fetch them.
    """
    requirements = (HERE / "requirements.txt").read_text()
    folder = cache / f"cp{PYTHON_VERSION.replace('.', '')}-{architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {_normal(line) for line in requirements.splitlines() if line.strip()}
    if not wanted <= set(_present(folder)):
        report("fetching the action server's wheels")
        _download(architecture, folder)
    have = _present(folder)
    if missing := wanted - set(have):
        raise ImageError(f"pip did not fetch {', '.join(sorted(missing))}", hint=_HINT)
    return [have[name] for name in sorted(wanted)]


def _normal(requirement: str) -> str:
    name, _, version = requirement.strip().partition("==")
    return f"{name.lower().replace('-', '_')}-{version}"


def _present(folder: Path) -> dict[str, Path]:
    """Wheels by "name-version"."""
    return {"-".join(p.name.split("-")[:2]).lower(): p for p in folder.glob("*.whl")}


def _download(architecture: str, folder: Path) -> None:
    platforms = [f"--platform=manylinux_{glibc}_{architecture}" for glibc in _GLIBCS]
    tag = f"cp{PYTHON_VERSION.replace('.', '')}"
    with _pip() as pip:
        command = [
            *pip,
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--implementation=cp",
            f"--python-version={PYTHON_VERSION}",
            f"--abi={tag}",
            "--abi=abi3",
            "--abi=none",
            *platforms,
            f"--dest={folder}",
            f"--requirement={HERE / 'requirements.txt'}",
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImageError(f"pip cannot fetch the wheels: {error}", hint=_HINT) from error
    if done.returncode != 0:
        raise ImageError(f"pip cannot fetch the wheels: {done.stderr.strip()[-800:]}", hint=_HINT)


@contextmanager
def _pip() -> Iterator[list[str]]:
    """A command that is pip: this environment's, or one of a throw-away environment."""
    if find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
        return
    with TemporaryDirectory(prefix="sandbox-sdk-pip-") as folder:
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ImageError(
                "this environment has no pip, and none could be made",
                hint="install pip here (`python -m ensurepip`), then try again",
            ) from error
        yield [str(Path(folder, "bin", "python")), "-m", "pip"]
