"""A plan of the server as indented text."""

from typing import Any

_SHOWN = (("Details", ""), ("EstimatedRows", "estimated rows "))


def plan_text(plan: dict[str, Any], depth: int = 0) -> str:
    """One line for each operator, those it takes its rows from below it."""
    arguments = plan.get("args") or {}
    name = str(plan.get("operatorType", "")).partition("@")[0]
    shown = [f"{label}{_value(arguments[key])}" for key, label in _SHOWN if key in arguments]
    line = "  " * depth + name + (f" ({'; '.join(shown)})" if shown else "")
    return "\n".join([line, *(plan_text(each, depth + 1) for each in plan.get("children") or ())])


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
