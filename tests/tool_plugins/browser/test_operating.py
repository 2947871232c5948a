"""Opening, reading and operating pages with a real Chromium."""

import asyncio
import base64
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import eventually
from tests.services.web import Answer, Web
from tests.tool_plugins.browser.conftest import Browser, ref
from tool_plugins.errors import ErrorCode

pytestmark = [pytest.mark.slow]

SHOP = """<title>Shop</title><h1>Wel\u200bcome</h1>
<a href="/two">Two</a> <a href="/two" target="_blank">Tab</a> <a href="/file.zip">File</a>
<a href="file:///etc/passwd">Local</a>
<button onclick="document.title = String(confirm('Sure?'))">Ask</button>
<button disabled>Off</button><input aria-label="Name"><input type="checkbox" aria-label="Agree">
<select aria-label="Fruit"><option value="a">Apple<option value="b">Banana</select>
<form action="/search"><input name="q" aria-label="Search"></form>
<button onclick="setTimeout(() => document.body.append('Late text'), 300)">Later</button>
<div style="position: relative"><button>Under</button>
<div id="cover" style="position: absolute; inset: 0"></div></div>
<p hidden>Not shown</p><iframe src="/two"></iframe><div style="height: 3000px"></div>"""
PNG = b"\x89PNG"


def processes(browser: Browser) -> list[psutil.Process]:
    """The browser's processes: some are told by their environment where to keep things."""
    mark = str(browser.host.tmp)
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(mark in value for value in process.environ().values()):
                found |= {process, *process.children(recursive=True)}
    return [process for process in found if process.is_running()]


@pytest.fixture
def shop(web: Web, local: str) -> str:
    """The URL of a page with one of everything."""
    web.text("/", SHOP)
    web.text("/two", "<title>Second</title><button>In two</button>")
    web.route("/search", lambda r: Answer(f"<p>You asked {r.query}".encode()))
    web.route("/file.zip", lambda _: Answer(b"PK" * 1000, content_type="application/zip"))
    return f"{local}/"


async def test_snapshot_shows_what_is_there_with_references(browser: Browser, shop: str) -> None:
    page = await browser.open(shop)
    assert (page.url, page.title, page.status) == (shop, "Shop", 200)
    assert 'heading "Welcome"' in page.snapshot
    assert "Not shown" not in page.snapshot
    assert 'button "In two"' in page.snapshot  # in the frame
    assert page.total_chars == len(page.snapshot)

    fruit = await browser.snapshot(ref=ref(page, "Fruit"))
    assert fruit.snapshot.splitlines()[0].startswith('- combobox "Fruit"')
    assert 'option "Apple"' in fruit.snapshot
    assert "Welcome" not in fruit.snapshot

    found = await browser.snapshot(query="banana")
    assert "Banana" in found.snapshot
    assert "Welcome" not in found.snapshot
    assert (await browser.snapshot(query="plums")).notes == [
        "nothing in the snapshot holds that text"
    ]

    first = await browser.snapshot(max_chars=300)
    second = await browser.snapshot(max_chars=50_000, offset=first.next_offset)
    assert first.truncated
    assert first.snapshot + second.snapshot == (await browser.snapshot()).snapshot


async def test_elements_are_operated(browser: Browser, shop: str) -> None:
    page = await browser.open(shop)
    await browser.act(action="type", ref=ref(page, "Name"), value="Bob")
    await browser.act(action="check", ref=ref(page, "Agree"))
    page = await browser.act(action="select", ref=ref(page, "Fruit"), value="Banana")
    assert "Bob" in page.snapshot
    assert 'checkbox "Agree" [checked]' in page.snapshot
    assert 'option "Banana" [selected]' in page.snapshot

    page = await browser.click(page, '"Later"')
    page = await browser.act(action="wait", value="Late text")
    assert "Late text" in page.snapshot

    page = await browser.click(page, '"In two"')  # in the frame
    page = await browser.act(action="type", ref=ref(page, '"Search"'), value="shoes", submit=True)
    assert "You asked q=shoes" in page.snapshot
    page = await browser.act(action="back")
    assert page.title == "Shop"
    page = await browser.act(action="forward")
    assert page.url.endswith("/search?q=shoes")
    assert (await browser.act(action="forward")).notes == ["there is no later page"]


async def test_what_cannot_be_operated_is_told_why(browser: Browser, shop: str) -> None:
    page = await browser.open(shop)

    async def code(name: str, action: str, **value: Any) -> tuple[ErrorCode, str]:
        error = await browser.refused(
            "act", action=action, ref=ref(page, name), timeout_s=1.5, **value
        )
        return error.code, f"{error.message} ({error.hint})"

    assert (await code('"Off"', "click"))[0] == ErrorCode.CONFLICT
    assert "is disabled" in (await code('"Off"', "click"))[1]
    covered = await code('"Under"', "click")
    assert covered[0] == ErrorCode.CONFLICT
    assert 'covered by <div id="cover">' in covered[1]
    missing = await code("Fruit", "select", value="Cherry")
    assert missing[0] == ErrorCode.NOT_FOUND
    assert "'Apple', 'Banana'" in missing[1]
    assert (await code("heading", "type", value="x"))[0] == ErrorCode.INVALID_ARGUMENT
    assert (await code("heading", "check"))[0] == ErrorCode.INVALID_ARGUMENT

    gone = await browser.refused("act", action="click", ref="e999")
    assert gone.code == ErrorCode.NOT_FOUND
    assert "new snapshot" in gone.hint
    assert (await browser.refused("snapshot", ref="f9e9")).code == ErrorCode.NOT_FOUND
    key = await browser.refused("act", action="press", value="Foo")
    assert (key.code, key.message) == (ErrorCode.INVALID_ARGUMENT, 'Unknown key: "Foo"')
    way = await browser.refused("act", action="scroll", value="sideways")
    assert way.code == ErrorCode.INVALID_ARGUMENT
    late = await browser.refused("act", action="wait", value="Never there", timeout_s=2)
    assert late.code == ErrorCode.TIMEOUT
    assert (await browser.snapshot()).title == "Shop"  # it all did no harm


