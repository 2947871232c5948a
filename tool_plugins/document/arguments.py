"""What a caller says to the document tool. Host side: pydantic, never the executor."""

from typing import Annotated

from pydantic import Field

from tool_plugins.contract import Arguments


class ReadArguments(Arguments):
    """Arguments of document.read."""

    path: Annotated[
        str, Field(min_length=1, max_length=4096, description="The file, as for filesystem_read.")
    ]
    pages: Annotated[
        str | None,
        Field(
            pattern=r"^[1-9][0-9]{0,5}(-[1-9][0-9]{0,5})?$",
            description="Of a PDF these pages, of an XLSX file these sheets: '3' or '2-5'.",
        ),
    ] = None
    max_chars: Annotated[
        int, Field(ge=100, le=100_000, description="Characters to return at once.")
    ] = 20_000
    offset: Annotated[
        int, Field(ge=0, description="Where to go on: next_offset of the previous answer.")
    ] = 0
    timeout_s: Annotated[float, Field(gt=0, le=300, description="For all of it, in seconds.")] = (
        60.0
    )
