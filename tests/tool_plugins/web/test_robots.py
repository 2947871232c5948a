"""robots.txt, where the operator wants it heeded."""

import itertools
import time

import pytest

from tests.services.web import Answer, Web
from tests.tool_plugins.web.conftest import Tools
from tool_plugins.errors import ErrorCode
from tool_plugins.web.robots import parse_robots


@pytest.mark.parametrize(
    ("text", "target", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("user-agent:*\ndisallow:/x # no\n", "/x/y", False),
        ("User-agent: *\nDisallow: /x", "/y", True),
        ("User-agent: other\nDisallow: /", "/x", True),
        ("User-agent: sandbox-sdk\nDisallow: /\n\nUser-agent: *\nAllow: /", "/x", False),
        ("User-agent: Sandbox-SDK/1.0\nAllow: /\n\nUser-agent: *\nDisallow: /", "/x", True),
        ("User-agent: a\nUser-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow: /a\n\nUser-agent: *\nDisallow: /b", "/a", False),
        ("User-agent: *\nAllow: /x/y\nDisallow: /x", "/x/y/z", True),
        ("User-agent: *\nDisallow: /x/y\nAllow: /x", "/x/y/z", False),
        ("User-agent: *\nDisallow: /x\nAllow: /x", "/x", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf?x", True),
        ("User-agent: *\nDisallow: /a*b*c", "/a--b--c--", False),
        ("User-agent: *\nDisallow: /a*b*c", "/a--c--b--", True),
        ("User-agent: *\nDisallow: /a*a$", "/a", True),
        ("User-agent: *\nDisallow: /*?q=", "/x?q=1", False),
        ("User-agent: *\nDisallow: /gr\xfcn", "/gr%c3%bcn", False),
        ("User-agent: *\nDisallow: /%7Ejoe", "/~joe", False),
        ("User-agent: *\nDisallow: /a%2Fb", "/a/b", True),
        ("User-agent: *\nDisallow: /a%2fb", "/a%2Fb", False),
        ("User-agent: *\nCrawl-delay: 5\nDisallow: /x", "/x", False),
        ("Disallow: /\nUser-agent: *\nAllow: /", "/x", True),
        ("<html>not found</html>", "/x", True),
        ("User-agent: *\rDisallow: /x\r\nDisallow: /y", "/y", False),
    ],
)
def test_rules_mean_what_the_standard_says(text: str, target: str, allowed: bool) -> None:
    assert parse_robots(text).allows(target) is allowed


def test_a_pattern_of_many_asterisks_takes_no_time() -> None:
    rules = parse_robots(f"User-agent: *\nDisallow: /{'*a' * 200}$")

    assert rules.allows(f"/{'a' * 4000}b")


async def test_nobody_is_asked_unless_the_operator_wants_it(tools: Tools, web: Web) -> None:
    web.text("/robots.txt", "User-agent: *\nDisallow: /", "text/plain")
    web.text("/x", "hello", "text/plain")

    assert (await tools.fetch(web.url("/x"))).content == "hello"
    assert [each.path for each in web.seen] == ["/x"]


@pytest.fixture
def heeding(tools: Tools, way: pytest.MonkeyPatch) -> Tools:
    """The tools where robots.txt is heeded."""
    way.setenv("WEB_ROBOTS", "1")
    return tools


async def test_what_robots_txt_forbids_is_not_fetched(heeding: Tools, web: Web) -> None:
    web.text("/robots.txt", "User-agent: *\nDisallow: /x", "text/plain")
    web.text("/x", "hello", "text/plain")
    web.text("/y", "hello", "text/plain")

    error = await heeding.refused("fetch", web.url("/x"))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert error.details["reason"] == "robots"
    assert (await heeding.fetch(web.url("/y"))).content == "hello"
    assert (await heeding.fetch(web.url("/robots.txt"))).content.startswith("User-agent")
    assert [each.path for each in web.seen] == ["/robots.txt", "/y", "/robots.txt"]


async def test_every_step_of_a_redirect_is_asked_about(heeding: Tools, web: Web) -> None:
    web.text("/robots.txt", "User-agent: *\nDisallow: /x", "text/plain")
    web.route("/a", lambda _: Answer(status=302, headers={"Location": "/x"}))

    assert await heeding.code("fetch", web.url("/a")) == ErrorCode.EGRESS_DENIED
    assert "/x" not in [each.path for each in web.seen]


async def test_downloads_and_requests_are_not_crawling(heeding: Tools, web: Web) -> None:
    web.text("/robots.txt", "User-agent: *\nDisallow: /", "text/plain")
    web.text("/x", "hello", "text/plain")

    await heeding.download(web.url("/x"), path="x")
    assert (await heeding.request(web.url("/x"), method="GET")).body == "hello"


@pytest.mark.parametrize(
    ("status", "allowed"),
    [(404, True), (410, True), (429, True), (401, False), (403, False), (500, False), (503, False)],
)
async def test_without_a_robots_txt_its_status_decides(
    heeding: Tools, web: Web, status: int, allowed: bool
) -> None:
    web.route("/robots.txt", lambda _: Answer(b"User-agent: *\nDisallow: /", status=status))
    web.text("/x", "hello", "text/plain")

    if allowed:
        assert (await heeding.fetch(web.url("/x"))).content == "hello"
    else:
        error = await heeding.refused("fetch", web.url("/x"))
        assert error.code == ErrorCode.EGRESS_DENIED
        assert str(status) in error.message


async def test_a_robots_txt_that_recovers_is_read_again(heeding: Tools, web: Web) -> None:
    web.route("/robots.txt", lambda _: Answer(status=503))
    web.text("/x", "hello", "text/plain")
    assert await heeding.code("fetch", web.url("/x")) == ErrorCode.EGRESS_DENIED

    web.text("/robots.txt", "", "text/plain")
    assert (await heeding.fetch(web.url("/x"))).content == "hello"


async def test_redirects_of_robots_txt_that_lead_nowhere_mean_there_is_none(
    heeding: Tools, web: Web
) -> None:
    web.route("/robots.txt", lambda _: Answer(status=302, headers={"Location": "/robots.txt"}))
    web.text("/x", "hello", "text/plain")

    assert (await heeding.fetch(web.url("/x"))).content == "hello"


async def test_a_robots_txt_without_end_counts_as_far_as_it_is_read(
    heeding: Tools, web: Web
) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\nUser-agent: *\nDisallow: /x\n"
    web.route(
        "/robots.txt",
        lambda _: Answer(raw=itertools.chain([head], itertools.repeat(b"# \n" * 9999))),
    )
    web.text("/y", "hello", "text/plain")

    assert await heeding.code("fetch", web.url("/x")) == ErrorCode.EGRESS_DENIED
    assert (await heeding.fetch(web.url("/y"))).content == "hello"


async def test_a_slow_robots_txt_does_not_extend_the_deadline(heeding: Tools, web: Web) -> None:
    def drips():
        while True:
            time.sleep(0.05)
            yield b"H"

    web.route("/robots.txt", lambda _: Answer(raw=drips()))

    assert await heeding.code("fetch", web.url("/x"), timeout_s=0.4) == ErrorCode.TIMEOUT
