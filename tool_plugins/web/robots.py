"""Heeds robots.txt (RFC 9309): a courtesy to servers, where the operator asks for it.

Where a server refuses the file (401, 403) or fails (5xx), nothing may be fetched; where it has none
(any other status), everything may.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from tool_plugins.errors import ErrorCode, ToolError

from .client import Answer, Request, ask
from .coding import decode
from .url import Url
from .wire import Deadline

AGENT = "sandbox-sdk"
MAX_BYTES = 500 * 1024
MAX_RULES = 10_000
MAX_HOSTS = 100
KEPT_S = 600.0
TIMEOUT_S = 5.0
PATH = "/robots.txt"
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


@dataclass(frozen=True, slots=True)
class Rules:
    """What one robots.txt says to one program: patterns, and whether they allow.

    `failed` is the status of a robots.txt that could not be had, if that forbids everything.
    """

    rules: tuple[tuple[str, bool], ...] = ()
    failed: int | None = None

    def allows(self, target: str) -> bool:
        """Whether path and query may be fetched: the longest pattern decides, and allows a tie."""
        if self.failed is not None:
            return False
        target = _normal(target)
        best = max(
            ((len(pattern), allow) for pattern, allow in self.rules if _matches(pattern, target)),
            default=(0, True),
        )
        return best[1]


EVERYTHING = Rules()


def parse_robots(text: str, agent: str = AGENT) -> Rules:
    """The rules for `agent`: those of its groups, or of the groups for all ("*")."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    current: list[str] = []
    in_head = False
    for name, value in list(_lines(text))[:MAX_RULES]:
        if name == "user-agent":
            current = [*(current if in_head else []), _product(value)]
            groups.setdefault(current[-1], [])
            in_head = True
        elif name in ("allow", "disallow"):
            in_head = False
            if value:  # an empty one says nothing
                for each in current:
                    groups[each].append((_normal(value), name == "allow"))
    found = groups.get(agent.lower(), groups.get("*", []))
    return Rules(tuple(found))


def _lines(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition("#")[0].partition(":") for line in re.split(r"\r\n?|\n", text))
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def _product(value: str) -> str:
    found = re.match(r"[A-Za-z_-]+", value)
    return found[0].lower() if found else value[:1]


def _normal(target: str) -> str:
    """Path and query in one spelling: of what may be encoded or not, nothing is."""
    return quote(_ENCODED.sub(_decoded, target), safe="%/?:@!$&'()*+,;=-._~[]|^{}")


def _decoded(found: re.Match[str]) -> str:
    if found[1] is None:
        return "%25"
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def _matches(pattern: str, target: str) -> bool:
    """An asterisk stands for anything, "$" at the end for the end. Never tries twice."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not target.startswith(first):
        return False
    at = len(first)
    for index, part in enumerate(rest):
        if anchored and index == len(rest) - 1:
            return target.endswith(part) and len(target) - len(part) >= at
        at = target.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not anchored or at == len(target)


@dataclass(slots=True)
class Robots:
    """The rules of the servers asked lately. `check` is to see every URL before it is fetched."""

    _kept: dict[tuple[str, str, int], tuple[float, Rules]] = field(default_factory=dict)

    def check(self, url: Url, deadline: Deadline) -> None:
        """Raises EGRESS_DENIED where robots.txt forbids the URL to programs."""
        if url.target == PATH:
            return
        rules = self._rules(url, deadline)
        if rules.allows(url.target):
            return
        says = f"asks programs not to fetch {url.target[:200]!r}"
        if rules.failed is not None:
            says = (
                f"was answered with {rules.failed}, which forbids everything until it can be read"
            )
        raise ToolError(
            ErrorCode.EGRESS_DENIED,
            f"robots.txt of {url.endpoint} {says}",
            hint="this sandbox heeds robots.txt; find what you need elsewhere",
            details={"host": url.host, "port": url.port, "reason": "robots"},
        )

    def _rules(self, url: Url, deadline: Deadline) -> Rules:
        key = (url.scheme, url.host, url.port)
        now = time.monotonic()
        found = self._kept.pop(key, None)
        if found is None or found[0] < now - KEPT_S:
            found = (now, fetch_rules(replace(url, target=PATH), deadline))
        if found[1].failed is None:
            self._kept[key] = found
        while len(self._kept) > MAX_HOSTS:
            del self._kept[next(iter(self._kept))]
        return found[1]


def fetch_rules(url: Url, deadline: Deadline) -> Rules:
    """The rules in the robots.txt at `url`.

    Raises:
        ToolError: the server cannot be asked at all, as it could not be for a page.
    """
    try:
        with ask(Request("GET", url), Deadline(TIMEOUT_S, deadline.end)) as answer:
            if answer.status >= 500 or answer.status in (401, 403):
                return Rules(failed=answer.status)
            return parse_robots(_text(answer)) if answer.status < 300 else EVERYTHING
    except ToolError as exc:
        if "status" in exc.details:  # redirects that lead nowhere: as if there were none
            return EVERYTHING
        raise


def _text(answer: Answer) -> str:
    body = bytearray()
    for piece in decode(answer.pieces(), answer.head, answer.url):
        body += piece
        if len(body) > MAX_BYTES:
            # Half a line may say more than the whole.
            del body[body.rfind(b"\n", 0, MAX_BYTES) + 1 :]
            break
    return body.decode("utf-8", "replace").removeprefix("\ufeff")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the operator asks for it."""
    return environment.get("WEB_ROBOTS") == "1"
