"""One function of a user's file, as it is called: its arguments' model, its result's adapter.

function = loading.function("my_function")
positional, named = function.bind(arguments, context)   # pydantic.ValidationError
returned = function.target(*positional, **named)        # awaitable if function.asynchronous
value = function.result.validate_python(returned)
function.result.dump_python(value, mode="json", context=attachments)   # see returning.py
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter

CONTEXT = "ctx"
"""The name of the parameter that is the context."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `field` is its name in the model: its own might be one of the model's.

    `key` is what callers call it: its name, or the alias that its `Field` has. The context has
    neither: callers do not know of it.
    """

    name: str
    field: str = ""
    key: str = ""
    positional_only: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is a tool. `target` is what the file's name stands for, decorators and all.

    `parameters` are in the order of the definition, the context among them if it takes one.
    `asynchronous` says that it is an `async def`: its context is an `AsyncContext` then. Others
    may return an awaitable too, if a decorator makes them.
    """

    name: str
    target: Callable[..., Any]
    arguments: "type[BaseModel]"
    result: "TypeAdapter[Any]"
    parameters: tuple[Parameter, ...]
    context: bool
    asynchronous: bool

    def bind(
        self, arguments: Mapping[str, Any], context: object = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Validates; gives what `target` is called with. What was left out has its default.

        Raises:
            pydantic.ValidationError: they do not fit. Its locations are in the callers' words.
        """
        # Only what calls loads it, and not what reads an outline.
        from pydantic_core import to_json

        # As JSON, which they are: a strict model takes text for a date then, and lists for tuples.
        values = vars(self.arguments.model_validate_json(to_json(arguments)))
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for each in self.parameters:
            value = context if not each.field else values[each.field]
            if each.positional_only:
                positional.append(value)
            else:
                named[each.name] = value
        return positional, named
