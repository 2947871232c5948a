"""Searches with Brave's Search API.

https://api-dashboard.search.brave.com/api-reference/web/search/get: GET /res/v1/web/search with q
(at most 400 characters and 50 words), count (at most 20) and freshness; the key is a header. A key
that is wrong is answered with 422, a rate limit with 429 and X-RateLimit-Reset.
"""

from collections.abc import Sequence

from tool_plugins.errors import ErrorCode, ToolError

from .api import Answer, Api, http_error, wrong_key
from .domains import with_sites
from .provider import Hit, Query, Recency, SearchProvider
from .reading import items, text
from .settings import BraveSettings

MAX_QUERY_CHARS = 400
MAX_QUERY_WORDS = 50
FRESHNESS: dict[Recency, str] = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}
WRONG_KEY = b"SUBSCRIPTION_TOKEN_INVALID"


class BraveSearch(SearchProvider):
    """Brave's Search API. Domains are asked for with `site:`."""

    name = "brave"

    def __init__(self, settings: BraveSettings) -> None:
        self._key = settings.api_key
        self._api = Api(self.name, settings, _explain)

    async def search(self, query: Query) -> Sequence[Hit]:
        """See `SearchProvider.search`."""
        if len(query.text.split()) > MAX_QUERY_WORDS:
            message = f"brave takes at most {MAX_QUERY_WORDS} words"
            raise ToolError(ErrorCode.INVALID_ARGUMENT, message, hint="search for fewer words")
        asked = {
            "q": with_sites(query, MAX_QUERY_CHARS, MAX_QUERY_WORDS),
            "count": str(query.limit),
            "result_filter": "web",
            "text_decorations": "false",
        }
        if query.recency is not None:
            asked["freshness"] = FRESHNESS[query.recency]
        key = {"X-Subscription-Token": self._key.get_secret_value()}
        answer = await self._api.get("/res/v1/web/search", asked, key)
        return [
            Hit(
                text(each, "title"),
                text(each, "url"),
                text(each, "description"),
                text(each, "page_age") or text(each, "age") or None,
            )
            for each in items(answer, "web", "results")
        ]


def _explain(answer: Answer) -> ToolError | None:
    if answer.status in (401, 403) or (answer.status == 422 and WRONG_KEY in answer.body):
        return wrong_key("brave", answer)
    if answer.status == 402:
        hint = "the plan of the operator's key is used up; go on without web_search"
        return http_error("brave", answer, hint=hint)
    return None
