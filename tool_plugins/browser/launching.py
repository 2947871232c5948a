"""Starts Chromium: which program, with what arguments, trusting whom.

Driven by playwright, which brings what a small client of our own over the debugging pipe would
lack: snapshots with references across frames, and waiting until an element can be operated. That
costs a Node.js of 150 MB in the image and 60 MB in memory.
"""

import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import list_processes

from .places import Places

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

PROGRAMS = ("/usr/lib/chromium/chromium-headless-shell", "/usr/bin/chromium")
"""The first that is there."""

CERTUTIL_TIMEOUT_S = 20.0
START_TIMEOUT_S = 60.0
MAX_CERTIFICATES = 50
MOST_LIKELY = "1000"  # of being killed when memory runs out
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A dev server in the sandbox is reached without the proxy. Chromium's own list of what is local has
# link-local addresses, such as those of clouds' metadata, so it is taken away first.
LOCAL = "<-loopback>;localhost;*.localhost;127.0.0.0/8;[::1]"
ARGUMENTS = (
    # /dev/shm has 16 MB in a sandbox; TMPDIR is used instead.
    "--disable-dev-shm-usage",
    # Names are looked up by the proxy. Nothing else may try.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, "
    "EXCLUDE 127.0.0.1, EXCLUDE [::1]",
    f"--proxy-bypass-list={LOCAL}",
    # What goes around a proxy.
    "--disable-quic",
    "--force-webrtc-ip-handling-policy",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # What nobody asked for would fill the log of what went out.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
    # No graphics card, and one process less.
    "--disable-gpu",
    "--in-process-gpu",
    # Frames of other sites share their page's process: each would take 30 MB more.
    "--disable-site-isolation-trials",
    "--renderer-process-limit=3",
)
NOWHERE = "http://127.0.0.1:9"
"""The proxy where there is none: nothing is reached, rather than all."""


def program() -> str:
    """The browser's program.

    Raises:
        ToolError: UNSUPPORTED, there is none.
    """
    for path in PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise ToolError(
        ErrorCode.UNSUPPORTED,
        "there is no browser in this sandbox",
        hint="only the operator can choose an image with one; use web_fetch",
    )


def tidy_environment(places: Places) -> None:
    """Prepares this process's environment, which the driver inherits.

    What the agent's programs are told of Node.js is not for this one.
    """
    for name in list(os.environ):
        if name.startswith(("NODE_", "PLAYWRIGHT_", "PW_")) or name == "DEBUG":
            del os.environ[name]
    os.environ["TMPDIR"] = str(places.scratch)


async def launch(playwright: "Playwright", places: Places) -> "Browser":
    """Starts the browser in a fresh scratch folder.

    Without Chromium's own sandbox: that would confine its renderers in user namespaces, which the
    system call filter of ours does not allow. The container is the boundary, and the browser runs
    as the agent's user.
    """
    home = str(places.scratch)
    return await playwright.chromium.launch(
        executable_path=program(),
        headless=True,
        chromium_sandbox=False,
        args=[*ARGUMENTS, f"--proxy-server={os.environ.get('HTTP_PROXY') or NOWHERE}"],
        env={"HOME": home, "TMPDIR": home, "PATH": os.defpath, "LANG": "C.UTF-8"},
        downloads_path=str(places.arriving),
        timeout=START_TIMEOUT_S * 1000,
    )


def put_first_in_line() -> None:
    """Lets the kernel take the browser's processes first where memory runs out.

    Without one of its pages it can be asked what happened; without its driver it cannot. What it
    starts later has it from them.
    """
    parents = {entry.pid: entry.parent for entry in list_processes()}
    browsers = os.path.realpath(program())
    for pid in parents:
        with suppress(OSError):
            if _descends(pid, parents) and os.readlink(f"/proc/{pid}/exe") == browsers:
                Path(f"/proc/{pid}/oom_score_adj").write_text(MOST_LIKELY)


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def prepare(places: Places, environment: Mapping[str, str] = os.environ) -> str:
    """Makes the scratch folder anew, with what the sandbox trusts beside the public authorities.

    Chromium looks at no SSL_CERT_FILE, only at the NSS database of its home. What is wrong comes
    back as a sentence.
    """
    for folder in places.passing:
        shutil.rmtree(folder, ignore_errors=True)
    database = places.scratch / ".pki" / "nssdb"
    database.mkdir(parents=True, mode=0o700)
    certificates = extra_certificates(environment)
    if not certificates:
        return ""
    try:
        _trust(database, certificates[:MAX_CERTIFICATES])
    except (OSError, subprocess.SubprocessError) as error:
        return f"the sandbox's own certificates could not be added to the browser: {error}"
    return ""


def extra_certificates(
    environment: Mapping[str, str], system: Path = SYSTEM_CERTIFICATES
) -> list[str]:
    """The certificates in PEM that SSL_CERT_FILE names and the system's bundle does not."""
    bundle = environment.get("SSL_CERT_FILE")
    if not bundle:
        return []
    with suppress(OSError):
        usual = set(_certificates(system))
        return [each for each in _certificates(Path(bundle)) if each not in usual]
    return []


def _certificates(bundle: Path) -> list[str]:
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    pieces = bundle.read_text(errors="replace").split(begin)[1:]
    return [f"{begin}{piece.partition(end)[0]}{end}\n" for piece in pieces if end in piece]


def _trust(database: Path, certificates: list[str]) -> None:
    place = f"sql:{database}"
    _certutil("-N", "-d", place, "--empty-password")
    for number, certificate in enumerate(certificates):
        _certutil("-A", "-d", place, "-n", f"sandbox-{number}", "-t", "C,,", "-a", text=certificate)


def _certutil(*arguments: str, text: str = "") -> None:
    subprocess.run(  # noqa: S603 - our own words
        ["certutil", *arguments],  # noqa: S607 - of the system
        input=text,
        text=True,
        check=True,
        capture_output=True,
        timeout=CERTUTIL_TIMEOUT_S,
    )
