"""Where a value does not fit its type: what pydantic says, in few words. Runs in a worker."""

from collections.abc import Collection
from typing import NamedTuple

from pydantic import ValidationError

from .problems import shorten

MAX_MISFITS = 20
MAX_FIELD_CHARS = 120


class Misfit(NamedTuple):
    """One place. `field` is its path, such as `books.0.title`; "" is the whole."""

    field: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """As it is in the details of an error."""
        return {"field": self.field, "message": self.message}


def misfits(exc: ValidationError, known: Collection[str] = ()) -> list[Misfit]:
    """The first ones of them. `known` are the names of the arguments, where it is those."""
    try:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
    except Exception:  # the text of a validator's own exception is user code
        return [Misfit("", f"{exc.error_count()} of its parts do not fit")]
    return [
        _misfit(tuple(map(str, each["loc"])), each["type"], each["msg"], known)
        for each in found[:MAX_MISFITS]
    ]


def sentence(found: list[Misfit]) -> str:
    """All of them in one line."""
    return "; ".join(": ".join(filter(None, each)) for each in found)


def _misfit(path: tuple[str, ...], kind: str, message: str, known: Collection[str]) -> Misfit:
    field = shorten(".".join(path), MAX_FIELD_CHARS)
    if kind != "extra_forbidden" or len(path) > 1 or not known:
        return Misfit(field, shorten(" ".join(message.split())))
    # Only where it is needed: it takes a millisecond to load.
    from difflib import get_close_matches

    near = get_close_matches(field, known, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ""
    return Misfit(field, f"unknown argument{meant}")
