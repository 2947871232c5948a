"""A policy from a file, a mapping or an object; and to a file of our own and back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.egress.loading import parse_policy, restore_policy, store_policy
from sandbox_sdk.egress.policy import EgressPolicy
from tool_plugins.errors import ConfigurationError

FULL = """\
allow:
  - index.example
  - "*.files.example"
  - git.example:8443
  - host: ssh.git.example
    ports: [22]
    tunnel: any
  - 10.1.0.0/16:443,8443
  - "[::1]:8000"
deny:
  - telemetry.files.example
private_networks:
  - 10.1.0.0/16
hosts:
  api.test: 127.0.0.1
  both.test: [127.0.0.1, "::1"]
inject:
  - host: index.example
    headers:
      Authorization: "Bearer ${TOKEN}"
      X-Literal: "$${TOKEN}"
limits:
  max_connections: 32
  max_sent_mb: null
  idle_timeout_s: 12.5
ca_file: certificates/ca.pem
web_request: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The whole of what a policy may say."""
    path = tmp_path / "egress.yaml"
    path.write_text(FULL)
    return path


def refused(path: Path, text: str, environment: dict[str, str] | None = None) -> str:
    """Why a file is refused."""
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        parse_policy(path, environment or {})
    return str(error.value)


def parsed(given: Any, **environment: str) -> EgressPolicy:
    policy = parse_policy(given, environment)
    assert policy is not None
    return policy


def test_a_file_says_all_that_a_policy_may_say(file: Path) -> None:
    policy = parsed(file, TOKEN="t-1")

    assert [(each.host, each.ports, each.tunnel) for each in policy.allow] == [
        ("index.example", None, "tls"),
        ("*.files.example", None, "tls"),
        ("git.example", (8443,), "tls"),
        ("ssh.git.example", (22,), "any"),
        ("10.1.0.0/16", (443, 8443), "tls"),
        ("::1", (8000,), "tls"),
    ]
    assert policy.hosts == {"api.test": ("127.0.0.1",), "both.test": ("127.0.0.1", "::1")}
    headers = policy.inject[0].headers
    assert headers["Authorization"].get_secret_value() == "Bearer t-1"
    assert headers["X-Literal"].get_secret_value() == "${TOKEN}"
    assert (policy.limits.max_sent_mb, policy.limits.idle_timeout_s) == (None, 12.5)
    assert policy.ca_file == file.parent / "certificates/ca.pem"
    assert policy.web_request


def test_a_path_may_be_a_text(file: Path) -> None:
    assert parsed(str(file), TOKEN="t") == parsed(file, TOKEN="t")


def test_nothing_given_is_no_policy_and_an_empty_one_allows_nothing() -> None:
    assert parse_policy(None, {}) is None
    assert parsed({}) == EgressPolicy()


def test_a_policy_and_its_fields_are_the_same() -> None:
    policy = EgressPolicy.model_validate({"allow": ["index.example"], "ca_file": "/etc/ca.pem"})

    assert parsed(policy) == policy
    assert parsed({"allow": ["index.example"], "ca_file": Path("/etc/ca.pem")}) == policy


def test_a_relative_certificate_file_stays_the_same_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert parsed({"ca_file": "ca.pem"}).ca_file == tmp_path / "ca.pem"
    assert parsed(EgressPolicy(ca_file=Path("ca.pem"))).ca_file == tmp_path / "ca.pem"


def test_an_absolute_certificate_file_of_a_file_stays(file: Path) -> None:
    file.write_text("ca_file: /etc/ca.pem\n")

    assert parsed(file).ca_file == Path("/etc/ca.pem")


def test_variables_stand_in_the_values_of_headers_of_a_file_only(file: Path) -> None:
    fields = {"allow": ["a.test"], "inject": [{"host": "a.test", "headers": {"X": "${TOKEN}"}}]}

    assert parsed(fields, TOKEN="t").inject[0].headers["X"].get_secret_value() == "${TOKEN}"
    assert "allow.0.host" in refused(file, 'allow: ["${TOKEN}"]\n', {"TOKEN": "a.test"})


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("allow:\n  - index.example\nalow: []\n", 3, "alow: there is no such field"),
        ("allow:\n  - index.example\n  - https://a.test/\n", 3, "allow.1: .*URL"),
        ("allow:\n  - host: a.test\n    ports: [0]\n", 3, "allow.0.ports.0"),
        ("allow:\n  - git.example: 8443\n", 2, "allow.0"),
        ("allow:\n  - 1.5\n", 2, "allow.0: a rule is a text"),
        ("hosts:\n  a.test: 127.0.0.1\n  b.test: 127.1\n", 3, "hosts.b.test.0"),
        ("hosts:\n  a.test: 127.0.0.1\n  'b c': 127.0.0.1\n", 3, "hosts.b c: "),
        ("private_networks:\n  - 10.0.0.0/8\n  - 0.0.0.0/0\n", 3, "private_networks.1"),
        ("limits:\n  max_connections: 5\n  max_memory: 5\n", 3, "limits.max_memory"),
        (
            "allow: ['*']\ninject:\n  - host: a.test\n    headers:\n      Host: x\n",
            5,
            "headers.Host",
        ),
        ("inject:\n  - host: a.test\n    headers: {X: x}\n", 1, "no rule in allow covers"),
        ("web_request: perhaps\n", 1, "web_request"),
        ("allow: [a.test]\nallow: [b.test]\n", 2, "twice"),
        ("allow: index.example\n", 1, "allow: a list is expected"),
        ("limits: 5\n", 1, "limits: fields are expected"),
        ("hosts: a.test\n", 1, "hosts: names with values"),
        ("- index.example\n", 1, "has fields"),
        ("index.example\n", 1, "has fields"),
        ("allow: &a [index.example]\n", 1, "anchors"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(
    file: Path, text: str, line: int, words: str
) -> None:
    reason = refused(file, text)

    assert f"{file}:{line}:" in reason
    assert re.search(words, reason), reason


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        parse_policy(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigurationError, match="not a regular file"):
        parse_policy(tmp_path, {})
    assert "empty" in refused(tmp_path / "empty.yaml", "")


@pytest.mark.parametrize("given", [1, ["index.example"], b"egress.yaml", object()])
def test_what_is_no_policy_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="egress_policy is a"):
        parse_policy(given, {})


@pytest.mark.parametrize(
    ("value", "environment", "words"),
    [
        ("s3cret ${TOKEN}", {}, "'TOKEN' is not set"),
        ("s3cret ${TOKEN", {"TOKEN": "x"}, "does not continue"),
        ("${TOKEN}", {"TOKEN": "s3cret\n"}, "line break"),
        ("${TOKEN}", {"TOKEN": ""}, "empty"),
        ("${TOKEN}", {"TOKEN": "s3cret\u00e9"}, "another character"),
    ],
)
def test_a_wrong_value_of_a_header_is_named_and_not_quoted(
    file: Path, value: str, environment: dict[str, str], words: str
) -> None:
    text = f'allow: [a.test]\ninject:\n  - host: a.test\n    headers:\n      X-Key: "{value}"\n'

    reason = refused(file, text, environment)

    assert words in reason
    assert f"{file}:5: inject.0.headers.X-Key" in reason
    assert "s3cret" not in reason


@pytest.mark.parametrize(
    "inject",
    [
        "s3cret",
        "[s3cret]",
        "[{host: a.test, headers: s3cret}]",
        "[{host: a.test, headers: [s3cret]}]",
        "[{host: a.test, headers: {X: [s3cret]}}]",
        "[{host: a.test, headers: {X: {s3cret: 1}}}]",
    ],
)
def test_a_misplaced_secret_is_not_quoted(file: Path, inject: str) -> None:
    assert "s3cret" not in refused(file, f"allow: [a.test]\ninject: {inject}\n")


def test_many_mistakes_are_told_briefly(file: Path) -> None:
    reason = refused(file, "allow:\n" + "  - a b\n" * 5000)

    assert "and 4990 more" in reason
    assert len(reason) < 10_000


def test_a_stored_policy_comes_back_with_its_secrets(file: Path) -> None:
    policy = parsed(file, TOKEN='t-1 "quoted" \\ ~')

    restored = restore_policy(store_policy(policy))

    assert restored == policy
    found = restored.inject[0].headers["Authorization"].get_secret_value()
    assert found == 'Bearer t-1 "quoted" \\ ~'
    assert restore_policy(store_policy(EgressPolicy())) == EgressPolicy()


@pytest.mark.parametrize("damage", ["", "{", "null", "[]", '"x"', '{"alow": []}', "[" * 100_000])
def test_a_damaged_stored_policy_is_refused(damage: str) -> None:
    with pytest.raises(ConfigurationError, match="damaged"):
        restore_policy(damage)


def test_a_stored_policy_cut_short_is_refused_and_not_quoted(file: Path) -> None:
    text = store_policy(parsed(file, TOKEN="s3cret"))
    wrong = json.loads(text)
    wrong["inject"][0]["headers"]["X"] = "s3cret\n"

    for damaged in (text[: len(text) // 2], text[:-1], json.dumps(wrong)):
        with pytest.raises(ConfigurationError) as error:
            restore_policy(damaged)
        assert "s3cret" not in str(error.value)
