"""Makes a `Function` of what a user's file has under a name, or says why it cannot be a tool."""

import inspect
import re
import types
import typing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo

from tool_plugins.authoring import AsyncContext, Context

from .problems import (
    DICT_ARGUMENTS,
    GENERATOR,
    LIST_ARGUMENTS,
    NO_HINT,
    NO_RESULT_HINT,
    Problem,
    Unfit,
    describe_error,
)
from .returning import result_adapter
from .signature import CONTEXT, Function, Parameter

_UNKNOWN = re.compile(r"Unable to generate pydantic-core schema for (.*?)\. Set ", re.DOTALL)
_Fields = dict[str, tuple[inspect.Parameter, Any]]
_EMPTY = inspect.Parameter.empty
_VARIADIC = {
    inspect.Parameter.VAR_POSITIONAL: LIST_ARGUMENTS,
    inspect.Parameter.VAR_KEYWORD: DICT_ARGUMENTS,
}


def build(name: str, target: Any) -> Function:
    """The function. Runs what its annotations run.

    Raises:
        Unfit: with everything that is wrong with it.
    """
    try:
        return _Building(name, target).function()
    except Unfit:
        raise
    except BaseException as exc:  # the file's own code decides what becomes of a look at it
        raise Unfit(Problem(f"it cannot be read: {describe_error(exc)}", function=name)) from exc


class _Building:
    def __init__(self, name: str, target: Any) -> None:
        self._name = name
        self._target = target
        self._inner = inspect.unwrap(target)
        self._asynchronous = any(map(inspect.iscoroutinefunction, (target, self._inner)))
        self._signature = inspect.signature(target)
        self._problems: list[Problem] = []

    def function(self) -> Function:
        if any(map(_generates, (self._target, self._inner))):
            self._complain(GENERATOR)
        given = self._signature.parameters.values()
        fields = {
            f"p{number}": (each, self._field(each))
            for number, each in enumerate(given)
            if each.name != CONTEXT
        }
        if context := self._signature.parameters.get(CONTEXT):
            self._check_context(context)
        result = self._result()
        model = self._model(fields)
        if model is not None and not self._problems:
            self._check_keys(fields, model)
        if self._problems or model is None or result is None:
            self._blame(fields)
            raise Unfit(*self._problems)
        return Function(
            name=self._name,
            target=self._target,
            arguments=model,
            result=result,
            parameters=tuple(_parameter(f"p{n}", each, model) for n, each in enumerate(given)),
            context=context is not None,
            asynchronous=self._asynchronous,
        )

    def _complain(self, message: str, parameter: str | None = None) -> None:
        self._problems.append(Problem(message, function=self._name, parameter=parameter))

    def _check_context(self, given: inspect.Parameter) -> None:
        wanted = AsyncContext if self._asynchronous else Context
        annotation = given.annotation
        if isinstance(annotation, str):
            # Often imported for type checkers only: then there is nothing to evaluate it to.
            words = annotation.strip("\"'").split("|")
            members: set[Any] = {each.strip().rpartition(".")[2] for each in words}
            fits = members - {"None"} == {wanted.__name__}
        else:
            members = set(typing.get_args(annotation)) or {annotation}
            fits = annotation is _EMPTY or members - {type(None)} == {wanted}
        if not fits or given.kind in _VARIADIC:
            kind = "an async def" if self._asynchronous else "a def"
            self._complain(
                f"{CONTEXT} is the context, of type {wanted.__name__} in {kind}: "
                "give any other parameter another name",
                CONTEXT,
            )

    def _field(self, given: inspect.Parameter) -> Any:
        """What `create_model` takes for the parameter."""
        if given.kind in _VARIADIC:
            self._complain(_VARIADIC[given.kind].format(given.name), given.name)
            return Any
        if given.annotation is _EMPTY:
            self._complain(NO_HINT, given.name)
            return Any
        annotation = self._resolve(given.annotation, given.name)
        if annotation in (Context, AsyncContext):
            self._complain(f"the parameter of the context must be named {CONTEXT}", given.name)
            return Any
        default = ... if given.default is _EMPTY else given.default
        metadata: list[Any] = []
        if typing.get_origin(annotation) is Annotated:
            annotation, *metadata = typing.get_args(annotation)
        if default is None and annotation is not Any:
            annotation = typing.Optional[annotation]  # noqa: UP045 - also of what has no `|`
        # First, so that a `Field` of the file's own has the last word.
        return Annotated[(annotation, Field(alias=given.name), *metadata)], default

    def _resolve(self, annotation: Any, parameter: str | None) -> Any:
        """The annotation without strings in it; Any where that cannot be, which is a problem."""
        if type(annotation) is type:
            return annotation
        # One at a time: those of a whole function fail together.
        holder = types.SimpleNamespace(
            __annotations__={"it": annotation},
            __type_params__=getattr(self._inner, "__type_params__", ()),
        )
        names = getattr(self._inner, "__globals__", {})
        try:
            return typing.get_type_hints(holder, names, include_extras=True)["it"]
        except NameError as exc:
            message = f"its type hint names {exc.name!r}, which is not there when the file runs"
        except BaseException as exc:  # a hint is code of the file
            message = f"its type hint fails: {describe_error(exc)}"
        self._complain(message, parameter)
        return Any

    def _result(self) -> "TypeAdapter[Any] | None":
        annotation = self._signature.return_annotation
        if annotation is _EMPTY:
            self._complain(NO_RESULT_HINT)
            return None
        annotation = self._resolve(annotation, "return")
        try:
            return result_adapter(annotation)
        except BaseException as exc:  # pydantic's, or whatever a type's own code raises
            self._complain(unexpressed(exc), "return")
            return None

    def _model(self, fields: _Fields) -> type[BaseModel] | None:
        try:
            return _make_model({field: of for field, (_, of) in fields.items()})
        except BaseException:  # a type's own code has a say in it
            return None

    def _check_keys(self, fields: _Fields, model: type[BaseModel]) -> None:
        """By which callers name the parameters: aliases may be anything, and the same twice."""
        keys: set[str] = set()
        for field, (given, _) in fields.items():
            key = _key(model.model_fields[field])
            if key is None:
                self._complain("its alias is not one name", given.name)
            elif key in keys:
                self._complain(f"another parameter is called {key!r} too", given.name)
            else:
                keys.add(key)

    def _blame(self, fields: _Fields) -> None:
        """Finds the parameters that have no schema, each on its own."""
        for field, (given, of) in fields.items():
            try:
                _make_model({field: of}).model_json_schema()
            except BaseException as exc:
                self._complain(unexpressed(exc), given.name)
        if not self._problems:
            self._complain("its parameters have no schema together")


