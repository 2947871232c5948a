"""A server: who is let in with what, and what happens when it is slow, broken or someone else."""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox_sdk.databases.access import Access
from sandbox_sdk.databases.provisioner import Place
from sandbox_sdk.databases.qdrant.driver import QdrantDriver
from sandbox_sdk.databases.qdrant.tokens import TOKEN_LIFE_S
from sandbox_sdk.options import new_sandbox_id
from tests.sandbox_sdk.databases.qdrant.conftest import (
    Open,
    Sandboxes,
    a_call,
    find,
    ids,
    put,
    real_server,
    remove,
)
from tests.sandbox_sdk.databases.qdrant.fake import KEY, Asked, FakeQdrant, Refusal
from tool_plugins.errors import ConfigurationError, EngineError, ErrorCode, ToolError

GOOD = {"id": 9, "vector": [1, 0, 0]}


@pytest.fixture
def fields(fake: FakeQdrant) -> dict[str, Any]:
    """Of a Database on the fake."""
    return {"url": fake.url, "api_key": KEY}


Make = Callable[..., Awaitable[Sandboxes]]


@pytest.fixture
async def make(opened: Open) -> AsyncIterator[Make]:
    """Sandboxes whose copies nobody drops: the fake goes with them."""
    made: list[Sandboxes] = []

    async def make_(*seed: None, **fields: Any) -> Sandboxes:
        made.append(Sandboxes(await opened(*seed, **fields)))
        return made[-1]

    yield make_
    for driver in (driver for each in made for driver in each.drivers):
        driver.close()


@pytest.fixture
async def on_fake(make: Make, fields: dict[str, Any]) -> Sandboxes:
    """Those on the fake."""
    return await make(**fields)


