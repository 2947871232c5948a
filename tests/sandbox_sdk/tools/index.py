"""A package index on the web of the tests, with wheels and source distributions made as wanted."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence

from sandbox_sdk.egress.policy import EgressPolicy
from tests.services.web import Answer, Web

VERSION = "1.0"


class PackageIndex:
    """Serves `/simple/`. `seen` tells what was asked for."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.url = web.url("/simple", tls=True)
        self.policy = EgressPolicy.model_validate(web.policy())

    @property
    def seen(self) -> list[str]:
        """The paths that were asked for."""
        return [request.path for request in self.web.seen]

    def wheel(self, name: str, *, needs: Sequence[str] = (), **files: bytes) -> None:
        """Offers a package whose module says its name; `files` are in a folder of it."""
        file = f"{name}-{VERSION}-py3-none-any.whl"
        data = _wheel(name, needs, files)
        self._offer(name, file, lambda: data)

    def source(self, name: str, program: str) -> None:
        """Offers a package that a program of its own has to build."""
        data = _source(name, program)
        self._offer(name, f"{name}-{VERSION}.tar.gz", lambda: data)

    def link(self, name: str, url: str) -> None:
        """Offers a wheel that lies elsewhere."""
        file = f"{name}-{VERSION}-py3-none-any.whl"
        self._page(name, f'<a href="{url}/{file}">{file}</a>')

    def held(self, name: str, hold: Callable[[], None]) -> None:
        """Offers a wheel that `hold` keeps back for as long as it runs."""

        def data() -> bytes:
            hold()
            return _wheel(name, (), {})

        self._offer(name, f"{name}-{VERSION}-py3-none-any.whl", data)

    def _offer(self, name: str, file: str, data: Callable[[], bytes]) -> None:
        self._page(name, f'<a href="/files/{file}">{file}</a>')
        route = f"/files/{file}"
        self.web.route(route, lambda _: Answer(data(), content_type="application/octet-stream"))

    def _page(self, name: str, links: str) -> None:
        self.web.text(f"/simple/{name}/", f"<!DOCTYPE html><html><body>{links}</body></html>")


def _wheel(name: str, needs: Sequence[str], files: dict[str, bytes]) -> bytes:
    about = f"{name}-{VERSION}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in needs)
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    held = {
        f"{name}/__init__.py": f"NAME = {name!r}\n".encode(),
        f"{about}/METADATA": metadata.encode(),
        f"{about}/WHEEL": tags.encode(),
        **{f"{name}/{each}": data for each, data in files.items()},
    }
    record = "".join(f"{each},,\n" for each in (*held, f"{about}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in {**held, f"{about}/RECORD": record.encode()}.items():
            archive.writestr(each, data)
    return content.getvalue()


def _source(name: str, program: str) -> bytes:
    backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {
        "setup.py": program,
        "backend.py": program,
        "pyproject.toml": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n",
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{VERSION}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()
