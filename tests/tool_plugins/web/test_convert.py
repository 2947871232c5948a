"""Pages become Markdown, without what their readers do not see."""

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web import convert as converting
from tool_plugins.web.convert import Mode, Page, convert

URL = "http://site.test/docs/page.html?q=1"
FILLER = (
    "Bridges are older than most roads, and those who build them are seldom in a hurry: a stone "
    "that is laid well today carries whoever comes in three hundred years. "
)


def page(
    body: str | bytes,
    mode: Mode = "full",
    *,
    content_type: str = "text/html",
    charset: str | None = None,
    url: str = URL,
) -> Page:
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    return convert(data, content_type=content_type, charset=charset, url=url, mode=mode)


def full(body: str) -> str:
    return page(body).content


def article(body: str, *, title: str = "Bridges") -> Page:
    around = "<nav><a href='/nav'>Menu</a></nav>{}<footer>Imprint</footer>"
    whole = f"<article><h1>{title}</h1><p>{FILLER}</p>{body}<p>{FILLER}</p></article>"
    return page(f"<html><body>{around.format(whole)}</body></html>", "article")


@pytest.mark.parametrize(
    ("body", "markdown"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("plain", "plain"),
        ("a<br>b<br><br><br>c", "a  \nb  \n\nc"),
        ("<p>a <b> bold </b>c <i>d</i></p>", "a **bold** c *d*"),
        ("<b>a<div>b</div>c</b>", "**a**\n\n**b**\n\n**c**"),
        ("<h2>A <b>b</b><br>c</h2>", "## A b c"),
        ("<h3></h3><p> </p>x", "x"),
        ("x<sup>2</sup> H<sub>2</sub>O<sup>[1]</sup>", "x<sup>2</sup> H<sub>2</sub>O[1]"),
        ("<del>no</del> <q>said</q>", "~~no~~ “said”"),
        ("<hr>x", "---\n\nx"),
        ("<button>A</button><button>B</button>", "A B"),
        ("<dl><dt>T<dd>D<dd>E</dl>", "T\n: D\n: E"),
        ("<details><summary>S</summary>text</details>", "S\n\ntext"),
        ("<blockquote><p>a<p>b<ul><li>c</ul></blockquote>d", "> a\n>\n> b\n>\n> - c\n\nd"),
        ('<math alttext="x^2"><mi>x</mi></math>', "`$x^2$`"),
        ("a&nbsp;&amp;&lt;b", "a &\\<b"),
    ],
)
def test_elements_become_markdown(body: str, markdown: str) -> None:
    assert full(body) == markdown


def test_lists_are_nested_and_numbered() -> None:
    body = (
        "<p>a</p><ul><li>one<ol start=9><li>x<li><p>y</p><p>z</p></ol><li>two</ul><ol><li>n</ol>b"
    )

    assert full(body) == ("a\n\n- one\n  9. x\n  10. y\n\n      z\n- two\n\n1. n\n\nb")


def test_tables_keep_their_columns() -> None:
    body = (
        "<table><caption>C</caption><thead><tr><th>a<th>b|c<th>d</thead>"
        "<tr><td rowspan=2>1<td colspan=2>x<br>y</tr><tr><td><ul><li>p<li>q</ul><td>z</table>"
    )

    assert full(body) == (
        "C\n\n| a | b\\|c | d |\n| --- | --- | --- |\n| 1 | x<br>y |  |\n|  | - p<br>- q | z |"
    )
    assert full("<table><tr><td>1<td>2</table>") == "|  |  |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    "layout",
    [
        "<table><tr><td><p>a</p></td></tr><tr><td>b</td></tr></table>",
        "<table role=presentation><tr><td>a<td>b</table>",
        "<table><tr><td>a<td><table><tr><td>b</table></table>",
    ],
)
def test_a_table_that_lays_out_the_page_is_no_table(layout: str) -> None:
    assert full(layout) == "a\n\nb"


