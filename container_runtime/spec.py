"""What a container is to be, and what an engine made of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tool_plugins.contract import Value

Enforcement = Literal["required", "best_effort"]
LimitClass = Literal["hard", "average", "approximate", "measured-only", "none"]

PROTOCOL_VERSION = 1
WORKSPACE = "/workspace"
RUN = "/run/sandbox"
ENVIRONMENTS = "/opt/environments"
DEFAULT_DISK_MB = 1024
EGRESS_SOCKET = "egress/egress.sock"
EGRESS_CA = "egress/ca.pem"
"""Below the folder a container shares with its host."""


class ComputeResources(Value):
    """What one sandbox may use. Every field is a limit; a rate of None is not limited.

    `cpus` is in cores, `*_mb` in MiB, `*_mb_s` in MiB per second, `*_iops` in operations per
    second. `tmp_mb` (and a workspace kept in memory) counts against `memory_mb`. `disk_mb=None`
    leaves the size of the workspace to the host: 1024 where it is a file on disk, half of
    `memory_mb` where it has to be kept in memory (`Sandbox.limits` says which).
    `enforcement="required"` refuses a limit this host cannot enforce (`UnenforceableLimitError`);
    `"best_effort"` accepts it, and `Sandbox.limits` then says class "none".
    `runtime` is an OCI runtime the engine knows, such as "runc" or "kata"; None is its default.
    """

    cpus: Annotated[float, Field(ge=0.05, le=1024)] = 1.0
    memory_mb: Annotated[int, Field(ge=64, le=4_194_304)] = 512
    disk_mb: Annotated[int, Field(ge=16, le=4_194_304)] | None = None
    tmp_mb: Annotated[int, Field(ge=1, le=65_536)] = 64
    pids: Annotated[int, Field(ge=16, le=65_536)] = 256
    open_files: Annotated[int, Field(ge=64, le=1_048_576)] = 4096
    disk_read_mb_s: Annotated[float, Field(gt=0)] | None = None
    disk_write_mb_s: Annotated[float, Field(gt=0)] | None = None
    disk_read_iops: Annotated[int, Field(gt=0)] | None = None
    disk_write_iops: Annotated[int, Field(gt=0)] | None = None
    runtime: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    enforcement: Enforcement = "required"

    @property
    def workspace_mb(self) -> int:
        """The size of the workspace in MiB; what was left to the host counts as on disk."""
        return DEFAULT_DISK_MB if self.disk_mb is None else self.disk_mb


class ContainerSpec(Value):
    """What to create. `name` is the container's name and the key of all that belongs to it.

    `labels` are the caller's; an engine adds none of its own meaning to them. `agent_uid` is the
    user id agent code runs as, unique among the sandboxes of one installation. With `egress`,
    programs inside find a proxy on loopback that leads to the socket `EGRESS_SOCKET` of the shared
    folder (see `Layout`), where the host listens; `EGRESS_CA` beside it may hold certificates.
    With `environments`, programs inside find the host's packages, which they cannot change.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,60}$")]
    resources: ComputeResources = Field(default_factory=ComputeResources)
    labels: dict[str, str] = Field(default_factory=dict)
    agent_uid: Annotated[int, Field(ge=100_000, le=2_000_000_000)] = 200_000
    environment: dict[str, str] = Field(default_factory=dict)
    egress: bool = False
    environments: bool = False


class EffectiveLimit(Value):
    """What became of one requested limit.

    `mechanism` names what enforces it, `limit_class` how firmly, `verified` whether it was read
    back from the running container, `note` a side effect or the reason it is missing.
    """

    name: str
    requested: float
    effective: float | None
    mechanism: str
    limit_class: LimitClass
    verified: bool = False
    note: str = ""


class ContainerStatus(Value):
    """What the engine says of a container now."""

    running: bool
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""


class ContainerInfo(Value):
    """One row of an engine's inventory."""

    name: str
    labels: dict[str, str]
    running: bool


class HostCapabilities(Value):
    """What this host and engine can do; `warnings` are sentences for an operator."""

    engine: str
    engine_version: str
    isolates: bool
    cgroup_version: int | None = None
    runtimes: tuple[str, ...] = ()
    apparmor: bool = False
    workspace_mechanism: str = ""
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where programs in a container find things.

    `shared` is a folder of this host they find as `run`; None where the engine shares none.
    `environments` is where those that asked for it find `packages`, a folder of this host that is
    the same for all of them and has a folder for each set of packages. They can enter one whose
    name they know, and cannot list them. `python` is the interpreter that runs those packages.
    """

    workspace: str
    run: str
    shared: Path | None
    environments: str
    packages: Path | None
    python: str


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """The action server listens on a unix socket in a shared folder."""

    path: Path


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """The action server listens on TCP and wants the token as a bearer token."""

    host: str
    port: int
    token: str


@dataclass(frozen=True, slots=True)
class AsgiEndpoint:
    """The action server is an ASGI application in this process. It isolates nothing."""

    app: Any


Endpoint = UnixEndpoint | TcpEndpoint | AsgiEndpoint
