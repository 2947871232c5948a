"""What cannot be seen is taken out of text, and what can be seen stays."""

import pytest

from tool_plugins.invisible import one_line, visible, well_formed


@pytest.mark.parametrize(
    ("hidden", "seen"),
    [
        ("zero\u200bwidth\u2060\ufeff", "zerowidth"),
        ("turned\u202e\u2066around", "turnedaround"),
        ("tags\U000e0049\U000e0067\U000e007f", "tags"),
        ("\x1b[8mterminal\x07\x9b", "[8mterminal"),
        ("half\ud800", "half"),
        ("data\ufe00\ufe0f\ufe01", "data"),
        ("one\r\ntwo\rthree\u2028four\x85", "one\ntwo\nthree\nfour\n"),
    ],
    ids=["zero width", "direction", "tags", "controls", "surrogate", "selectors", "line ends"],
)
def test_what_cannot_be_seen_is_removed(hidden: str, seen: str) -> None:
    assert visible(hidden) == seen


def test_what_can_be_seen_stays() -> None:
    text = "Größe\t日本語\nहिन्दी, עברית, ☀\ufe0f 😀"

    assert visible(text) == text


def test_a_line_is_cut_and_says_so() -> None:
    assert one_line(" a\n\u200b b\tc ", 10) == "a b c"
    assert one_line("x" * 11, 10) == "xxxxxxxxx…"


def test_text_of_a_page_as_it_is_loses_only_what_no_json_carries() -> None:
    assert well_formed("a\x00\u200b\udfff\x1bb") == "a\u200b\x1bb"
