"""Fetches the wheels of the image for the engine's architecture with pip.

Only ready-made wheels, only the pinned versions; nothing of them is run on the host.
"""

import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tool_plugins.errors import ImageError

from .inputs import PYTHON_VERSION

DOWNLOAD_TIMEOUT_S = 600
_GLIBCS = ("_2_34", "_2_28", "_2_26", "_2_24", "_2_17", "2014")  # the last brings older ones
_HINT = "pip needs a package index: see `pip config list`, or set PIP_INDEX_URL, then try again"


def fetch(
    requirements: Sequence[str], architecture: str, cache: Path, report: Callable[[str], None]
) -> list[Path]:
    """The wheels of `requirements` ("name==version"), from `cache` where they are already.

    Raises:
        ImageError: pip is missing or cannot fetch them.
    """
    folder = cache / f"cp{PYTHON_VERSION.replace('.', '')}-{architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {_normal(line): line for line in requirements}
    if lacking := [wanted[name] for name in wanted.keys() - _present(folder).keys()]:
        report(f"fetching {len(lacking)} wheels")
        _download(lacking, architecture, folder)
    have = _present(folder)
    if missing := wanted.keys() - have.keys():
        raise ImageError(f"pip did not fetch {', '.join(sorted(missing))}", hint=_HINT)
    return [have[name] for name in sorted(wanted)]


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub('[-_.]+', '_', name).lower()}-{version}"


def _present(folder: Path) -> dict[str, Path]:
    """Wheels by "name-version"."""
    return {_normal("==".join(p.name.split("-")[:2])): p for p in folder.glob("*.whl")}


def _download(requirements: Sequence[str], architecture: str, folder: Path) -> None:
    platforms = [f"--platform=manylinux{glibc}_{architecture}" for glibc in _GLIBCS]
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
            *requirements,
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
