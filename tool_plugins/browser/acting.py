"""Operates the page: one function for each action."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import Error, Locator
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tool_plugins.errors import ErrorCode, ToolError

from . import failing
from .reading import clean_line
from .session import Session

ACTION_S = 5.0
"""How long to wait for an element that cannot be operated yet."""

DIRECTIONS = ("up", "down", "top", "bottom")
MAX_OPTIONS = 30
# Scrolls the element or the nearest around it that can be; without an element, the page, or where
# the page is all one such area, that one.
SCROLL = """(element, how) => {
  const whole = document.scrollingElement || document.documentElement;
  const can = (e) => e.scrollHeight > e.clientHeight + 1
    && (e === whole || /auto|scroll/.test(getComputedStyle(e).overflowY));
  const middle = () => document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  let at = element || (can(whole) ? whole : middle());
  while (at && !can(at)) at = at.parentElement;
  at = at || whole;
  const page = 0.8 * (at === whole ? innerHeight : at.clientHeight);
  const by = {up: -page, down: page, top: -at.scrollHeight, bottom: at.scrollHeight}[how];
  at.scrollBy({top: by, behavior: 'instant'});
}"""
OPTIONS = """(element, most) => element.tagName === 'SELECT'
  ? [...element.options].slice(0, most).map((option) => option.label) : []"""

# What playwright's log says of an element that cannot be operated. The last that is found counts.
_OBSTACLES = (
    ("element is not stable", "moves all the time", "wait until it stands still"),
    ("element is not visible", "is not visible", "open or scroll to what it is in"),
    ("outside of the viewport", "cannot be scrolled into view", "scroll to what it is in"),
    ("element is not editable", "is read-only", "use another field"),
    ("element is not enabled", "is disabled", "fill in or choose first what enables it"),
)
_COVER = re.compile(r"- (<.{1,2000}?>)\S* (?:from .{1,200} subtree )?intercepts pointer events")


async def act(
    session: Session,
    *,
    action: str,
    ref: str | None = None,
    value: str | None = None,
    submit: bool = False,
) -> None:
    """Does one action and waits for what comes of it.

    Raises:
        ToolError: NOT_FOUND, CONFLICT where the element cannot be operated now, INVALID_ARGUMENT
            where it never can in this way, or what loading a page raises.
    """
    element = await session.element(ref) if ref is not None else None
    do = _ON_ELEMENT[action] if element is not None and action in _ON_ELEMENT else _ON_PAGE[action]
    try:
        await do(session, element, value or "")
        if submit and element is not None:
            await element.press("Enter", timeout=_patience(session), no_wait_after=True)
    except PlaywrightTimeoutError as error:
        raise await _in_vain(session, action, ref, element, str(error)) from None
    except Error as error:
        raise await _impossible(session, error) from None
    await session.settle()


def _patience(session: Session) -> float:
    return min(ACTION_S * 1000, session.left())


async def _in_vain(
    session: Session, action: str, ref: str | None, element: Locator | None, log: str
) -> ToolError:
    if action in ("back", "forward", "reload"):
        return ToolError(
            ErrorCode.TIMEOUT, "the page did not begin to arrive in time", hint="try again"
        )
    if not await session.reacts():
        return failing.stuck("the page does not react")
    if action == "wait":
        return ToolError(
            ErrorCode.TIMEOUT,
            "the text did not appear on the page",
            hint="take a snapshot to see what is there",
        )
    if "did not find some options" in log and element is not None:
        return await _no_option(session, ref, element)
    cover = _COVER.findall(log)
    if cover:
        return ToolError(
            ErrorCode.CONFLICT,
            f"the element {ref!r} is covered by {clean_line(cover[-1], 200)}",
            hint="close what covers it, or scroll",
        )
    for sign, says, hint in reversed(_OBSTACLES):
        if sign in log:
            return ToolError(ErrorCode.CONFLICT, f"the element {ref!r} {says}", hint=hint)
    return ToolError(
        ErrorCode.TIMEOUT,
        f"{action} could not be done in time",
        hint="take a new snapshot: the page may have changed",
    )


async def _no_option(session: Session, ref: str | None, element: Locator) -> ToolError:
    found: Any = await session.asked(element.evaluate(OPTIONS, MAX_OPTIONS))
    shown = [clean_line(str(each), 80) for each in found] if isinstance(found, list) else []
    return ToolError(
        ErrorCode.NOT_FOUND,
        f"the element {ref!r} has no such option",
        hint=f"it has {', '.join(map(repr, shown))}",
        details={"options": shown},
    )


async def _impossible(session: Session, error: Error) -> ToolError:
    failure = await session.failure(error)
    if failure.details:
        return failure
    if failing.net_error(str(error)):  # of back, forward and reload
        await session.settle()
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        failure.message,
        hint="see the snapshot for what the element is"
        if "key" not in failure.message
        else "keys have names such as Enter, Escape, Tab, ArrowDown, a, Control+A",
    )


async def _scroll(session: Session, element: Locator | None, value: str) -> None:
    if value not in DIRECTIONS:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"scroll takes one of {', '.join(DIRECTIONS)}, not {value!r}",
        )
    if element is not None:
        await session.asked(element.evaluate(SCROLL, value))
    else:
        await session.asked(session.page.evaluate(f"how => ({SCROLL})(null, how)", value))


async def _back(session: Session, _element: Locator | None, _value: str) -> None:
    before = session.page.url
    answer = await session.page.go_back(wait_until="commit", timeout=session.left())
    if answer is None and session.page.url == before and not await session.close_tab():
        session.notes.add("there is no earlier page")


async def _forward(session: Session, _element: Locator | None, _value: str) -> None:
    before = session.page.url
    answer = await session.page.go_forward(wait_until="commit", timeout=session.left())
    if answer is None and session.page.url == before:
        session.notes.add("there is no later page")


async def _reload(session: Session, _element: Locator | None, _value: str) -> None:
    await session.page.reload(wait_until="commit", timeout=session.left())


async def _press(session: Session, element: Locator | None, value: str) -> None:
    if element is not None:
        await element.press(value, timeout=_patience(session), no_wait_after=True)
    else:
        await session.asked(session.page.keyboard.press(value))


async def _wait(session: Session, element: Locator | None, value: str) -> None:
    seconds = _number(value)
    if seconds is not None:
        await asyncio.sleep(min(seconds, session.left() / 1000))
        return
    text = (element or session.page).get_by_text(value).first
    await text.wait_for(state="visible", timeout=session.left())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


Action = Callable[[Session, Any, str], Awaitable[Any]]
_ON_PAGE: dict[str, Action] = {
    "scroll": _scroll,
    "back": _back,
    "forward": _forward,
    "reload": _reload,
    "press": _press,
    "wait": _wait,
}
_ON_ELEMENT: dict[str, Action] = {
    "click": lambda s, e, _: e.click(timeout=_patience(s)),
    "double_click": lambda s, e, _: e.dblclick(timeout=_patience(s)),
    "hover": lambda s, e, _: e.hover(timeout=_patience(s)),
    "type": lambda s, e, v: e.fill(v, timeout=_patience(s)),
    "select": lambda s, e, v: e.select_option(v, timeout=_patience(s)),
    "check": lambda s, e, _: e.check(timeout=_patience(s)),
    "uncheck": lambda s, e, _: e.uncheck(timeout=_patience(s)),
}
