"""Finds the rules that cover a host, without looking at the others."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .addresses import IPAddress
from .rules import parse_host, parse_network

if TYPE_CHECKING:
    from .policy import EgressRule


class Index:
    """Rules by what they cover. The cost of a question depends on the host, not on the rules."""

    def __init__(self, rules: "Iterable[EgressRule]") -> None:
        self._all: list[EgressRule] = []
        self._names: defaultdict[str, list[EgressRule]] = defaultdict(list)
        self._below: defaultdict[str, list[EgressRule]] = defaultdict(list)
        # By version and length of the prefix, then by the prefix itself.
        self._networks: dict[tuple[int, int], defaultdict[int, list[EgressRule]]] = {}
        for rule in rules:
            self._add(rule)
        self._lengths = sorted(self._networks, reverse=True)

    def covering(self, name: str | None, address: IPAddress | None) -> "Iterator[EgressRule]":
        """The rules for a name, or for an address where there is one; the narrowest first."""
        if address is not None:
            yield from self._of_address(address)
        elif name is not None:
            yield from self._names.get(name, ())
            _, dot, parent = name.partition(".")
            while dot:
                yield from self._below.get(parent, ())
                _, dot, parent = parent.partition(".")
        yield from self._all

    def _of_address(self, address: IPAddress) -> "Iterator[EgressRule]":
        number = int(address)
        for version, length in self._lengths:
            if version == address.version:
                prefix = number >> (address.max_prefixlen - length)
                yield from self._networks[version, length].get(prefix, ())

    def _add(self, rule: "EgressRule") -> None:
        host = rule.host
        if host == "*":
            self._all.append(rule)
        elif host.startswith("*."):
            self._below[host[2:]].append(rule)
        elif "/" in host or parse_host(host)[1] is not None:
            network = parse_network(host)
            key = network.version, network.prefixlen
            prefix = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            self._networks.setdefault(key, defaultdict(list))[prefix].append(rule)
        else:
            self._names[host].append(rule)
