"""Out of what uv says: which package failed, why, and what to do about it."""

from datetime import UTC, datetime

import pytest

from sandbox_sdk.egress.decision import EgressDecision, Reason
from sandbox_sdk.tools.diagnosis import SHOWN_CHARS, SHOWN_LINES, Attempt, explain
from tool_plugins.errors import ErrorCode, ToolError

PINNED = ("pydantic==2.14.3", "typing-extensions==4.16.0")
NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: "


def tried(said: str, *log: EgressDecision, out_of_memory: bool = False) -> ToolError:
    head = "Using CPython 3.13.5 interpreter at: /usr/bin/python3\n"
    return explain(Attempt(("cow", "six"), PINNED, head + said, log, out_of_memory))


def decision(allowed: bool, reason: Reason, message: str) -> EgressDecision:
    return EgressDecision(
        at=datetime.now(UTC),
        protocol="connect",
        host="index.test",
        port=443,
        allowed=allowed,
        reason=reason,
        message=message,
    )


@pytest.mark.parametrize(
    ("said", "packages", "reason"),
    [
        (
            "Because cowsayy was not found in the package registry and this-file depends on "
            "cowsayy, we can conclude that your requirements are unsatisfiable.",
            ["cowsayy"],
            "no such package",
        ),
        (
            "Because bad==1.0 has no usable wheels and only bad==1.0 is available, we can "
            "conclude that all versions of bad cannot be used.\n         And because all versions "
            "of cow depend on bad and this-file depends on cow, we can conclude that ...",
            ["bad"],
            "no wheel",
        ),
        ("Because all versions of docopt have no usable wheels and", ["docopt"], "no wheel"),
        (
            "Because torch==1.0.0 has no wheels with a matching Python ABI tag (e.g., `cp313`) and",
            ["torch"],
            "for the Python and the machine",
        ),
        (
            "Because there is no version of cow==99 and this-file depends on cow==99, we can",
            ["cow"],
            "no such version",
        ),
        ("Because only cow<=1.4.0 is available and this-file", ["cow"], "no such version"),
        (
            "Because fastapi==0.90.0 depends on one of:\n             pydantic>=1.6.2,<1.7\n"
            "             pydantic>1.8.1,<2.0.0\n         and pydantic==2.14.3, we can conclude",
            ["pydantic"],
            "run beside pydantic==2.14.3",
        ),
        (
            "Because this-file depends on cow>=2 and six depends on cow<2, we can conclude",
            ["cow", "six"],
            "do not go together",
        ),
    ],
)
def test_resolver_names_the_package(said: str, packages: list[str], reason: str) -> None:
    error = tried(f"{NO_SOLUTION}{said}")
    assert error.code is ErrorCode.DEPENDENCY_ERROR
    assert error.details["packages"] == packages
    assert reason in error.message.partition("\n")[0]
    assert said.splitlines()[-1].strip() in error.message
    assert error.hint


FETCH = (
    "error: Request failed after 1 retries in 2.0s\n"
    "  cause: Failed to fetch: https://index.test/simple/bad/\n"
    "  cause: error sending request for url (https://index.test/simple/bad/)\n"
    "  cause: tunnel error: unsuccessful"
)


def test_host_that_was_denied_is_named() -> None:
    error = tried(FETCH, decision(False, Reason.NOT_ALLOWED, "this sandbox may not reach it"))
    assert error.details == {"packages": ["bad"], "hosts": ["index.test:443"]}
    assert "refused index.test:443: this sandbox may not reach it" in error.message
    assert "egress policy" in error.hint


def test_host_that_does_not_answer_is_told_apart() -> None:
    error = tried(FETCH, decision(True, Reason.DNS, "there is no host named 'index.test'"))
    assert error.details == {"packages": ["bad"], "hosts": []}
    assert error.message.startswith("cannot install bad: there is no host named 'index.test'\n")


def test_file_that_cannot_be_fetched_names_its_package() -> None:
    error = tried("error: Failed to fetch: https://files.test/a/cow_bell-1.0-py3-none-any.whl\n")
    assert error.details["packages"] == ["cow_bell"]


def test_full_disk_and_memory_are_told_apart() -> None:
    full = tried("error: Failed to download `cow==1.0`\n  cause: No space left on device (28)")
    assert full.details["packages"] == ["cow"]
    assert "disk of a sandbox" in full.message
    assert "not enough memory" in tried("Killed", out_of_memory=True).message


def test_what_uv_says_is_bounded_and_harmless() -> None:
    noise = "".join(f"\x1b[31mline {n} \u202e\u200b{'x' * 300}\n" for n in range(100))
    secret = "error: cannot use https://user:secret@index.test/simple/"
    said = tried(f"{noise}{secret}").message.partition("\n")[2]
    assert len(said) <= SHOWN_CHARS
    assert len(said.splitlines()) <= SHOWN_LINES
    assert said.endswith("error: cannot use https://index.test/simple/")
    assert not {"\x1b", "\u202e", "\u200b"} & set(said)
