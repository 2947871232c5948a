"""What a caller says to each browser tool. Host side: pydantic, never the executor."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tool_plugins.contract import Arguments

ACTIONS_WITH_VALUE = frozenset({"type", "press", "select", "scroll", "wait"})
ACTIONS_WITHOUT_REF = frozenset({"press", "scroll", "back", "forward", "reload", "wait"})
Action = Literal[
    "click",
    "double_click",
    "hover",
    "type",
    "press",
    "select",
    "check",
    "uncheck",
    "scroll",
    "back",
    "forward",
    "reload",
    "wait",
]
Ref = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]{1,24}$", description="The reference of an element in the last snapshot."
    ),
]
MaxChars = Annotated[int, Field(ge=200, le=50_000, description="Characters of the snapshot.")]
Timeout = Annotated[float, Field(gt=0, le=120, description="For all of it, in seconds.")]


class OpenArguments(Arguments):
    """Arguments of browser.open."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=8192,
            description="An http or https URL; localhost is the sandbox itself.",
        ),
    ]
    max_chars: MaxChars = 5_000
    timeout_s: Timeout = 60.0


class SnapshotArguments(Arguments):
    """Arguments of browser.snapshot."""

    ref: Annotated[Ref | None, Field(description="Only this element and what is in it.")] = None
    query: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Only lines with this text, and around."),
    ] = None
    max_chars: MaxChars = 20_000
    offset: Annotated[int, Field(ge=0)] = 0
    timeout_s: Timeout = 30.0


class ActArguments(Arguments):
    """Arguments of browser.act."""

    action: Annotated[
        Action,
        Field(
            description="type fills a field; press sends a key such as 'Enter' or 'Control+A'; "
            "select chooses an option by its label or value; scroll takes 'up', 'down', 'top' or "
            "'bottom'; wait takes a text to appear, or seconds."
        ),
    ]
    ref: Ref | None = None
    value: Annotated[str | None, Field(max_length=100_000)] = None
    submit: Annotated[bool, Field(description="After type: press Enter.")] = False
    max_chars: MaxChars = 5_000
    timeout_s: Timeout = 30.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.value is None and self.action in ACTIONS_WITH_VALUE:
            raise ValueError(f"{self.action} needs a value")
        if self.value is not None and self.action not in ACTIONS_WITH_VALUE:
            raise ValueError(f"{self.action} takes no value")
        if self.ref is None and self.action not in ACTIONS_WITHOUT_REF:
            raise ValueError(f"{self.action} needs the ref of an element")
        if self.submit and self.action != "type":
            raise ValueError("submit goes with type only")
        return self


class ScreenshotArguments(Arguments):
    """Arguments of browser.screenshot."""

    ref: Annotated[Ref | None, Field(description="Only this element.")] = None
    full_page: Annotated[
        bool, Field(description="All of the page, not only what fits the window.")
    ] = False
    path: Annotated[
        str | None,
        Field(min_length=1, max_length=4096, description="Also write the image to this file."),
    ] = None
    timeout_s: Timeout = 30.0


class CloseArguments(Arguments):
    """Arguments of browser.close: none."""
