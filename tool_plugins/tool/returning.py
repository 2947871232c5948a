"""What a function returns, as a pydantic adapter that puts bytes and images aside.

    value = function.result.validate_python(returned)
    function.result.dump_python(value, mode="json", context=attachments)

gives JSON in which each piece of binary data was replaced by what `attachments.add` made of it.
"""

import sys
import types
import typing
from collections import abc
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import (
    PlainSerializer,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    WithJsonSchema,
    WrapSerializer,
)
from pydantic_core import CoreSchema, PydanticSerializationUnexpectedValue, core_schema

BINARY = (bytes, bytearray, memoryview)
NOTE_SCHEMA = {
    "type": "object",
    "description": "Binary data: the attachment of this number, or a file of the workspace.",
    "properties": {
        "attachment": {"type": "integer"},
        "path": {"type": "string"},
        "mime_type": {"type": "string"},
        "bytes": {"type": "integer"},
    },
    "required": ["mime_type", "bytes"],
    "additionalProperties": False,
}


class Attachments(Protocol):
    """Where binary data goes. Given as `context` when a result is serialized."""

    def add(self, value: Any) -> dict[str, Any]:
        """Keeps bytes, a bytearray, a memoryview or a PIL image; gives what stands for it."""
        ...


def result_adapter(annotation: Any) -> "TypeAdapter[Any]":
    """The adapter of a return type that is resolved (no strings in it).

    Raises:
        Exception: any of pydantic's, or of the type's own code, where it cannot be expressed.
    """
    return TypeAdapter(_with_attachments(annotation))


def is_binary(value: Any) -> bool:
    """Whether it is to be an attachment."""
    return isinstance(value, BINARY) or _is_image(type(value))


def _is_image(kind: Any) -> bool:
    # Nobody has an image without the module that made it.
    images = sys.modules.get("PIL.Image")
    image = getattr(images, "Image", None)
    return isinstance(kind, type) and isinstance(image, type) and issubclass(kind, image)


class _Instance:
    """Validates by type alone: pydantic knows neither images nor bytearrays."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.is_instance_schema(self._kind)


def _binary(kind: type) -> Any:
    return Annotated[kind, _Instance(kind), PlainSerializer(_attach), WithJsonSchema(NOTE_SCHEMA)]


def _attach(value: Any, info: SerializationInfo) -> Any:
    if not is_binary(value):
        # In a union it is another member's turn.
        raise PydanticSerializationUnexpectedValue(f"no binary data: {type(value).__name__}")
    return _aside(value, info.context)


def _aside(value: Any, attachments: Any) -> Any:
    return value if attachments is None else attachments.add(value)


def _anything(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    return handler(_replaced(value, info.context, ()))


def _replaced(value: Any, attachments: Any, above: tuple[int, ...]) -> Any:
    """The value with its binary data put aside, also in lists, tuples and dicts."""
    if is_binary(value):
        return _aside(value, attachments)
    kind = type(value)
    if kind not in (list, tuple, dict) or id(value) in above:
        return value
    above = (*above, id(value))
    if kind is dict:
        return {key: _replaced(each, attachments, above) for key, each in value.items()}
    return kind(_replaced(each, attachments, above) for each in value)


_CONTAINERS = (list, dict, tuple, abc.Sequence, abc.Mapping)
_ANY = Annotated[Any, WrapSerializer(_anything)]
_BARE: Mapping[Any, Any] = {
    Any: _ANY,
    object: _ANY,
    list: list[_ANY],
    dict: dict[Any, _ANY],
    tuple: tuple[_ANY, ...],
    typing.List: list[_ANY],  # noqa: UP006
    typing.Dict: dict[Any, _ANY],  # noqa: UP006
    typing.Tuple: tuple[_ANY, ...],  # noqa: UP006
}


def _with_attachments(annotation: Any) -> Any:
    """The same type, in which binary data and `Any` know what to do when they are serialized."""
    arguments = typing.get_args(annotation)
    if not arguments:
        try:
            return _binary(annotation) if _is_binary_type(annotation) else _BARE[annotation]
        except (KeyError, TypeError):  # another type, or what cannot even be looked up
            return annotation
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner = _with_attachments(arguments[0])
        return annotation if inner is arguments[0] else Annotated[(inner, *arguments[1:])]
    changed = tuple(each if each is ... else _with_attachments(each) for each in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    if origin in (types.UnionType, typing.Union):
        return typing.Union[changed]  # noqa: UP007 - of as many as there are
    generic: Any = origin
    return generic[changed] if origin in _CONTAINERS else annotation


def _is_binary_type(annotation: Any) -> bool:
    return annotation in BINARY or _is_image(annotation)
