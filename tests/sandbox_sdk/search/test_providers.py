"""What each provider is asked, and what becomes of what it answers. All over real sockets."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from sandbox_sdk.search.configuration import configure_search
from sandbox_sdk.search.execute import execute
from sandbox_sdk.search.provider import SearchProvider
from tests.services.web import Answer, Request, Web
from tool_plugins.errors import ErrorCode, ToolError

KEY = "tvly-secret-0123456789"
PAGE = {"title": "One", "url": "https://one.test/a"}
BRAVE = {
    "type": "search",
    "query": {"original": "cats"},
    "web": {
        "type": "search",
        "results": [
            {
                "title": "Cats &amp; <strong>dogs</strong>",
                "url": "https://cats.test/a",
                "description": "All <strong>cats</strong>",
                "page_age": "2026-01-02T03:04:05",
                "age": "January 2, 2026",
            },
            {"title": "Old", "url": "https://old.test/", "description": "x", "age": "2 years ago"},
        ],
    },
}
TAVILY = {
    "query": "cats",
    "response_time": 0.5,
    "images": [],
    "results": [{**PAGE, "content": "Says this", "score": 0.9, "raw_content": None}],
}
SEARXNG = {
    "query": "cats",
    "number_of_results": 0,
    "results": [
        {
            **PAGE,
            "content": "Says that",
            "engine": "duckduckgo",
            "publishedDate": "2026-01-02T00:00:00",
            "parsed_url": ["https", "one.test", "/a", "", "", ""],
        },
        {"title": "Two", "url": "http://two.test/", "publishedDate": None},
    ],
    "answers": [],
    "unresponsive_engines": [["google", "timeout"]],
}


def serve(web: Web, path: str, answer: Any, **fields: Any) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    made = Answer(body, **{"content_type": "application/json", **fields})
    web.route(path, lambda _request: made)


def provider(web: Web, name: str, **settings: Any) -> SearchProvider:
    """One that speaks to the test's own server: over TLS where it has a key."""
    base = (
        f"http://127.0.0.1:{web.port}" if name == "searxng" else f"https://localhost:{web.tls_port}"
    )
    fields: dict[str, Any] = {"provider": name, "url": base}
    if name != "searxng":
        fields |= {"api_key": KEY, "ca_file": web.ca_file}
    made = configure_search(fields | settings, {})
    assert made is not None
    return made


def asked(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.query).items()}


async def test_searxng_is_asked_for_json_and_its_results_are_read(web: Web) -> None:
    serve(web, "/search", SEARXNG)
    found = await execute(provider(web, "searxng"), {"query": "cats", "recency": "week"})
    assert found["provider"] == "searxng"
    assert found["query"] == "cats"
    assert found["results"] == [
        {
            "title": "One",
            "url": "https://one.test/a",
            "snippet": "Says that",
            "date": "2026-01-02T00:00:00",
        },
        {"title": "Two", "url": "http://two.test/", "snippet": "", "date": None},
    ]
    assert asked(web.seen[-1]) == {"q": "cats", "format": "json", "time_range": "week"}


async def test_an_instance_below_a_path_behind_a_password_is_reached(web: Web) -> None:
    serve(web, "/engine/search", SEARXNG)
    url = f"https://me:s%40crt@localhost:{web.tls_port}/engine/"
    made = provider(web, "searxng", url=url, ca_file=web.ca_file)
    assert len((await execute(made, {"query": "cats"}))["results"]) == 2
    assert web.seen[-1].headers["authorization"] == "Basic bWU6c0BjcnQ="


async def test_brave_is_asked_with_its_key_and_words_for_freshness(web: Web) -> None:
    serve(web, "/res/v1/web/search", BRAVE)
    arguments = {"query": "cats", "limit": 5, "recency": "month"}
    found = await execute(provider(web, "brave"), arguments)
    assert [(hit["title"], hit["date"]) for hit in found["results"]] == [
        ("Cats & dogs", "2026-01-02T03:04:05"),
        ("Old", "2 years ago"),
    ]
    assert found["results"][0]["snippet"] == "All cats"
    request = web.seen[-1]
    assert request.headers["x-subscription-token"] == KEY
    assert request.tls
    assert asked(request) == {
        "q": "cats",
        "count": "5",
        "freshness": "pm",
        "result_filter": "web",
        "text_decorations": "false",
    }


