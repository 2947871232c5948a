"""Which addresses are public. Each refused one stands beside its nearest public neighbour."""

from ipaddress import ip_address, ip_network

import pytest

from sandbox_sdk.egress.addresses import METADATA, canonical, forms, is_special, special

# Refused, and the nearest that is not.
NEIGHBOURS = [
    ("0.0.0.0", "1.0.0.0"),
    ("0.255.255.255", "1.0.0.0"),
    ("10.0.0.0", "9.255.255.255"),
    ("10.255.255.255", "11.0.0.0"),
    ("100.64.0.1", "100.63.255.255"),
    ("100.127.255.255", "100.128.0.0"),
    ("127.0.0.1", "126.255.255.255"),
    ("127.255.255.255", "128.0.0.0"),
    ("168.63.129.16", "168.63.129.15"),
    ("168.63.129.16", "168.63.129.17"),
    ("169.254.0.0", "169.253.255.255"),
    ("169.254.169.254", "169.255.0.0"),
    ("172.16.0.0", "172.15.255.255"),
    ("172.31.255.255", "172.32.0.0"),
    ("192.0.0.192", "192.0.1.0"),
    ("192.0.2.1", "192.0.3.0"),
    ("192.88.99.1", "192.88.98.255"),
    ("192.168.0.0", "192.167.255.255"),
    ("192.168.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.17.255.255"),
    ("198.19.255.255", "198.20.0.0"),
    ("198.51.100.7", "198.51.101.0"),
    ("203.0.113.7", "203.0.114.0"),
    ("224.0.0.1", "223.255.255.255"),
    ("239.255.255.255", "223.255.255.255"),
    ("240.0.0.1", "223.255.255.255"),
    ("255.255.255.255", "223.255.255.255"),
    ("::", "2000::1"),
    ("::1", "2000::1"),
    ("::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    ("::ffff:7f00:1", "::ffff:808:808"),
    ("::ffff:a9fe:a9fe", "::ffff:808:808"),
    ("::127.0.0.1", "2000::1"),
    ("::8.8.8.8", "2000::1"),
    ("::ffff:0:127.0.0.1", "::ffff:8.8.8.8"),
    ("::ffff:0:8.8.8.8", "::ffff:8.8.8.8"),
    ("64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8"),
    ("64:ff9b::a9fe:a9fe", "64:ff9b::808:808"),
    ("64:ff9b:1::a9fe:a9fe", "64:ff9b::808:808"),
    ("64:ff9b:1::808:808", "64:ff9b::808:808"),
    ("100::1", "2000::1"),
    ("1fff:ffff::", "2000::"),
    ("2001::1", "2001:200::1"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:4860:4860::8888"),
    ("2001:1ff:ffff::", "2001:200::"),
    ("2001:db8::1", "2001:db9::1"),
    ("2002:7f00:1::", "2003::1"),
    ("2002:a9fe:a9fe::1", "2003::1"),
    ("2002:808:808::1", "2003::1"),
    ("3fff::1", "3fff:1000::1"),
    ("4000::", "3fff:ffff::"),
    ("5f00::1", "3fff:ffff::"),
    ("fc00::1", "2606:4700::1111"),
    ("fd00:ec2::254", "2606:4700::1111"),
    ("fdff:ffff::1", "2606:4700::1111"),
    ("fe80::1", "2606:4700::1111"),
    ("fe80::1%1", "2606:4700::1111"),
    ("fec0::1", "2606:4700::1111"),
    ("ff02::1", "2606:4700::1111"),
]


@pytest.mark.parametrize(("refused", "accepted"), NEIGHBOURS)
def test_what_is_not_public_ends_where_the_registry_says(refused: str, accepted: str) -> None:
    assert special(ip_address(refused)) is not None
    assert special(ip_address(accepted)) is None


@pytest.mark.parametrize("address", sorted(METADATA, key=str))
def test_metadata_services_are_called_so(address: object) -> None:
    assert special(ip_address(str(address))) == "a cloud's metadata address"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%2", "fe80::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
    ],
)
def test_an_address_that_ipv6_only_wraps_is_the_ipv4_one(written: str, meant: str) -> None:
    assert ip_address(meant) == canonical(ip_address(written))


@pytest.mark.parametrize(
    "hidden",
    [
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2002:a00:1::1",
        "2001:0:a00:1::1",  # Teredo: the server
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo: the client, inverted
    ],
)
def test_an_ipv4_address_is_found_in_every_form_that_hides_it(hidden: str) -> None:
    assert ip_address("10.0.0.1") in forms(ip_address(hidden))


def test_the_loopback_address_hides_none() -> None:
    assert (ip_address("::1"),) == forms(ip_address("::1"))


@pytest.mark.parametrize(
    ("network", "whole"),
    [
        ("10.0.0.0/8", True),
        ("10.1.0.0/16", True),
        ("127.0.0.1/32", True),
        ("169.254.0.0/16", True),
        ("fc00::/7", True),
        ("fd12:3456::/32", True),
        ("::1/128", True),
        ("8000::/1", True),
        ("10.0.0.0/7", False),
        ("0.0.0.0/0", False),
        ("172.0.0.0/8", False),
        ("8.8.8.0/24", False),
        ("::/0", False),
        ("64:ff9b::/96", False),
        ("2000::/3", False),
    ],
)
def test_a_network_is_special_when_all_of_it_is(network: str, whole: bool) -> None:
    assert whole is is_special(ip_network(network))