def refuse(status: int, words: str, when: str = "") -> Any:
    """A fault that answers so what has `when` in its path."""

    def fault(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        if when in asked.path:
            raise Refusal(status, words)

    return fault


async def test_a_token_opens_the_copy_and_nothing_else(on_fake: Sandboxes) -> None:
    rule = Access.model_validate({"tables": {"docs": "write", "notes": "read"}})
    before = time.time()

    copy = await on_fake.copy(sandbox_id := new_sandbox_id(), rule)
    claims = jwt.decode(copy.settings["token"], KEY, algorithms=["HS256"])

    assert claims["access"] == [
        {"collection": f"{sandbox_id}__kb__docs", "access": "prw"},
        {"collection": f"{sandbox_id}__kb__notes", "access": "r"},
    ]
    assert before - 1 < claims["exp"] - TOKEN_LIFE_S < time.time() + 1
    assert claims["exp"] == copy.settings["expires"]
    assert KEY not in str(copy.settings)


async def test_a_token_for_nothing_says_so(on_fake: Sandboxes) -> None:
    copy = await on_fake.copy(new_sandbox_id(), "none")

    # A token without `access` would manage the whole server.
    assert jwt.decode(copy.settings["token"], KEY, algorithms=["HS256"])["access"] == []


async def test_create_again_signs_a_new_token(
    on_fake: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_id = new_sandbox_id()
    first = await on_fake.copy(sandbox_id)
    now = time.time()
    monkeypatch.setattr("sandbox_sdk.databases.qdrant.tokens.time.time", lambda: now + 60)

    second = await on_fake.copy(sandbox_id)

    assert second.settings["expires"] >= first.settings["expires"] + 59


async def test_the_server_itself_refuses_and_its_words_are_told(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    driver = await on_fake.add({"tables": {"docs": "read"}})

    with pytest.raises(ToolError) as caught:
        put(driver, GOOD)

    message = "qdrant refused: Forbidden: Write access to collection docs is required"
    assert caught.value.message == message
    assert fake.asked[-1].method == "PUT"
    assert fake.asked[-1].path.split("?")[0].endswith("__kb__docs/points")


async def test_an_ended_token_is_no_request(
    on_fake: Sandboxes, fake: FakeQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await on_fake.add()
    asked = len(fake.asked)
    now = time.time()
    monkeypatch.setattr(
        "sandbox_sdk.databases.qdrant.remote.time.time", lambda: now + TOKEN_LIFE_S + 1
    )

    with pytest.raises(ToolError) as caught:
        find(driver)

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": False, "expired": True}
    assert len(fake.asked) == asked


async def test_a_wrong_key_is_a_configuration_error(opened: Open, fake: FakeQdrant) -> None:
    with pytest.raises(ConfigurationError, match="refuses the operator's api_key"):
        await opened(url=fake.url, api_key="another-key-of-32-bytes-or-even-more")


@pytest.mark.parametrize(("key", "jwt_rbac"), [(KEY, False), (None, False)])
async def test_a_server_without_tokens_is_refused(
    opened: Open, key: str | None, jwt_rbac: bool
) -> None:
    server = FakeQdrant(key=key, jwt_rbac=jwt_rbac)
    try:
        with pytest.raises(ConfigurationError, match="jwt_rbac"):
            await opened(url=server.url, api_key=KEY)
        assert server.names() == set()
    finally:
        server.close()


async def test_best_effort_takes_an_open_server_and_the_driver_refuses(
    make: Make, reports: list[str]
) -> None:
    server = FakeQdrant(key=None)
    try:
        made = await make(url=server.url, enforcement="best_effort")
        driver = await made.add({"tables": {"docs": "read"}})
        asked = len(server.asked)

        for forbidden in (lambda: put(driver, GOOD), lambda: find(driver, "notes", vector=[1, 0])):
            with pytest.raises(ToolError) as caught:
                forbidden()
            assert caught.value.code == ErrorCode.PERMISSION_DENIED

        assert len(server.asked) == asked
        assert len(ids(find(driver))) == 4
        assert "no permissions" in reports[0]
    finally:
        server.close()


async def test_best_effort_does_not_hand_out_the_operators_key(opened: Open) -> None:
    server = FakeQdrant(jwt_rbac=False)
    try:
        with pytest.raises(ConfigurationError, match="would have to leave this process"):
            await opened(url=server.url, api_key=KEY, enforcement="best_effort")
    finally:
        server.close()


async def test_a_short_key_is_reported(opened: Open, reports: list[str]) -> None:
    server = FakeQdrant(key="short")
    try:
        await opened(url=server.url, api_key="short")
        assert "shorter than 32 bytes" in reports[-1]
    finally:
        server.close()


async def test_shared_opens_the_named_collections_themselves(
    make: Make, fields: dict[str, Any], fake: FakeQdrant
) -> None:
    seeded = await make(**fields)
    await seeded.copy(sandbox_id := new_sandbox_id())
    name = f"{sandbox_id}__kb__docs"
    rule = Access.model_validate({"tables": {name: "write"}})
    shared = await make(None, **fields, isolation="shared", access=rule)

    one, other = await shared.add(), await shared.add()
    put(one, GOOD, collection=name)

    assert 9 in ids(find(other, name))
    with pytest.raises(ToolError) as caught:
        find(other, f"{sandbox_id}__kb__notes", vector=[1, 0], vector_name="title")
    assert caught.value.code == ErrorCode.PERMISSION_DENIED
    await shared.aclose()
    assert name in fake.names()
    assert await shared.provisioner.copies() == set()


async def test_shared_takes_no_population_and_no_unknown_collection(
    opened: Open, fields: dict[str, Any]
) -> None:
    rule = Access.model_validate({"tables": {"docs": "write"}})

    with pytest.raises(ConfigurationError, match="take it out of the initial population"):
        await opened(**fields, isolation="shared", access=rule)
    with pytest.raises(ConfigurationError, match="'docs', which is not there"):
        await opened(None, **fields, isolation="shared", access=rule)


async def test_collections_of_others_are_no_copies(on_fake: Sandboxes, fake: FakeQdrant) -> None:
    await on_fake.copy(sandbox_id := new_sandbox_id())
    other = new_sandbox_id()
    for name in ("mine", "team__kb__docs", f"{other}__other__docs", f"{other}__kb__"):
        fake.engine.create_collection(name, vectors_config={})

    assert await on_fake.provisioner.copies() == {sandbox_id}


async def test_seeding_that_fails_leaves_nothing(
    on_fake: Sandboxes, fake: FakeQdrant, place: Place
) -> None:
    sandbox_id = new_sandbox_id()
    fake.fault = refuse(500, "no space", "notes/points")

    with pytest.raises(EngineError, match="no space"):
        await on_fake.copy(sandbox_id)

    assert fake.names() == set()
    assert not place.copy_folder(sandbox_id, "kb").exists()
    fake.fault = None
    assert len(ids(find(on_fake.connect(await on_fake.copy(sandbox_id))))) == 4


async def test_seeding_nobody_waits_for_any_more_leaves_nothing(
    on_fake: Sandboxes, fake: FakeQdrant, place: Place
) -> None:
    sandbox_id = new_sandbox_id()
    reached, go_on = threading.Event(), threading.Event()

    def hold(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        if asked.method == "PUT" and asked.path.split("?")[0].endswith("docs/points"):
            reached.set()
            go_on.wait(20)

    fake.fault = hold
    making = asyncio.create_task(on_fake.copy(sandbox_id))
    await asyncio.to_thread(reached.wait, 20)
    making.cancel()
    await asyncio.sleep(0)
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await making
    assert fake.names() == set()
    assert not place.copy_folder(sandbox_id, "kb").exists()


async def test_what_a_crash_left_half_seeded_is_seeded_anew(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    sandbox_id = new_sandbox_id()
    fake.engine.create_collection(f"{sandbox_id}__kb__docs", vectors_config={})

    driver = on_fake.connect(await on_fake.copy(sandbox_id))

    assert len(ids(find(driver))) == 4


async def test_a_copy_the_server_lost_is_an_error_until_reset(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    await on_fake.copy(sandbox_id := new_sandbox_id())
    fake.engine.delete_collection(f"{sandbox_id}__kb__docs")

    with pytest.raises(EngineError, match=r"'docs' of .* is gone"):
        await on_fake.copy(sandbox_id)
    await on_fake.provisioner.drop(sandbox_id)
    assert len(ids(find(on_fake.connect(await on_fake.copy(sandbox_id))))) == 4


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (400, "Wrong input: bad", ErrorCode.QUERY_ERROR),
        (403, "Forbidden: no", ErrorCode.PERMISSION_DENIED),
        (404, "Not found: Collection", ErrorCode.NOT_FOUND),
        (408, "Timeout", ErrorCode.TIMEOUT),
        (413, "Payload too large", ErrorCode.TOO_LARGE),
        (429, "Rate limit", ErrorCode.BUSY),
        (500, "Service internal error", ErrorCode.QUERY_ERROR),
        (503, "not ready", ErrorCode.DATABASE_UNAVAILABLE),
        (507, "Insufficient storage", ErrorCode.QUOTA_EXCEEDED),
    ],
)
async def test_each_refusal_has_its_code(
    on_fake: Sandboxes, fake: FakeQdrant, status: int, words: str, code: ErrorCode
) -> None:
    driver = await on_fake.add()
    fake.fault = refuse(status, words)

    with pytest.raises(ToolError) as caught:
        find(driver)

    assert caught.value.code == code
    assert code == ErrorCode.TIMEOUT or words in caught.value.message


def test_a_server_that_is_not_there_is_unavailable() -> None:
    settings = {"collections": {"docs": "read"}, "prefix": "", "token": "t", "expires": None}
    driver = QdrantDriver(settings | {"server": {"url": "http://127.0.0.1:1"}})

    with pytest.raises(ToolError, match="cannot be reached") as caught:
        find(driver)

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": False}


async def test_a_connection_cut_in_an_answer_is_unavailable_and_sent(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    driver = await on_fake.add()
    find(driver)

    def cut(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"result": {')
        handler.close_connection = True
        raise ConnectionError

    fake.fault = cut
    with pytest.raises(ToolError) as caught:
        find(driver)

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": True}
    fake.fault = None
    assert len(ids(find(driver))) == 4


async def test_a_connection_the_server_closed_while_idle_is_made_again(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    driver = await on_fake.add()
    closing: list[str] = []

    def close_after(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        # Unannounced: the client takes it for one it can use again.
        handler.close_connection = True
        closing.append(asked.path)

    fake.fault = close_after
    for _ in range(3):
        assert len(ids(find(driver))) == 4
    assert len(closing) >= 6


async def test_connections_are_used_again(on_fake: Sandboxes, fake: FakeQdrant) -> None:
    driver = await on_fake.add()
    find(driver)
    connections = fake.connections

    for _ in range(5):
        find(driver)

    assert fake.connections == connections


async def test_a_slow_answer_is_a_timeout(on_fake: Sandboxes, fake: FakeQdrant) -> None:
    driver = await on_fake.add()
    go_on = threading.Event()
    fake.fault = lambda asked, handler: go_on.wait(20) and None

    try:
        with pytest.raises(ToolError) as caught:
            driver.search(a_call(timeout_s=0.3), {"collection": "docs", "vector": [1, 0, 0]})
    finally:
        go_on.set()

    assert caught.value.code == ErrorCode.TIMEOUT
    assert "timeout=1" in fake.asked[-1].path


async def test_a_call_is_cancelled_while_it_waits(on_fake: Sandboxes, fake: FakeQdrant) -> None:
    driver = await on_fake.add()
    reached, go_on = threading.Event(), threading.Event()

    def hold(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        reached.set()
        go_on.wait(20)

    fake.fault = hold
    call = a_call()
    caught: list[ToolError] = []

    def search() -> None:
        try:
            driver.search(call, {"collection": "docs", "vector": [1, 0, 0]})
        except ToolError as exc:
            caught.append(exc)

    searching = threading.Thread(target=search)
    searching.start()
    reached.wait(20)
    call.cancel()
    searching.join(20)
    ended = not searching.is_alive()
    go_on.set()

    assert ended
    assert [each.code for each in caught] == [ErrorCode.TIMEOUT]


async def test_no_free_connection_is_busy(
    make: Make, fields: dict[str, Any], fake: FakeQdrant
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    driver = await (await make(**fields, pool=pool)).add()
    reached, go_on = threading.Event(), threading.Event()

    def hold(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        reached.set()
        go_on.wait(20)

    fake.fault = hold
    first = threading.Thread(target=lambda: find(driver))
    first.start()
    reached.wait(20)
    with pytest.raises(ToolError) as caught:
        find(driver)
    go_on.set()
    first.join(20)

    assert caught.value.code == ErrorCode.BUSY


async def test_an_answer_that_is_not_qdrants_is_an_error(
    on_fake: Sandboxes, fake: FakeQdrant
) -> None:
    driver = await on_fake.add()

    def other(asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
        handler.close_connection = True
        raise ConnectionError

    fake.fault = other
    with pytest.raises(ToolError, match="<html>") as caught:
        find(driver)

    assert caught.value.code == ErrorCode.QUERY_ERROR


def authority(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "qdrant")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[FakeQdrant, Path]]:
    """A server that speaks TLS, and who signed its certificate."""
    ca_file, key_file = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca_file, key_file)
    server = FakeQdrant(tls=context)
    yield server, ca_file
    server.close()


async def test_tls_is_verified_against_the_ca_file(
    opened: Open, make: Make, encrypted: tuple[FakeQdrant, Path]
) -> None:
    server, ca_file = encrypted
    fields = {"url": server.url, "api_key": KEY, "require_tls": True}

    made = await make(**fields, ca_file=ca_file)
    driver = await made.add()
    assert len(ids(find(driver))) == 4
    assert remove(driver, ids=[1])["count"] == 3

    with pytest.raises(EngineError, match="CERTIFICATE_VERIFY_FAILED"):
        await opened(**fields)


async def test_a_ca_file_that_is_none_is_a_configuration_error(
    opened: Open, fields: dict[str, Any], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    url = "https://127.0.0.1:1"

    for wrong in (tmp_path / "missing.pem", empty):
        with pytest.raises(ConfigurationError, match="ca_file"):
            await opened(url=url, api_key=KEY, ca_file=wrong)


async def test_a_real_server_holds_a_token_to_its_collections(make: Make) -> None:
    fields = real_server()
    made = await make(**fields)
    reader = await made.add({"tables": {"docs": "read"}})
    writer = await made.add()

    with pytest.raises(ToolError, match="Write access"):
        put(reader, GOOD)
    assert put(writer, GOOD)["count"] == 5
    assert set(made.ids) <= await made.provisioner.copies()

    await made.aclose()
    assert not set(made.ids) & await made.provisioner.copies()
