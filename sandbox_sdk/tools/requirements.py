"""What a file of tools says it needs, in a form that means packages and nothing else.

It comes from inside of a sandbox. Each requirement is read and written anew, so that none can be
an option of an installer, a path, a reference to a variable, or a second line.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import one_line

MAX_REQUIREMENTS = 100
MAX_CHARS = 500
SHOWN_CHARS = 100

_PLAIN = re.compile(r"[\x20-\x7e]+")
# Never part of a requirement: what an installer replaces or joins, and a word that is an option.
_SUSPICIOUS = re.compile(r"[\\$`]|(^|\s)-")


def parse_requirements(given: Iterable[str]) -> tuple[str, ...]:
    """The requirements in one spelling and order, each once.

    Raises:
        ToolError: DEPENDENCY_ERROR names the first that is no requirement of PEP 508, or one that
            only building could meet.
    """
    lines = list(given)
    if len(lines) > MAX_REQUIREMENTS:
        raise _refusal(f"{len(lines)} dependencies are more than {MAX_REQUIREMENTS}")
    return tuple(sorted({_normal(line) for line in lines}))


def names_of(requirements: Iterable[str]) -> tuple[str, ...]:
    """The packages that requirements in one spelling ask for."""
    return tuple(dict.fromkeys(Requirement(line).name for line in requirements))


def project(name: str, requirements: Iterable[str]) -> str:
    """A project in TOML that depends on them: a form that has no options."""
    listed = ",\n".join(f"  {json.dumps(line)}" for line in requirements)
    return f'[project]\nname = "{name}"\nversion = "0"\ndependencies = [\n{listed}\n]\n'


def _normal(line: str) -> str:
    shown = one_line(line, SHOWN_CHARS)
    if len(line) > MAX_CHARS or not _PLAIN.fullmatch(line) or _SUSPICIOUS.search(line):
        raise _refusal(f"the dependency {shown!r} has characters that no requirement has")
    try:
        found = Requirement(line)
    except InvalidRequirement:
        raise _refusal(f"the dependency {shown!r} is no requirement") from None
    extras = f"[{','.join(sorted(map(canonicalize_name, found.extras)))}]" if found.extras else ""
    marker = f" ; {found.marker}" if found.marker else ""
    name = canonicalize_name(found.name)
    if found.url is None:
        return f"{name}{extras}{found.specifier}{marker}"
    if not _is_wheel(found.url):
        raise _refusal(
            f"the dependency {shown!r} is not a wheel", hint="its URL has to end with .whl"
        )
    return f"{name}{extras} @ {found.url}{marker}"


def _is_wheel(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # its host is no address
        return False
    return parts.scheme in ("https", "http") and parts.path.endswith(".whl")


def _refusal(message: str, *, hint: str = "") -> ToolError:
    hint = hint or "write it as in `requests>=2`, see PEP 508"
    return ToolError(ErrorCode.DEPENDENCY_ERROR, message, hint=hint)
