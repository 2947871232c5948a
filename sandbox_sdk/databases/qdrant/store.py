"""What holds the points for the driver: the embedded engine (`local`) or a server (`remote`)."""

from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass
from typing import Any

from sandbox_sdk.databases.worker.driver import Call

from .filters import Filter
from .points import Layout, Point, PointId


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked search: by `vector`, or near the point `near`."""

    vector: "array[float] | None"
    near: PointId | None
    vector_name: str
    filter: Filter | None
    limit: int
    offset: int
    score_threshold: float | None
    with_vector: bool


class Store(ABC):
    """Collections of one sandbox, by the names the model uses. Thread-safe.

    Every method raises `ToolError` as `worker.driver` lists them, and nothing else.
    """

    enforces: bool
    """Whether the engine itself refuses what the principal may not do."""

    @abstractmethod
    def layout(self, call: Call, name: str) -> Layout:
        """Vectors and payload indexes of a collection.

        Raises:
            ToolError: NOT_FOUND, it is gone.
        """

    @abstractmethod
    def count(self, call: Call, name: str) -> int:
        """How many points it has."""

    @abstractmethod
    def search(self, call: Call, name: str, query: Query) -> list[dict[str, Any]]:
        """Hits, best first: `id`, `score`, `payload`, and `vector` if asked for.

        Raises:
            ToolError: NOT_FOUND, there is no point `near`.
        """

    @abstractmethod
    def upsert(self, call: Call, name: str, points: list[Point]) -> None:
        """Adds or replaces points: all of them or none."""

    @abstractmethod
    def delete(self, call: Call, name: str, chosen: list[PointId] | Filter) -> int:
        """Deletes points; says how many there were."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything. Idempotent."""
