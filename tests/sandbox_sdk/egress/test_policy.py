"""What a policy may say; what is refused says which field and why."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox_sdk.egress.policy import NOTHING, EgressPolicy, EgressRule

HEADERS = {"Authorization": "Bearer secret-1"}
SHARED: dict[str, Any] = {"host": "api.test", "headers": HEADERS}


def problems(fields: Mapping[str, Any]) -> str:
    """Why the fields are refused, each reason after its place."""
    with pytest.raises(ValidationError) as error:
        EgressPolicy.model_validate(fields)
    assert "secret-1" not in str(error.value)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.value.errors()
    )


def inject(**changes: Any) -> dict[str, Any]:
    return {"allow": ["*"], "inject": [SHARED | changes]}


# Refused, words of the reason, and the nearest that is accepted.
FIELDS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"alow": []}, "alow: Extra", {"allow": []}),
    ({"allow": "index.example"}, "allow: ", {"allow": ["index.example"]}),
    ({"allow": ["https://index.example/"]}, "allow.0: .*URL", {"allow": ["index.example"]}),
    ({"allow": ["a.test", "a b"]}, "allow.1.host: .*' '", {"allow": ["a.test", "ab"]}),
    ({"allow": [None]}, "allow.0: ", {"allow": []}),
    ({"allow": [443]}, "allow.0: .*text", {"allow": ["*:443"]}),
    ({"allow": ["127.1"]}, "allow.0.host: .*number", {"allow": ["127.0.0.1"]}),
    ({"allow": ["a.test:0"]}, "allow.0.ports.0: ", {"allow": ["a.test:1"]}),
    ({"allow": ["a.test:65536"]}, "allow.0.ports.0: ", {"allow": ["a.test:65535"]}),
    ({"allow": ["a.test:http"]}, "allow.0: .*ports", {"allow": ["a.test:80"]}),
    ({"allow": [{"host": "a.test:80"}]}, "allow.0.host: .*ports", {"allow": [{"host": "a.test"}]}),
    ({"allow": [{"ports": [80]}]}, "allow.0.host: ", {"allow": [{"host": "*", "ports": [80]}]}),
    ({"allow": [{"host": "a", "port": 1}]}, "port: ", {"allow": [{"host": "a", "ports": [1]}]}),
    (
        {"allow": [{"host": "a", "ports": []}]},
        "allow.0.ports: ",
        {"allow": [{"host": "a", "ports": None}]},
    ),
    (
        {"allow": [{"host": "a", "ports": [True]}]},
        "allow.0.ports.0: ",
        {"allow": [{"host": "a", "ports": [1]}]},
    ),
    (
        {"allow": [{"host": "a", "ports": ["443"]}]},
        "allow.0.ports.0: ",
        {"allow": [{"host": "a", "ports": [443]}]},
    ),
    (
        {"allow": [{"host": "a", "tunnel": "ssh"}]},
        "allow.0.tunnel: ",
        {"allow": [{"host": "a", "tunnel": "any"}]},
    ),
    ({"allow": ["a.test"] * 10_001}, "allow: .*10000", {"allow": ["a.test"] * 10_000}),
    ({"deny": ["*evil.test"]}, "deny.0.host: ", {"deny": ["*.evil.test"]}),
    ({"private_networks": "10.0.0.0/8"}, "private_networks: ", {"private_networks": []}),
    (
        {"private_networks": ["10.0.0.1/8"]},
        "private_networks.0: .*'10.0.0.0/8'",
        {"private_networks": ["10.0.0.0/8"]},
    ),
    (
        {"private_networks": ["fd00::/8", "0.0.0.0/0"]},
        "private_networks.1: .*public",
        {"private_networks": ["fd00::/8", "127.0.0.0/8"]},
    ),
    (
        {"private_networks": ["8.8.8.0/24"]},
        "private_networks.0: .*public",
        {"private_networks": ["192.168.1.0/24"]},
    ),
    ({"private_networks": ["corp.test"]}, "private_networks.0: ", {"private_networks": ["::1"]}),
    ({"hosts": ["a.test"]}, "hosts: ", {"hosts": {"a.test": "127.0.0.1"}}),
    ({"hosts": {"a b": "::1"}}, "hosts.a b.*: ", {"hosts": {"a.b": "::1"}}),
    ({"hosts": {"*.test": "::1"}}, "hosts.*: ", {"hosts": {"a.test": "::1"}}),
    ({"hosts": {"127.0.0.1": "::1"}}, "hosts.*: .*address", {"hosts": {"a.test": "::1"}}),
    ({"hosts": {"a.test": "b.test"}}, "hosts.a.test.0: ", {"hosts": {"a.test": "192.0.2.1"}}),
    ({"hosts": {"a.test": 127.1}}, "hosts.a.test.0: ", {"hosts": {"a.test": "127.0.0.1"}}),
    ({"hosts": {"a.test": []}}, "hosts.a.test: .*missing", {"hosts": {"a.test": ["::1"]}}),
    ({"hosts": {"a.test": "10.0.0.0/8"}}, "hosts.a.test.0: ", {"hosts": {"a.test": "10.0.0.0"}}),
    ({"limits": {"max_connections": 0}}, "max_connections: ", {"limits": {"max_connections": 1}}),
    ({"limits": {"max_sent_mb": 0}}, "max_sent_mb: ", {"limits": {"max_sent_mb": None}}),
    (
        {"limits": {"idle_timeout_s": float("inf")}},
        "idle_timeout_s: ",
        {"limits": {"idle_timeout_s": 1e9}},
    ),
    (
        {"limits": {"max_connection_s": float("nan")}},
        "max_connection_s: ",
        {"limits": {"max_connection_s": None}},
    ),
    (
        {"limits": {"connect_timeout_s": 0}},
        "connect_timeout_s: ",
        {"limits": {"connect_timeout_s": 0.1}},
    ),
    ({"ca_file": ""}, "ca_file: ", {"ca_file": "ca.pem"}),
    ({"ca_file": "a\0b"}, "ca_file: ", {"ca_file": "/nowhere/ca.pem"}),
    ({"web_request": "maybe"}, "web_request: ", {"web_request": True}),
    (inject(host="*.test"), "inject.0.host: .*wildcards", inject(host="a.test")),
    (inject(host="10.0.0.0/8"), "inject.0.host: ", inject(host="10.0.0.1")),
    (inject(host="a.test:80"), "inject.0.host: ", inject(host="A.test.")),
    (inject(headers={}), "inject.0.headers: ", inject()),
    (inject(headers={"X": ""}), "inject.0.headers.X: .*empty", inject(headers={"X": "1"})),
    (
        inject(headers={"X": "secret-1\n"}),
        "inject.0.headers.X: ",
        inject(headers={"X": "secret-1"}),
    ),
    (
        inject(headers={"X": "secret-1\r\nHost: evil"}),
        "inject.0.headers.X: .*line break",
        inject(headers={"X": "secret-1 Host: evil"}),
    ),
    (inject(headers={"X": "secret-1\0"}), "headers.X: ", inject(headers={"X": "a\tb"})),
    (inject(headers={"X": "secret-1\u00e9"}), "headers.X: ", inject(headers={"X": "~!"})),
    (inject(headers={"X": " secret-1"}), "headers.X: .*blank", inject(headers={"X": "a b"})),
    (inject(headers={"X": "secret-1" * 1001}), "headers.X: .*longer", inject(headers={"X": "s"})),
    (inject(headers={"X Y": "secret-1"}), "inject.0.headers.X Y", inject(headers={"X-Y": "1"})),
    (inject(headers={"X:": "secret-1"}), "inject.0.headers.X:", inject(headers={"X_": "1"})),
    (inject(headers={"": "secret-1"}), "inject.0.headers", inject(headers={"x": "1"})),
    (inject(headers={"Host": "secret-1"}), "headers.Host.*: .*itself", inject(headers={"H": "1"})),
    (
        inject(headers={"Transfer-Encoding": "chunked"}),
        "Transfer-Encoding",
        inject(headers={"Accept-Encoding": "gzip"}),
    ),
    (
        inject(headers={"Proxy-Authorization": "secret-1"}),
        "Proxy-Authorization",
        inject(headers={"Authorization": "secret-1"}),
    ),
    (inject(headers={"X": "secret-1", "x": "2"}), "twice", inject(headers={"X": "1", "Y": "2"})),
    (
        {"allow": ["*"], "inject": [SHARED, SHARED | {"host": "API.test"}]},
        "'api.test' twice",
        {"allow": ["*"], "inject": [SHARED, SHARED | {"host": "b.api.test"}]},
    ),
    (
        {"allow": ["*.api.test"], "inject": [SHARED]},
        "no rule in allow covers",
        {"allow": ["*.test"], "inject": [SHARED]},
    ),
]


@pytest.mark.parametrize(
    ("refused", "words", "accepted"), FIELDS, ids=[ascii(each[0])[:50] for each in FIELDS]
)
def test_a_wrong_field_is_named_and_its_nearest_neighbour_accepted(
    refused: dict[str, Any], words: str, accepted: dict[str, Any]
) -> None:
    found = problems(refused)

    assert re.search(words, found), found
    EgressPolicy.model_validate(accepted)


def test_fields_have_one_form() -> None:
    policy = EgressPolicy.model_validate(
        {
            "allow": ["Index.Example.", "[2606:4700:0::1]:8000", "b\u00fccher.example"],
            "private_networks": ["10.1.2.3", "FD00::/8"],
            "hosts": {"API.test.": "::FFFF:127.0.0.1"},
        }
    )

    assert [each.host for each in policy.allow] == [
        "index.example",
        "2606:4700::1",
        "xn--bcher-kva.example",
    ]
    assert policy.allow[1].ports == (8000,)
    assert policy.private_networks == ("10.1.2.3/32", "fd00::/8")
    assert policy.hosts == {"api.test": ("127.0.0.1",)}


def test_a_rule_that_was_made_before_is_taken_as_it_is() -> None:
    rule = EgressRule(host="ssh.test", ports=(22,), tunnel="any")

    assert EgressPolicy(allow=(rule,)).allow == (rule,)


def test_the_policy_that_allows_nothing_is_the_empty_one() -> None:
    assert EgressPolicy() == NOTHING


def test_secrets_are_shown_nowhere() -> None:
    policy = EgressPolicy.model_validate(inject())

    for text in (repr(policy), str(policy), policy.model_dump_json(), json.dumps(str(policy))):
        assert "secret-1" not in text


def test_a_certificate_file_is_not_read_yet() -> None:
    assert EgressPolicy(ca_file=Path("/nowhere/ca.pem")).ca_file == Path("/nowhere/ca.pem")