def test_code_keeps_its_lines_and_language() -> None:
    body = '<div class="highlight-rust"><pre>fn <b>a</b>() {\n\n  1 * 2\n}\n</pre></div>'

    assert full(body) == "```rust\nfn a() {\n\n  1 * 2\n}\n```"
    assert full("<pre>a<br>```<div>b</div></pre>") == "````\na\n```\nb\n````"
    assert full("<ul><li>x<pre><code class=language-c>1\n2</code></pre></ul>") == (
        "- x\n\n  ```c\n  1\n  2\n  ```"
    )
    assert full("<code>a`b</code> <code>*x*</code>") == "`` a`b `` `*x*`"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("1. x", "1\\. x"),
        ("# x", "\\# x"),
        ("- x", "\\- x"),
        ("> x", "\\> x"),
        ("2*3 snake_case __init__", "2\\*3 snake_case \\_\\_init\\_\\_"),
        ("[x](javascript:y)", "[x\\](javascript:y)"),
        ("&lt;script&gt;", "\\<script>"),
        ("`x`", "\\`x\\`"),
        ("C:\\Users 1.5 - x", "C:\\Users 1.5 - x"),
    ],
)
def test_text_that_looks_like_markdown_stays_text(text: str, markdown: str) -> None:
    assert full(f"<p>{text}</p>") == markdown


def test_links_are_absolute_and_lead_to_the_web_only() -> None:
    result = page(
        "<a href=other>rel</a> <a href='//x.test/a b(c)'>scheme</a> <a href='#here'>fragment</a> "
        "<a href='?z'>query</a> <a href='JaVaScript:alert(1)'>js</a> <a href='data:x'>data</a> "
        "<a href='java\nscript:x'>split</a> <a href='mailto:a@b'>mail</a> <a href='http://[x'>bad</a>"
        "<a href='/i'><img src=/i.png alt='a picture'></a><a href='/i'>again</a>"
    )

    assert result.content == (
        "[rel](http://site.test/docs/other) [scheme](http://x.test/a%20b%28c%29) fragment "
        "[query](http://site.test/docs/page.html?z) js data split mail bad"
        "[a picture](http://site.test/i)[again](http://site.test/i)"
    )
    assert result.links == [
        ("rel", "http://site.test/docs/other"),
        ("scheme", "http://x.test/a%20b%28c%29"),
        ("query", "http://site.test/docs/page.html?z"),
        ("a picture", "http://site.test/i"),
    ]


@pytest.mark.parametrize("scheme", ["javascript", "data", "ftp", "file", "vbscript", "view-source"])
def test_a_link_with_a_host_may_still_lead_elsewhere(scheme: str) -> None:
    result = page(f"<a href='{scheme}://site.test/%0Aalert(1)'>text</a>")

    assert (result.content, result.links) == ("text", [])


@pytest.mark.parametrize(
    ("base", "link"),
    [
        ("/other/", "http://site.test/other/x"),
        ("https://cdn.test/y", "https://cdn.test/x"),
        ("javascript:x", "http://site.test/docs/x"),
        ("file:///etc/", "http://site.test/docs/x"),
    ],
)
def test_the_base_of_a_page_counts(base: str, link: str) -> None:
    assert page(f"<base href='{base}'><a href=x>t</a>").links == [("t", link)]


def test_at_most_fifty_links_come_with_those_of_the_content_first() -> None:
    nav = "".join(f"<a href='/nav{number}'>n</a> " for number in range(80))
    inside = "<p>See <a href='/inside'>this\n  page</a>, which tells more about all of them.</p>"
    whole = f"<nav>{nav}</nav><article><h1>B</h1><p>{FILLER * 3}</p>{inside}</article>"
    result = page(f"<html><body>{whole}</body></html>", "article")

    assert "nav" not in result.content
    assert result.links[0] == ("this page", "http://site.test/inside")
    assert result.links[1] == ("n", "http://site.test/nav0")
    assert len(result.links) == 50


