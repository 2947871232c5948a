"""Tells which elements of a page its own CSS hides: inline styles and `<style>` blocks.

Not a browser: only plain selectors (`p`, `.a`, `p.a#b`, lists of them) are matched, sheets that
would have to be loaded are not, and where a rule depends on the screen, showing wins over hiding.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MAX_SHEET_CHARS = 1_000_000
MAX_RULES = 5000
MAX_KNOWN = 10_000
MAX_VALUE_CHARS = 300
_FAR = 500.0
"""Pixels from which on text that was moved out of its place cannot be on the screen."""

_PIECE = re.compile(r"([^{};]*)([{};]|\Z)")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)")
_COMPOUND = re.compile(r"(?:\*|[a-z][\w-]*)?(?:[.#][\w-]+)*", re.IGNORECASE)
_PART = re.compile(r"[.#]?[\w-]+")
_LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(px|pt|em|rem|ex|ch|vw|vh|%|cm|mm|in|pc)?")
_PIXELS = {"px": 1, "pt": 1.33, "em": 16, "rem": 16, "ex": 8, "ch": 8, "cm": 38, "in": 96, "pc": 16}
_PIXELS |= {"mm": 3.8}
_RELATIVE = {"vw": 5, "vh": 5, "%": 5}
"""So that a whole screen to the left is far, and half of one is not."""
_CLIPPED = re.compile(r"inset\((?:[5-9]\d|100)(?:\.\d+)?%|circle\(0|polygon\(0[^,]*\)")
_CLEAR = re.compile(
    r"transparent|(?:rgb|hsl)a?\((?:[^,/]*,){3}\s*0?\.?0+%?\s*\)"
    r"|(?:rgb|hsl)a?\([^/]*/\s*0?\.?0+%?\s*\)|#\w{3}0|#\w{6}00"
)
_NEVER = {"html", "body"}
"""A page that hides all of itself does so until its scripts have run."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One selector with its declarations; `weight` orders it among others that match."""

    tag: str
    marks: frozenset[str]
    style: dict[str, str]
    weight: tuple[int, int, int, int]


class Styles:
    """The rules of a page's sheets, and what they make of an element."""

    def __init__(self, sheets: Iterable[str]) -> None:
        self._rules: dict[str, list[_Rule]] = defaultdict(list)
        self._known: dict[tuple[str, str, str], dict[str, str]] = {}
        number = 0
        for selector, style in _rules("\n".join(sheets)[:MAX_SHEET_CHARS]):
            for each in selector.split(","):
                number += 1
                if number > MAX_RULES:
                    return
                self._add(each.strip(), style, number)

    def _add(self, selector: str, style: dict[str, str], number: int) -> None:
        if not selector or not _COMPOUND.fullmatch(selector):
            return
        parts = _PART.findall(selector)
        tag = parts.pop(0).lower() if parts and parts[0][0] not in ".#" else ""
        ids = sum(part[0] == "#" for part in parts)
        weight = (ids, len(parts) - ids, int(bool(tag)), number)
        key = parts[0] if parts else tag or "*"
        self._rules[key].append(_Rule(tag, frozenset(parts), style, weight))

    @property
    def any(self) -> bool:
        """Whether the sheets say anything, so that elements without attributes count too."""
        return bool(self._rules)

    def hide(self, tag: str, attributes: Mapping[str, str]) -> bool:
        """Whether an element of that tag and those attributes cannot be seen."""
        if tag in _NEVER:
            return False
        if "hidden" in attributes or attributes.get("aria-hidden", "").strip().lower() == "true":
            return True
        if tag == "dialog" and "open" not in attributes:
            return True
        style = self._style(tag, attributes) if self._rules else {}
        if inline := attributes.get("style"):
            style = _cascaded((style, _declarations(inline)))
        return bool(style) and _hides(_resolved(style))

    def _style(self, tag: str, attributes: Mapping[str, str]) -> dict[str, str]:
        """What the sheets say of it."""
        known = (tag, attributes.get("class", ""), attributes.get("id", ""))
        style = self._known.get(known)
        if style is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            style = self._known[known] = self._matching(tag, *known[1:])
        return style

    def _matching(self, tag: str, classes: str, name: str) -> dict[str, str]:
        marks = {f".{each}" for each in classes.split()[:50]}
        marks |= {f"#{name.strip()}"} if name.strip() else set()
        found = [
            rule
            for key in (*marks, tag, "*")
            for rule in self._rules.get(key, ())
            if rule.tag in ("", tag) and rule.marks <= marks
        ]
        return _cascaded(rule.style for rule in sorted(found, key=lambda rule: rule.weight))


