"""Decides whether a sandbox may reach a host. Pure: never looks a name up, never connects.

The order: a malformed host is refused; deny wins; what no allow rule covers is refused; an address
that is not public is refused unless the policy names it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from .addresses import (
    METADATA,
    IPAddress,
    IPNetwork,
    canonical,
    forms,
    is_special,
    kind_of,
    special,
)
from .decision import Reason
from .index import Index
from .policy import DEFAULT_PORTS, EgressPolicy, EgressRule, HeaderInjection
from .rules import parse_host, parse_network, rule_text, shown

__all__ = ("IPAddress", "Judge", "Verdict")

MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a host and a port.

    `host` is in its one form, unless the reason is BAD_HOST. `hint` names what the sandbox may
    reach, `rule` the rule that decided, as it is written. `tunnel` is what may go through a tunnel.
    `address` is set where the host is one, and where an address of a name was the reason.
    `public_only`: no rule names the host, so none of `private_networks` is meant for it.
    """

    allowed: bool
    host: str
    port: int
    reason: Reason | None = None
    message: str = ""
    hint: str = ""
    rule: str = ""
    tunnel: Literal["tls", "any"] = "tls"
    address: IPv4Address | IPv6Address | None = None
    public_only: bool = False


class Judge:
    """One policy, made ready for many questions: the number of its rules costs nothing to ask."""

    def __init__(self, policy: EgressPolicy | None) -> None:
        self._closed = policy is None
        policy = policy or EgressPolicy()
        self._allow = Index(policy.allow)
        self._deny = Index(policy.deny)
        self._hosts = {
            name: frozenset(parse_host(each)[1] for each in addresses)
            for name, addresses in policy.hosts.items()
        }
        self._private = tuple(parse_network(each) for each in policy.private_networks)
        self._injections = {each.host: each for each in policy.inject}
        self._reach = _reach(policy)

    def judge(self, host: str, port: int) -> Verdict:
        """Decides about a host as it stands in a URL, a CONNECT or a SOCKS request.

        A name that is allowed still has to be resolved, and its addresses to be checked.
        """
        if self._closed:
            return self._no_policy(host, port)
        try:
            name, address = parse_host(host)
        except ValueError as exc:
            hint = "write a host name, or an IP address in its usual form"
            shortened = shown(host)[1:-1]
            return Verdict(False, shortened, port, Reason.BAD_HOST, str(exc), hint)
        if not 1 <= port <= 65_535:
            message = f"{port} is not a port; ports are 1 to 65535"
            return Verdict(False, name, port, Reason.BAD_REQUEST, message, address=address)
        asked = Verdict(False, name, port, address=address)
        if (rule := self._denied(name, port, address)) is not None:
            return self._refuse_denied(asked, rule)
        return self._allowed(asked)

    def check(self, verdict: Verdict, addresses: Sequence[IPAddress]) -> Verdict:
        """Decides about what an allowed host resolved to: one bad address refuses all of them."""
        if not verdict.allowed:
            return verdict
        if not addresses:
            message = f"{verdict.host!r} has no address"
            return replace(verdict, allowed=False, reason=Reason.DNS, message=message)
        for each in addresses:
            address = canonical(each)
            if (rule := self._denied(None, verdict.port, address)) is not None:
                return self._refuse_denied(replace(verdict, address=address), rule)
            if not self._may_connect(verdict, address):
                return self._refuse_private(verdict, address)
        return verdict

    def injection(self, host: str) -> HeaderInjection | None:
        """The headers to add to plain HTTP requests for a host."""
        try:
            return self._injections.get(parse_host(host)[0])
        except ValueError:
            return None

    def _allowed(self, asked: Verdict) -> Verdict:
        covering = tuple(self._allow.covering(asked.host, asked.address))
        if not covering:
            message = f"this sandbox may not reach {asked.host!r}"
            return replace(asked, reason=Reason.NOT_ALLOWED, message=message, hint=self._reach)
        matching = [each for each in covering if asked.port in (each.ports or DEFAULT_PORTS)]
        if not matching:
            return self._refuse_port(asked, covering)
        rule = _most_open(matching)
        verdict = replace(
            asked, allowed=True, rule=_text(rule), tunnel=rule.tunnel, public_only=rule.host == "*"
        )
        if asked.address is None or self._names(matching, asked.address):
            return verdict
        return self._refuse_private(verdict, asked.address)

    def _denied(self, name: str | None, port: int, address: IPAddress | None) -> EgressRule | None:
        for form in forms(address) if address is not None else (None,):
            for rule in self._deny.covering(name, form):
                if rule.ports is None or port in rule.ports:
                    return rule
        return None

    def _names(self, rules: Iterable[EgressRule], address: IPAddress) -> bool:
        """Whether a literal address is public, or named by rules that cover it."""
        named = [each.host for each in rules if each.host != "*"]
        return _open([parse_network(each) for each in named], address)

    def _may_connect(self, verdict: Verdict, address: IPAddress) -> bool:
        if verdict.address is not None:
            return address == verdict.address
        if address in self._hosts.get(verdict.host, ()):
            return True
        return _open(() if verdict.public_only else self._private, address)

    def _no_policy(self, host: str, port: int) -> Verdict:
        return Verdict(
            False,
            shown(host)[1:-1],
            port,
            Reason.NO_POLICY,
            "this sandbox has no network",
            "whoever runs it decides what it may reach, by an egress policy",
        )

    def _refuse_denied(self, asked: Verdict, rule: EgressRule) -> Verdict:
        text = _text(rule)
        return replace(
            asked,
            allowed=False,
            reason=Reason.DENIED,
            message=f"{asked.host!r} is denied by the rule {text!r}",
            hint=self._reach,
            rule=text,
        )

    def _refuse_port(self, asked: Verdict, covering: Sequence[EgressRule]) -> Verdict:
        ports = sorted({port for each in covering for port in each.ports or DEFAULT_PORTS})
        return replace(
            asked,
            reason=Reason.PORT,
            message=f"this sandbox may not reach port {asked.port} of {asked.host!r}",
            hint=f"allowed ports of this host: {_list([str(each) for each in ports])}",
            rule=_text(covering[0]),
        )

    def _refuse_private(self, verdict: Verdict, address: IPAddress) -> Verdict:
        # The address of a name stays out of the message: it would tell the sandbox of networks
        # that it cannot see. The log has it.
        verb, need = "resolves to", "such an address must be in its private_networks or hosts"
        if verdict.address is not None:
            verb, need = "is", "an address that is not public must stand in its allow"
        elif verdict.public_only:
            need = f"the host must stand in its allow by name, and {need}"
        kind = special(address) or "another address"
        return replace(
            verdict,
            allowed=False,
            reason=Reason.PRIVATE_ADDRESS,
            message=f"{verdict.host!r} {verb} {kind}, which this sandbox may not reach",
            hint=f"{self._reach}; the policy decides that: {need}",
            address=address,
        )


