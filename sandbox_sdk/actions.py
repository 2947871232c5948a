"""Several actions at once, in the shape the caller gave them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tool_plugins.contract import Action, Observation
from tool_plugins.errors import ConfigurationError

Execute = Callable[[Action], Awaitable[Observation]]
ENTRY_KEYS = frozenset({"tool", "description", "args"})


def make_action(tool: str, args: Mapping[str, Any] | None, description: str = "") -> Action:
    """An action from its parts.

    Raises:
        ConfigurationError: a part has the wrong type or is too long.
    """
    try:
        return Action(tool=tool, args=dict(args or {}), description=description)
    except (ValidationError, TypeError, ValueError) as exc:
        raise ConfigurationError(f"{tool!r} is not a valid action: {exc}") from exc


def parse_actions(
    given: Mapping[str, Mapping[str, Any]] | Sequence[Action],
) -> dict[str, Action] | list[Action]:
    """A mapping of keys to actions, or a list of actions.

    A key is the tool's name; where one tool is wanted twice, any label does and the entry names
    the tool itself: `{"first": {"tool": "terminal.run", "args": {...}}}`.

    Raises:
        ConfigurationError: an entry is not an action; the message names its key.
    """
    if isinstance(given, Mapping):
        return {key: _entry(key, value) for key, value in given.items()}
    actions = list(given)
    for action in actions:
        if not isinstance(action, Action):
            raise ConfigurationError(f"{action!r} is not an Action", hint="use Action(tool=...)")
    return actions


def _entry(key: str, value: Any) -> Action:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the action {key!r} is not a mapping", hint='use {"description": ..., "args": {...}}'
        )
    unknown = sorted(map(str, value.keys() - ENTRY_KEYS))
    if unknown:
        raise ConfigurationError(
            f"the action {key!r} has unknown keys {', '.join(unknown)}",
            hint=f"known keys: {', '.join(sorted(ENTRY_KEYS))}",
        )
    return make_action(value.get("tool", key), value.get("args"), value.get("description", ""))


async def run_actions(
    execute: Execute, actions: Sequence[Action], *, parallel: bool
) -> list[Observation]:
    """Runs them in order, or all at once. The first thing raised ends the others."""
    if not parallel:
        return [await execute(action) for action in actions]
    running = [asyncio.ensure_future(execute(action)) for action in actions]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
