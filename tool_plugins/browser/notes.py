"""What happened on the page that nobody asked for, in sentences."""

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from .reading import clean_line

if TYPE_CHECKING:
    from playwright.async_api import Dialog, WebError

MAX_NOTES = 20
MAX_CHARS = 300


class Notes:
    """The last of them, until they are told."""

    def __init__(self) -> None:
        self._notes: deque[str] = deque(maxlen=MAX_NOTES)

    def __bool__(self) -> bool:
        return bool(self._notes)

    def add(self, note: str) -> None:
        """Notes something, once."""
        note = clean_line(note, MAX_CHARS)
        if note not in self._notes:
            self._notes.append(note)

    def take(self) -> list[str]:
        """All of them; they are forgotten with that."""
        notes = list(self._notes)
        self._notes.clear()
        return notes

    async def dismiss(self, dialog: "Dialog") -> None:
        """Answers a dialog with no, but lets the page be left where that is what it asks."""
        from playwright.async_api import Error

        with suppress(Error):
            if dialog.type == "beforeunload":
                await dialog.accept()
                self.add("the page asked whether to leave it, and was left")
                return
            self.add(
                f"the page showed {_name(dialog.type)}, which was dismissed: {dialog.message!r}"
            )
            await dialog.dismiss()

    def page_error(self, error: "WebError") -> None:
        """Notes an exception that a program of the page did not catch."""
        self.add(f"a script of the page failed: {str(error.error)!r}")


def _name(kind: str) -> str:
    return {"alert": "an alert", "confirm": "a question", "prompt": "a prompt"}.get(
        kind, "a dialog"
    )
