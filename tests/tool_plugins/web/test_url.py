"""Every way to write a URL that programs read differently is refused, and its plain twin is not."""

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.url import MAX_URL_CHARS, parse_url

# What is refused, a word of the reason, and the nearest that is accepted.
REFUSED = [
    ("http://127.0.0.1\\@example.com/", "backslash", "http://example.com/@127.0.0.1"),
    ("http://example.com\\@127.0.0.1/", "backslash", "http://example.com/%5C@127.0.0.1/"),
    ("http://example.com@127.0.0.1/", "'@'", "http://example.com/@127.0.0.1"),
    ("http://user:secret@example.com/", "'@'", "http://example.com/?user:secret@"),
    ("http://127.0.0.1#@example.com", "'@'", "http://127.0.0.1/#@example.com"),
    ("http://example.com?x@y", "'@'", "http://example.com/?x@y"),
    ("http:////127.0.0.1/", "no host", "http://127.0.0.1//"),
    ("http:///path", "no host", "http://host/path"),
    ("http://", "no host", "http://a"),
    ("http://?q", "no host", "http://a?q"),
    ("http://.", "no host", "http://a."),
    ("http://:80/", "no host", "http://a:80/"),
    ("http://a..b/", "no part of a name", "http://a.b/"),
    ("http://a../", "no part of a name", "http://a./"),
    ("http://.a/", "no part of a name", "http://a/"),
    ("http://a,b/", "no part of a name", "http://a-b/"),
    ("http://a;b/", "no part of a name", "http://a_b/"),
    ("http://*.com/", "no part of a name", "http://x.com/"),
    (f"http://{'a' * 64}.com/", "no part of a name", f"http://{'a' * 63}.com/"),
    (f"http://{'a.' * 127}com/", "more than 253", f"http://{'a.' * 125}com/"),
    ("http://ex%61mple.com/", "percent", "http://example.com/%61"),
    ("http://ok.com%2eevil.com/", "percent", "http://ok.com.evil.com/"),
    ("http://evil.com%00.ok.com/", "NUL", "http://evil.com.ok.com/"),
    ("http://example.com/%00", "NUL", "http://example.com/%01"),
    ("http://evil.com\0.ok.com/", "character", "http://evil.com.ok.com/"),
    ("http://example.com/\x07", "character", "http://example.com/%07"),
    ("http://example.com/\x7f", "character", "http://example.com/%7F"),
    ("http://example.com/a b", "character", "http://example.com/a%20b"),
    (" http://example.com/", "character", "http://example.com/"),
    ("http://example.com/\n", "character", "http://example.com/%0A"),
    ("http://exa\tmple.com/", "character", "http://example.com/"),
    ("http://example.com/\r\nHost: evil", "character", "http://example.com/%0D%0AHost:evil"),
    ("http://exa\u200bmple.com/", "character", "http://example.com/"),
    ("http://example.com/\ud800", "half", "http://example.com/\U0001f600"),
    ("http://example.com:0/", "names the port", "http://example.com:1/"),
    ("http://example.com:65536/", "names the port", "http://example.com:65535/"),
    ("http://example.com:/", "port", "http://example.com/"),
    ("http://example.com:+80/", "port", "http://example.com:80/"),
    ("http://example.com:8x/", "port", "http://example.com:8/"),
    ("http://example.com:80:80/", "port", "http://example.com:80/"),
    ("http://example.com:\u0668\u0660/", "port", "http://example.com:80/"),
    ("http://127.1/", "plain address", "http://127.0.0.1/"),
    ("http://2130706433/", "plain address", "http://127.0.0.1/"),
    ("http://0x7f000001/", "plain address", "http://x7f000001/"),
    ("http://0x7f.0.0.1/", "plain address", "http://127.0.0.1/"),
    ("http://127.0.0.0x1/", "plain address", "http://127.0.0.1/"),
    ("http://0177.0.0.1/", "plain address", "http://177.0.0.1/"),
    ("http://0/", "plain address", "http://0.0.0.0/"),
    ("http://127.0.0.1.1/", "plain address", "http://127.0.0.1.example/"),
    ("http://256.0.0.1/", "plain address", "http://255.0.0.1/"),
    ("http://127\u30020\u30020\u30021/", "plain address", "http://example\u3002com/"),
    ("http://\u2460\u2461\u2466.0.0.1/", "plain address", "http://127.0.0.1/"),
    ("http://example.com\u2100evil/", "no part of a name", "http://b\xfccher.example/"),
    ("http://fa\xdf.de/", "two encodings", "http://xn--fa-hia.de/"),
    ("http://[::1/", "IPv6", "http://[::1]/"),
    ("http://[]/", "IPv6", "http://[::]/"),
    ("http://[127.0.0.1]/", "IPv6", "http://[::127.0.0.1]/"),
    ("http://[fe80::1%25lo]/", "zone", "http://[fe80::1]/"),
    ("http://[::1]x/", "brackets", "http://[::1]/x"),
    ("http://[::1]:x/", "port", "http://[::1]:8/"),
    ("http://::1/", "port", "http://[::1]/"),
    ("http:example.com", "slashes", "http://example.com"),
    ("https:/example.com", "slashes", "https://example.com"),
    ("//example.com/", "does not begin", "http://example.com/"),
    ("/etc/passwd", "does not begin", "http://host/etc/passwd"),
    ("example.com/page", "does not begin", "http://example.com/page"),
    ("example.com:80/page", "does not begin", "http://example.com:80/page"),
    ("localhost:8000", "does not begin", "http://localhost:8000"),
    ("file:///etc/passwd", "'file'", "http://host/etc/passwd"),
    ("gopher://example.com/", "'gopher'", "http://example.com/"),
    ("ftp://example.com/", "'ftp'", "https://example.com/"),
    ("javascript:alert(1)", "'javascript'", "http://example.com/javascript:alert(1)"),
    ("data:text/html,hello", "'data'", "http://example.com/data:text/html,hello"),
    ("", "does not begin", "http://a"),
    (
        f"http://a/{'x' * MAX_URL_CHARS}",
        "more than 8192",
        f"http://a/{'x' * (MAX_URL_CHARS - 9)}",
    ),
]


