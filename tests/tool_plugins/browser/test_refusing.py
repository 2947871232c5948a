"""What is refused before any browser starts."""

import pytest

from tests.tool_plugins.browser.conftest import Browser
from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "chrome://version",
        "javascript:alert(1)",
        "data:text/html,x",
        "view-source:http://site.test/",
        "http://site.test\\@evil.test/",
        "http://user:secret@site.test/",
        "http://127.1/",
        " http://site.test/",
        "site.test",
    ],
)
async def test_what_is_no_plain_web_address_is_refused(host: Host, url: str) -> None:
    error = await Browser(host).refused("open", url=url)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert "secret" not in error.message


@pytest.mark.parametrize("verb", ["snapshot", "act", "screenshot"])
async def test_without_an_open_page_there_is_nothing_to_look_at(host: Host, verb: str) -> None:
    arguments = {"action": "reload"} if verb == "act" else {}
    error = await Browser(host).refused(verb, **arguments)
    assert error.code == ErrorCode.NOT_FOUND
    assert "browser_open" in error.hint


async def test_closing_what_is_not_open_does_nothing(host: Host) -> None:
    assert not (await Browser(host).close()).closed
