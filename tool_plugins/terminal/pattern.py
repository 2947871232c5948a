"""Regular expressions that always end: matched in time linear in the text.

The usual ones without back references and look-around. Python's own engine backtracks, and a
pattern of ten characters can keep it busy for years; this one walks all alternatives at once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_STATES = 2000
MAX_REPEAT = 200

Test = Callable[[str], bool]


class PatternError(ValueError):
    """The pattern is malformed, too large, or uses what is not supported."""


@dataclass(slots=True)
class _State:
    """Takes a character that passes `test`, or moves on for free if `condition` holds."""

    test: Test | None = None
    condition: str = ""
    after: tuple[int, ...] = ()


class Pattern:
    """A compiled pattern. `^` and `$` stand for the ends of a line."""

    def __init__(self, source: str) -> None:
        builder = _Builder(source)
        self._states = builder.states
        self._start, self._final = builder.start, builder.final
        self._steps: dict[tuple[frozenset[int], str, str], frozenset[int] | None] = {}

    def search(self, text: str) -> bool:
        """Whether the pattern matches somewhere in the text."""
        states: frozenset[int] = frozenset()
        before = ""
        for char in [*text, ""]:
            key = (states, before, char)
            if key not in self._steps:
                if len(self._steps) > 20_000:
                    self._steps.clear()
                self._steps[key] = self._step(*key)
            following = self._steps[key]
            if following is None:
                return True
            states, before = following, char
        return False

    def _step(self, states: frozenset[int], before: str, char: str) -> frozenset[int] | None:
        """The states after `char`, or None if the pattern has matched before it."""
        todo, reached = [self._start, *states], set[int]()
        following: set[int] = set()
        while todo:
            index = todo.pop()
            if index in reached:
                continue
            reached.add(index)
            state = self._states[index]
            if index == self._final:
                return None
            if state.test is None:
                if _holds(state.condition, before, char):
                    todo += state.after
            elif char and state.test(char):
                following.update(state.after)
        return frozenset(following)


def _holds(condition: str, before: str, char: str) -> bool:
    match condition:
        case "^":
            return before in ("", "\n")
        case "$":
            return char in ("", "\n")
        case "b" | "B":
            return (_word(before) != _word(char)) == (condition == "b")
        case _:
            return True


def _word(char: str) -> bool:
    return char.isalnum() or char == "_"


class _Builder:
    """Reads a pattern from left to right and makes states; every part has one entry, one exit."""

    def __init__(self, source: str) -> None:
        self._flags = re.IGNORECASE if source.startswith("(?i)") else 0
        self._source = source[4:] if self._flags else source
        self._at = 0
        self.states: list[_State] = []
        self.start, self.final = self._alternatives()
        if self._at < len(self._source):
            raise PatternError(f"unbalanced parenthesis at position {self._at}")

    def _add(self, state: _State) -> int:
        if len(self.states) >= MAX_STATES:
            raise PatternError("the pattern is too large")
        self.states.append(state)
        return len(self.states) - 1

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _alternatives(self) -> tuple[int, int]:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        end = self._add(_State())
        start = self._add(_State(after=tuple(entry for entry, _ in branches)))
        for _, leaving in branches:
            self._link(leaving, end)
        return start, end

    def _sequence(self) -> tuple[int, int]:
        start = end = self._add(_State())
        while self._peek() not in ("", "|", ")"):
            begin, state_count = self._at, len(self.states)
            entry, leaving = self._atom()
            part = self._source[begin : self._at]
            entry, leaving = self._repeated(part, entry, leaving, len(self.states) - state_count)
            self._link(end, entry)
            end = leaving
        return start, end

    def _link(self, index: int, to: int) -> None:
        self.states[index].after += (to,)

    def _repeated(self, part: str, entry: int, leaving: int, size: int) -> tuple[int, int]:
        bounds = self._quantifier()
        if bounds is None:
            return entry, leaving
        least, most = bounds
        copies = most if most is not None else max(1, least)
        if size * copies > MAX_STATES:
            raise PatternError("the pattern is too large")
        start = end = self._add(_State())
        final = self._add(_State())
        for number in range(copies):
            if number:
                entry, leaving = self._copy(part)
            if number >= least:
                self._link(end, final)
            self._link(end, entry)
            end = leaving
        if most is None:
            # Through a state of its own: the part's exit may be what another copy links from.
            again = self._add(_State(after=(entry, final)))
            self._link(end, again)
        else:
            self._link(end, final)
        return start, final

    def _copy(self, part: str) -> tuple[int, int]:
        source, at = self._source, self._at
        self._source, self._at = part, 0
        copied = self._atom()
        self._source, self._at = source, at
        return copied

    def _quantifier(self) -> tuple[int, int | None] | None:
        found = re.compile(r"([*+?]|\{(\d{1,4})(,?)(\d{0,4})\})\??").match(self._source, self._at)
        if found is None:
            return None
        self._at = found.end()
        if self._peek() in ("*", "+", "?"):
            raise PatternError(f"multiple repeat at position {self._at}")
        if found[2] is None:
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[1]]
        least = int(found[2])
        most = (int(found[4]) if found[4] else None) if found[3] else least
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least) or most == 0:
            raise PatternError(f"bad repeat {found[0]!r}; at most {MAX_REPEAT} times")
        return least, most

    def _atom(self) -> tuple[int, int]:
        char = self._peek()
        self._at += 1
        if char == "(":
            return self._group()
        if char in "*+?":
            raise PatternError(f"nothing to repeat at position {self._at - 1}")
        end = self._add(_State())
        if char in "^$":
            return self._add(_State(condition=char, after=(end,))), end
        if char == "\\" and self._peek() in ("b", "B"):
            self._at += 1
            condition = self._source[self._at - 1]
            return self._add(_State(condition=condition, after=(end,))), end
        return self._add(_State(test=self._test(char), after=(end,))), end

    def _group(self) -> tuple[int, int]:
        if self._source.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise PatternError("groups like (?…) are not supported, but (?:…) and a first (?i)")
        part = self._alternatives()
        if self._peek() != ")":
            raise PatternError("missing )")
        self._at += 1
        return part

    def _test(self, char: str) -> Test:
        """A test for one character; Python's own engine is safe for as much as that."""
        if char == "[":
            found = re.compile(r"\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL).match(self._source, self._at)
            if found is None:
                raise PatternError("missing ]")
            self._at = found.end()
            char += found[0]
        elif char == "\\":
            escaped = self._peek()
            self._at += 1
            if not escaped or (escaped.isalnum() and escaped not in "dDwWsSntrfv"):
                raise PatternError(f"unsupported escape \\{escaped}")
            char += escaped
        elif char != ".":
            char = re.escape(char)
        try:
            compiled = re.compile(char, self._flags)
        except re.error as exc:
            raise PatternError(str(exc)) from exc
        return lambda candidate: compiled.fullmatch(candidate) is not None
