"""Runs `web.search` with a provider, and trusts nothing that it finds."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.arguments import SearchArguments
from tool_plugins.web.results import SearchHit, SearchResult

from .cleaning import address, plain, visible
from .domains import check_domain, covers
from .provider import Hit, Query, SearchProvider
from .reading import MAX_ITEMS

logger = logging.getLogger(__name__)

TIMEOUT_S = 65.0
"""For a provider that has no deadline of its own; ours have a shorter one."""
MAX_LIMIT = 20
MAX_TITLE_CHARS = 200
MAX_SNIPPET_CHARS = 500
MAX_DATE_CHARS = 40


async def execute(provider: SearchProvider, args: dict[str, Any]) -> dict[str, Any]:
    """The data of `web.search`, for arguments that were validated.

    Raises:
        ToolError: the provider failed, or a domain is none.
    """
    given = SearchArguments.model_validate(args)
    query = _query(given)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await provider.search(query)
        hits = list(islice(_kept(found, query), given.limit))
    except ToolError as error:
        logger.warning("web search failed: %s", error.message)
        raise
    except TimeoutError:
        message = f"the search took more than {TIMEOUT_S:g} s"
        raise ToolError(ErrorCode.TIMEOUT, message, hint="try again later") from None
    except Exception:  # a provider may be anybody's code
        logger.exception("the search provider failed")
        raise ToolError(
            ErrorCode.INTERNAL,
            "the search provider failed",
            hint="the host's log has the details; go on without web_search",
        ) from None
    result = SearchResult(query=given.query, provider=plain(provider.name, 80), results=hits)
    return result.model_dump(mode="json")


def _query(given: SearchArguments) -> Query:
    text = visible(given.query)
    if not text:
        hint = "say what to look for"
        raise ToolError(ErrorCode.INVALID_ARGUMENT, "the query has no text", hint=hint)
    allowed, blocked = _domains(given.allowed_domains), _domains(given.blocked_domains)
    return Query(
        text=text,
        # What is sorted out later must not leave too few.
        limit=MAX_LIMIT if allowed or blocked else given.limit,
        allowed_domains=allowed,
        blocked_domains=blocked,
        recency=given.recency,
    )


def _domains(given: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(check_domain, given)))
    except ValueError as exc:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            str(exc),
            hint="write a domain as example.com; it covers what is below it, too",
        ) from None


def _kept(found: Iterable[Hit], query: Query) -> Iterator[SearchHit]:
    """What may be shown of it, each page once."""
    seen: set[str] = set()
    for hit in islice(found, MAX_ITEMS):
        where = address(hit.url)
        if where is None or not _wanted(where[1], query):
            continue
        page = where[0].partition("#")[0].partition("://")[2].rstrip("/")
        if page in seen:
            continue
        seen.add(page)
        yield SearchHit(
            title=plain(hit.title, MAX_TITLE_CHARS) or where[1],
            url=where[0],
            snippet=plain(hit.snippet, MAX_SNIPPET_CHARS),
            date=plain(hit.date or "", MAX_DATE_CHARS) or None,
        )


def _wanted(host: str, query: Query) -> bool:
    if any(covers(domain, host) for domain in query.blocked_domains):
        return False
    return not query.allowed_domains or any(covers(each, host) for each in query.allowed_domains)
