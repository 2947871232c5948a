"""Reads URLs, strictly: what two programs could read in two ways is refused. Looks nothing up.

A URL is parsed once, here, and everything later is made of the parts. The proxy outside judges the
host; this parser sees to it that the host it judges is the one the caller wrote.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import shorten

MAX_URL_CHARS = 8192
MAX_HOST_CHARS = 253
MAX_LABEL_CHARS = 63
PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BLANK = re.compile(r"[\s\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_LABEL = re.compile(r"[a-z0-9_-]+")
_NUMERIC = re.compile(r"0x[0-9a-f]*|[0-9]+")
_LOOSE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Two versions of the standard for international names disagree about these four.
_DEVIATING = re.compile("[\u00df\u03c2\u200c\u200d]")
_SAFE = "/?:@!$&'()*+,;=-._~%[]|^{}"


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL in parts.

    `host` is ASCII in lower case, without brackets; `target` is path and query as they go over the
    wire, and begins with a slash. There is no fragment.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port, the port only where it is not the usual one: a Host header."""
        return self.shown_host if self.port == PORTS[self.scheme] else self.endpoint

    @property
    def endpoint(self) -> str:
        """Host and port, always both: what CONNECT names."""
        return f"{self.shown_host}:{self.port}"

    @property
    def shown_host(self) -> str:
        """The host, in brackets if it is an IPv6 address."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def join(self, reference: str) -> "Url":
        """Where a reference on this page leads, parsed as strictly as any URL.

        Raises:
            ToolError: INVALID_ARGUMENT, it is not one of http or https, or is malformed.
        """
        _check_characters(reference)
        try:
            return parse_url(urljoin(str(self), reference))
        except ValueError:  # urljoin's own word on brackets and the like
            raise _refusal(reference, "is malformed") from None


def parse_url(text: str) -> Url:
    """The URL that `text` is.

    Raises:
        ToolError: INVALID_ARGUMENT; message and hint say what is wrong and what to write instead.
    """
    _check_characters(text)
    scheme, rest = _split_scheme(text)
    if "@" in rest.partition("/")[0]:
        raise _refusal(
            text,
            "has an '@' before its path",
            "leave out the user name and password, and give credentials in a header; "
            "in a query write a slash before the question mark",
            quiet=True,
        )
    rest = rest.partition("#")[0]
    end = min((at for mark in "/?" if (at := rest.find(mark)) >= 0), default=len(rest))
    host, port = _split_port(text, rest[:end])
    target = rest[end:]
    if not target.startswith("/"):
        target = f"/{target}"
    return Url(scheme, _host(text, host), PORTS[scheme] if port is None else port, _encoded(target))


def _refusal(text: str, says: str, hint: str = "", *, quiet: bool = False) -> ToolError:
    """`quiet` leaves the text out, where it may hold a password."""
    shown = "the URL" if quiet else f"the URL {shorten(text)!r}"
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        f"{shown} {says}",
        hint=hint or "give a URL such as https://example.com/page",
    )


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_CHARS:
        raise _refusal(text, f"has more than {MAX_URL_CHARS} characters")
    if (found := _BLANK.search(text)) is not None:
        raise _refusal(
            text,
            f"holds a blank, control or invisible character ({found.group()!a})",
            "write a space as %20 and leave out what cannot be seen",
        )
    if "\\" in text:
        raise _refusal(
            text, "holds a backslash", "programs read it in two ways: write / or %5C instead"
        )
    if "%00" in text:
        raise _refusal(text, "holds an encoded NUL (%00)", "leave it out")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _refusal(text, "holds half a character", "write it percent-encoded as UTF-8")


def _split_scheme(text: str) -> tuple[str, str]:
    scheme, mark, rest = text.partition("://")
    lower = scheme.lower()
    if mark and lower in PORTS:
        return lower, rest
    found = _SCHEME.match(text)
    named = found.group()[:-1].lower() if found is not None else ""
    if named in PORTS:
        raise _refusal(text, f"lacks the two slashes after {named}:")
    # "example.com:80/page" begins like a scheme, too.
    if found is None or "." in named or text[found.end() : found.end() + 1].isdigit():
        hint = f"write https://{text.lstrip('/')}" if len(text) < 200 else ""
        raise _refusal(text, "does not begin with http:// or https://", hint)
    raise _refusal(text, f"has the scheme {named!r}", "only http and https can be fetched")


def _split_port(text: str, authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        host += bracket
    else:
        host, colon, rest = authority.partition(":")
        rest = colon + rest
    if not rest:
        return host, None
    digits = rest[1:]
    if rest[0] != ":" or not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        says = "has brackets in the wrong place" if rest[0] != ":" else f"has no port in {rest!r}"
        raise _refusal(
            text, says, "a port is a number after the host's colon; an IPv6 address is in brackets"
        )
    if not 1 <= int(digits) <= 65_535:
        raise _refusal(text, f"names the port {digits}", "ports go from 1 to 65535")
    return host, int(digits)


def _host(text: str, host: str) -> str:
    if not host or host == ".":
        raise _refusal(text, "names no host")
    if host.startswith("["):
        return _ipv6(text, host)
    if "%" in host:
        raise _refusal(text, "has percent signs in its host", "write the name as it is")
    if len(host) > MAX_HOST_CHARS + 1:
        raise _refusal(text, f"has a host of more than {MAX_HOST_CHARS} characters")
    name = _ascii(text, host).lower().removesuffix(".")
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > MAX_LABEL_CHARS:
            raise _refusal(
                text,
                f"has {shorten(label, 80)!r} in its host, which is no part of a name",
                "the parts of a name have 1 to 63 letters, digits or hyphens",
            )
    if len(name) > MAX_HOST_CHARS:
        raise _refusal(text, f"has a host of more than {MAX_HOST_CHARS} characters")
    if _NUMERIC.fullmatch(labels[-1]):
        return _ipv4(text, host, name)
    return name


def _ascii(text: str, host: str) -> str:
    """The host in the form that name servers know (IDNA)."""
    if host.isascii():
        return host
    if _DEVIATING.search(host):
        raise _refusal(
            text, "has a letter in its host that has two encodings", "write the name as xn--..."
        )
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise _refusal(
            text, "has a host that is no international name", "write the name as xn--..."
        ) from None


def _ipv4(text: str, written: str, name: str) -> str:
    """The address, if it is written in the one way that every program reads alike."""
    try:
        address = str(IPv4Address(name))
    except ValueError:
        address = ""
    if address != name or not written.isascii():
        raise _refusal(
            text,
            f"has a host that ends in a number but is no plain address: {shorten(written, 80)!r}",
            "write an address as four decimal numbers: 192.0.2.1",
        )
    return address


def _ipv6(text: str, host: str) -> str:
    try:
        address = IPv6Address(host[1:-1] if host.endswith("]") else "")
    except ValueError:
        raise _refusal(
            text, "has no IPv6 address in its brackets", "write it as in http://[2001:db8::1]/"
        ) from None
    if address.scope_id is not None:
        raise _refusal(text, "has a zone in its address", "leave out the percent sign and the rest")
    return str(address)


def _encoded(target: str) -> str:
    """Path and query in ASCII. What is encoded already stays as it is."""
    return quote(_LOOSE_PERCENT.sub("%25", target), safe=_SAFE)
