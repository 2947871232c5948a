"""The browser behind the egress proxy: what it may reach, and what it says of the rest."""

import socket
from collections.abc import Iterator

import pytest

from sandbox_sdk.egress.proxy import EgressProxy
from tests.services.web import Answer, Web
from tests.tool_plugins.browser.conftest import Browser, ref
from tool_plugins.errors import ErrorCode

pytestmark = [pytest.mark.slow]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server on loopback that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_allowed_pages_open_over_http_and_https_and_nothing_else_goes_out(
    outgoing: Browser, web: Web, proxy: EgressProxy
) -> None:
    web.text("/", "<title>Site</title><a href=/next>Next</a>")
    web.text("/next", "<title>Next</title>")
    plain = await outgoing.open(web.url("/"))
    secure = await outgoing.open(web.url("/", tls=True))
    assert (plain.title, secure.title) == ("Site", "Site")
    assert (await outgoing.click(secure, "Next")).title == "Next"
    reached = {(decision.host, decision.allowed) for decision in proxy.decisions()}
    assert reached == {("site.test", True)}


async def test_server_in_the_sandbox_is_reached_without_the_proxy(
    outgoing: Browser, web: Web, proxy: EgressProxy, local: str
) -> None:
    web.text("/", "<title>Dev</title>")
    assert (await outgoing.open(f"{local}/")).title == "Dev"
    assert (await outgoing.open(f"http://127.0.0.1:{web.port}/")).title == "Dev"
    assert (await outgoing.open(f"https://localhost:{web.tls_port}/")).title == "Dev"
    assert proxy.decisions() == ()


async def test_what_the_policy_denies_is_told_apart(outgoing: Browser, web: Web) -> None:
    for url in (web.url("/", host="evil.test"), web.url("/", host="evil.test", tls=True)):
        error = await outgoing.refused("open", url=url)
        assert error.code == ErrorCode.EGRESS_DENIED
        assert "evil.test" in error.message
        assert "site.test" in error.hint
    metadata = await outgoing.refused("open", url="http://169.254.169.254/latest/meta-data/")
    assert metadata.code == ErrorCode.EGRESS_DENIED


async def test_page_that_leads_where_it_must_not_is_told(outgoing: Browser, web: Web) -> None:
    evil = web.url("/", host="evil.test", tls=True)
    web.text("/", f"<title>Site</title><a href='{evil}'>Secure</a>")
    away = Answer(status=302, headers={"Location": web.url("/", host="evil.test")})
    web.route("/away", lambda _: away)
    redirected = await outgoing.refused("open", url=web.url("/away"))
    assert redirected.code == ErrorCode.EGRESS_DENIED
    page = await outgoing.open(web.url("/"))
    clicked = await outgoing.refused("act", action="click", ref=ref(page, "Secure"))
    assert clicked.code == ErrorCode.EGRESS_DENIED
    assert "evil.test" in clicked.message
    assert (await outgoing.act(action="back")).title == "Site"


async def test_script_of_a_page_reaches_only_what_the_policy_allows(
    outgoing: Browser, web: Web
) -> None:
    other, evil = (web.url("/data", host=host) for host in ("other.test", "evil.test"))
    allowed = Answer(b"from other", headers={"Access-Control-Allow-Origin": "*"})
    web.route("/data", lambda _: allowed)
    web.text("/", f"""<script>for (const url of ['{other}', '{evil}', 'http://10.0.0.1/'])
      fetch(url).then((r) => r.text()).then((t) => document.body.append(t + ' '),
        () => document.body.append('refused '))</script>""")  # fmt: skip
    page = await outgoing.open(web.url("/"))
    assert "from other" in page.snapshot
    assert "evil.test" not in {request.host.partition(":")[0] for request in web.seen}


async def test_failures_of_servers_are_told_apart(outgoing: Browser, web: Web, silent: int) -> None:
    refused = await outgoing.refused("open", url="http://localhost:9/")
    assert refused.code in (ErrorCode.CONNECTION_ERROR, ErrorCode.INVALID_ARGUMENT)
    nobody = await outgoing.refused("open", url=f"http://localhost:{_free_port()}/")
    assert nobody.code == ErrorCode.CONNECTION_ERROR
    assert "start the server" in nobody.hint
    slow = await outgoing.refused("open", url=f"http://localhost:{silent}/", timeout_s=3)
    assert slow.code == ErrorCode.TIMEOUT
    no_tls = await outgoing.refused("open", url=f"https://localhost:{web.port}/")
    assert no_tls.code in (ErrorCode.TLS_ERROR, ErrorCode.CONNECTION_ERROR)
    web.route("/", lambda _: Answer(b"<h1>Gone</h1>", status=410))
    page = await outgoing.open(web.url("/"))
    assert (page.status, "Gone" in page.snapshot) == (410, True)
    web.route("/turn", lambda r: Answer(status=302, headers={"Location": r.path}))
    turning = await outgoing.refused("open", url=web.url("/turn"))
    assert turning.code == ErrorCode.HTTP_ERROR


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_browser_without_a_policy_reaches_nothing_outside(browser: Browser, web: Web) -> None:
    for url in ("http://example.com/", "https://example.com/", "http://10.0.0.1/"):
        assert (await browser.refused("open", url=url)).code == ErrorCode.EGRESS_DENIED