@pytest.mark.parametrize(("bad", "reason", "twin"), REFUSED, ids=ascii)
def test_an_ambiguous_url_is_refused_and_its_plain_twin_is_not(
    bad: str, reason: str, twin: str
) -> None:
    with pytest.raises(ToolError) as caught:
        parse_url(bad)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert reason in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 500
    parse_url(twin)


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(ToolError) as caught:
        parse_url("http://user:hunter2@example.com/")

    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("HTTP://EXAMPLE.Com", "http://example.com/"),
        ("http://localhost./", "http://localhost/"),
        ("https://example.com:443/x?y#z", "https://example.com/x?y"),
        ("https://example.com:80", "https://example.com:80/"),
        ("http://example.com?q", "http://example.com/?q"),
        ("http://example.com#f", "http://example.com/"),
        ("http://b\xfccher.example/\xe4?\xf6=1", "http://xn--bcher-kva.example/%C3%A4?%C3%B6=1"),
        ("http://EXAMPLE\uff0ecom/", "http://example.com/"),
        ("http://example.com/%zz%41", "http://example.com/%25zz%41"),
        ('http://example.com/"<>`', "http://example.com/%22%3C%3E%60"),
        ("http://[2001:DB8:0::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://169.254.169.254/latest", "http://169.254.169.254/latest"),
    ],
)
def test_a_url_has_one_form(text: str, plain: str) -> None:
    assert plain == str(parse_url(text))
    assert plain == str(parse_url(plain))


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("next", "https://example.com:8443/a/next"),
        ("../up?q", "https://example.com:8443/up?q"),
        ("/", "https://example.com:8443/"),
        ("?p=2", "https://example.com:8443/a/b?p=2"),
        ("//other.example/x", "https://other.example/x"),
        ("http://other.example", "http://other.example/"),
        ("#part", "https://example.com:8443/a/b"),
    ],
)
def test_a_reference_leads_where_it_would_in_a_browser(reference: str, url: str) -> None:
    assert url == str(parse_url("https://example.com:8443/a/b").join(reference))


@pytest.mark.parametrize(
    "reference",
    ["file:///etc/passwd", "gopher://x", "//a@b/", "http:///x", "/\\evil", "http://[x", "//127.1/"],
)
def test_a_reference_is_read_as_strictly_as_a_url(reference: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_url("https://example.com/").join(reference)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