def _cascaded(styles: Iterable[dict[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for style in styles:
        found.update(style)
    return found


def _resolved(style: Mapping[str, str]) -> dict[str, str]:
    """The properties alone: those that were important (marked by `!`) win."""
    plain = {name: value for name, value in style.items() if name[:1] != "!"}
    return plain | {name[1:]: value for name, value in style.items() if name[:1] == "!"}


def _rules(sheet: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Selectors with their declarations, those within at-rules of the screen too."""
    opened: list[tuple[str, list[str]]] = []
    for before, mark in _PIECE.findall(_COMMENT.sub(" ", sheet)):
        text = before.strip()
        if mark == "{":
            opened.append((text.lower() if text[:1] == "@" else text, []))
        elif opened:
            opened[-1][1].append(text)
            if mark == "}":
                selector, body = opened.pop()
                around = [each for each, _ in opened]
                if selector[:1] != "@" and (style := _of_rule(around, ";".join(body))):
                    yield selector, style


def _of_rule(around: list[str], body: str) -> dict[str, str]:
    style = _declarations(body)
    if all(re.fullmatch(r"@(media (all|screen)|layer.*|supports.*)", each) for each in around):
        return style
    if not all(each.startswith(("@media", "@container")) for each in around) or any(
        re.search(r"\bprint\b", each) for each in around
    ):
        return {}
    # It depends on the screen: take what shows, not what hides.
    return {name: value for name, value in style.items() if not _hides(_resolved({name: value}))}


def _declarations(style: str) -> dict[str, str]:
    style = _ESCAPE.sub(_unescape, _COMMENT.sub("", style[:20_000])).lower()
    found: dict[str, str] = {}
    for each in style.split(";"):
        name, colon, value = each.partition(":")
        if colon:
            value, important, _ = value.partition("!")
            found["!" * bool(important) + name.strip()] = value[:MAX_VALUE_CHARS].strip()
    return found


def _unescape(match: re.Match[str]) -> str:
    code = int(match.group(1), 16) if match.group(1) else 0
    return chr(code) if 0 < code < 0x11_0000 else match.group(2) or ""


def _hides(style: Mapping[str, str]) -> bool:
    get = style.get
    return (
        get("display") == "none"
        or get("visibility") in ("hidden", "collapse")
        or get("content-visibility") == "hidden"
        or _small(get("opacity"), 0.05)
        or _small(get("font-size"), 1.5)
        or bool(re.match(r"0(?:px|em|pt|%)?\s*(?:/|\s)", get("font", "")))
        or _invisible_colour(style)
        or _out_of_place(style)
        or _shrunk(style)
    )


def _pixels(value: str | None) -> float | None:
    found = _LENGTH.fullmatch((value or "").strip())
    if not found:
        return None
    unit = found.group(2) or "px"
    return float(found.group(1)) * (_PIXELS.get(unit) or _RELATIVE[unit])


def _small(value: str | None, limit: float) -> bool:
    size = _pixels(value)
    if value and value.endswith("%") and size is not None:
        size /= 500 if limit < 1 else 30  # 100 % are an opacity of 1, and usual letters
    return size is not None and size < limit


def _invisible_colour(style: Mapping[str, str]) -> bool:
    colour = style.get("color", "")
    if colour in ("", "inherit", "initial", "unset", "currentcolor"):
        return False
    if style.get("background-clip") or style.get("-webkit-background-clip"):
        return False
    behind = style.get("background-color") or style.get("background", "")
    return bool(_CLEAR.fullmatch(colour)) or _colour(colour) == _colour(behind)


def _colour(value: str) -> str:
    value = {"white": "#ffffff", "black": "#000000"}.get(value, value).replace(" ", "")
    if re.fullmatch(r"rgb\(\d{1,3},\d{1,3},\d{1,3}\)", value):
        return "#" + "".join(f"{int(each):02x}" for each in re.findall(r"\d+", value))
    if re.fullmatch(r"#[0-9a-f]{3}", value):
        return "#" + "".join(each * 2 for each in value[1:])
    return value


def _out_of_place(style: Mapping[str, str]) -> bool:
    moved = [style.get(name, "") for name in ("text-indent", "margin-left", "margin-top")]
    # A column may have a margin of -100 %: layouts are made so.
    moved = [value for value in moved if not value.endswith(tuple(_RELATIVE))]
    if style.get("position") in ("absolute", "fixed", "relative"):
        moved += [style.get(name, "") for name in ("left", "top", "right", "bottom")]
    if any((_pixels(value) or 0) <= -_FAR for value in moved):
        return True
    placed = style.get("position") in ("absolute", "fixed")
    if placed and any((_pixels(style.get(name)) or 0) >= 5000 for name in ("left", "top")):
        return True
    transform = style.get("transform", "")
    far = re.search(r"translate\w*\([^)]*-(\d+)px", transform)
    return bool(far and float(far.group(1)) >= _FAR) or "scale(0)" in transform


def _shrunk(style: Mapping[str, str]) -> bool:
    clip = style.get("clip", "")
    if clip.startswith("rect(") and all(
        _small(each, 1.5) for each in clip[5:].rstrip(") ").replace(",", " ").split()
    ):
        return True
    if _CLIPPED.match(style.get("clip-path", "")):
        return True
    cut = style.get("overflow", style.get("overflow-y", "")) in ("hidden", "clip")
    sizes = [style.get(name, "") for name in ("width", "height", "max-width", "max-height")]
    return cut and any(_small(size, 1.5) for size in sizes if size == "0%" or size[-1:] != "%")
