"""What is kept: downloads under free names, certificates that the system lacks."""

from pathlib import Path

from tool_plugins.browser.arriving import keep
from tool_plugins.browser.launching import extra_certificates

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


def arrive(folder: Path, text: str = "x") -> Path:
    path = folder / "0815"
    path.write_text(text)
    return path


def test_downloads_of_one_name_are_all_kept(tmp_path: Path) -> None:
    kept = [keep(arrive(tmp_path, text), tmp_path / "d", "a.tar.gz") for text in "123"]
    assert [path.name for path in kept] == ["a.tar.gz", "a.tar-1.gz", "a.tar-2.gz"]
    assert [path.read_text() for path in kept] == ["1", "2", "3"]
    assert list(tmp_path.iterdir()) == [tmp_path / "d"]


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    for name in ("../../evil", "/etc/passwd", ".bashrc", "..", "", "a\0b/c", "\n"):
        path = keep(arrive(tmp_path), tmp_path / "d", name)
        assert path.parent == tmp_path / "d"
        assert not path.name.startswith(".")


def test_certificates_that_the_system_has_are_left_out(tmp_path: Path) -> None:
    system, bundle = tmp_path / "system.pem", tmp_path / "bundle.pem"
    usual = CERTIFICATE.format("AAAA") + CERTIFICATE.format("BBBB")
    system.write_text(usual)
    bundle.write_text(f"{usual}\n# own\n{CERTIFICATE.format('CCCC')}")
    found = extra_certificates({"SSL_CERT_FILE": str(bundle)}, system)
    assert found == [CERTIFICATE.format("CCCC")]
    assert extra_certificates({}, system) == []
    assert extra_certificates({"SSL_CERT_FILE": str(tmp_path / "none")}, system) == []
