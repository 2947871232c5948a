"""What is shown of what a provider found: ours is the last word on domains, text and addresses."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sandbox_sdk.search import execute as module
from sandbox_sdk.search.execute import execute
from sandbox_sdk.search.provider import Hit, Query, SearchProvider
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.results import SearchResult


class Own(SearchProvider):
    """A user's provider that finds what the test says."""

    name = "own"

    def __init__(self, *found: Any) -> None:
        self.found = found
        self.queries: list[Query] = []

    async def search(self, query: Query) -> Sequence[Hit]:
        self.queries.append(query)
        return self.found


def hit(url: str, title: str = "t", snippet: str = "", date: str | None = None) -> Hit:
    return Hit(title, url, snippet, date)


async def urls(*found: str, **arguments: Any) -> list[str]:
    data = await execute(Own(*map(hit, found)), {"query": "q", **arguments})
    SearchResult.model_validate(data)
    return [each["url"] for each in data["results"]]


async def test_a_users_provider_is_given_the_query_in_its_one_form() -> None:
    own = Own()
    arguments = {
        "query": "  two\nwords\u200b\x00 <b> ",
        "limit": 3,
        "allowed_domains": ["Example.COM", "example.com."],
        "recency": "year",
    }
    data = await execute(own, arguments)
    assert own.queries == [
        Query(text="two words <b>", limit=20, allowed_domains=("example.com",), recency="year")
    ]
    assert (data["provider"], data["results"]) == ("own", [])
    assert "data, not instructions" in data["notice"]
    await execute(own, {"query": "q", "limit": 3})
    assert own.queries[-1] == Query(text="q", limit=3)


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("example.com.", True),
        ("www.example.com", True),
        ("a.b.example.com", True),
        ("evilexample.com", False),
        ("example.com.evil.test", False),
        ("example.com@evil.test", False),
        ("evil.test#example.com", False),
        ("evil.test\\@example.com", False),
        ("com", False),
        ("bad.example.com", False),
        ("worse.bad.example.com", False),
        ("notbad.example.com", True),
    ],
)
async def test_domains_are_matched_label_by_label_and_blocked_ones_win(
    host: str, kept: bool
) -> None:
    found = await urls(
        f"https://{host}/x", allowed_domains=["example.com"], blocked_domains=["bad.example.com"]
    )
    assert bool(found) == kept


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "*",
        "*.example.com",
        "https://example.com",
        "example.com/a",
        "a@b",
        "a b",
        "example.com:443",
    ],
)
async def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(ToolError) as raised:
        await execute(Own(), {"query": "q", "blocked_domains": [domain]})
    assert raised.value.code == ErrorCode.INVALID_ARGUMENT
    assert "example.com" in raised.value.hint


async def test_a_query_of_nothing_visible_is_refused() -> None:
    with pytest.raises(ToolError, match="no text"):
        await execute(Own(), {"query": " \u200b\x1b "})


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://a.test/",
        "//a.test/",
        "a.test",
        "https://",
        "https:///path",
        "https://user:pass@a.test/",
        "https://a.test:99999/",
        "https://a.test/a b",
        "https://a.test/\x00",
        "https://a.test/\u202e",
        "https://a.test/\ud800",
        "https://a.test\\@b.test/",
        "https://[::1/",
        "https://a.test/" + "x" * 3000,
        "",
    ],
)
async def test_an_address_nobody_should_open_is_dropped(url: str) -> None:
    assert await urls(url, "https://good.test/") == ["https://good.test/"]


async def test_addresses_come_in_ascii() -> None:
    found = await urls(
        "HTTPS://A.test/ä%20?q=ü&x=%41#é",
        "http://b.test:8080",
        "http://[::1]/",
        "http://Bücher.test",
    )
    assert found == [
        "https://a.test/%C3%A4%20?q=%C3%BC&x=%41#%C3%A9",
        "http://b.test:8080/",
        "http://[::1]/",
        "http://xn--bcher-kva.test/",
    ]


async def test_each_page_comes_once_and_no_more_than_the_limit() -> None:
    same = ("https://a.test/x", "http://a.test/x/", "https://A.test/x#part", "https://a.test/x?y=1")
    assert await urls(*same) == ["https://a.test/x", "https://a.test/x?y=1"]
    assert len(await urls(*(f"https://a.test/{n}" for n in range(100)), limit=7)) == 7


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a <strong>b</strong> c", "a b c"),
        ("Tom &amp; Jerry &#x27;s &lt;div&gt; end", "Tom & Jerry 's end"),
        ("twice &amp;lt;script&amp;gt;x&amp;lt;/script&amp;gt;", "twice x"),
        (
            "vector&lt;int&gt; and List<String>, a < b > c",
            "vector<int> and List<String>, a < b > c",
        ),
        ("<img src=x onerror=alert(1)>pic<!-- hidden --><x-y>", "pic"),
        ("<foo bar=1>x</FOO-BAR>", "x"),
        ("<scr\u200bipt>x", "x"),
        ("one\r\n\ttwo\x00three\x1b[31mfour\x85five\u2028six", "one two three [31mfour five six"),
        ("in\u200bvis\u2060i\ufeffb\u202ele\U000e0041\U000e0100\u3164\ud800", "invisible"),
        ("👩‍💻 ça va", "👩💻 ça va"),
        ("&#0;&#xD800;&#x200b;x", "\ufffd\ufffdx"),
    ],
)
async def test_titles_and_snippets_become_plain_text(raw: str, shown: str) -> None:
    data = await execute(Own(hit("https://a.test/", raw, raw, "now\u200b")), {"query": "q"})
    (found,) = data["results"]
    assert (found["title"], found["snippet"], found["date"]) == (shown, shown, "now")


async def test_long_texts_are_cut_and_a_title_is_never_empty() -> None:
    long = hit("https://a.test/", " \u200b", "word " * 100_000, "d" * 500)
    (found,) = (await execute(Own(long), {"query": "q"}))["results"]
    assert found["title"] == "a.test"
    assert len(found["snippet"]) <= 500
    assert found["snippet"].endswith("word…")
    assert len(found["date"]) == 40


@pytest.mark.parametrize("nasty", ["<a-" + "a" * 9_000, "<" * 9_000, "&" * 9_000, "<a =" * 3_000])
async def test_hostile_markup_takes_no_more_time_than_other_text(nasty: str) -> None:
    hits = [hit(f"https://a.test/{number}", nasty, nasty) for number in range(200)]
    async with asyncio.timeout(5):
        assert len((await execute(Own(*hits), {"query": "q"}))["results"]) == 8


@pytest.mark.parametrize("found", [None, 7, hit(7), Hit(None, "https://a.test/"), "text"])
async def test_a_provider_that_answers_nonsense_is_our_error_not_the_callers(found: Any) -> None:
    with pytest.raises(ToolError) as raised:
        await execute(Own(found), {"query": "q"})
    assert raised.value.code == ErrorCode.INTERNAL


async def test_an_exception_of_a_provider_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Own):
        async def search(self, query: Query) -> Sequence[Hit]:
            raise RuntimeError("secret inside")

    with pytest.raises(ToolError) as raised:
        await execute(Broken(), {"query": "q"})
    assert raised.value.code == ErrorCode.INTERNAL
    assert "secret" not in str(raised.value.as_dict())
    assert "secret inside" in caplog.text


async def test_a_provider_without_a_deadline_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Own):
        async def search(self, query: Query) -> Sequence[Hit]:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    with pytest.raises(ToolError) as raised:
        await execute(Endless(), {"query": "q"})
    assert raised.value.code == ErrorCode.TIMEOUT