def _generates(target: Any) -> bool:
    return inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)


def _make_model(fields: dict[str, Any]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid")
    model = create_model("Arguments", __config__=config, **fields)
    # Raises if a model inside names what is not there; else only its first use would.
    model.model_rebuild()
    return model


def _parameter(field: str, given: inspect.Parameter, model: type[BaseModel]) -> Parameter:
    only = given.kind is inspect.Parameter.POSITIONAL_ONLY
    info = model.model_fields.get(field)
    if info is None:
        return Parameter(given.name, positional_only=only)
    return Parameter(given.name, field, _key(info) or "", only, _description(info))


def _key(info: FieldInfo) -> str | None:
    """What the schema calls it."""
    alias = info.validation_alias or info.alias
    first = getattr(alias, "choices", [alias])[0]
    return first if isinstance(first, str) else None


def _description(info: FieldInfo) -> str:
    """What the type hint says of the parameter: by `Field`, `Doc`, or a string in `Annotated`."""
    said = [getattr(each, "documentation", each) for each in info.metadata]
    texts = [info.description, *said]
    return next((each for each in texts if isinstance(each, str)), "")


def unexpressed(exc: BaseException) -> str:
    """Why a type has no schema, in one sentence."""
    code = getattr(exc, "code", None)
    if code == "typed-dict-version":
        return "typing.TypedDict needs Python 3.12 or newer: import it from typing_extensions"
    if code == "undefined-annotation":
        name = getattr(exc, "name", "")
        return f"its type names {name!r}, which is not there when the file runs"
    if isinstance(exc, RecursionError):
        return "its type is nested too deeply, or contains itself and has no name"
    if "regex parse error" in str(exc):
        reason = " ".join(str(exc).rpartition("error: ")[2].split())
        return f"its pattern is none that works here: {reason}"
    unknown = _UNKNOWN.match(str(exc)) if code == "schema-for-unknown-type" else None
    if unknown:
        return f"there is no schema for {unknown[1]}: take plain types, dataclasses or models"
    return f"its type has no schema: {getattr(exc, 'message', None) or describe_error(exc)}"