def test_pictures_are_their_descriptions() -> None:
    body = "<img src=/a.png alt='A  [b]'><img src=/b.png><img src='data:image/png;x' alt=D>"

    assert full(body) == "![A \\[b\\]](http://site.test/a.png)D"


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title> A\n <b>b </title>", "A <b>b"),
        ("<title></title><meta property=og:title content='O&amp;g'>", "O&g"),
        ("<meta name=og:title content=O>", "O"),
        (f"<title>{'x' * 400}</title>", "x" * 299 + "…"),
        ("<title>a\u200bb\u202e\U000e0041</title>", "ab"),
        ("", ""),
    ],
)
def test_a_title_is_one_clean_line(head: str, title: str) -> None:
    assert page(f"<html><head>{head}</head><body>x").title == title


def test_an_article_is_told_from_what_surrounds_it() -> None:
    table = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    code = "<pre>roses\n    are red</pre>"
    items = "<ul><li>one</li><li>two<ol><li>deep</li></ol></li></ul>"
    result = article(f'{items}{table}{code}<p>See <a href="more">more</a> of <b>it</b>.</p>')

    assert result.content == (
        f"# Bridges\n\n{FILLER.strip()}\n\n- one\n- two\n  1. deep\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "```\nroses\n    are red\n```\n\n"
        f"See [more](http://site.test/docs/more) of **it**.\n\n{FILLER.strip()}"
    )
    assert result.note == ""


def test_a_page_without_an_article_is_given_whole_and_says_so() -> None:
    links = "".join(f"<li><a href=/{number}>Entry {number}</a></li>" for number in range(40))
    result = page(f"<html><body><nav><ul>{links}</ul></nav></body></html>", "article")

    assert result.content.startswith("- [Entry 0](http://site.test/0)\n- [Entry 1]")
    assert "No article was found" in result.note


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("", "is empty"),
        ("<!-- nothing -->", "is empty"),
        ("<html><body><script>draw()</script></body></html>", "scripts may make it"),
        ("<div hidden>secret</div>", "hidden by its style"),
        ("<meta http-equiv=refresh content='0; url=/next'>", "leads on to http://site.test/next"),
    ],
)
@pytest.mark.parametrize("mode", ["article", "full"])
def test_a_page_without_text_says_why(body: str, note: str, mode: Mode) -> None:
    result = page(body, mode)

    assert result.content == ""
    assert note in result.note


HIDDEN = [
    "<script>HIDDEN</script>",
    "<style>HIDDEN</style>",
    "<noscript>HIDDEN</noscript>",
    "<template>HIDDEN</template>",
    "<!-- HIDDEN -->",
    "<?php HIDDEN ?>",
    "<svg><text>HIDDEN</text></svg>",
    "<iframe>HIDDEN</iframe>",
    "<p hidden>HIDDEN</p>",
    "<p hidden=until-found>HIDDEN</p>",
    "<p aria-hidden=TRUE>HIDDEN</p>",
    "<dialog>HIDDEN</dialog>",
    "<input type=hidden value=HIDDEN>",
    "<a href='data:text/html,HIDDEN'>.</a>",
    "<img src='data:image/svg+xml,HIDDEN' alt=.>",
    "<p title=HIDDEN data-x=HIDDEN>.</p>",
    *(
        f'<p style="{style}">HIDDEN <b>HIDDEN</b></p>'
        for style in (
            "display:none",
            "DISPLAY : None !important",
            "color:red;;display:/**/none",
            "d\\69splay:none",
            "visibility:hidden",
            "visibility: collapse",
            "content-visibility:hidden",
            "opacity:0",
            "opacity:.01",
            "opacity:0%",
            "font-size:0",
            "font-size:1px",
            "font-size:0.01em",
            "font:0/0 a",
            "position:absolute;left:-9999px",
            "position:fixed;top:-100vh",
            "position:absolute;left:100000px",
            "text-indent:-999em",
            "margin-left:-9999px",
            "transform:translateX(-9999px)",
            "transform:scale(0)",
            "clip:rect(0, 0, 0, 0)",
            "clip-path:inset(50%)",
            "height:0;overflow:hidden",
            "width:1px;height:1px;overflow:hidden",
            "color:transparent",
            "color:rgba(0,0,0,0)",
            "color:#fff;background:white",
            "color:rgb(255,255,255);background-color:#FFFFFF",
        )
    ),
    "<style>.x{display:none}</style><p class='y x'>HIDDEN</p>",
    "<style>/* a */ p#i, .z {opacity:0}</style><p id=i>HIDDEN</p>",
    "<style>@media screen{.x{display:none}}</style><p class=x>HIDDEN</p>",
    "<style>.x{display:none!important}</style><p class=x style=display:block>HIDDEN</p>",
    "<style>x-y{font-size:0}</style><x-y>HIDDEN</x-y>",
]


