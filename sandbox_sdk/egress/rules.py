"""Reads hosts, addresses, networks and rules as people write them."""

from ipaddress import ip_address, ip_network
from typing import Any


def check_host(host: str) -> str:
    """A host of a rule in its one form: lower case, ASCII, no trailing dot.

    Raises:
        ValueError: it is neither a name, a wildcard, an address nor a network.
    """
    return host.lower().rstrip(".")


def check_address(text: str) -> str:
    """An IP address in its one form.

    Raises:
        ValueError: it is none.
    """
    return str(ip_address(text))


def check_network(text: str) -> str:
    """A network, or an address as a network of one.

    Raises:
        ValueError: it is none, or has host bits set.
    """
    return str(ip_network(text))


def parse_rule(given: Any) -> Any:
    """The fields of a rule that is written as text; anything else as it is.

    Raises:
        ValueError: the text is malformed.
    """
    if not isinstance(given, str):
        return given
    host, _, ports = given.partition(":")
    return {"host": host, "ports": [int(each) for each in ports.split(",")] if ports else None}
