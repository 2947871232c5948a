"""Which addresses are public, said here and nowhere else. Pure; never asks the name service.

`ipaddress.is_global` is not asked: it holds for multicast, for the metadata service of Azure, and
for IPv6 addresses that lead to an IPv4 one which is not public, and what it says differs between
versions of Python.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# RFC 6890 as the registries of IANA have it today, and what clouds put elsewhere. The first that
# contains an address names it; a range may lie within another.
_SPECIAL = (
    ("0.0.0.0/8", "an address of this host"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "a carrier's shared address"),
    ("127.0.0.0/8", "a loopback address"),
    ("168.63.129.16/32", "a cloud's metadata address"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "an address of IETF protocols"),
    ("192.0.2.0/24", "an address for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", "an address for documentation"),
    ("203.0.113.0/24", "an address for documentation"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an address of this host"),
    ("::1/128", "a loopback address"),
    ("::/96", "an IPv4 address in an old IPv6 form"),
    ("::ffff:0:0:0/96", "an IPv4 address in a translated form"),
    ("64:ff9b:1::/48", "a private NAT64 address"),
    ("2001::/32", "a Teredo address"),
    ("2001:db8::/32", "an address for documentation"),
    ("2001::/23", "an address of IETF protocols"),
    ("2002::/16", "a 6to4 address"),
    ("3fff::/20", "an address for documentation"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
)
_RANGES = tuple((ip_network(text), kind) for text, kind in _SPECIAL)

_UNICAST = ip_network("2000::/3")
"""All of IPv6 that IANA has given out; the rest is reserved."""

_NAT64 = ip_network("64:ff9b::/96")
"""Where a network without IPv4 shows it. Public if the IPv4 address is."""

_NAT64_LOCAL = ip_network("64:ff9b:1::/48")

METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "169.254.0.23",  # Tencent
        "169.254.169.254",  # nearly all
        "169.254.170.2",  # Amazon, containers
        "169.254.170.23",
        "192.0.0.192",  # Oracle
        "fd00:ec2::23",  # Amazon
        "fd00:ec2::254",
        "fd20:ce::254",  # Google
    )
)
"""They give away the credentials of the machine, so a range that merely contains one does not
open it."""


def canonical(address: IPAddress) -> IPAddress:
    """The address that is meant: IPv4 for one that IPv6 only wraps, and no zone."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address


def forms(address: IPAddress) -> tuple[IPAddress, ...]:
    """The address, and the IPv4 addresses to which a gateway may take it.

    Each must be allowed, and none denied.
    """
    address = canonical(address)
    if isinstance(address, IPv4Address):
        return (address,)
    return (address, *_embedded(address))


def special(address: IPAddress) -> str | None:
    """What kind of address it is, with its article, where it is not public; None where it is."""
    kinds = (kind_of(form) for form in forms(address))
    return next((kind for kind in kinds if kind is not None), None)


def kind_of(form: IPAddress) -> str | None:
    """As `special`, of one of the `forms` of an address alone."""
    if form in METADATA:
        return "a cloud's metadata address"
    for network, kind in _RANGES:
        if form in network:
            return kind
    if form.version == 6 and form not in _UNICAST and form not in _NAT64:
        return "a reserved address"
    return None


def is_special(network: IPNetwork) -> bool:
    """Whether no address of the network is public."""
    if isinstance(network, IPv6Network) and not network.overlaps(_UNICAST):
        return not network.overlaps(_NAT64)
    return any(_within(network, each) for each, _ in _RANGES)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo
    if address.sixtofour is not None:
        return (address.sixtofour,)
    translated = address in _NAT64 or address in _NAT64_LOCAL or number >> 32 == 0xFFFF_0000
    compatible = number >> 32 == 0 and number > 1  # neither :: nor ::1
    return (last,) if translated or compatible else ()


def _within(network: IPNetwork, other: IPNetwork) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)
