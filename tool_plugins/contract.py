"""The contract every floor shares: actions go down, observations come up.

Host side only (pydantic). Inside the container the same values are plain dictionaries that were
validated here before they were sent; see `docs/architecture.md`, "Validated once, on the host".
"""

import base64
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TOOL_NAME_PATTERN = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"


def new_action_id() -> str:
    """A fresh, unguessable action id."""
    return secrets.token_hex(8)


# Validators are built at first use: building some sixty models would double the import time of the
# SDK for programs that need three of them.
CLOSED = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Value(BaseModel):
    """Base of values that cross a border: frozen, and closed to unknown fields."""

    model_config = CLOSED


class Arguments(BaseModel):
    """Base of a tool's arguments: every unknown argument is refused by name."""

    model_config = CLOSED


class Result(BaseModel):
    """Base of a tool's result data. Every field the model should see belongs here."""

    model_config = CLOSED


class Action(Value):
    """One thing to do in a sandbox.

    `tool` is the dotted name; `args` are the tool's own arguments, validated before the action is
    sent; `description` is free text for logs and people, and never reaches the sandbox.
    """

    tool: Annotated[str, Field(max_length=80)]
    args: dict[str, Any] = Field(default_factory=dict)
    description: Annotated[str, Field(max_length=2000)] = ""
    id: Annotated[str, Field(min_length=1, max_length=64)] = Field(default_factory=new_action_id)


class ToolFailure(Value):
    """Why a tool did not do what was asked, in words the caller can act on."""

    code: str
    message: str
    hint: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class Attachment(Value):
    """Binary content beside the data: an image or a document, base64 encoded."""

    mime_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=100)]
    data: str

    def content(self) -> bytes:
        """The decoded bytes."""
        return base64.b64decode(self.data, validate=True)


class Observation(Value):
    """What came of an action. Exactly one of `data` and `error` is set.

    A program that ended with a non-zero exit code is an ordinary observation, not an error.
    `duration_s` is the time in the executor, in seconds.
    """

    action_id: str
    tool: str
    data: dict[str, Any] | None = None
    error: ToolFailure | None = None
    attachments: tuple[Attachment, ...] = ()
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the tool did what was asked."""
        return self.error is None


class OutputEvent(Value):
    """A piece of live output of a running action."""

    event: Literal["stdout", "stderr"]
    text: str


class ProgressEvent(Value):
    """How far a running action is. `total` is None where the end is not known."""

    event: Literal["progress"] = "progress"
    progress: float
    total: float | None = None
    message: str = ""


class ObservationEvent(Value):
    """The last event of every stream."""

    event: Literal["observation"] = "observation"
    observation: Observation


class ChangeEvent(Value):
    """A change in a watched folder. `path` is relative to the workspace."""

    event: Literal["created", "modified", "deleted"]
    path: str


class AskEvent(Value):
    """A running custom tool asks for another tool; the host does it and sends the answer back.

    `positional` are arguments by place, `named` by name. Nothing in it has been looked at.
    """

    event: Literal["ask"]
    ask: Annotated[int, Field(ge=0)]
    tool: Annotated[str, Field(max_length=80)]
    positional: list[Any] = Field(default_factory=list)
    named: dict[str, Any] = Field(default_factory=dict)


ActionEvent = OutputEvent | ProgressEvent | ObservationEvent
WireEvent = ActionEvent | AskEvent
"""What a sandbox may send while an action runs. Callers never see an `AskEvent`."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a client may assume of a tool. The names are those of MCP's tool annotations."""

    title: str
    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = False


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as every floor sees it.

    `name` is `plugin.verb`; `executor` is `module:function`, imported by name inside the container
    and never on the host. A tool with `broker` set has no executor: what it needs (credentials)
    must not enter the container, so the broker of that name does its work on the host.
    `arguments` and `result` are pydantic models; `description` is written for a language model.
    `timeout_argument` names the argument that carries the tool's own deadline in seconds, where it
    has one; the transport waits longer than that. `brought_by` is filled in when an installed
    package is loaded (`plugins.py`).
    """

    name: str
    description: str
    arguments: type[Arguments]
    result: type[Result]
    annotations: Annotations
    executor: str = ""
    timeout_argument: str | None = None
    broker: Literal["database", "search", "tools"] | None = None
    untrusted: tuple[str, ...] = ()
    brought_by: str = ""

    @property
    def origin(self) -> str:
        """Who brought the tool: an installed package, or for ours the module of its executor or of
        its arguments."""
        return self.brought_by or self.executor.partition(":")[0] or self.arguments.__module__

    @property
    def mcp_name(self) -> str:
        """The name over MCP: the dot becomes an underscore."""
        return self.name.replace(".", "_")
