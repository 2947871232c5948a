"""What an operator says about a search provider of ours."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from tool_plugins.contract import Value

BRAVE_URL = "https://api.search.brave.com"
TAVILY_URL = "https://api.tavily.com"
MAX_KEY_CHARS = 1000

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an API is. `path` is put before every path of it; it has no slash at its end."""

    host: str
    port: int
    tls: bool
    path: str = ""
    user: str | None = None
    password: str | None = None


def endpoint_of(url: str) -> Endpoint:
    """The parts of a base URL.

    Raises:
        ValueError: it is none. The message does not quote it, for it may hold a password.
    """
    if not _PRINTABLE.fullmatch(url):
        raise ValueError("a URL has printable ASCII characters only, and no blanks")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("the URL must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("the URL is that of the service, without ? and #")
    tls = parts.scheme == "https"
    return Endpoint(
        host=parts.hostname,
        port=parts.port or (443 if tls else 80),
        tls=tls,
        path=parts.path.rstrip("/"),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _any_url(url: SecretStr) -> SecretStr:
    endpoint_of(url.get_secret_value())
    return url


def _url_for_a_key(url: SecretStr) -> SecretStr:
    endpoint = endpoint_of(url.get_secret_value())
    if not endpoint.tls:
        raise ValueError("a key is sent over https only")
    if endpoint.user is not None:
        raise ValueError("the URL has a user name, but the key is what identifies you here")
    return url


def _header(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not _PRINTABLE.fullmatch(text) or len(text) > MAX_KEY_CHARS:
        raise ValueError("a key has printable ASCII characters only, and no blanks")
    return key


class _Settings(Value):
    """What all have. `ca_file`: certificates, PEM, to trust instead of the public ones.

    `timeout_s` is for one search, in seconds.
    """

    ca_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 20.0


class SearxngSettings(_Settings):
    """An instance of SearXNG, by its URL. A name and a password in it are sent as basic auth."""

    provider: Literal["searxng"]
    url: Annotated[SecretStr, AfterValidator(_any_url)]


class BraveSettings(_Settings):
    """Brave's Search API. `url` is another address of the same API."""

    provider: Literal["brave"]
    api_key: Annotated[SecretStr, AfterValidator(_header)]
    url: Annotated[SecretStr, AfterValidator(_url_for_a_key)] = SecretStr(BRAVE_URL)


class TavilySettings(_Settings):
    """Tavily's API. `url` is another address of the same API."""

    provider: Literal["tavily"]
    api_key: Annotated[SecretStr, AfterValidator(_header)]
    url: Annotated[SecretStr, AfterValidator(_url_for_a_key)] = SecretStr(TAVILY_URL)


ProviderSettings = SearxngSettings | BraveSettings | TavilySettings
"""The settings of one of ours."""