async def test_tavily_is_asked_in_json_with_its_own_filters(web: Web) -> None:
    serve(web, "/search", TAVILY)
    arguments = {
        "query": "cats",
        "recency": "day",
        "allowed_domains": ["Test", "one.test"],
        "blocked_domains": ["dogs.test"],
    }
    found = await execute(provider(web, "tavily"), arguments)
    assert found["results"] == [{**PAGE, "snippet": "Says this", "date": None}]
    request = web.seen[-1]
    assert request.method == "POST"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.body) == {
        "query": "cats",
        "max_results": 20,
        "search_depth": "basic",
        "time_range": "day",
        "include_domains": ["test", "one.test"],
        "exclude_domains": ["dogs.test"],
    }


@pytest.mark.parametrize("name", ["searxng", "brave"])
async def test_engines_are_asked_for_domains_as_far_as_their_limits_go(web: Web, name: str) -> None:
    serve(web, "/search", SEARXNG)
    serve(web, "/res/v1/web/search", BRAVE)
    arguments = {"allowed_domains": ["a.test", "b.test"], "blocked_domains": ["c.test"]}
    await execute(provider(web, name), {"query": "cats", **arguments})
    assert asked(web.seen[-1])["q"] == "cats site:a.test OR site:b.test -site:c.test"
    if name == "brave":
        assert asked(web.seen[-1])["count"] == "20"
        await execute(provider(web, name), {"query": "c" * 390, **arguments})
        assert asked(web.seen[-1])["q"] == "c" * 390


async def test_a_query_with_too_many_words_for_brave_is_not_sent(web: Web) -> None:
    with pytest.raises(ToolError) as raised:
        await execute(provider(web, "brave"), {"query": "a " * 51})
    assert raised.value.code == ErrorCode.INVALID_ARGUMENT
    assert web.seen == []


@pytest.mark.parametrize(
    ("name", "path", "status", "body", "code"),
    [
        ("tavily", "/search", 401, {"detail": {"error": KEY}}, ErrorCode.PERMISSION_DENIED),
        ("tavily", "/search", 432, {"detail": {"error": "plan"}}, ErrorCode.HTTP_ERROR),
        ("tavily", "/search", 400, {"detail": {"error": "bad"}}, ErrorCode.HTTP_ERROR),
        ("brave", "/res/v1/web/search", 401, {}, ErrorCode.PERMISSION_DENIED),
        (
            "brave",
            "/res/v1/web/search",
            422,
            {"type": "ErrorResponse", "error": {"code": "SUBSCRIPTION_TOKEN_INVALID"}},
            ErrorCode.PERMISSION_DENIED,
        ),
        ("brave", "/res/v1/web/search", 422, {"error": {"code": "OTHER"}}, ErrorCode.HTTP_ERROR),
        ("searxng", "/search", 401, {}, ErrorCode.PERMISSION_DENIED),
        ("searxng", "/search", 403, {}, ErrorCode.HTTP_ERROR),
        ("searxng", "/search", 500, {}, ErrorCode.HTTP_ERROR),
    ],
)
async def test_an_error_of_the_provider_is_told_without_its_words_and_the_key(
    web: Web, name: str, path: str, status: int, body: Any, code: ErrorCode
) -> None:
    serve(web, path, body, status=status)
    with pytest.raises(ToolError) as raised:
        await execute(provider(web, name), {"query": "cats"})
    assert raised.value.code == code
    assert raised.value.details["status"] == status
    assert raised.value.hint
    assert KEY not in json.dumps(raised.value.as_dict())
    assert name in raised.value.message


async def test_searxng_without_json_says_what_the_operator_must_do(web: Web) -> None:
    serve(web, "/search", b"<h1>Forbidden</h1>", status=403, content_type="text/html")
    with pytest.raises(ToolError) as raised:
        await execute(provider(web, "searxng"), {"query": "cats"})
    assert "search.formats" in raised.value.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "99999999999"}, 30 * 24 * 3600),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Remaining": "0, 500", "X-RateLimit-Reset": "1, 1419704"}, 1),
        ({"X-RateLimit-Remaining": "1, 0", "X-RateLimit-Reset": "1, 1419704"}, 1_419_704),
        ({"X-RateLimit-Reset": "7"}, 7),
        ({"X-RateLimit-Reset": "x, y"}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_when_to_try_again(
    web: Web, headers: dict[str, str], seconds: int | None
) -> None:
    serve(web, "/res/v1/web/search", {}, status=429, headers=headers)
    with pytest.raises(ToolError) as raised:
        await execute(provider(web, "brave"), {"query": "cats"})
    assert raised.value.code == ErrorCode.HTTP_ERROR
    assert raised.value.details == {"status": 429, "retry_after": seconds}
