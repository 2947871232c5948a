"""Names of keys and the bytes a terminal sends for them."""

from collections.abc import Sequence

KEYS = {
    "enter": b"\r",
    "tab": b"\t",
    "esc": b"\x1b",
    "space": b" ",
    "backspace": b"\x7f",
    "delete": b"\x1b[3~",
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "page-up": b"\x1b[5~",
    "page-down": b"\x1b[6~",
    **{f"ctrl-{letter}": bytes([ord(letter) & 0x1F]) for letter in "abcdefghijklmnopqrstuvwxyz"},
    "ctrl-\\": b"\x1c",
}
# What a key means to a process on a pipe, where no terminal turns it into anything.
SIGNAL_KEYS = {"ctrl-c": "INT", "ctrl-\\": "QUIT", "ctrl-z": "TSTP"}
PIPE_KEYS = {"enter": b"\n", "tab": b"\t", "space": b" "}


def terminal_bytes(keys: Sequence[str]) -> bytes:
    """What a terminal sends when the keys are pressed one after the other."""
    return b"".join(KEYS[key] for key in keys)
