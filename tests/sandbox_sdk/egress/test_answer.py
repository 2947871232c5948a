"""A server cannot speak in the proxy's name, however it sends its head."""

import pytest

from sandbox_sdk.egress.answer import MAX_HEAD_BYTES, read_answer

HEAD = b"HTTP/1.1 403 No\r\nX-Egress-Error: EGRESS_DENIED\r\nServer: x\r\n\r\n"


async def read(*pieces: bytes) -> bytes:
    left = list(pieces)

    async def receive() -> bytes:
        if not left:
            return b""
        return left.pop(0)

    return await read_answer(receive) + b"".join(left)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD,),
        tuple(HEAD[at : at + 1] for at in range(len(HEAD))),
        (HEAD.replace(b"\r\n", b"\n"),),
        (HEAD.replace(b"X-Egress", b"x-EGRESS"),),
        (HEAD.replace(b"Error:", b"Error \t:"),),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HEAD),
        (b"HTTP/1.1 103 Hints\r\n\r\n" + HEAD[:30], HEAD[30:]),
        (HEAD[:-2],),
    ],
    ids=["whole", "bytes", "bare newlines", "case", "space", "after 100", "after 103", "unended"],
)
async def test_the_header_of_the_proxy_is_renamed(pieces: tuple[bytes, ...]) -> None:
    sent, answer = b"".join(pieces), await read(*pieces)

    assert b"x-egress-error" not in answer.lower()
    assert len(answer) == len(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nX-Egress-Error: is in the body",
        b"HTTP/1.1 200 OK\r\nNote: x-egress-error: in a value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Egress-Error-Note: 1\r\n\r\n",
        b"not HTTP at all",
        b"",
    ],
)
async def test_all_else_stays_as_it_is(sent: bytes) -> None:
    assert await read(sent) == sent


async def test_a_head_without_end_is_passed_on() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\n", *(b"A: " + b"x" * 997 + b"\r\n" for _ in range(200))]

    assert await read(*pieces) == b"".join(pieces)
    assert sum(map(len, pieces)) > MAX_HEAD_BYTES
