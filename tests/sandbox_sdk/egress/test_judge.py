"""What a policy lets out, asked as the proxy asks: a host and a port, then its addresses."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.index import Index
from sandbox_sdk.egress.judge import Judge, Verdict
from sandbox_sdk.egress.policy import EgressPolicy

PUBLIC = "8.8.8.8"


def judge(**policy: Any) -> Judge:
    return Judge(EgressPolicy(**policy))


def decide(decider: Judge, host: str, *addresses: str, port: int = 443) -> Verdict:
    """The last word about a host that resolves to these addresses."""
    verdict = decider.judge(host, port)
    found = addresses or (() if verdict.address is None else (str(verdict.address),))
    return decider.check(verdict, [ip_address(each) for each in found or (PUBLIC,)])


@pytest.mark.parametrize(
    ("allow", "allowed", "refused"),
    [
        (
            ["example.com"],
            ["example.com", "EXAMPLE.com", "example.com.", "Example.Com."],
            [
                "evilexample.com",
                "example.com.evil.com",
                "www.example.com",
                "xample.com",
                "com",
                "example.co",
                "example.comm",
                "xn--example-.com",
                "\u0435xample.com",
                "8.8.8.8",
            ],
        ),
        (
            ["*.example.com"],
            ["a.example.com", "A.B.example.com.", "com.example.com", "_x.example.com"],
            ["example.com", "evilexample.com", "a.example.com.evil.com", "aexample.com"],
        ),
        (["*.com"], ["example.com", "a.example.com"], ["com", "examplecom", "example.org"]),
        (
            ["b\u00fccher.example"],
            ["b\u00fccher.example", "xn--bcher-kva.example", "B\u00dcCHER.example"],
            ["bucher.example", "xn--bcher-kvb.example"],
        ),
        (["*"], ["example.com", "localhost", "8.8.8.8", "[2606:4700::1]"], ["10.0.0.1", "::1"]),
        (["10.1.0.0/16"], ["10.1.0.0", "10.1.255.255"], ["10.2.0.0", "10.0.255.255", "a.com"]),
        (["[::1]"], ["[::1]", "::1", "0:0:0:0:0:0:0:1"], ["::2", "127.0.0.1", "localhost"]),
        (["127.0.0.1"], ["127.0.0.1", "[::ffff:7f00:1]"], ["127.0.0.2", "localhost", "::1"]),
        (["fd00::/8"], ["fd12::1"], ["fc00::1", "fe00::1"]),
        ([], [], ["example.com", "8.8.8.8", "localhost"]),
    ],
)
def test_a_rule_covers_what_it_says_and_its_neighbours_not(
    allow: list[str], allowed: list[str], refused: list[str]
) -> None:
    decider = judge(allow=allow)

    assert allowed == [host for host in allowed if decide(decider, host).allowed]
    assert [host for host in refused if decide(decider, host).allowed] == []


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "\uff11\uff12\uff17.0.0.1",
        "evil.com\0.example.com",
        "evil.com%00.example.com",
        "example.com\\@127.0.0.1",
        "user@example.com",
        "",
        ".",
        "example.com..",
        "fe80::1%25lo",
        "[::1",
        "a" * 100_000,
    ],
)
def test_a_malformed_host_is_refused_whatever_is_allowed(host: str) -> None:
    verdict = judge(allow=["*", "0.0.0.0/0", "::/0"]).judge(host, 443)

    assert (verdict.allowed, verdict.reason) == (False, Reason.BAD_HOST)
    assert verdict.hint
    for text in (verdict.host, verdict.message):
        assert text.isascii()
        assert text == "" or text.isprintable()
        assert len(text) < 300


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        ("example.com", [80, 443], [22, 25, 79, 81, 442, 2375, 6379, 8080, 65_535]),
        ("example.com:8443", [8443], [80, 443]),
        ("example.com:22,443", [22, 443], [80]),
        ("*:8080", [8080], [80, 443]),
    ],
)
def test_a_rule_covers_its_ports_only(rule: str, allowed: list[int], refused: list[int]) -> None:
    decider = judge(allow=[rule])

    assert allowed == [port for port in allowed if decider.judge("example.com", port).allowed]
    for port in refused:
        verdict = decider.judge("example.com", port)
        assert (verdict.allowed, verdict.reason) == (False, Reason.PORT)
        assert str(allowed[0]) in verdict.hint


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**30])
def test_what_is_no_port_is_a_bad_request(port: int) -> None:
    assert Reason.BAD_REQUEST is judge(allow=["*"]).judge("example.com", port).reason


def test_ports_of_several_rules_add_up() -> None:
    decider = judge(allow=["example.com:22", "example.com", "*.example.com:22", "*:8080"])

    assert [
        port for port in (21, 22, 80, 443, 444, 8080) if decider.judge("example.com", port).allowed
    ] == [22, 80, 443, 8080]
    assert [
        port for port in (22, 80, 443, 8080) if decider.judge("a.example.com", port).allowed
    ] == [22, 8080]


@pytest.mark.parametrize(
    ("deny", "refused", "allowed"),
    [
        (["bad.example.com"], ["bad.example.com", "BAD.example.com."], ["a.bad.example.com"]),
        (["*.bad.example.com"], ["a.bad.example.com", "a.b.bad.example.com"], ["bad.example.com"]),
        (["*"], ["good.example.com", "8.8.8.8"], []),
        (["8.8.8.0/24"], ["8.8.8.8", "[::ffff:8.8.8.8]", "64:ff9b::808:808"], ["8.8.9.8"]),
        (["8.8.8.8"], ["8.8.8.8"], ["8.8.8.9"]),
    ],
)
def test_deny_wins(deny: list[str], refused: list[str], allowed: list[str]) -> None:
    decider = judge(allow=["*", "*.example.com", "bad.example.com", "8.8.8.8"], deny=deny)

    for host in refused:
        verdict = decider.judge(host, 443)
        assert (False, Reason.DENIED, deny[0]) == (verdict.allowed, verdict.reason, verdict.rule)
    assert allowed == [host for host in allowed if decider.judge(host, 443).allowed]


def test_a_deny_rule_without_ports_means_all_and_with_ports_these() -> None:
    everything = judge(allow=["example.com:22,443"], deny=["example.com"])
    one = judge(allow=["example.com:22,443"], deny=["example.com:22"])

    assert [port for port in (22, 443) if everything.judge("example.com", port).allowed] == []
    assert [port for port in (22, 443) if one.judge("example.com", port).allowed] == [443]


def test_a_denied_address_cannot_be_reached_by_a_name() -> None:
    decider = judge(
        allow=["a.test"],
        deny=["8.8.8.0/24", "127.0.0.2"],
        hosts={"a.test": "127.0.0.2"},
        private_networks=["127.0.0.0/8"],
    )

    assert Reason.DENIED is decide(decider, "a.test", "9.9.9.9", "8.8.8.8").reason
    assert Reason.DENIED is decide(decider, "a.test", "::ffff:8.8.8.8").reason
    assert Reason.DENIED is decide(decider, "a.test", "64:ff9b::8.8.8.8").reason
    assert Reason.DENIED is decide(decider, "a.test", "127.0.0.2").reason
    assert decide(decider, "a.test", "8.8.9.8", "127.0.0.3").allowed


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "100.64.0.1",
    "100.100.100.200",
    "224.0.0.1",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "::ffff:0:127.0.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("allow", [["*"], ["0.0.0.0/0", "::/0"], ["*", "0.0.0.0/0", "::/0"]])
def test_an_address_that_is_not_public_is_reached_by_no_general_rule(
    address: str, allow: list[str]
) -> None:
    verdict = judge(allow=allow).judge(address, 443)

    assert (verdict.allowed, verdict.reason) == (False, Reason.PRIVATE_ADDRESS)
    assert verdict.hint
    assert judge(allow=allow).judge("2606:4700::1111", 443).allowed


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("allow", ["*", "a.test", "*.test"])
def test_a_name_may_not_lead_to_an_address_that_is_not_public(address: str, allow: str) -> None:
    decider = judge(allow=[allow])

    for answer in ([address], [PUBLIC, address], [address, PUBLIC], [*[PUBLIC] * 9, address]):
        verdict = decide(decider, "a.test", *answer)
        assert (verdict.allowed, verdict.reason) == (False, Reason.PRIVATE_ADDRESS)
        assert address not in verdict.message
    assert decide(decider, "a.test", PUBLIC, "2606:4700::1111", "64:ff9b::8.8.8.8").allowed


@pytest.mark.parametrize(
    ("networks", "allowed", "refused"),
    [
        (["10.0.0.0/8"], ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"], ["127.0.0.1"]),
        (["10.1.0.0/16"], ["10.1.255.255"], ["10.2.0.0", "172.16.0.1", "127.0.0.1", "fd00::1"]),
        (["169.254.0.0/16"], ["169.254.1.1"], ["169.254.169.254", "169.254.170.2"]),
        (["169.254.169.254"], ["169.254.169.254"], ["169.254.169.253"]),
        (["100.64.0.0/10"], ["100.64.0.1"], ["100.100.100.200"]),
        (["fd00::/8"], ["fd12::1"], ["fd00:ec2::254", "fc00::1"]),
        (["2002::/16"], [], ["2002:a00:1::1", "2002:a9fe:a9fe::"]),
        (["2002::/16", "10.0.0.0/8"], ["2002:a00:1::1"], ["2002:a9fe:a9fe::"]),
    ],
)
def test_an_allowed_name_may_lead_into_private_networks(
    networks: list[str], allowed: Sequence[str], refused: Sequence[str]
) -> None:
    decider = judge(allow=["a.test"], private_networks=networks)

    for address in allowed:
        assert decide(decider, "a.test", address).allowed
        assert decide(decider, "a.test", address, PUBLIC).allowed
    for address in refused:
        assert Reason.PRIVATE_ADDRESS is decide(decider, "a.test", address).reason


def test_private_networks_open_neither_literal_addresses_nor_every_name() -> None:
    decider = judge(allow=["*", "*.corp.test"], private_networks=["10.0.0.0/8"])

    assert decide(decider, "a.corp.test", "10.0.0.1").allowed
    # Anybody may have a name that leads into our network.
    assert Reason.PRIVATE_ADDRESS is decide(decider, "evil.test", "10.0.0.1").reason
    assert Reason.PRIVATE_ADDRESS is decide(decider, "10.0.0.1").reason


@pytest.mark.parametrize(
    ("allow", "allowed", "refused"),
    [
        (["127.0.0.1:80"], "127.0.0.1", "127.0.0.2"),
        (["169.254.169.254"], "169.254.169.254", "169.254.169.253"),
        (["169.254.0.0/16"], "169.254.1.1", "169.254.169.254"),
        (["10.0.0.0/7"], "11.0.0.1", "10.0.0.1"),
        (["10.0.0.0/7", "10.0.0.0/8"], "10.0.0.1", "12.0.0.1"),
        (["2002::/16", "127.0.0.0/8"], "127.0.0.1", "2002:7f00:1::"),
    ],
)
def test_an_address_that_a_rule_names_is_reachable(
    allow: list[str], allowed: str, refused: str
) -> None:
    decider = judge(allow=allow)

    assert decide(decider, allowed, port=80).allowed
    assert not decide(decider, refused, port=80).allowed
    assert not decide(decider, "name.test", allowed, port=80).allowed


def test_hosts_open_their_addresses_for_their_name_alone() -> None:
    decider = judge(
        allow=["api.test", "other.test"],
        hosts={"API.test": ["127.0.0.1", "::1"], "no.test": PUBLIC},
    )

    assert decide(decider, "api.test", "127.0.0.1", "::1", PUBLIC).allowed
    assert decide(decider, "api.test", "::ffff:127.0.0.1").allowed
    assert Reason.PRIVATE_ADDRESS is decide(decider, "api.test", "127.0.0.2").reason
    assert Reason.PRIVATE_ADDRESS is decide(decider, "other.test", "127.0.0.1").reason
    assert Reason.NOT_ALLOWED is decide(decider, "no.test").reason
    assert Reason.NOT_ALLOWED is decide(decider, "127.0.0.1").reason


def test_a_literal_address_leads_nowhere_else() -> None:
    decider = judge(allow=["8.8.8.8"])

    assert not decider.check(decider.judge("8.8.8.8", 443), [ip_address("9.9.9.9")]).allowed


def test_a_name_without_addresses_is_not_reached() -> None:
    decider = judge(allow=["a.test"])

    assert Reason.DNS is decider.check(decider.judge("a.test", 443), ()).reason


def test_what_was_refused_stays_refused() -> None:
    decider = judge(allow=["a.test"])
    refused = decider.judge("b.test", 443)

    assert refused is decider.check(refused, [ip_address(PUBLIC)])


def test_without_a_policy_nothing_goes_out() -> None:
    verdict = Judge(None).judge("example.com", 443)

    assert (verdict.allowed, verdict.reason) == (False, Reason.NO_POLICY)
    assert Reason.NO_POLICY is Judge(None).judge("\0" * 10_000, 0).reason
    assert Judge(None).injection("example.com") is None


def test_the_narrowest_rule_decides_about_the_tunnel() -> None:
    decider = judge(
        allow=[
            {"host": "*", "ports": [22, 443], "tunnel": "any"},
            {"host": "*.example.com", "ports": [443]},
            {"host": "git.example.com", "ports": [443]},
            {"host": "git.example.com", "ports": [443], "tunnel": "any"},
            {"host": "10.0.0.0/8", "tunnel": "any"},
            {"host": "10.1.0.0/16"},
        ]
    )

    assert _tunnel(decider.judge("other.test", 443)) == ("any", "*:22,443")
    assert _tunnel(decider.judge("a.example.com", 443)) == ("tls", "*.example.com:443")
    assert _tunnel(decider.judge("git.example.com", 443)) == ("any", "git.example.com:443")
    assert _tunnel(decider.judge("10.1.0.1", 443)) == ("tls", "10.1.0.0/16")
    assert _tunnel(decider.judge("10.2.0.1", 443)) == ("any", "10.0.0.0/8")
    assert _tunnel(decider.judge("git.example.com", 22)) == ("any", "*:22,443")


def _tunnel(verdict: Verdict) -> tuple[str, str]:
    return verdict.tunnel, verdict.rule


def test_a_refusal_says_what_may_be_reached_instead() -> None:
    few = judge(allow=["index.example", "git.example:8443", "[::1]:8000"]).judge("evil.test", 443)
    many = judge(allow=[f"h{n}.test" for n in range(25)]).judge("evil.test", 443)

    assert few.message == "this sandbox may not reach 'evil.test'"
    assert few.hint == "it may reach: index.example, git.example:8443, [::1]:8000"
    assert many.hint.endswith("h18.test, h19.test and 5 more")
    assert judge().judge("evil.test", 443).hint == "this sandbox may reach nothing"


def test_headers_are_found_by_a_host_in_any_spelling() -> None:
    injection = {"host": "API.test", "headers": {"Authorization": "Bearer x"}}
    decider = judge(allow=["api.test"], inject=[injection])

    for host in ("api.test", "API.TEST", "api.test."):
        found = decider.injection(host)
        assert found is not None
        assert found.headers["Authorization"].get_secret_value() == "Bearer x"
    for host in ("a.api.test", "xapi.test", "api.test\0", ""):
        assert decider.injection(host) is None


def test_ten_thousand_rules_are_not_looked_at_one_by_one() -> None:
    looked_at = 0

    class Rule:
        def __init__(self, host: str) -> None:
            self._host = host

        @property
        def host(self) -> str:
            nonlocal looked_at
            looked_at += 1
            return self._host

    names = [f"h{n}.test" for n in range(10_000)] + [f"*.d{n}.test" for n in range(10_000)]
    index = Index([Rule(name) for name in [*names, "*"]])  # pyright: ignore[reportArgumentType]
    looked_at = 0
    found = list(index.covering("a.b.d9999.test", None))

    assert [each.host for each in found] == ["*.d9999.test", "*"]
    assert looked_at == 2
