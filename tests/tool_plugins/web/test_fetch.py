"""web.fetch: what becomes of content of every kind, in pieces, compressed, mislabelled."""

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.services.web import Answer, Web
from tests.tool_plugins.web.conftest import Tools
from tool_plugins.errors import ErrorCode

MIB = 1024 * 1024


def answer(web: Web, path: str, body: bytes, content_type: str, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    web.route(path, lambda _: Answer(body, content_type=content_type, headers=named))
    return web.url(path)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json; charset=utf-8",
        "application/ld+json",
        "text/csv",
        "application/xml",
        "image/svg+xml",
        "application/x-ndjson",
        "text/markdown",
        "application/javascript",
        "application/octet-stream",
        "",
    ],
)
@pytest.mark.parametrize("mode", ["article", "full", "raw"])
async def test_text_comes_as_it_is(tools: Tools, web: Web, content_type: str, mode: str) -> None:
    text = '{"a": "grün"}\n<x>&amp;</x>\n'
    url = answer(web, "/", text.encode(), content_type)

    page = await tools.fetch(url, mode=mode)

    assert page.content == text
    assert (page.url, page.final_url, page.status) == (url, url, 200)
    assert page.content_type == content_type.partition(";")[0]
    assert (page.total_chars, page.next_offset, page.truncated) == (len(text), None, False)
    assert datetime.now(UTC) - datetime.fromisoformat(page.fetched_at) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "content_type", ["image/png", "video/mp4", "audio/ogg", "application/zip", "font/woff2"]
)
async def test_what_is_no_text_is_refused_before_it_is_read(
    tools: Tools, web: Web, content_type: str
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()
    web.route("/", lambda _: Answer(raw=itertools.chain([head], itertools.repeat(b"x" * 65536))))

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.UNSUPPORTED_CONTENT
    assert content_type in error.message
    assert "web_download" in error.hint


@pytest.mark.parametrize(
    "content_type", ["text/html", "text/plain", "application/octet-stream", ""]
)
async def test_what_is_said_to_be_text_and_is_not_is_refused(
    tools: Tools, web: Web, content_type: str
) -> None:
    url = answer(web, "/", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8, content_type)

    assert await tools.code("fetch", url) == ErrorCode.UNSUPPORTED_CONTENT


# Characters


TEXT = "Grüße aus Köln, „Straße“: 5 €"
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 4
JAPANESE = "いろはにほへと ちりぬるを わかよたれそ つねならむ。" * 4


@pytest.mark.parametrize(
    ("text", "encoding", "content_type"),
    [
        (TEXT, "utf-8", "text/plain"),
        (TEXT, "utf-8", "text/plain; charset=utf-8"),
        (TEXT, "utf-8", "text/plain; charset=iso-8859-1"),
        (TEXT, "utf-8", "text/plain; charset=utf-16"),
        (TEXT, "utf-8", "text/plain; charset=no-such"),
        (TEXT, "utf-8", "text/plain; charset=utf-7"),
        (TEXT, "utf-8", "text/plain; charset=base64"),
        (TEXT, "utf-8-sig", "text/plain; charset=windows-1252"),
        (TEXT, "utf-16", "text/plain"),
        (TEXT, "utf-16", "text/plain; charset=utf-8"),
        (TEXT, "utf-16-le", "text/plain; charset=UTF-16"),
        (TEXT, "utf-16-le", "text/plain; charset=utf-16le"),
        (TEXT, "utf-16-be", "text/plain"),
        (TEXT, "utf-32", "text/plain"),
        (TEXT, "cp1252", "text/plain; charset=iso-8859-1"),
        (TEXT, "cp1252", 'text/plain; charset="windows-1252"'),
        (RUSSIAN, "cp1251", "text/plain; charset=windows-1251"),
        (RUSSIAN, "koi8-r", "text/plain; charset=koi8-r"),
        (RUSSIAN, "cp1251", "text/plain; charset=utf-8"),
        (JAPANESE, "shift_jis", "text/plain; charset=Shift_JIS"),
        (JAPANESE, "iso2022_jp", "text/plain; charset=iso-2022-jp"),
        (JAPANESE, "euc_jp", "text/plain; charset=euc-jp"),
        (JAPANESE, "euc_jp", "text/plain; charset=gb2312"),
        ("\U0001f600 人", "gb18030", "text/plain; charset=gbk"),
    ],
)
async def test_text_is_read_in_its_encoding_whatever_the_label(
    tools: Tools, web: Web, text: str, encoding: str, content_type: str
) -> None:
    url = answer(web, "/", text.encode(encoding), content_type)

    assert (await tools.fetch(url)).content == text


async def test_a_page_may_name_its_encoding_itself(tools: Tools, web: Web) -> None:
    meta = f"<meta charset='windows-1251'><p>{RUSSIAN}"
    xml = f"<?xml version='1.0' encoding='koi8-r'?><p>{RUSSIAN}</p>"

    page = await tools.fetch(answer(web, "/m", meta.encode("cp1251"), "text/html"), mode="raw")
    data = await tools.fetch(answer(web, "/x", xml.encode("koi8-r"), "application/xml"))

    assert page.content == meta
    assert data.content == xml


async def test_what_cannot_be_decoded_leaves_no_half_characters(tools: Tools, web: Web) -> None:
    broken = {
        "/utf8": (b"good \xed\xa0\x80 bad \xff" + "grün".encode() * 9, "utf-8"),
        "/utf16": (b"\xff\xfe" + "good ".encode("utf-16-le") + b"\x00\xd8!", "utf-16"),
    }
    for path, (body, charset) in broken.items():
        page = await tools.fetch(answer(web, path, body, f"text/plain; charset={charset}"))

        assert page.content.startswith("good ")
        assert "\ufffd" in page.content
        json.dumps(page.content).encode("ascii").decode("ascii")
        assert not any("\ud800" <= each <= "\udfff" for each in page.content)


# Compression


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"hello " * 1000)),
        ("x-gzip", gzip.compress(b"hello " * 1000)),
        ("GZIP", gzip.compress(b"hello " * 400) + gzip.compress(b"hello " * 600)),
        ("gzip", gzip.compress(b"hello " * 1000) + b"\0" * 100),
        ("deflate", zlib.compress(b"hello " * 1000)),
        ("deflate", zlib.compress(b"hello " * 1000)[2:-4]),
        ("identity", b"hello " * 1000),
    ],
)
async def test_what_we_say_we_take_is_decompressed(
    tools: Tools, web: Web, coding: str, body: bytes
) -> None:
    url = answer(web, "/", body, "text/plain", Content_Encoding=coding)

    assert (await tools.fetch(url)).content == "hello " * 1000
    assert web.seen[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, identity", "nonsense"])
async def test_codings_we_did_not_ask_for_are_refused(tools: Tools, web: Web, coding: str) -> None:
    url = answer(web, "/", gzip.compress(b"hello"), "text/plain", Content_Encoding=coding)

    error = await tools.refused("fetch", url)

    assert error.code == ErrorCode.UNSUPPORTED_CONTENT
    assert coding in error.message


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"hello " * 1000)[:-1]),
        ("gzip", gzip.compress(b"hello " * 1000)[:-9]),
        ("gzip", gzip.compress(b"hello " * 1000)[:-8] + b"\0" * 8),
        ("gzip", b"hello"),
        ("deflate", zlib.compress(b"hello " * 1000)[:-1]),
        ("deflate", b"\x78\x9chello"),
    ],
)
async def test_damaged_compressed_data_is_an_error(
    tools: Tools, web: Web, coding: str, body: bytes
) -> None:
    url = answer(web, "/", body, "text/plain", Content_Encoding=coding)

    assert await tools.code("fetch", url) == ErrorCode.CONNECTION_ERROR


