"""The values an SDK user sees. Host side only; nothing here acts.

The value types of the lower floors are re-exported, so that a user needs no other package.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from container_runtime.spec import ComputeResources, EffectiveLimit, HostCapabilities
from tool_plugins.contract import (
    Action,
    ActionEvent,
    Attachment,
    ChangeEvent,
    Observation,
    ObservationEvent,
    OutputEvent,
    ProgressEvent,
    ToolFailure,
    Value,
)
from tool_plugins.errors import ConfigurationError, GoneCause

__all__ = (
    "LOCAL",
    "Action",
    "ActionEvent",
    "Attachment",
    "ChangeEvent",
    "ComputeResources",
    "EffectiveLimit",
    "GoneCause",
    "GroupLimits",
    "HostCapabilities",
    "Observation",
    "ObservationEvent",
    "OutputEvent",
    "Principal",
    "ProgressEvent",
    "SandboxInfo",
    "SandboxState",
    "ToolFailure",
)


class SandboxState(StrEnum):
    """Where a sandbox is in its life: creating → ready → ended, or failed on the way."""

    CREATING = "creating"
    READY = "ready"
    ENDED = "ended"
    FAILED = "failed"

    @property
    def live(self) -> bool:
        """Whether the sandbox is, or may still become, usable."""
        return self in (SandboxState.CREATING, SandboxState.READY)


class Principal(Value):
    """Who is asking. `subject` is unique within its `kind`."""

    subject: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["local", "user"] = "user"

    @property
    def key(self) -> str:
        """The owner as the state table stores it."""
        return f"{self.kind}:{self.subject}"


# Not validated: building a validator here would cost every import of the SDK.
LOCAL = Principal.model_construct(subject="local", kind="local")
"""The caller that needs no proof: this process, and whoever speaks to it over stdio."""


class GroupLimits(Value):
    """What all sandboxes of a group may use together; None means "not limited".

    `idle_timeout_s` and `max_lifetime_s` bound one sandbox: it ends when nobody used it for so
    long, and when it is that old.
    """

    max_sandboxes: Annotated[int, Field(ge=1)] | None = 100
    max_cpus: Annotated[float, Field(gt=0)] | None = None
    max_memory_mb: Annotated[int, Field(ge=1)] | None = None
    max_disk_mb: Annotated[int, Field(ge=1)] | None = None
    idle_timeout_s: Annotated[float, Field(gt=0)] | None = 900.0
    max_lifetime_s: Annotated[float, Field(gt=0)] | None = 86_400.0

    @classmethod
    def parse(cls, given: "Mapping[str, Any] | GroupLimits | None") -> "GroupLimits":
        """The limits of a `resource_limits` argument.

        Raises:
            ConfigurationError: a key is unknown or a value does not fit; the message names each.
        """
        if isinstance(given, GroupLimits):
            return given
        unknown = sorted(set(given or {}) - cls.model_fields.keys())
        if unknown:
            raise ConfigurationError(
                f"unknown resource_limits {', '.join(map(repr, unknown))}",
                hint=f"known limits: {', '.join(cls.model_fields)}",
            )
        try:
            return cls.model_validate(dict(given or {}))
        except ValidationError as exc:
            problems = (f"{error['loc'][0]}: {error['msg']}" for error in exc.errors())
            raise ConfigurationError(f"bad resource_limits: {'; '.join(problems)}") from exc


class SandboxInfo(Value):
    """What is known of one sandbox. Times are UTC.

    `expires_at` is when the lease runs out if nobody uses the sandbox until then; `end_cause` is
    set once the sandbox is gone.
    """

    id: str
    name: str
    owner: Principal
    state: SandboxState
    resources: ComputeResources
    created_at: datetime
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    end_cause: GoneCause | None = None
    limits: tuple[EffectiveLimit, ...] = ()