@pytest.mark.parametrize("body", HIDDEN)
def test_what_is_hidden_is_left_out(body: str) -> None:
    assert "HIDDEN" not in full(f"<p>before</p>{body}<p>after</p>")
    assert full(f"<p>before</p>{body}<p>after</p>").startswith("before")
    assert full(f"<p>before</p>{body}<p>after</p>").endswith("after")
    found = article(body)
    assert FILLER.strip() in found.content
    assert "HIDDEN" not in found.content


@pytest.mark.parametrize(
    "body",
    [
        "<p style='opacity:1;font-size:100%;left:-9999px'>SHOWN</p>",
        "<p style='margin-left:-50vw;color:#fff;background:#000'>SHOWN</p>",
        "<p style='height:100%;overflow:hidden;text-indent:-2em'>SHOWN</p>",
        "<p style='color:inherit;background:inherit'>SHOWN</p>",
        "<p aria-hidden=false>SHOWN</p>",
        "<dialog open>SHOWN</dialog>",
        "<style>.tab{display:none}.tab.on{display:block}</style><p class='tab on'>SHOWN</p>",
        "<style>@media print{.x{display:none}}</style><p class=x>SHOWN</p>",
        "<style>.x{display:none}@media (min-width:9px){.x{display:block}}</style><p class=x>SHOWN",
        "<style media=print>.x{display:none}</style><p class=x>SHOWN</p>",
        "<style>.no-js .x{display:none}</style><p class=x>SHOWN</p>",
        "<style>body{opacity:0}</style><p>SHOWN</p>",
        "<style>.x{display:none</style><p>SHOWN</p>",
    ],
)
def test_what_is_shown_is_kept(body: str) -> None:
    assert full(body) == "SHOWN"


INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2064\u2066\u2069\ufeff\u00ad\u180e\u3164"
    "\U000e0001\U000e0041\U000e007f\ufe0f\ufe0f\U000e0100\U000e01ef\ufffe"
)


@pytest.mark.parametrize("mode", ["article", "full"])
def test_characters_nobody_sees_are_left_out(mode: Mode) -> None:
    code = "".join(f"&#{ord(each)};" for each in INVISIBLE)
    for hidden in (INVISIBLE, code):
        body = f"<p>a{hidden}b</p><pre>c{hidden}d</pre><img src=/i alt='e{hidden}f'>"
        content = page(f"<html><body>{body}</body></html>", mode).content
        kept = {each for each in content if each in INVISIBLE}
        assert kept == set()
        assert "ab" in content
        assert "cd" in content
    controls = "".join(map(chr, [*range(1, 9), 11, 12, *range(14, 32), 127, 0x9F]))
    assert page(f"<p>{'x' * 30_000}{controls}y", mode).content == f"{'x' * 30_000}y"
    text = page(f"a{INVISIBLE}b\r\nc", mode, content_type="text/plain").content
    assert text == "ab\nc"