def bomb(megabytes: int) -> Iterator[bytes]:
    """A gzip stream of so many zeros, 1000 times as small."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _ in range(megabytes):
        yield packer.compress(b"0" * MIB)
    yield packer.flush()


async def test_a_bomb_does_not_go_off(tools: Tools, web: Web) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n"
    web.route("/", lambda _: Answer(raw=itertools.chain([head], bomb(2000))))

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.TOO_LARGE
    assert error.details["limit"] == 20 * MIB
    assert "web_download" in error.hint


async def test_what_is_larger_than_a_page_is_refused(tools: Tools, web: Web) -> None:
    text = {"Content-Type": "text/plain"}
    lies = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    endless = [lies + b"\r\n"], itertools.repeat(b"x" * 65536)
    chunked = (
        [lies + b"Transfer-Encoding: chunked\r\n\r\n"],
        itertools.repeat(b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    )
    packed = zlib.compress(bytes(6 * MIB), 0)
    web.route("/declared", lambda _: Answer(raw=[lies, b"Content-Length: 99999999\r\n\r\n"]))
    web.route("/endless", lambda _: Answer(raw=itertools.chain(*endless)))
    web.route("/chunked", lambda _: Answer(raw=itertools.chain(*chunked)))
    web.route("/packed", lambda _: Answer(packed, headers={**text, "Content-Encoding": "deflate"}))

    for path in ("/declared", "/endless", "/chunked", "/packed"):
        assert await tools.code("fetch", web.url(path)) == ErrorCode.TOO_LARGE

    url = answer(web, "/fits", b"x" * (20 * MIB), "text/plain")
    assert (await tools.fetch(url)).total_chars == 20 * MIB


# Pieces


async def test_a_long_page_comes_in_pieces_of_one_and_the_same_answer(
    tools: Tools, web: Web
) -> None:
    count = itertools.count()
    web.route(
        "/", lambda _: Answer(f"{next(count)}: {'grün ' * 100}".encode(), content_type="text/plain")
    )
    url = web.url("/")
    pieces: list[Any] = []
    offset: int | None = 0

    while offset is not None:
        pieces.append(await tools.fetch(url, max_chars=200, offset=offset))
        offset = pieces[-1].next_offset

    assert "".join(each.content for each in pieces) == f"0: {'grün ' * 100}"
    assert [each.truncated for each in pieces] == [True, True, False]
    assert {each.total_chars for each in pieces} == {503}
    assert {each.fetched_at for each in pieces} == {pieces[0].fetched_at}
    assert len(web.seen) == 1


async def test_the_first_piece_is_always_fetched_anew(tools: Tools, web: Web) -> None:
    count = itertools.count()
    web.route("/", lambda _: Answer(f"{next(count)} ".encode() * 100, content_type="text/plain"))

    first = await tools.fetch(web.url("/"), max_chars=100)
    again = await tools.fetch(web.url("/"), max_chars=100)
    rest = await tools.fetch(web.url("/"), max_chars=100, offset=100)

    assert [each.content[0] for each in (first, again, rest)] == ["0", "1", "1"]


async def test_other_headers_ask_for_another_page(tools: Tools, web: Web) -> None:
    web.route(
        "/",
        lambda request: Answer(
            request.headers["accept-language"].encode() * 100, content_type="text/plain"
        ),
    )

    for language in ("de", "fr"):
        headers = {"Accept-Language": language}
        await tools.fetch(web.url("/"), max_chars=100, headers=headers)
    rest = await tools.fetch(
        web.url("/"), max_chars=100, offset=100, headers={"accept-language": "de"}
    )

    assert rest.content == "de" * 50
    assert len(web.seen) == 2


async def test_a_piece_beyond_the_end_is_refused(tools: Tools, web: Web) -> None:
    url = answer(web, "/", b"hello", "text/plain")

    assert (await tools.fetch(url, offset=5)).content == ""
    error = await tools.refused("fetch", url, offset=6)

    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.details == {"total_chars": 5}


# Error statuses


async def test_an_error_status_is_an_error_with_the_first_words_of_the_answer(
    tools: Tools, web: Web
) -> None:
    page = "<head><title>x</title></head><script>evil()</script><h1>Gone\u200b fishing</h1>"
    web.route("/", lambda _: Answer(page.encode(), status=404))

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.HTTP_ERROR
    assert error.details == {"status": 404}
    assert "404 Not Found" in error.message
    assert "Gone fishing" in error.message.replace("\u200b", " ").replace("  ", " ")
    assert "evil" not in error.message


IN_TWO_HOURS = "a date two hours from when the test runs"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", range(120, 121)),
        ("0", range(1)),
        (IN_TWO_HOURS, range(7000, 7201)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", range(1)),
        ("99999999999999999999", None),
        ("999999999", range(30 * 86400, 30 * 86400 + 1)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
    ids=["seconds", "now", "a date", "past", "endless", "long", "words", "negative", "empty"],
)
async def test_when_to_come_again_is_given_in_seconds(
    tools: Tools, web: Web, value: str, seconds: range | None
) -> None:
    if value == IN_TWO_HOURS:
        value = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    web.route("/", lambda _: Answer(status=503, headers={"Retry-After": value}))

    details = (await tools.refused("fetch", web.url("/"))).details

    assert details["status"] == 503
    assert details.get("retry_after") in (seconds or (None,))


async def test_an_error_page_that_never_ends_does_not_hold_the_error_up(
    tools: Tools, web: Web
) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\n\r\n"
    web.route("/", lambda _: Answer(raw=itertools.chain([head], itertools.repeat(b"<b>" * 9999))))

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.HTTP_ERROR
    assert error.details == {"status": 500}
    assert len(error.message) < 500


async def test_a_redirect_without_a_destination_is_an_error_status(tools: Tools, web: Web) -> None:
    web.route("/", lambda _: Answer(status=302))

    assert (await tools.refused("fetch", web.url("/"))).details == {"status": 302}
