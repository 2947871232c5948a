"""Text for readers, and patterns that always end."""

import re

import pytest

from tool_plugins.terminal.counters import Counters, Losses
from tool_plugins.terminal.pattern import Pattern, PatternError
from tool_plugins.terminal.text import LiveText, clean, first_chars, last_chars, without_cut_char

PATTERNS = [
    "abc", "a.c", "^b", "b$", "a|bc", "(a|b)*c", "a{2}", "a{1,2}b", "a{2,}b", "[a-c]+x",
    r"[^\]]x", r"\d+", r"\bword\b", r"\Bord", "(?i)ABC", "(?:ab)+c", "a*?b", "x?y", r"\$ $",
    "()", "a||b", r"[]a]+b", "(a+)+b", r"\s\S", "(a?){3}b", "(?:a|b){2,3}c",
]  # fmt: skip
TEXTS = [
    "", "abc", "aab", "xaaab\nb", "a\nc", "bc\nabc", "]x", "12 word", "words", "aBC", "ababc",
    "y", "cost $ ", "]ab", "a a", "aaaaaaaaaaaaaaaac", "abac", "sword",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_pythons_own_engine_matches(pattern: str):
    expected = [re.search(pattern, text, re.MULTILINE) is not None for text in TEXTS]

    assert [Pattern(pattern).search(text) for text in TEXTS] == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[a",
        "*a",
        "a**",
        "(a*)*)",
        "(?=a)",
        r"(a)\1",
        "a{201}",
        "a{3,2}",
        "((((a{99}){99}){99}){99})",
        "\\",
        "[z-a]",
    ],
)
def test_a_bad_pattern_is_refused(pattern: str):
    with pytest.raises(PatternError):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "a*a*a*a*a*a*b", "(.*a){12}c"])
def test_no_pattern_takes_more_than_linear_time(pattern: str):
    # A backtracking engine would not end within the lifetime of this machine.
    assert Pattern(pattern).search("a" * 3000 + "!") is False


def test_live_text_never_cuts_a_character_or_a_code():
    data = "a\x1b[31mä€𝄞\x1b]0;title\x07z\x1b[0m".encode()
    for size in range(1, len(data)):
        live = LiveText()
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert "".join(map(live.feed, pieces)) + live.feed(b"", last=True) == "aä€𝄞z"


def test_chars_are_counted_without_losing_bytes():
    data = b"\xffa\xc3\xa4\xe2\x82\xac\xf0"

    assert first_chars(data, 3) == b"\xffa\xc3\xa4"
    assert last_chars(data, 2) == b"\xe2\x82\xac\xf0"
    assert last_chars(data[3:], 9) == data[4:]
    assert without_cut_char(data) == data[:-1]
    assert without_cut_char("ä".encode()) == "ä".encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb\rc\n", "c\n"), ("a\r\nb", "a\nb"), ("50%\r", "50%"), ("x\b\0\x1b(Bz", "xz"),
        ("\x9b31mred", "red"), ("\x1bP1$r\x1b\\q", "q"), ("tab\tä\u2028z", "tab\tä\u2028z"),
    ],
)  # fmt: skip
def test_clean_shows_what_a_terminal_would(text: str, shown: str):
    assert clean(text) == shown


def test_counters_tell_the_causes_apart(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "pids").mkdir()
    memory, pids = tmp_path / "memory/memory.oom_control", tmp_path / "pids/pids.events"
    memory.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    pids.write_text("max 5\n")
    counters = Counters(tmp_path)

    before = counters.read()
    assert before == Losses(2, 5)
    assert counters.cause_since(before) is None
    pids.write_text("max 6\n")
    assert counters.cause_since(before) == "pids"
    memory.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert counters.cause_since(before) == "oom"
    counters.close()


def test_counters_of_the_second_version_are_read(tmp_path):
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    (tmp_path / "pids.events").write_text("max 4\n")
    counters = Counters(tmp_path)

    assert counters.read() == Losses(1, 4)
    counters.close()
