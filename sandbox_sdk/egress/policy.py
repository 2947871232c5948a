"""What an operator says about the network. Host side only; nothing here acts.

EgressPolicy(allow=["index.example", "*.files.example", "git.example:8443"])

An empty policy lets nothing out. `deny` wins over `allow`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from tool_plugins.contract import CLOSED, Value

from .addresses import is_special
from .index import Index
from .rules import check_address, check_host, check_name, parse_host, parse_network, parse_rule

DEFAULT_PORTS = (80, 443)
MAX_HEADER_CHARS = 8_000
MAX_MIB = 1 << 40

Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]

# What frames a request or belongs to one connection is the proxy's own business.
_FRAMING = {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer"}
_FRAMING |= {"transfer-encoding", "upgrade"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


def _check_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("this is not the name of a header")
    if name.lower() in _FRAMING or name.lower().startswith("proxy-"):
        raise ValueError(f"{name} is a header that the proxy writes itself")
    return name


def _check_header_value(value: SecretStr) -> SecretStr:
    # Never quotes it: it may be a password.
    text = value.get_secret_value()
    if not text:
        raise ValueError("the value is empty")
    if len(text) > MAX_HEADER_CHARS:
        raise ValueError(f"the value is longer than {MAX_HEADER_CHARS} characters")
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError(
            "the value has a line break or another character that no header may have, "
            "or a blank at its beginning or end"
        )
    return value


def _check_some(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise ValueError("an address is missing")
    return addresses


def _check_private(text: str) -> str:
    network = parse_network(text)
    if not is_special(network):
        raise ValueError(
            f"{str(network)!r} has public addresses, which need not stand here; "
            "write the private range, such as 10.0.0.0/8"
        )
    return str(network)


HeaderName = Annotated[str, AfterValidator(_check_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_check_header_value)]
Name = Annotated[str, AfterValidator(check_name)]
Address = Annotated[str, AfterValidator(check_address)]
Addresses = Annotated[tuple[Address, ...], Field(max_length=64), AfterValidator(_check_some)]
PrivateNetwork = Annotated[str, AfterValidator(_check_private)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class EgressRule(Value):
    """A host, and its ports.

    `host` is a name ("index.example": that name only), a name with all below it ("*.files.example":
    not the name itself), "*" (every public host), an IP address or a network ("10.1.0.0/16"). In
    an allow rule an address or a network covers URLs that hold an address, not names; in a deny
    rule also names that resolve to it. In a policy a rule may be written as text:
    "index.example", "git.example:8443", "[::1]:8000", "10.1.0.0/16:443,8443".

    Without `ports` an allow rule means 80 and 443, a deny rule every port. `tunnel` says what may
    go through a tunnel (CONNECT, SOCKS): "tls" demands TLS whose server name is the host; "any"
    lets every protocol through, such as SSH.
    """

    host: Annotated[str, Field(min_length=1, max_length=255)]
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=100)] | None = None
    tunnel: Literal["tls", "any"] = "tls"

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        return check_host(host)


Rules = Annotated[
    tuple[Annotated[EgressRule, BeforeValidator(parse_rule)], ...], Field(max_length=10_000)
]


class HeaderInjection(Value):
    """Headers the proxy adds to plain HTTP requests for one host, so that a secret stays outside.

    Programs in the sandbox ask for `http://host/...`; with `tls` (the default) the proxy itself
    speaks TLS to the host (port 443), and verifies it. What the sandbox sent under such a name is
    replaced. In a YAML file `${NAME}` in a value stands for a variable of the environment.
    """

    model_config = CLOSED | ConfigDict(hide_input_in_errors=True)

    host: Annotated[str, Field(min_length=1, max_length=255)]
    headers: Annotated[dict[HeaderName, HeaderValue], Field(min_length=1, max_length=50)]
    tls: bool = True

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        if "*" in host or "/" in host:
            raise ValueError("headers go to one host, without wildcards or paths")
        return parse_host(host)[0]

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if twice := _twice([name.lower() for name in headers]):
            raise ValueError(f"the header {twice!r} stands here twice")
        return headers


class EgressLimits(Value):
    """Caps of one sandbox. `max_sent_mb` and `max_received_mb` count all it ever moved, in MiB.

    A connection without a byte for `idle_timeout_s`, or older than `max_connection_s`, is closed.
    """

    max_connections: Annotated[int, Field(ge=1, le=1000)] = 64
    max_sent_mb: Annotated[int, Field(ge=1, le=MAX_MIB)] | None = 1024
    max_received_mb: Annotated[int, Field(ge=1, le=MAX_MIB)] | None = 10_240
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    idle_timeout_s: Seconds = 300.0
    max_connection_s: Seconds | None = 3600.0


class EgressPolicy(Value):
    """What a sandbox may reach.

    `private_networks`: ranges that are not public and into which *names* that an allow rule other
    than "*" covers may resolve; an address that an allow rule names is reachable without. `hosts`:
    addresses of names, asked before the name service ({"api.test": "127.0.0.1"}); these addresses
    may be private too. A range opens the metadata services of clouds in it to nobody: such an
    address has to be named itself.

    `inject`: headers with secrets. `ca_file`: certificates, PEM, that programs in the sandbox and
    the proxy trust beside the public ones; it is read when a sandbox starts. `web_request`: lists
    the tool of that name. `robots`: web_fetch heeds robots.txt.
    """

    model_config = CLOSED | ConfigDict(hide_input_in_errors=True)

    allow: Rules = ()
    deny: Rules = ()
    private_networks: Annotated[tuple[PrivateNetwork, ...], Field(max_length=1000)] = ()
    hosts: Annotated[
        dict[
            Name, Annotated[tuple[Address, ...], Field(max_length=64), AfterValidator(_check_some)]
        ],
        Field(max_length=10_000),
    ] = Field(default_factory=dict)
    inject: Annotated[tuple[HeaderInjection, ...], Field(max_length=1000)] = ()
    limits: EgressLimits = Field(default_factory=EgressLimits)
    ca_file: Path | None = None
    web_request: bool = False
    robots: bool = False

    @field_validator("hosts", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        many = list | tuple
        return {name: each if isinstance(each, many) else [each] for name, each in given.items()}

    @field_validator("ca_file")
    @classmethod
    def _check_path(cls, given: Path | None) -> Path | None:
        if given is not None and (given == Path() or "\0" in str(given)):
            raise ValueError("this is not the path of a file")
        return given

    @model_validator(mode="after")
    def _check_inject(self) -> "EgressPolicy":
        if twice := _twice([each.host for each in self.inject]):
            raise ValueError(f"inject has {twice!r} twice; write its headers in one place")
        allowed = Index(self.allow if self.inject else ())
        for each in self.inject:
            if next(allowed.covering(*parse_host(each.host)), None) is None:
                raise ValueError(f"inject names {each.host!r}, which no rule in allow covers")
        return self


def _twice(names: list[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


NOTHING = EgressPolicy.model_construct(
    allow=(),
    deny=(),
    private_networks=(),
    hosts={},
    inject=(),
    limits=EgressLimits.model_construct(),
    ca_file=None,
    web_request=False,
    robots=False,
)
