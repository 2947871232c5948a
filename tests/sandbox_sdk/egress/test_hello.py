"""The parser of TLS greetings: real ones, cut ones, spoilt ones."""

import random
import ssl

import pytest

from sandbox_sdk.egress.hello import MAX_BYTES, Hello, HelloReader, NotTlsError


def greeting(server_name: str | None) -> bytes:
    """What Python's TLS sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


GREETING = greeting("Site.Test")
MESSAGE = GREETING[5:]


def records(message: bytes, size: int) -> bytes:
    """A handshake message in records of one size."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def read(data: bytes, step: int | None = None) -> Hello | None:
    """What a reader makes of bytes that come in steps."""
    reader = HelloReader()
    step = step or max(len(data), 1)
    for at in range(0, len(data), step):
        if (hello := reader.feed(data[at : at + step])) is not None:
            return hello
    return None


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def server_name(*names: bytes, kind: int = 0) -> bytes:
    listed = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in names)
    return extension(0, len(listed).to_bytes(2, "big") + listed)


def message(extensions: bytes | None, *, after: bytes = b"") -> bytes:
    """A small greeting with these extensions."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    if extensions is not None:
        body += len(extensions).to_bytes(2, "big") + extensions
    body += after
    return b"\x01" + len(body).to_bytes(3, "big") + body


def test_the_server_name_is_read_in_its_plain_form() -> None:
    assert Hello("site.test") == read(GREETING)
    assert Hello("site.test") == read(records(message(server_name(b"Site.TEST.")), 1000))


@pytest.mark.parametrize("name", [None, "127.0.0.1", "::1"])
def test_a_greeting_for_an_address_names_no_server(name: str | None) -> None:
    assert Hello(None) == read(greeting(name))


def test_a_greeting_without_extensions_names_no_server() -> None:
    assert Hello(None) == read(records(message(None), 1000))


@pytest.mark.parametrize("record", [1, 3, 7, 100, 16384])
@pytest.mark.parametrize("step", [1, 2, 11, None])
def test_a_greeting_may_come_in_many_records_and_pieces(record: int, step: int | None) -> None:
    assert Hello("site.test") == read(records(MESSAGE, record), step)


def test_what_follows_the_greeting_in_other_records_is_not_looked_at() -> None:
    assert Hello("site.test") == read(GREETING + b"\x17\x03\x03\xff\xff early data")


def test_a_cut_greeting_is_never_complete() -> None:
    for end in range(len(GREETING)):
        assert read(GREETING[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x80\x2e\x01\x03\x01\x00\x15",  # a greeting of SSL 2
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x02\x00",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # the greeting of a server
        records(MESSAGE + b"\x0b\x00\x00\x00", 16384),
        records(b"\x01\xff\xff\xff", 16384),
        records(message(server_name(b"a.test") + server_name(b"b.test")), 1000),
        records(message(server_name(b"a.test", b"b.test")), 1000),
        records(message(server_name()), 1000),
        records(message(server_name(b"")), 1000),
        records(message(server_name(b"a.test\0.site.test")), 1000),
        records(message(server_name("ä.test".encode())), 1000),
        records(message(server_name(b"a.test", kind=1)), 1000),
        records(message(extension(0, b"")), 1000),
        records(message(extension(0, b"\x00\x09\x00\x00\x10site.")), 1000),
        records(message(extension(10, b"") * 2), 1000),
        records(message(b"", after=b"\x00"), 1000),
        records(message(b"\x00"), 1000),
    ],
)
def test_what_is_no_clear_greeting_is_refused(data: bytes) -> None:
    with pytest.raises(NotTlsError):
        read(data)


def test_a_greeting_without_end_is_refused() -> None:
    endless = b"\x01" + (MAX_BYTES - 1).to_bytes(3, "big") + bytes(MAX_BYTES)

    with pytest.raises(NotTlsError, match="larger"):
        read(records(endless, 1)[: 2 * MAX_BYTES], 512)


def test_spoilt_greetings_end_in_a_name_or_a_refusal() -> None:
    chance = random.Random(20)
    outcomes = {"name": 0, "refused": 0, "more": 0}
    for _ in range(1500):
        spoilt = bytearray(records(MESSAGE, chance.choice([50, 300, 16384])))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(spoilt))
            match chance.randrange(3):
                case 0:
                    spoilt[at] = chance.randrange(256)
                case 1:
                    del spoilt[at : at + chance.randint(1, 20)]
                case _:
                    spoilt[at:at] = chance.randbytes(chance.randint(1, 20))
        try:
            hello = read(bytes(spoilt), chance.choice([1, 13, None]))
        except NotTlsError:
            outcomes["refused"] += 1
        else:
            outcomes["more" if hello is None else "name"] += 1

    assert all(outcomes.values())
