"""What a caller says to each web tool. Host side: pydantic, never the executors."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tool_plugins.contract import Arguments

MAX_URL_CHARS = 8192
MAX_HEADERS = 50
MAX_HEADERS_CHARS = 16_384
MAX_BODY_CHARS = 1_000_000
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that frame or route a message; the tools set them themselves."""


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in OURS:
            raise ValueError(f"the header {name!r} cannot be set")
        if not VALUE.fullmatch(value) or value != value.strip():
            raise ValueError(f"the value of {name!r} is not one a header can have")
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADERS_CHARS:
        raise ValueError(f"must be at most {MAX_HEADERS_CHARS} characters altogether")
    return headers


Url = Annotated[
    str, Field(min_length=1, max_length=MAX_URL_CHARS, description="An http or https URL.")
]
Headers = Annotated[
    dict[str, str],
    AfterValidator(_headers),
    Field(max_length=MAX_HEADERS, description="Request headers to add."),
]
MaxChars = Annotated[
    int, Field(ge=100, le=100_000, description="Characters of content to return at once.")
]
Offset = Annotated[
    int,
    Field(ge=0, description="Where to go on: next_offset of the previous answer."),
]


class FetchArguments(Arguments):
    """Arguments of web.fetch."""

    url: Url
    mode: Annotated[
        Literal["article", "full", "raw"],
        Field(
            description="article: the main text as Markdown; full: the whole page as Markdown; "
            "raw: the text as it was sent."
        ),
    ] = "article"
    max_chars: MaxChars = 20_000
    offset: Offset = 0
    links: Annotated[bool, Field(description="Also return up to 50 links of the page.")] = False
    headers: Headers = {}
    timeout_s: Annotated[float, Field(gt=0, le=120, description="For all of it, in seconds.")] = (
        30.0
    )


class DownloadArguments(Arguments):
    """Arguments of web.download."""

    url: Url
    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="The file to write, relative to the workspace; its folder is made.",
        ),
    ]
    mode: Annotated[
        Literal["create", "overwrite"], Field(description="create: refuse if the file exists.")
    ] = "create"
    max_mb: Annotated[int, Field(ge=1, le=10_240, description="Refuse more than this.")] = 100
    sha256: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-fA-F]{64}$", description="Keep the file only with this digest."),
    ] = None
    headers: Headers = {}
    timeout_s: Annotated[float, Field(gt=0, le=3600, description="For all of it, in seconds.")] = (
        300.0
    )


class RequestArguments(Arguments):
    """Arguments of web.request."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    url: Url
    headers: Headers = {}
    json_body: Annotated[
        Any, Field(description="A JSON value to send as the body, with its content type.")
    ] = None
    body: Annotated[
        str | None, Field(max_length=MAX_BODY_CHARS, description="Text to send as the body.")
    ] = None
    follow_redirects: Annotated[
        bool, Field(description="Follow up to 5 redirects; only for GET and HEAD.")
    ] = False
    max_chars: MaxChars = 20_000
    timeout_s: Annotated[float, Field(gt=0, le=120, description="For all of it, in seconds.")] = (
        30.0
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("give json_body or body, not both")
        if self.follow_redirects and self.method not in ("GET", "HEAD"):
            raise ValueError("follow_redirects is possible for GET and HEAD only")
        return self


class SearchArguments(Arguments):
    """Arguments of web.search."""

    query: Annotated[str, Field(min_length=1, max_length=400)]
    limit: Annotated[int, Field(ge=1, le=20)] = 8
    allowed_domains: Annotated[
        tuple[str, ...], Field(max_length=20, description="Only results of these domains.")
    ] = ()
    blocked_domains: Annotated[
        tuple[str, ...], Field(max_length=20, description="No results of these domains.")
    ] = ()
    recency: Annotated[
        Literal["day", "week", "month", "year"] | None, Field(description="Only results this new.")
    ] = None
