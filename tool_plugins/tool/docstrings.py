"""What a docstring says of a function, of its parameters and of its result.

Google, NumPy and Sphinx styles. The description is all of it but the parameters, which have a place
of their own in the schema: what it says of errors, examples and notes is for callers too.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from docstring_parser import DocstringParam, DocstringStyle, parse

_GOOGLE_TITLE = re.compile(r"(?:Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments):")
_NUMPY_TITLE = re.compile(r"(?:Other )?Parameters")
_NUMPY_LINE = re.compile(r"-{3,}")
_SPHINX_FIELD = re.compile(r"[:@](?:param|parameter|arg|argument|key|keyword|type|rtype)\b[^:]*:")
_PARAMETERS = ("param", "parameter", "arg", "argument", "key", "keyword", "other_param")


@dataclass(frozen=True, slots=True)
class Docstring:
    """`parameters` are descriptions by name. What it does not say is empty."""

    description: str
    parameters: dict[str, str] = field(default_factory=dict)
    result: str = ""


def read_docstring(text: str) -> Docstring:
    """Reads a docstring of any style; of one in no style everything is its description."""
    text = inspect.cleandoc(text)
    try:
        # With a first line, so that a section in the first one is still a section.
        found = parse(f"_\n\n{text}")
    except Exception:  # a library that may meet anything: without it, it is all description
        return Docstring(text)
    parameters = {
        name.strip(" *"): each.description or ""
        for each in found.params
        if isinstance(each, DocstringParam) and each.args[0] in _PARAMETERS
        for name in each.arg_name.split(",")
    }
    result = found.returns.description if found.returns else None
    kept: Iterable[str] = text.split("\n")
    if parameters:
        kept = _without_parameters(text.split("\n"), found.style)
    return Docstring(_tidy(kept), parameters, result or "")


def _without_parameters(lines: list[str], style: DocstringStyle | None) -> Iterator[str]:
    inside = False
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if style is DocstringStyle.NUMPYDOC:
            if _NUMPY_LINE.fullmatch(below.strip()):
                inside = _NUMPY_TITLE.fullmatch(line.strip()) is not None
        elif style is DocstringStyle.GOOGLE:
            if line and not line[0].isspace():
                inside = _GOOGLE_TITLE.fullmatch(line.rstrip()) is not None
        elif _SPHINX_FIELD.match(line):
            inside = True
        elif not line.strip() or not line[0].isspace():
            inside = False
        if not inside:
            yield line


def _tidy(lines: Iterable[str]) -> str:
    """The text of the lines, without empty ones at its ends and two of them in a row."""
    text = "\n".join(line.rstrip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")