def test_references_to_what_is_no_character_do_no_harm() -> None:
    codes = "".join(f"&#{code};&#x{code:x};" for code in (0, 7, 0x1F, 0xD800, 0xDFFF, 0xFFFE))
    content = full(f"<pre>a{codes}b</pre><p>&#55000;&#57344;</p>")

    assert content.replace("\ufffd", "") == "```\nab\n```\n\n\ud6d8\ue000"


def test_an_emoji_keeps_its_form() -> None:
    assert full("<p>\u2764\ufe0f</p>") == "\u2764\ufe0f"
    assert full("<p>x\ufe00\ufe01\ufe02y \ufe0fz</p>") == "xy z"


def test_raw_is_the_text_as_it_was_sent() -> None:
    source = "<title>T</title>\r\n<p hidden>a\u200bb</p><script>x</script>"

    assert page(source, "raw") == Page("", source)
    long = "x" * 3000
    text = page(f"{long}\0\x07\u200b\r\n", "raw", content_type="text/plain").content
    assert text == f"{long}\x07\u200b\r\n"


@pytest.mark.parametrize("mode", ["article", "full", "raw"])
@pytest.mark.parametrize(
    "kind",
    ["application/json", "text/plain; charset=utf-8", "application/rss+xml", "text/markdown", ""],
)
def test_other_text_comes_as_it_is(mode: Mode, kind: str) -> None:
    text = '{"a":  1,\n "b": "<b>"}'

    assert page(text, mode, content_type=kind) == Page("", text)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("application/zip", b"PK\x03\x04"),
        ("video/mp4", b"text"),
        ("text/html", bytes(range(256)) * 4),
        ("text/plain", bytes(range(256)) * 4),
        ("application/octet-stream", bytes(range(256)) * 4),
    ],
)
@pytest.mark.parametrize("mode", ["full", "raw"])
def test_what_is_no_text_is_refused(kind: str, body: bytes, mode: Mode) -> None:
    with pytest.raises(ToolError) as caught:
        page(body, mode, content_type=kind)

    assert caught.value.code is ErrorCode.UNSUPPORTED_CONTENT
    assert "web_download" in caught.value.hint


def test_html_without_a_type_is_known_by_its_beginning() -> None:
    body = " <!DOCTYPE html><title>T</title><p>x"

    assert page(body, content_type="application/octet-stream") == Page("T", "x")


GREETING = "Grüße aus Köln, überall schöne Häuser"
RUSSIAN = "Привет, как дела? Это простой русский текст о мостах и реках."  # noqa: RUF001


@pytest.mark.parametrize(
    ("text", "encoding", "charset", "meta"),
    [
        (GREETING, "utf-8", None, ""),
        (GREETING, "utf-8", "iso-8859-1", ""),
        (GREETING, "cp1252", "utf-8", ""),
        (GREETING, "cp1252", "iso-8859-1", ""),
        (GREETING, "cp1252", None, "<meta charset=latin1>"),
        (GREETING, "cp1252", "nonsense", "<meta charset=windows-1252>"),
        (GREETING, "utf-8-sig", "utf-16", ""),
        (GREETING, "utf-16", "utf-8", ""),
        (GREETING, "utf-16-le", "utf-16le", ""),
        (RUSSIAN, "cp1251", "windows-1251", ""),
        (RUSSIAN, "koi8-r", None, '<meta http-equiv=x content="text/html; charset=koi8-r">'),
        (RUSSIAN, "cp1251", None, ""),
        (GREETING, "utf-8", "utf-7", ""),
        (GREETING, "utf-8", "unicode_escape", ""),
    ],
)
def test_lies_about_the_charset_are_seen_through(
    text: str, encoding: str, charset: str | None, meta: str
) -> None:
    body = f"<html><head>{meta}</head><body><p>{text}</p></body></html>".encode(encoding)

    assert page(body, charset=charset).content == text


