"""Hosts, networks and rules as people, programs and attackers write them."""

import pytest

from sandbox_sdk.egress.rules import (
    check_address,
    check_host,
    check_name,
    check_network,
    parse_host,
    parse_rule,
    rule_text,
    shown,
)

LABEL = "a" * 63
LONGEST = ".".join([LABEL, LABEL, LABEL, "a" * 61])

# Refused, the nearest that is accepted, and what that is read as.
HOSTS = [
    # Numbers that programs read in different ways.
    ("127.1", "127.0.0.1", "127.0.0.1"),
    ("127.0.1", "127.0.0.1", "127.0.0.1"),
    ("2130706433", "127.0.0.1", "127.0.0.1"),
    ("0x7f000001", "127.0.0.1", "127.0.0.1"),
    ("0X7F000001", "127.0.0.1", "127.0.0.1"),
    ("0x7f.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("127.0.0.0x1", "127.0.0.1", "127.0.0.1"),
    ("0177.0.0.1", "177.0.0.1", "177.0.0.1"),
    ("127.0.0.01", "127.0.0.1", "127.0.0.1"),
    ("017700000001", "127.0.0.1", "127.0.0.1"),
    ("0", "0.0.0.0", "0.0.0.0"),
    ("0x", "x0", "x0"),
    ("127.0.0.1.1", "127.0.0.1", "127.0.0.1"),
    ("127.0.0.256", "127.0.0.255", "127.0.0.255"),
    ("127.0.0.1..", "127.0.0.1.", "127.0.0.1"),
    ("example.1", "1.example", "1.example"),
    ("example.0x7f", "0x7f.example", "0x7f.example"),
    ("127.0.0.1:80", "127.0.0.1", "127.0.0.1"),
    # Characters of other scripts that end up as digits and dots.
    ("\uff11\uff12\uff17.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("127\u30020\u30020\u30021", "127.0.0.1", "127.0.0.1"),
    ("\u2460\u2461\u2466.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("127.0.0.\u0661", "127.0.0.1", "127.0.0.1"),
    ("1\u00ad27.0.0.1", "127.0.0.1", "127.0.0.1"),
    # What one parser sees and another does not.
    ("", "a", "a"),
    (".", "a", "a"),
    ("..", "a", "a"),
    ("example.com..", "example.com.", "example.com"),
    (".example.com", "example.com", "example.com"),
    ("example..com", "example.com", "example.com"),
    ("evil.com\0.example.com", "evil.com.example.com", "evil.com.example.com"),
    ("evil.com%00.example.com", "evil.com.example.com", "evil.com.example.com"),
    ("example%2ecom", "example.com", "example.com"),
    ("example.com\\@127.0.0.1", "example.com", "example.com"),
    ("127.0.0.1\\@example.com", "example.com", "example.com"),
    ("example.com@127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("user:secret@example.com", "example.com", "example.com"),
    ("127.0.0.1#@example.com", "example.com", "example.com"),
    ("example.com#", "example.com", "example.com"),
    ("example.com?", "example.com", "example.com"),
    ("example.com/", "example.com", "example.com"),
    ("//127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("http://example.com", "example.com", "example.com"),
    ("example.com:80", "example.com", "example.com"),
    ("example.com ", "example.com", "example.com"),
    (" example.com", "example.com", "example.com"),
    ("exa mple.com", "example.com", "example.com"),
    ("example.com\n", "example.com", "example.com"),
    ("example.com\r\nHost: evil.com", "example.com", "example.com"),
    ("exam\tple.com", "example.com", "example.com"),
    ("example.com\x7f", "example.com", "example.com"),
    ("example.com\x1b[31m", "example.com", "example.com"),
    ("*", "a", "a"),
    ("*.example.com", "a.example.com", "a.example.com"),
    ("example,com", "example.com", "example.com"),
    ("'example.com'", "example.com", "example.com"),
    ("-example.com", "ex-ample.com", "ex-ample.com"),
    ("example-.com", "exam--ple.com", "exam--ple.com"),
    ("--proxy", "proxy", "proxy"),
    # Too long.
    (f"{LABEL}a.com", f"{LABEL}.com", f"{LABEL}.com"),
    (f"{LONGEST}a", LONGEST, LONGEST),
    ("a." * 200, "a." * 100, ("a." * 100)[:-1]),
    ("a" * 1_000_000, "a", "a"),
    # Names that are no names.
    ("exa\u200dmple.com", "example.com", "example.com"),
    ("\u2100.com", "ac.com", "ac.com"),
    ("a\u2044b.com", "ab.com", "ab.com"),
    ("\ud800.com", "d800.com", "d800.com"),
    ("\u2603.\u0301com", "snowman.com", "snowman.com"),
    ("".join(map(chr, range(0x4E00, 0x5E00, 0x40))) + ".com", "\u4e00.com", "xn--4gq.com"),
    # IPv6.
    ("[::1", "[::1]", "::1"),
    ("::1]", "::1", "::1"),
    ("[[::1]]", "[::1]", "::1"),
    ("[::1]:80", "[::1]", "::1"),
    ("[]", "[::]", "::"),
    ("[127.0.0.1]", "[::ffff:127.0.0.1]", "127.0.0.1"),
    ("[example.com]", "example.com", "example.com"),
    ("[v1.fe80]", "[fe80::]", "fe80::"),
    ("[fe80::1%25lo]", "[fe80::1]", "fe80::1"),
    ("fe80::1%eth0", "fe80::1", "fe80::1"),
    ("fe80::1%", "fe80::1", "fe80::1"),
    ("[::1%00]", "[::1]", "::1"),
    ("[::ffff:127.1]", "[::ffff:7f00:1]", "127.0.0.1"),
    ("[::ffff:0177.0.0.1]", "[::ffff:177.0.0.1]", "177.0.0.1"),
    ("[::\uff11]", "[::1]", "::1"),
    ("1::2::3", "1::2:3", "1::2:3"),
    ("12345::1", "[2345:0:0:0:0:0:0:1]", "2345::1"),
    ("[::1/128]", "[::1]", "::1"),
    (":", "::", "::"),
]


@pytest.mark.parametrize(
    ("refused", "accepted", "read_as"), HOSTS, ids=lambda text: ascii(text[:30])[1:-1]
)
def test_only_a_host_with_one_meaning_is_read(refused: str, accepted: str, read_as: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse_host(refused)

    assert read_as == parse_host(accepted)[0]
    message = str(error.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 250


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("Index.Example", "index.example"),
        ("index.example.", "index.example"),
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("a_b.s3.example.com", "a_b.s3.example.com"),
        ("r3---sn-4g5.example.com", "r3---sn-4g5.example.com"),
        ("1.2.3.4.nip.example", "1.2.3.4.nip.example"),
        ("3com.example", "3com.example"),
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("b\u00fccher\u3002example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("fa\u00df.example", "xn--fa-hia.example"),
        ("\u4f8b\u3048.\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        ("\u212a.example", "k.example"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2606:4700:0::1111]", "2606:4700::1111"),
        ("2606:4700::ABCD", "2606:4700::abcd"),
        ("::FFFF:8.8.8.8", "8.8.8.8"),
    ],
)
def test_a_host_has_one_form(written: str, read_as: str) -> None:
    name, address = parse_host(written)

    assert read_as == name
    assert (name, address) == parse_host(name)


def test_a_name_that_only_looks_alike_is_another_name() -> None:
    assert parse_host("\u0430pple.com")[0] != "apple.com"


@pytest.mark.parametrize(
    ("refused", "accepted", "read_as"),
    [
        ("**", "*", "*"),
        ("*.", "*.com", "*.com"),
        ("*com", "*.com", "*.com"),
        ("a.*.com", "*.a.com", "*.a.com"),
        ("*.*.com", "*.COM.", "*.com"),
        ("*.1", "*.a1", "*.a1"),
        ("*.10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("*.[::1]", "[::1]", "::1"),
        ("*.exa mple.com", "*.example.com", "*.example.com"),
        ("https://index.example/", "index.example", "index.example"),
        ("index.example/simple", "index.example", "index.example"),
        ("index.example:443", "index.example", "index.example"),
        ("10.1.2.3/16", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.1/16", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/33", "10.1.0.0/32", "10.1.0.0/32"),
        ("10.1.0.0/-1", "0.0.0.0/0", "0.0.0.0/0"),
        ("10.1.0.0/", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/016", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16", "10.1.0.0/16"),
        ("fd00::1/8", "FD00::/8", "fd00::/8"),
        ("fd00::/129", "fd00::/128", "fd00::/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.0/8"),
        ("fe80::%1/64", "fe80::/64", "fe80::/64"),
        ("*.b\u00fccher.example:1", "*.b\u00fccher.example", "*.xn--bcher-kva.example"),
    ],
)
def test_only_a_clear_host_of_a_rule_is_read(refused: str, accepted: str, read_as: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_host(refused)

    assert read_as == check_host(accepted)
    assert read_as == check_host(read_as)


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("index.example", "index.example", None),
        ("git.example:8443", "git.example", [8443]),
        ("git.example:22,443", "git.example", [22, 443]),
        ("*:443", "*", [443]),
        ("*.example.com:8443", "*.example.com", [8443]),
        ("10.1.0.0/16:443,8443", "10.1.0.0/16", [443, 8443]),
        ("10.1.0.0/16", "10.1.0.0/16", None),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:8000", "::1", [8000]),
        ("fd00::/8", "fd00::/8", None),
        ("[fd00::/8]:443", "fd00::/8", [443]),
    ],
)
def test_a_rule_is_read_and_written_the_same(text: str, host: str, ports: list[int] | None) -> None:
    assert {"host": host, "ports": ports} == parse_rule(text)
    assert parse_rule(text) == parse_rule(rule_text(host, ports))
    assert host == check_host(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "index.example:",
        "index.example:https",
        "index.example:-1",
        "index.example:443,",
        "index.example:443-444",
        "index.example:4 43",
        "index.example:\u0664\u0664\u0663",
        "index.example:*",
        "index.example:999999",
        "user:password@index.example",
        "https://index.example",
        "https://index.example:443/",
        "[::1",
        "[::1]8000",
        "[::1]:",
        "[index.example]:443",
        443,
        1.5,
        True,
    ],
)
def test_a_malformed_rule_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rule(text)


def test_a_name_is_no_address_and_an_address_no_name() -> None:
    assert check_name("API.test.") == "api.test"
    assert check_address("127.0.0.1") == "127.0.0.1"
    for wrong in ("127.0.0.1", "::1", "*", "*.test", "10.0.0.0/8"):
        with pytest.raises(ValueError, match=r"."):
            check_name(wrong)
    for wrong in ("api.test", "127.1", "10.0.0.0/8", "", "*"):
        with pytest.raises(ValueError, match=r"."):
            check_address(wrong)


def test_an_address_is_a_network_of_one() -> None:
    assert check_network("10.0.0.1") == "10.0.0.1/32"
    assert check_network("[::1]") == "::1/128"


def test_a_quoted_text_is_short_and_printable() -> None:
    quoted = shown("\x1b[31m\n\u202e" + "a" * 1000)

    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) < 120