async def test_dialogs_tabs_and_downloads_are_seen_to(
    browser: Browser, shop: str, workspace: Path
) -> None:
    page = await browser.open(shop)
    page = await browser.click(page, '"Ask"')
    assert page.title == "false"
    assert page.notes == ["the page showed a question, which was dismissed: 'Sure?'"]

    tab = await browser.click(page, '"Tab"')
    assert tab.title == "Second"
    assert "new tab" in tab.notes[0]
    page = await browser.act(action="back")
    assert page.url == shop

    page = await browser.click(page, '"Local"')  # a page of the web may not lead to files
    assert page.url == shop

    await browser.click(page, '"File"')
    kept = workspace / "downloads" / "file.zip"
    await eventually(kept.exists)
    again = await browser.open(f"{shop}file.zip")
    assert again.notes == ["a download was saved as 'downloads/file-1.zip' (2000 bytes)"]
    assert kept.read_bytes() == b"PK" * 1000
    assert again.url == shop


async def test_pictures_are_attached_and_written(
    browser: Browser, shop: str, workspace: Path
) -> None:
    page = await browser.open(shop)
    window = await browser.screenshot(path="pictures/shop.png")
    assert (window.width, window.height) == (1280, 800)
    (image,) = browser.attachments
    assert image["mime_type"] == "image/png"
    data = base64.b64decode(image["data"])
    assert data.startswith(PNG)
    assert int.from_bytes(data[16:20]) == 1280
    assert (workspace / window.path).read_bytes() == data

    button = await browser.screenshot(ref=ref(page, '"Later"'))
    assert 10 < button.width < 200
    whole = await browser.screenshot(full_page=True)
    assert whole.height > 3000
    outside = await browser.refused("screenshot", path="../x.png")
    assert outside.code == ErrorCode.PATH_OUTSIDE_ROOT


async def test_large_pictures_are_made_small_enough_to_show(
    browser: Browser, web: Web, local: str, workspace: Path
) -> None:
    noise = """<canvas id="c" width="1280" height="2000"></canvas><script>
    const pen = c.getContext('2d'), image = pen.createImageData(1280, 2000);
    for (let i = 0; i < image.data.length; i++)
      image.data[i] = i % 4 == 3 ? 255 : Math.random() * 256;
    pen.putImageData(image, 0, 0)</script>"""
    web.text("/", noise)
    await browser.open(f"{local}/")
    result = await browser.screenshot(full_page=True, path="noise.png")
    (image,) = browser.attachments
    assert image["mime_type"] == "image/jpeg"
    assert len(image["data"]) < 700_000
    assert result.width < 1280
    assert (workspace / "noise.png").read_bytes().startswith(PNG)


async def test_page_that_hangs_is_given_up_and_the_next_one_opens(
    browser: Browser, web: Web, local: str
) -> None:
    web.text("/", "<button onclick='while (true);'>Hang</button>")
    page = await browser.open(f"{local}/")
    error = await browser.refused("act", action="click", ref=ref(page, "Hang"), timeout_s=4)
    assert error.code == ErrorCode.TIMEOUT
    assert "was closed" in error.hint
    assert (await browser.refused("snapshot")).code == ErrorCode.NOT_FOUND
    assert "Hang" in (await browser.open(f"{local}/")).snapshot


async def test_page_that_crashes_is_told_and_the_next_one_opens(
    browser: Browser, web: Web, local: str
) -> None:
    web.text("/", "<h1>Fine</h1>")
    await browser.open(f"{local}/")
    renderers = [p for p in processes(browser) if "--type=renderer" in " ".join(p.cmdline())]
    assert renderers
    for renderer in renderers:
        renderer.kill()
    error = await browser.refused("snapshot", timeout_s=10)
    assert (error.code, "crashed" in error.message) == (ErrorCode.INTERNAL, True)
    assert "Fine" in (await browser.open(f"{local}/")).snapshot


async def test_page_that_never_ends_is_shown_as_far_as_it_came(
    browser: Browser, web: Web, local: str
) -> None:
    def endless() -> Any:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<h1>Beginning</h1>"
        while True:
            yield b"<p>more</p>" * 10
            time.sleep(0.05)

    web.route("/", lambda _: Answer(raw=endless()))
    page = await browser.open(f"{local}/", timeout_s=6)
    assert "Beginning" in page.snapshot
    assert "the page has not arrived completely" in page.notes


async def test_closing_leaves_nothing(browser: Browser, shop: str, workspace: Path) -> None:
    await browser.open(shop)
    assert list(browser.host.tmp.iterdir())
    assert processes(browser)
    assert (await browser.close()).closed
    assert not (await browser.close()).closed
    assert list(browser.host.tmp.iterdir()) == []
    assert os.listdir(workspace) == []
    assert processes(browser) == []


async def test_too_many_tabs_are_closed(browser: Browser, web: Web, local: str) -> None:
    web.text("/", "<title>First</title><button onclick='for (let i = 0; i < 8; i++)"
             " window.open(\"/tab\")'>Flood</button>")  # fmt: skip
    web.text("/tab", "<title>Tab</title>")
    page = await browser.open(f"{local}/")
    page = await browser.click(page, "Flood")
    assert any("more than 5" in note for note in page.notes)
    for _ in range(10):
        page = await browser.act(action="back")
        if page.title == "First":
            return
        await asyncio.sleep(0)
    raise AssertionError(page)