def _open(networks: Sequence[IPNetwork], address: IPAddress) -> bool:
    """Whether each form of an address is public, or opened by one of the networks."""
    return all(
        kind_of(form) is None or any(_opens(network, form) for network in networks)
        for form in forms(address)
    )


def _opens(network: IPNetwork, address: IPAddress) -> bool:
    """Whether naming a network opens this address of it, which is not public.

    A network that also has public addresses (0.0.0.0/0) says nothing about the others.
    """
    if address not in network:
        return False
    if network.num_addresses == 1:
        return True
    return is_special(network) and address not in METADATA


def _most_open(rules: Sequence[EgressRule]) -> EgressRule:
    """The first, unless another for the same host lets more through a tunnel."""
    same = (each for each in rules if each.host == rules[0].host and each.tunnel == "any")
    return next(same, rules[0])


def _text(rule: EgressRule) -> str:
    return rule_text(rule.host, rule.ports)


def _list(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return ", ".join(texts[:MAX_LISTED]) + more


def _reach(policy: EgressPolicy) -> str:
    if not policy.allow:
        return "this sandbox may reach nothing"
    # Not all ten thousand are written to show twenty.
    first = [_text(each) for each in policy.allow[:MAX_LISTED]]
    more = len(policy.allow) - len(first)
    public = " (* is every public host)" if "*" in first else ""
    return f"it may reach: {', '.join(first)}{f' and {more} more' if more else ''}{public}"
