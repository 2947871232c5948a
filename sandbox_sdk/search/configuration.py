"""Reads what a group was given about web search, and refuses it before anything happens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tool_plugins.errors import ConfigurationError

from .provider import SearchProvider

if TYPE_CHECKING:
    from sandbox_sdk.documents import Document

PROVIDERS = ("brave", "searxng", "tavily")
SECRETS = ("api_key", "url")
"""Fields in which `${NAME}` stands for a variable of the environment, in a file."""


def configure_search(
    given: SearchProvider | Mapping[str, Any] | Path | str | None,
    environment: Mapping[str, str],
) -> SearchProvider | None:
    """The provider; None where none is wanted. Reads files; reaches no server.

    `given` may be one of the user's own, the settings of one of ours as a mapping
    ({"provider": "searxng", "url": "https://search.example"}), or the path of a YAML file with
    them.

    Raises:
        ConfigurationError: a setting is wrong. No message shows a key or a URL.
    """
    if given is None:
        return None
    if isinstance(given, SearchProvider):
        if not isinstance(getattr(given, "name", None), str):
            raise ConfigurationError(f"{type(given).__name__} has no name", hint="set its name")
        return given
    if isinstance(given, Mapping):
        return _provider(dict(given), None)
    if isinstance(given, Path | str):
        from sandbox_sdk.documents import load_document

        document = load_document(Path(given))
        return _provider(_resolved(document, Path(given).parent, environment), document)
    raise ConfigurationError(
        f"web_search is a {type(given).__name__}",
        hint="use a SearchProvider, its settings as a mapping, or the path of a YAML file",
    )


def _resolved(document: "Document", folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a file with its variables; a relative path is relative to its folder."""
    from sandbox_sdk.documents import expand

    if not isinstance(document.data, dict):
        raise document.error((), "web_search must be a mapping", hint="begin with provider: NAME")
    fields = dict(document.data)
    for name in SECRETS:
        if isinstance(fields.get(name), str):
            try:
                fields[name] = expand(fields[name], environment)
            except ConfigurationError as exc:
                raise document.error((name,), f"{name}: {exc.message}", hint=exc.hint) from None
    if isinstance(fields.get("ca_file"), str):
        fields["ca_file"] = folder / fields["ca_file"]
    return fields


def _provider(fields: dict[str, Any], document: "Document | None") -> SearchProvider:
    name = fields.get("provider")
    try:
        match name:
            case "brave":
                from .brave import BraveSearch
                from .settings import BraveSettings

                return BraveSearch(BraveSettings.model_validate(fields))
            case "searxng":
                from .searxng import SearxngSearch
                from .settings import SearxngSettings

                return SearxngSearch(SearxngSettings.model_validate(fields))
            case "tavily":
                from .settings import TavilySettings
                from .tavily import TavilySearch

                return TavilySearch(TavilySettings.model_validate(fields))
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
        problems = "; ".join(_located(each["loc"], each["msg"], document) for each in errors)
        raise ConfigurationError(f"bad web_search: {problems}") from None
    known = ", ".join(PROVIDERS)
    said = "is missing" if "provider" not in fields else f"is {name!r}"
    problem = _located(("provider",), f"{said}; it is one of {known}", document)
    raise ConfigurationError(f"bad web_search: {problem}")


def _located(path: Sequence[str | int], reason: str, document: "Document | None") -> str:
    where = f"{document.file}:{document.line_of(path)}: " if document is not None else ""
    return f"{where}{'.'.join(map(str, path))}: {reason}"
