"""`.gitignore`, as far as a listing needs it.

Supported: comments, `!`, a slash at the end for folders, anchored and free patterns, `*`, `?`,
`[a-z]`, `**` and backslashes, in every `.gitignore` from the workspace down. Not read: the user's
global file and `.git/info/exclude`. `.git` itself is always ignored.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .patterns import PathPattern

MAX_FILE_BYTES = 64 * 1024
MAX_RULES = 1000

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: PathPattern
    keep: bool
    folders_only: bool
    depth: int
    """How many names lead to the folder of the file the rule is in."""


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules that hold in one folder: those of its own file and of every one above."""

    rules: tuple[_Rule, ...] = ()

    def below(self, folder: int, depth: int) -> "IgnoreRules":
        """The rules for a folder that is `depth` names deep, its own `.gitignore` included."""
        text = _load(folder)
        if text is None:
            return self
        rules = (_parsed(line, depth) for line in text.split("\n")[:MAX_RULES])
        return IgnoreRules(self.rules + tuple(rule for rule in rules if rule is not None))

    def ignores(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Whether the entry with these names, counted from the workspace, is ignored."""
        if names[-1] == ".git":
            return True
        for rule in reversed(self.rules):
            if rule.folders_only and not is_folder:
                continue
            if rule.pattern.matches(names[rule.depth :]):
                return not rule.keep
        return False


def _load(folder: int) -> str | None:
    try:
        fd = os.open(".gitignore", _READ, dir_fd=folder)
    except OSError:
        return None  # no file, a link, or not for us to read: git would ignore nothing either
    try:
        return os.read(fd, MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return None  # a folder of that name
    finally:
        os.close(fd)


def _parsed(line: str, depth: int) -> _Rule | None:
    line = line.removesuffix("\r")
    if not line.endswith("\\ "):
        line = line.rstrip(" ")
    if not line or line.startswith("#"):
        return None
    keep = line.startswith("!")
    line = line[1:] if keep else line
    folders_only = line.endswith("/")
    anchored = "/" in line.rstrip("/")
    parts = [part for part in line.split("/") if part]
    if not parts:
        return None
    if not anchored:
        parts = ["**", *parts]
    return _Rule(PathPattern.compile(parts, hidden=True), keep, folders_only, depth)
