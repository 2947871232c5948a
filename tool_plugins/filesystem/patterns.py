"""Path patterns: `*`, `?`, `[a-z]`, `**` and `{a,b}`, matched name by name.

A pattern is a list of parts, one for each name of a path. Matching keeps the set of parts that
may come next, so its cost grows with the path and not with the number of ways to match it.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tool_plugins.errors import ErrorCode, ToolError

from .errors import shorten

MAX_ALTERNATIVES = 128

State = frozenset[int]


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One pattern without alternatives. `hidden` lets wildcards match a leading dot.

    A part that is None stands for `**`: any number of names.
    """

    parts: tuple[re.Pattern[str] | None, ...]
    dotted: tuple[bool, ...]
    hidden: bool = False

    @classmethod
    def compile(cls, parts: Sequence[str], *, hidden: bool = False) -> "PathPattern":
        """A pattern of these parts; `**` alone is any number of names."""
        kept: list[str] = []
        for part in parts:
            if part != "**" or not kept or kept[-1] != "**":
                kept.append(part)
        if kept and kept[-1] == "**":
            kept.append("*")  # `a/**` is what is inside `a`, not `a`
        return cls(
            tuple(None if part == "**" else _compiled(part) for part in kept),
            tuple(part.startswith((".", "[.", "\\.")) for part in kept),
            hidden,
        )

    def start(self) -> State:
        """The state before the first name."""
        return self._closed([0])

    def step(self, state: State, name: str) -> State:
        """The state after one more name. An empty state matches nothing below."""
        following: list[int] = []
        for index in state:
            if index == len(self.parts):
                continue
            part = self.parts[index]
            if part is None:
                if self.hidden or not name.startswith("."):
                    following.append(index)
            elif part.match(name) and self._may_be_hidden(index, name):
                following.append(index + 1)
        return self._closed(following)

    def accepts(self, state: State) -> bool:
        """Whether the names so far match the whole pattern."""
        return len(self.parts) in state

    def matches(self, names: Sequence[str]) -> bool:
        """Whether a whole path matches."""
        state = self.start()
        for name in names:
            state = self.step(state, name)
        return self.accepts(state)

    def _may_be_hidden(self, index: int, name: str) -> bool:
        return self.hidden or self.dotted[index] or not name.startswith(".")

    def _closed(self, indexes: list[int]) -> State:
        """`**` may also stand for no name at all."""
        found = set(indexes)
        for index in indexes:
            while index < len(self.parts) and self.parts[index] is None:
                index += 1
                found.add(index)
        return frozenset(found)


def _compiled(part: str) -> re.Pattern[str]:
    """A part as a regular expression. `\\x` is the character x, as git and shells have it."""
    text = re.sub(r"\\(.)", lambda match: f"[{match[1]}]", part).replace("[^", "[!")
    return re.compile(fnmatch.translate(text), re.DOTALL)


def compile_glob(pattern: str) -> tuple[PathPattern, ...]:
    """The patterns a glob stands for, one for each of its `{a,b}` alternatives.

    Raises:
        ToolError: the glob is absolute, has `..`, a NUL or too many alternatives.
    """
    if "\0" in pattern or pattern.startswith(("/", "~")):
        raise _refused(pattern, "is absolute", "give it relative to `path`")
    found: list[PathPattern] = []
    for one in _alternatives(pattern):
        parts = [part for part in one.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise _refused(pattern, "has '..'", "give the folder to search as `path`")
        if parts:
            found.append(PathPattern.compile(parts))
    if not found:
        raise _refused(pattern, "matches nothing", "use for example **/*.py")
    return tuple(found)


def _alternatives(pattern: str) -> list[str]:
    """Every way to choose one of each `{a,b}`. Braces without a comma are ordinary characters."""
    done: list[str] = []
    pending = [pattern]
    while pending:
        text = pending.pop()
        span = _brace(text)
        if span is None:
            done.append(text)
        else:
            start, end = span
            choices = _choices(text[start + 1 : end])
            pending += [text[:start] + choice + text[end + 1 :] for choice in reversed(choices)]
        if len(done) + len(pending) > MAX_ALTERNATIVES:
            raise _refused(
                pattern, f"has more than {MAX_ALTERNATIVES} alternatives", "use fewer braces"
            )
    return done


def _brace(text: str) -> tuple[int, int] | None:
    """Where the first brace with alternatives opens and closes."""
    for start, character in enumerate(text):
        if character != "{":
            continue
        depth = 0
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                if len(_choices(text[start + 1 : end])) > 1:
                    return start, end
                break
    return None


def _choices(text: str) -> list[str]:
    choices, depth = [""], 0
    for character in text:
        if character == "," and depth == 0:
            choices.append("")
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        choices[-1] += character
    return choices


def _refused(pattern: str, says: str, hint: str) -> ToolError:
    return ToolError(
        ErrorCode.INVALID_ARGUMENT, f"the pattern {shorten(pattern)!r} {says}", hint=hint
    )
