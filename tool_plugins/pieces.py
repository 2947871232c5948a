"""Gives a long text in pieces, each of which says where the next begins."""

from typing import Any

from .errors import ErrorCode, ToolError


def piece_of(text: str, offset: int, max_chars: int, *, what: str) -> dict[str, Any]:
    """At most `max_chars` characters from `offset`, as fields of a result; `what` it is of.

    Raises:
        ToolError: INVALID_ARGUMENT; the text ends before `offset`.
    """
    total = len(text)
    if offset > total:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"offset {offset} is beyond the end: the {what} has {total} characters",
            hint="go on with the next_offset of the answer before",
            details={"total_chars": total},
        )
    end = min(total, offset + max_chars)
    return {
        "content": text[offset:end],
        "offset": offset,
        "total_chars": total,
        "next_offset": end if end < total else None,
        "truncated": end < total,
    }
