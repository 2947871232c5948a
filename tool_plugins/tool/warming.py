"""Loads what a file of custom tools is described and called with, before there is one."""

import gc
import os

SAMPLE = "Nothing.\n\nArgs:\n    number: One."

_warm: list[bool] = []


def warm() -> None:
    """Imports it all and uses it once, which makes what libraries make at first use."""
    if _warm:
        return
    # Nothing of this is ever garbage: looking for some takes a tenth of the time, and later more.
    gc.disable()
    try:
        _use()
    finally:
        gc.freeze()
        gc.enable()
    _warm.append(True)


def _use() -> None:
    # Or pydantic looks through all packages, the file's own too, for code that wants to join in.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from . import calling, describing  # noqa: F401 - only for what they import
    from .building import build
    from .docstrings import read_docstring
    from .schemas import input_schema, output_schema

    function = build("sample", _sample)
    input_schema(function, print)
    output_schema(function, print)
    function.bind({"number": 1})
    read_docstring(SAMPLE)


def _sample(number: int, words: "list[str] | None" = None) -> dict[str, float]:
    return {"number": number}
