"""Where pip finds packages: the index of this host, or one of our own with a single package."""

import io
import os
import re
import socket
import ssl
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import HTTPSHandler, Request, build_opener

from examples.web.server import Answer, Web

PACKAGE = "cowsay"
TIMEOUT_S = 10
MAX_PAGE_BYTES = 2 * 1024 * 1024

OWN_PACKAGE = "teapot"
OWN_WHEEL = f"{OWN_PACKAGE}-1.0-py3-none-any.whl"
OWN_MODULE = 'def cow(text):\n    print("(teapot)", text)\n'
OWN_METADATA = f"Metadata-Version: 2.1\nName: {OWN_PACKAGE}\nVersion: 1.0\n"
OWN_TAGS = "Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class Index:
    """An index and a package of it that needs no other. `reason` says why it is our own.

    `allow`, `networks` and `certificates` are what a policy must say for it to be reached.
    """

    url: str
    package: str
    allow: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    certificates: str = ""
    reason: str = ""


def find_index(web: Web) -> Index:
    """The index that pip uses on this host; where it does not answer, one on the web of ours."""
    found = _of_this_host()
    return found if isinstance(found, Index) else _own(web, found)


@cache
def _of_this_host() -> Index | str:
    """The index that pip uses here, or why that cannot be used. Asked once: it takes a while."""
    url = os.environ.get("PIP_INDEX_URL") or _setting("index-url") or _default()
    certificates = _certificates()
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.username is not None:
        return "that of this host needs a password, or has no TLS"
    page = f"{url.rstrip('/')}/{PACKAGE}/"
    try:
        hosts = {_host(parts), *_hosts_of_files(page, certificates)}
        addresses = {address for host in hosts for address in _addresses(host)}
    except (OSError, ValueError) as error:
        return f"that of this host does not answer: {error}"
    return Index(
        url,
        PACKAGE,
        allow=tuple(sorted(hosts)),
        networks=tuple(sorted(each for each in addresses if not ip_address(each).is_global)),
        certificates=certificates,
    )


def _setting(name: str) -> str:
    """What pip is configured with; empty where it has none, or is not there."""
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _default() -> str:
    """What pip takes without being configured, as it says itself."""
    command = [sys.executable, "-m", "pip", "install", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(default\s+(https://\S+?)\)", text)
    return found[1] if found else ""


def _certificates() -> str:
    """The authorities that this host was told to trust, beside the public ones."""
    file = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or _setting("cert")
    return Path(file).read_text("utf-8") if file else ""


def _hosts_of_files(page: str, certificates: str) -> set[str]:
    """The hosts that the files of a package come from.

    Raises:
        OSError, ValueError: the page cannot be had, or lists no file.
    """
    context = ssl.create_default_context()
    if certificates:
        context.load_verify_locations(cadata=certificates)
    opener = build_opener(HTTPSHandler(context=context))
    request = Request(page, headers={"Accept": "text/html"})
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        text = answer.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
    links = re.findall(r'href="([^"]+\.whl)', text)
    if not links:
        raise ValueError(f"it has no {PACKAGE}")
    return {_host(urlsplit(urljoin(page, link))) for link in links}


def _host(parts: SplitResult) -> str:
    """A rule for that host."""
    return f"{parts.hostname}:{parts.port or 443}"


def _addresses(rule: str) -> set[str]:
    host, _, port = rule.rpartition(":")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    return {str(each[4][0]) for each in found}


def _own(web: Web, reason: str) -> Index:
    """An index with one wheel, on the same server as all else."""
    wheel = _wheel()
    link = f'<a href="/files/{OWN_WHEEL}">{OWN_WHEEL}</a>'
    web.text(f"/simple/{OWN_PACKAGE}/", f"<!DOCTYPE html><html><body>{link}</body></html>")
    web.route(f"/files/{OWN_WHEEL}", lambda _: Answer(wheel, content_type="application/zip"))
    return Index(web.url("/simple", tls=True), OWN_PACKAGE, reason=reason)


def _wheel() -> bytes:
    about = f"{OWN_PACKAGE}-1.0.dist-info"
    files = {
        f"{OWN_PACKAGE}.py": OWN_MODULE,
        f"{about}/METADATA": OWN_METADATA,
        f"{about}/WHEEL": OWN_TAGS,
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, text)
    return content.getvalue()