@pytest.mark.parametrize("charset", ["base64", "zlib", "idna", "\0", "x" * 1000, "utf-8\nx", "ü"])
def test_a_charset_that_is_none_does_no_harm(charset: str) -> None:
    assert page(b"<p>a\xff\xfe\xedb</p>", charset=charset).content.startswith("a")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE html [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>x &c; &f;</p></body></html>'
)


@pytest.mark.parametrize("kind", ["application/xhtml+xml", "text/html"])
def test_entities_are_never_expanded(kind: str) -> None:
    assert page(BOMB, content_type=kind).content == "x &c; &f;"


def test_xhtml_closes_its_elements() -> None:
    body = "<html><head><script src='x'/><title/></head><body><p/>a<br/>b<![CDATA[<c> & d]]></body>"

    assert page(body, content_type="application/xhtml+xml").content == "a  \nb\\<c> & d"


@pytest.mark.parametrize("mode", ["article", "full"])
@pytest.mark.parametrize(
    ("opened", "closed"),
    [("<div>", "</div>"), ("<span><b>", "</b></span>"), ("<ul><li>", "</li></ul>"), ("<div>", "")],
)
def test_elements_nested_beyond_reason_lose_no_text(opened: str, closed: str, mode: Mode) -> None:
    result = page(f"<p>before</p>{opened * 20_000}deep{closed * 20_000}<p>after</p>", mode)

    assert [each.strip("*") for each in result.content.split() if each != "-"] == [
        "before",
        "deep",
        "after",
    ]


def test_what_is_hidden_stays_so_however_deep_it_is() -> None:
    hidden = "<div style=display:none>HIDDEN</div>"
    result = page(f"{'<div>' * 3000}{hidden}x{'</div>' * 3000}<p>after</p>")

    assert result.content.split() == ["x", "after"]


def test_a_page_that_stays_too_deep_says_that_it_is_cut() -> None:
    result = page(f"<p>before</p>{'<div class=x>' * 5000}deep")

    assert result.content == "before"
    assert "nested too deeply" in result.note


MANY = 50_000


@pytest.mark.parametrize(
    "body",
    [
        "<table><tr>" + "<td colspan=1000>x" * MANY,
        "<table><tr>" + "<td rowspan=99999>x" * 300 + "<tr><td>y" * MANY,
        "<ol>" + "<li>x" * MANY,
        "<a href=/x>" * MANY + "x",
        "<table><tr><td>" * MANY,
        "<p title='" + "y" * 1_000_000 + "'>x",
        "<style>" + ".a{display:none}" * MANY + "</style>x",
        "<p style='" + "translate(-1" * MANY + "'>x",
        "<script></script>x" * MANY,
        "<meta http-equiv=refresh content='" + " " * MANY + "'>x",
        "<!DOCTYPE x [" * MANY + "x",
        "<![CDATA[" * MANY + "x",
        "<" * MANY + "x",
        "&" * MANY + "x",
        "<b" * MANY + ">x",
        "<pre>" + "<pre>x" * MANY,
        "<blockquote>" * 1000 + "x<br>" * 1000,
    ],
    ids=range(17),
)
def test_pages_made_to_be_slow_are_not(body: str) -> None:
    result = page(body, content_type="application/xhtml+xml")

    assert len(result.content) < 100 * len(body)


def test_more_than_fits_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "MAX_CONTENT_CHARS", 1000)
    result = page("<p>word</p>" * 1000)

    assert len(result.content) == 1000
    assert result.note == "Only the first 1000 characters are here."


def test_more_tags_than_fit_into_memory_are_refused_but_for_raw() -> None:
    body = "<b>" * 1_600_000
    with pytest.raises(ToolError) as caught:
        page(body)

    assert caught.value.code is ErrorCode.TOO_LARGE
    assert page(body, "raw").content == body


def test_a_page_too_large_for_an_article_is_given_whole() -> None:
    result = page("<p>x</p>" * 61_000, "article")

    assert result.content.startswith("x\n\nx")
    assert "too large to look for its article" in result.note
