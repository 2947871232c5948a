"""The log of decisions: how much it keeps, and that nobody can write into it."""

import logging

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.log import DecisionLog, Entry
from sandbox_sdk.egress.refusal import RefusedError, http_answer


def _entry(host: str, message: str = "") -> Entry:
    entry = Entry()
    entry.ask("connect", "CONNECT", host, 443)
    if message:
        entry.refuse(RefusedError(Reason.NOT_ALLOWED, message))
    return entry


def test_the_last_thousand_are_kept() -> None:
    log = DecisionLog("s")
    for number in range(1100):
        entry = _entry(f"h{number}.test")
        log.add(entry)
        log.end(entry)

    assert [f"h{number}.test" for number in range(100, 1100)] == [
        each.host for each in log.decisions()
    ]


def test_a_live_connection_is_shown_as_it_stands() -> None:
    log = DecisionLog("s")
    entry = _entry("site.test")
    log.add(entry)
    entry.sent_bytes = 7

    [before] = log.decisions()
    log.end(entry)
    [after] = log.decisions()

    assert (before.sent_bytes, before.ended, after.ended) == (7, False, True)


def test_one_line_for_each_however_often_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog("sandbox-1")
    with caplog.at_level(logging.INFO, logger="sandbox_sdk.egress"):
        entry = _entry("site.test", "no")
        log.end(entry)
        log.end(entry)

    assert caplog.messages == ["sandbox-1: denied CONNECT site.test:443: no (not_allowed)"]
    assert len(log.decisions()) == 1


def test_what_the_sandbox_wrote_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog("s")
    with caplog.at_level(logging.INFO, logger="sandbox_sdk.egress"):
        log.end(_entry("a\r\nb\x1b[2J\u202e" + "x" * 100_000, "no\n\x00" + "y" * 100_000))

    [line] = caplog.messages
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1000


@pytest.mark.parametrize("message", ["no\r\nX-Forged: 1", "\u202eno", "é" * 300, "", "\ud800"])
def test_an_answer_holds_one_status_line_whatever_the_message(message: str) -> None:
    answer = http_answer(RefusedError(Reason.DENIED, message), "host\r\n", 1)

    head, _, body = answer.partition(b"\r\n\r\n")
    first, *others = head.split(b"\r\n")
    assert first.startswith(b"HTTP/1.1 403 ")
    assert len(first) <= len(b"HTTP/1.1 403 ") + 200
    assert first.isascii()
    assert len(others) == 4
    assert b"Content-Length: %d" % len(body) in others
