"""constraints.txt pins everything that is installed, and the image agrees with it."""

import re
import tomllib
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.documents import ROOT


def pins(path: str) -> dict[str, str]:
    """The versions a file of `name==version` lines pins."""
    lines = (ROOT / path).read_text("utf-8").splitlines()
    found = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): version.strip() for name, version in found}


def needed() -> set[str]:
    """Everything the project and its development group ask for, and what that asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    waiting = [
        Requirement(text)
        for text in (
            *project["project"]["dependencies"],
            *project["dependency-groups"]["dev"],
            *project["build-system"]["requires"],
        )
    ]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in seen:
            continue
        seen.add(name)
        for text in distribution(name).requires or ():
            asked = Requirement(text)
            extras = wanted.extras or {""}
            if asked.marker is None or any(asked.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(asked)
    return seen


def test_everything_that_is_needed_is_pinned_at_the_version_that_is_installed() -> None:
    pinned = pins("constraints.txt")
    assert {name: distribution(name).version for name in needed()} == {
        name: pinned.get(name) for name in needed()
    }


def test_the_image_pins_the_same_versions() -> None:
    pinned = pins("constraints.txt")
    for name in ("requirements.txt", "tools.txt", "browser-requirements.txt"):
        inside = pins(f"container_runtime/image/{name}")
        assert {name: pinned.get(name) for name in inside} == inside


def test_it_holds_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith("# ") and line != "#"]
    assert [line for line in kept if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
