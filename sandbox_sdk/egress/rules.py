"""Reads hosts, addresses, networks and rules as people and programs write them, in one way.

A host that two programs could read as two hosts is refused, not mended: 127.1, 0177.0.0.1, an
address with a zone, a name with a NUL. Never asks the name service.
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Any

from .addresses import IPAddress, IPNetwork, canonical

MAX_HOST_CHARS = 253
MAX_SHOWN_CHARS = 80

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_PORTS = re.compile(r"[0-9]{1,5}(?:,[0-9]{1,5})*")


def parse_host(text: str) -> tuple[str, IPAddress | None]:
    """A host of a request in its one form, and its address where it is one.

    Names come back in lower case and ASCII, without a trailing dot; IPv6 addresses, with or without
    brackets, come back without.

    Raises:
        ValueError: it is neither a name nor an address, or not clearly so.
    """
    if not text:
        raise ValueError("the host is empty")
    if len(text) > MAX_HOST_CHARS + 2:
        raise ValueError(f"the host {shown(text)} is longer than {MAX_HOST_CHARS} characters")
    if ":" in text or text.startswith("["):
        address = canonical(_ipv6(text))
        return str(address), address
    name = _ascii(text).lower()
    name = name[:-1] if name.endswith(".") else name
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # Programs disagree about what is left out here (127.1), and about bases (0177, 0x7f).
        if not _QUAD.fullmatch(name) or not text.isascii():
            raise ValueError(
                f"the host {shown(text)} is a number that programs read in different ways; "
                "write an address as four decimal numbers, such as 192.0.2.7"
            )
        return name, _ipv4(name)
    if len(name) > MAX_HOST_CHARS:
        raise ValueError(f"the host {shown(text)} is longer than {MAX_HOST_CHARS} characters")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise ValueError(f"the host {shown(text)} {_flaw(label)}")
    return name, None


def check_host(host: str) -> str:
    """A host of a rule in its one form: lower case, ASCII, no trailing dot.

    Raises:
        ValueError: it is neither a name, a wildcard, an address nor a network.
    """
    if host == "*":
        return host
    if "://" in host:
        raise ValueError(f"{shown(host)} is a URL; a rule has its host only")
    if "/" in host:
        return check_network(host)
    if host.startswith("*."):
        return f"*.{check_name(host[2:])}"
    if "*" in host:
        raise ValueError(
            f"{shown(host)} has a * that is not its first label; write '*' or '*.example.com'"
        )
    if host.count(":") == 1:
        raise ValueError(f"{shown(host)} is not a host; ports stand in `ports`")
    return parse_host(host)[0]


def check_name(name: str) -> str:
    """A name in its one form: neither a wildcard, an address nor a network.

    Raises:
        ValueError: it is none.
    """
    checked, address = parse_host(name)
    if address is not None:
        raise ValueError(f"{shown(name)} is an address; a name is wanted here")
    return checked


def check_address(text: str) -> str:
    """An IP address in its one form.

    Raises:
        ValueError: it is none.
    """
    checked, address = parse_host(text)
    if address is None:
        raise ValueError(f"{shown(text)} is a name; an IP address is wanted here")
    return checked


def parse_network(text: str) -> IPNetwork:
    """A network, or an address as a network of one.

    Raises:
        ValueError: it is none, or has host bits set.
    """
    base, slash, bits = text.partition("/")
    if not slash:
        return ip_network(check_address(text))
    wrapped = base.startswith("[") and bits.endswith("]")  # "[fd00::/8]"
    base, bits = (base[1:], bits[:-1]) if wrapped else (base, bits)
    if not re.fullmatch(r"[0-9]{1,3}", bits) or (len(bits) > 1 and bits[0] == "0"):
        raise ValueError(f"{shown(text)} is not a network; write one as 10.1.0.0/16 or fd00::/8")
    address: IPAddress = _ipv6(base) if ":" in base else _ipv4(base)
    try:
        network = ip_network(f"{address}/{bits}", strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} has more bits than its address") from None
    if network.network_address != address:
        raise ValueError(f"{shown(text)} has bits beyond its prefix; {str(network)!r} has not")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{shown(text)} is a network of IPv4; write it as one")
    return network


def check_network(text: str) -> str:
    """A network in its one form, see `parse_network`."""
    return str(parse_network(text))


def parse_rule(given: Any) -> Any:
    """The fields of a rule that is written as text; anything else as it is.

    Raises:
        ValueError: the text is malformed.
    """
    if isinstance(given, bool | int | float):
        raise ValueError("a rule is a text, such as 'index.example', or has a host and ports")
    if not isinstance(given, str):
        return given
    if "://" in given:
        raise ValueError(f"{shown(given)} is a URL; a rule is a host, and ports after a colon")
    host, ports = given, ""
    if given.startswith("["):
        host, bracket, ports = given.partition("]")
        if not bracket or (ports and not ports.startswith(":")):
            raise ValueError(f"{shown(given)} is malformed; write [::1] or [::1]:443")
        host, ports = host[1:], ports or ""
        if ":" not in host:
            raise ValueError(f"{shown(given)} has brackets, which are for IPv6 addresses")
    elif given.count(":") == 1:
        host, colon, ports = given.partition(":")
        ports = colon + ports
    if not host:
        raise ValueError(f"{shown(given)} has no host")
    return {"host": host, "ports": _ports(given, ports[1:]) if ports else None}


def rule_text(host: str, ports: Sequence[int] | None) -> str:
    """A rule as it is written: the other way round than `parse_rule`."""
    if not ports:
        return host
    return f"[{host}]:{_joined(ports)}" if ":" in host else f"{host}:{_joined(ports)}"


def shown(text: str) -> str:
    """A text that came from outside, fit to stand in a message: ASCII, in quotes, not long."""
    quoted = ascii(text[:MAX_SHOWN_CHARS])
    if len(text) > MAX_SHOWN_CHARS or len(quoted) > MAX_SHOWN_CHARS + 2:
        return f"{quoted[: MAX_SHOWN_CHARS - 2]}...{quoted[-1]}"
    return quoted


def _joined(ports: Sequence[int]) -> str:
    return ",".join(map(str, ports))


def _ports(rule: str, text: str) -> list[int]:
    if not _PORTS.fullmatch(text):
        raise ValueError(f"{shown(rule)} has no ports after its colon; write them as :443,8443")
    return [int(each) for each in text.split(",")]


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    import idna  # tables of a megabyte, for names that few policies and no requests hold

    try:
        return idna.encode(text, uts46=True, transitional=False).decode("ascii")
    except UnicodeError:
        raise ValueError(f"the host {shown(text)} is not a name of the Internet") from None


def _flaw(label: str) -> str:
    if not label:
        return "has an empty part between dots"
    if len(label) > 63:
        return "has a part of more than 63 characters"
    if label.startswith("-") or label.endswith("-"):
        return "has a part that begins or ends with a hyphen"
    bad = next((each for each in label if not re.fullmatch(r"[a-z0-9_-]", each)), "")
    return f"has the character {shown(bad)}, which is in no host"


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValueError(f"{shown(text)} is not an IPv4 address") from None


def _ipv6(text: str) -> IPv6Address:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in inner:
        raise ValueError(f"the host {shown(text)} has a zone (%), which means nothing outside")
    try:
        return IPv6Address(inner)
    except AddressValueError:
        raise ValueError(f"{shown(text)} is not an IPv6 address") from None
