"""Why packages could not be installed, out of what uv said and what the proxy let through.

uv quotes the index and the packages, which anybody may have written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import visible

if TYPE_CHECKING:
    from sandbox_sdk.egress.decision import EgressDecision

SHOWN_LINES = 12
SHOWN_CHARS = 1500
SHOWN_NAMES = 5

_NAME = r"`?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
_ANY = _NAME + r"(?:[<>=!~]+\S+)?"
_SECRET = re.compile(r"//[^/\s@]*@")
_FETCHED = (
    re.compile(r"https?://\S*/(?P<name>[A-Za-z0-9][A-Za-z0-9_.]*)-[^/\s]*\.whl"),
    re.compile(r"https?://\S*/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)/(?=[\s)`]|$)"),
    re.compile(rf"Failed to \w+ {_NAME}"),
)


class _Kind(NamedTuple):
    pattern: str
    reason: str
    hint: str


_NO_WHEEL = "it has no wheel, and building one would run code of it"
_OTHER = "choose a version or a package that comes as a wheel"
_UNREACHED = _Kind(
    r"Failed to (?:fetch|download)|Request failed|error sending request",
    "the package index does not answer as it should",
    "try again later",
)
# What a resolver finds wrong with one package, then what has nothing to do with a version. The
# first that is found counts.
_OF_PACKAGES = (
    _Kind(
        r"lack of valid authentication credentials",
        "the package index wants a password",
        "its operator can give the index with one",
    ),
    _Kind(
        rf"{_ANY} was not found in the package registry",
        "there is no such package",
        "check how it is spelled",
    ),
    _Kind(rf"{_ANY} (?:has|have) no usable wheels", _NO_WHEEL, _OTHER),
    _Kind(r"Building source distributions is disabled", _NO_WHEEL, _OTHER),
    _Kind(
        rf"{_ANY} (?:has|have) no wheels with a matching",
        "no wheel of it is for the Python and the machine of a sandbox",
        "choose a version that has one",
    ),
    _Kind(
        r"[Tt]he current Python version",
        "it is for another Python",
        "choose a version for the Python of a sandbox",
    ),
)
_OF_THE_REST = (
    _Kind(rf"no versions? of {_NAME}", "there is no such version", "choose another one"),
    _Kind(rf"only {_ANY} is available", "there is no such version", "choose another one"),
    _Kind(
        r"No space left on device",
        "the packages take more than the disk of a sandbox",
        "choose fewer or smaller ones",
    ),
    _Kind(
        r"uv: (?:command )?not found",
        "uv is not there",
        "use an image that has it, or none, to have one built",
    ),
    _UNREACHED,
    _Kind("", "they do not go together", "choose other versions"),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of uv: what it was asked for, what had to keep its version, and what came of it.

    `packages` are names, `pinned` of the form "name==version".
    """

    packages: Sequence[str]
    pinned: Sequence[str]
    said: str
    log: "Sequence[EgressDecision]"
    out_of_memory: bool = False


def explain(attempt: Attempt) -> ToolError:
    """DEPENDENCY_ERROR with the package, the reason and uv's last lines.

    `details` has `packages`, which failed or may have, and `hosts`, which the policy refused.
    """
    said = _SECRET.sub("//", visible(attempt.said))
    refused = [each for each in attempt.log if not each.allowed]
    hosts = list(dict.fromkeys(f"{each.host}:{each.port}" for each in refused))
    if refused:
        names, hint = _fetched(said), "allow it in the egress policy"
        reason = f"the egress policy refused {', '.join(hosts)}: {refused[-1].message}"
    elif attempt.out_of_memory:
        names, hint = [], "give the sandboxes more of it, or choose fewer packages"
        reason = "there is not enough memory"
    else:
        names, reason, hint = _judged(attempt, said)
    return failure(names or attempt.packages, reason, hint=hint, said=_end(said), hosts=hosts)


def failure(
    packages: Sequence[str],
    reason: str,
    *,
    hint: str = "",
    said: str = "",
    hosts: Sequence[str] = (),
) -> ToolError:
    """DEPENDENCY_ERROR for packages, in its one form."""
    shown = ", ".join(packages[:SHOWN_NAMES])
    if len(packages) > SHOWN_NAMES:
        shown += f" and {len(packages) - SHOWN_NAMES} more"
    return ToolError(
        ErrorCode.DEPENDENCY_ERROR,
        "\n".join(filter(None, (f"cannot install {shown}: {reason}", said))),
        hint=hint,
        details={"packages": list(packages), "hosts": list(hosts)},
    )


def _judged(attempt: Attempt, said: str) -> tuple[list[str], str, str]:
    """The packages at fault as far as they are known, the reason, and what to do."""
    for kind in _OF_PACKAGES:
        if found := re.search(kind.pattern, said):
            return _named(found, said), kind.reason, kind.hint
    if pins := [pin for pin in attempt.pinned if re.search(rf"{re.escape(pin)}(?!\S*\d)", said)]:
        names = [pin.partition("==")[0] for pin in pins]
        return names, f"custom tools run beside {', '.join(pins)}", "allow that version"
    kind, found = next(
        (kind, found) for kind in _OF_THE_REST if (found := re.search(kind.pattern, said))
    )
    if kind is _UNREACHED and (lost := [each for each in attempt.log if each.reason is not None]):
        return _named(found, said), lost[-1].message, kind.hint
    return _named(found, said), kind.reason, kind.hint


def _named(found: re.Match[str], said: str) -> list[str]:
    name = found.groupdict().get("name")
    return [name] if name else _fetched(said)


def _fetched(said: str) -> list[str]:
    """The package that uv was about to fetch when it gave up."""
    found = next(filter(None, (pattern.search(said) for pattern in _FETCHED)), None)
    return [found["name"]] if found else []


def _end(said: str) -> str:
    """The last lines, without what says nothing of the failure."""
    lines = [line for line in said.splitlines() if line.strip() and "interpreter at:" not in line]
    return "\n".join(lines[-SHOWN_LINES:])[-SHOWN_CHARS:]
