"""Searches with Tavily's API.

https://docs.tavily.com/documentation/api-reference/endpoint/search: POST /search with query (at
most 400 characters), max_results (at most 20), time_range, include_domains (at most 300) and
exclude_domains (at most 150); the key is a bearer token. 401 is a wrong key, 429 too many
requests, 432 and 433 a plan that is used up.
"""

from collections.abc import Sequence
from typing import Any

from tool_plugins.errors import ToolError

from .api import Answer, Api, http_error, wrong_key
from .provider import Hit, Query, SearchProvider
from .reading import items, text
from .settings import TavilySettings


class TavilySearch(SearchProvider):
    """Tavily's API, with its basic depth, which costs one credit."""

    name = "tavily"

    def __init__(self, settings: TavilySettings) -> None:
        self._key = settings.api_key
        self._api = Api(self.name, settings, _explain)

    async def search(self, query: Query) -> Sequence[Hit]:
        """See `SearchProvider.search`."""
        asked: dict[str, Any] = {
            "query": query.text,
            "max_results": query.limit,
            "search_depth": "basic",
        }
        if query.recency is not None:
            asked["time_range"] = query.recency
        if query.allowed_domains:
            asked["include_domains"] = query.allowed_domains
        if query.blocked_domains:
            asked["exclude_domains"] = query.blocked_domains
        key = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        return [
            Hit(
                text(each, "title"),
                text(each, "url"),
                text(each, "content"),
                text(each, "published_date") or None,
            )
            for each in items(await self._api.post("/search", asked, key), "results")
        ]


def _explain(answer: Answer) -> ToolError | None:
    if answer.status in (401, 403):
        return wrong_key("tavily", answer)
    if answer.status in (432, 433):
        hint = "the plan of the operator's key is used up; go on without web_search"
        return http_error("tavily", answer, hint=hint)
    return None
