"""What a search provider is, for ours and for users' own. Loads nothing.

    class Intranet(SearchProvider):
        name = "intranet"

        async def search(self, query: Query) -> Sequence[Hit]:
            ...

    SandboxGroup(web_search=Intranet())

A provider runs on the host, so its key never enters a sandbox.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Recency = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched for.

    `limit` is how many hits are worth having, at most 20. Domains are in lower case and ASCII, and
    cover what is below them. A provider may ignore all but `text`: domains and limit are enforced
    on what it finds, and `recency` is a wish.
    """

    text: str
    limit: int = 20
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    recency: Recency | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One result, as it came: markup, length and address are seen to later. `date` in any form."""

    title: str
    url: str
    snippet: str = ""
    date: str | None = None


class SearchProvider(ABC):
    """Searches the web. `name` is what results call it."""

    name: str

    @abstractmethod
    async def search(self, query: Query) -> Sequence[Hit]:
        """The hits, best first. It is cancelled when it takes too long.

        Raises:
            ToolError: it cannot, in words the model is shown.
        """

    async def aclose(self) -> None:
        """Releases what the provider holds. Idempotent."""
        return
