"""What the demo prints, and the check that what it shows is true."""

import os
import sys
import textwrap

WIDTH = 100
MARKS = {"claim": ("✓", "ok"), "call": ("→", "->"), "bar": ("│", "|")}


class DemoError(Exception):
    """A step did not show what it claims."""


class Stage:
    """Prints steps for a person; plain text when the output is not a terminal."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._plain = "utf" not in (sys.stdout.encoding or "").lower()
        self.claims = 0

    def title(self, text: str) -> None:
        """Opens a scene."""
        self._print(f"\n{self._paint('1', text)}\n{'-' * len(text)}")

    def say(self, text: str) -> None:
        """A sentence for the person who watches."""
        self._print(textwrap.fill(text, WIDTH))

    def call(self, name: str, arguments: str = "", command: str = "") -> None:
        """A call that is about to be made; a command is shown as it would be typed."""
        self._print(
            f"{self._paint('36', self._mark('call'))} {_clip(f'{name} {arguments}'.rstrip())}"
        )
        for line in command.splitlines():
            self._print(f"    {self._paint('36', _clip(line))}")

    def show(self, text: str, *, last: int = 0) -> None:
        """Real output, indented; `last` keeps only that many of its last lines."""
        lines = text.rstrip("\n").split("\n")
        for line in lines[-last:] if last else lines:
            self._print(f"  {self._paint('2', self._mark('bar'))} {_clip(line)}")

    def claim(self, holds: object, text: str) -> None:
        """States what was shown.

        Raises:
            DemoError: it does not hold.
        """
        if not holds:
            raise DemoError(f"this did not hold: {text}")
        self.claims += 1
        self._print(f"{self._paint('32', self._mark('claim'))} {text}")

    def _mark(self, name: str) -> str:
        return MARKS[name][self._plain]

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def _print(self, text: str) -> None:
        if self._plain:
            text = text.encode("ascii", "replace").decode()
        print(text, flush=True)


def _clip(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
