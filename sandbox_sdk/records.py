"""What a row of the state table looks like above the database. No SQL here."""

from dataclasses import dataclass

from container_runtime.spec import ComputeResources
from tool_plugins.errors import GoneCause

from .models import SandboxState


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One started group. `home` is the machine and folder whose locks prove it alive."""

    id: str
    home: str
    engine: str
    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """One sandbox, written before its container exists and kept after it is gone.

    `namespace` is what its name is unique in: the server for a sandbox that dies with it, the
    group's name for one that may be adopted. `removed_at` is set once the engine keeps nothing
    of it; until then its user id is not given to another. The environment is not recorded,
    because it may hold secrets.
    """

    id: str
    name: str
    owner: str
    namespace: str
    server_id: str
    resources: ComputeResources
    created_at: float
    adoptable: bool = False
    state: SandboxState = SandboxState.CREATING
    agent_uid: int = 0
    idle_timeout_s: float | None = None
    max_lifetime_s: float | None = None
    lease_expires_at: float | None = None
    ended_at: float | None = None
    end_cause: GoneCause | None = None
    removed_at: float | None = None
