"""What another version of a file means for who uses its tools, in words."""

from collections.abc import Iterator

from .models import CustomTool, Version


def changes(before: Version | None, after: Version) -> tuple[str, ...]:
    """A sentence for each tool that is gone, new, or described otherwise; none for a first version.

    What only runs differently is not told: a caller has nothing to do about it.
    """
    return tuple(_sentences(before, after)) if before is not None else ()


def _sentences(before: Version, after: Version) -> Iterator[str]:
    old = {each.function: each for each in before.tools}
    for tool in before.tools:
        if after.tool(tool.function) is None:
            yield f"{tool.name} is gone."
    for tool in after.tools:
        if tool.function not in old:
            yield f"{tool.name} is new."
        elif parts := list(_parts(old[tool.function], tool)):
            yield f"{tool.name} has changed: {', '.join(parts)}."


def _parts(old: CustomTool, new: CustomTool) -> Iterator[str]:
    if old.description != new.description:
        yield "its description"
    if old.input_schema != new.input_schema:
        names = list(_arguments(old, new))
        yield f"its arguments ({', '.join(names)})" if names else "its arguments"
    if old.output_schema != new.output_schema:
        yield "its result"


def _arguments(old: CustomTool, new: CustomTool) -> Iterator[str]:
    """Which arguments it is about; none where only what several are made of is another."""
    before, after = old.input_schema["properties"], new.input_schema["properties"]
    for name in before:
        if name not in after:
            yield f"{name} is gone"
    needed = [set(each.input_schema.get("required", ())) for each in (old, new)]
    for name, schema in after.items():
        if name not in before:
            yield f"{name} is new"
        elif name in needed[1] and name not in needed[0]:
            yield f"{name} is needed now"
        elif name in needed[0] and name not in needed[1]:
            yield f"{name} may be left out now"
        elif schema != before[name]:
            yield f"{name} is another"
