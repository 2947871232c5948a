"""Reads what a group or a sandbox was given as its egress policy, and refuses it if it is wrong."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tool_plugins.errors import ConfigurationError

from .policy import EgressPolicy

Locate = Callable[[Sequence[str | int]], str]
"""Names the place of a field for a person."""

MAX_PROBLEMS = 10


def parse_policy(
    given: EgressPolicy | Mapping[str, Any] | Path | str | None, environment: Mapping[str, str]
) -> EgressPolicy | None:
    """The checked policy; None for None. `given` may be the path of a YAML file with its fields.

    In such a file `${NAME}` in the value of a header stands for a variable, and `ca_file` is
    relative to the file's folder. Does not read `ca_file`: it may be replaced until it is used.

    Raises:
        ConfigurationError: names each field that is wrong, and never quotes a header's value.
    """
    if given is None:
        return None
    if isinstance(given, EgressPolicy):
        policy = given
    elif isinstance(given, Mapping):
        policy = _validate(dict(given), _dotted)
    elif isinstance(given, Path | str):
        policy = _load(Path(given), environment)
    else:
        raise ConfigurationError(
            f"egress_policy is a {type(given).__name__}",
            hint="use EgressPolicy(...), its fields as a mapping, or the path of a YAML file",
        )
    return _absolute(policy)


def store_policy(policy: EgressPolicy) -> str:
    """The policy as JSON, with its secrets: for a file that only its owner can read."""
    fields = policy.model_dump(mode="json", exclude={"inject"})
    fields["inject"] = [
        each.model_dump(mode="json", exclude={"headers"})
        | {"headers": {name: value.get_secret_value() for name, value in each.headers.items()}}
        for each in policy.inject
    ]
    return json.dumps(fields, ensure_ascii=True)


def restore_policy(text: str) -> EgressPolicy:
    """The policy that `store_policy` wrote.

    Raises:
        ConfigurationError: the text is damaged. It is not quoted: it may hold secrets.
    """
    try:
        return EgressPolicy.model_validate(json.loads(text))
    except (ValueError, RecursionError):
        raise ConfigurationError("the stored egress policy is damaged") from None


def _load(file: Path, environment: Mapping[str, str]) -> EgressPolicy:
    from sandbox_sdk.documents import DocumentError, load_document

    document = load_document(file)

    def locate(path: Sequence[str | int]) -> str:
        return f"{file}:{document.line_of(path)}: {_dotted(path)}"

    fields = document.data
    if not isinstance(fields, dict):
        raise DocumentError(file, 1, None, "an egress policy has fields, such as `allow:`")
    _expand(fields, environment, locate)
    if isinstance(ca_file := fields.get("ca_file"), str) and ca_file:
        fields["ca_file"] = str(file.parent / ca_file)
    return _validate(fields, locate)


def _expand(fields: dict[str, Any], environment: Mapping[str, str], locate: Locate) -> None:
    """Puts variables into the values of headers, which is where secrets are."""
    from sandbox_sdk.documents import expand

    for index, headers in _headers(fields.get("inject")):
        for name, value in headers.items():
            if not isinstance(value, str):
                continue
            try:
                headers[name] = expand(value, environment)
            except ConfigurationError as exc:
                place = locate(("inject", index, "headers", name))
                raise ConfigurationError(f"{place}: {exc.message}", hint=exc.hint) from None


def _headers(inject: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The headers that are written as such; what is not is found wrong later."""
    given: list[Any] = inject if isinstance(inject, list) else []
    for index, each in enumerate(given):
        if isinstance(each, dict) and isinstance(each.get("headers"), dict):
            yield index, each["headers"]


def _absolute(policy: EgressPolicy) -> EgressPolicy:
    """A policy may be used by another process, which runs in another folder."""
    if policy.ca_file is None or policy.ca_file.is_absolute():
        return policy
    return policy.model_copy(update={"ca_file": policy.ca_file.absolute()})


def _validate(fields: dict[str, Any], locate: Locate) -> EgressPolicy:
    try:
        return EgressPolicy.model_validate(fields)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        problems = [f"{locate(_place(each))}: {_message(each)}" for each in errors[:MAX_PROBLEMS]]
        if len(errors) > MAX_PROBLEMS:
            problems.append(f"and {len(errors) - MAX_PROBLEMS} more")
    raise ConfigurationError(f"bad egress_policy: {'; '.join(problems)}")


def _place(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(each for each in error["loc"] if each != "[key]")


def _message(error: ErrorDetails) -> str:
    known = {
        "extra_forbidden": "there is no such field",
        "tuple_type": "a list is expected here",
        "model_type": "fields are expected here",
        "dict_type": "names with values are expected here",
    }
    return known.get(error["type"]) or error["msg"].removeprefix("Value error, ")


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path)) or "the policy"
