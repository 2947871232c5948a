"""TLS: who is trusted, and that nothing goes out in clear text where that is forbidden."""

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from sandbox_sdk.databases.postgres.session import connect as connect_session
from sandbox_sdk.databases.postgres.settings import Settings
from tests.sandbox_sdk.databases.postgres.driver_support import Shop, call, read
from tests.services.postgres import PostgresServer, find_binaries
from tool_plugins.errors import ErrorCode, ToolError

Signer = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def authority(name: str) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    return _certificate(name, key, (None, key)), key


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing_key = signer
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def write_certificate(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tls-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Signer:
    signer = authority("the right one")
    write_certificate(folder / "ca.pem", signer[0])
    write_certificate(folder / "other.pem", authority("another")[0])
    return signer


@pytest.fixture(scope="module")
def shop(folder: Path, trusted: Signer) -> Iterator[Shop]:
    """On a server of its own, which speaks TLS with a certificate for "localhost"."""
    if find_binaries() is None:
        pytest.skip("no PostgreSQL server: install the package postgresql")
    key = ec.generate_private_key(ec.SECP256R1())
    write_certificate(folder / "server.pem", _certificate("server", key, trusted))
    key_file = folder / "server.key"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_file.chmod(0o600)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.pem"),
        "ssl_key_file": str(key_file),
    }
    server = PostgresServer(folder / "server", settings=settings).create()
    owner = server.data.stat()
    os.chown(key_file, owner.st_uid, owner.st_gid)
    server.start()
    try:
        yield Shop(server, "tls_shop").create()
    finally:
        server.stop(mode="immediate")


def connect(shop: Shop, *, require_tls: bool = True, **conninfo: str) -> PostgresDriver:
    return shop.driver("ro", conninfo=conninfo, require_tls=require_tls)


TLS_IN_USE = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def test_the_right_authority_and_name_are_accepted(shop: Shop, folder: Path) -> None:
    ca = str(folder / "ca.pem")
    driver = connect(shop, host="localhost", sslmode="verify-full", sslrootcert=ca)

    assert read(driver, TLS_IN_USE).rows == [(True,)]
    driver.close()


@pytest.mark.parametrize(
    ("host", "authority_file", "words"),
    [
        ("localhost", "other.pem", "certificate verify failed"),
        ("127.0.0.1", "ca.pem", 'does not match host name "127.0.0.1"'),
        ("localhost", "missing.pem", "does not exist"),
    ],
)
def test_the_wrong_authority_or_name_is_refused(
    shop: Shop, folder: Path, host: str, authority_file: str, words: str
) -> None:
    ca = str(folder / authority_file)
    driver = connect(shop, host=host, sslmode="verify-full", sslrootcert=ca)
    with pytest.raises(ToolError) as caught:
        read(driver, "SELECT 1")
    driver.close()

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert words in caught.value.message


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
def test_required_tls_wins_over_a_mode_that_allows_clear_text(shop: Shop, sslmode: str) -> None:
    driver = connect(shop, sslmode=sslmode)

    assert read(driver, TLS_IN_USE).rows == [(True,)]
    driver.close()


def test_a_connection_that_came_out_in_clear_text_is_closed(shop: Shop) -> None:
    parsed = Settings.parse(shop.settings("ro", conninfo={"sslmode": "disable"}))
    assert connect_session(parsed, call()).close() is None
    with pytest.raises(ToolError, match="TLS is required"):
        connect_session(replace(parsed, require_tls=True), call())


def test_a_server_without_tls_is_refused_where_tls_is_required(postgres: PostgresServer) -> None:
    plain = Shop(postgres, "plain_shop").create()
    refused, allowed = connect(plain), connect(plain, require_tls=False)
    private = connect(plain, host=str(postgres.folder))
    try:
        with pytest.raises(ToolError) as caught:
            read(refused, "SELECT 1")
        assert read(allowed, "SELECT 1").rows == [(1,)]
        assert read(private, "SELECT 1").rows == [(1,)]  # a unix socket is nobody's to listen at
    finally:
        for driver in (refused, allowed, private):
            driver.close()
        plain.drop()

    assert "server does not support SSL" in caught.value.message
