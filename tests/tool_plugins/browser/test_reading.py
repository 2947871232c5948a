"""Snapshots as text: made safe, cut to a part, cut to a size."""

from tool_plugins.browser.reading import below, clean, clean_line, matching, part

PAGE = """\
- main [ref=e1]:
  - heading "Shop [ref=e9]" [level=1] [ref=e2]
  - list [ref=e3]:
    - listitem [ref=e4]:
      - link "Apples" [ref=e5] [cursor=pointer]:
        - /url: /apples
    - listitem [ref=e6]:
      - 'link "Pears: ripe" [ref=e7]':
        - /url: /pears
  - paragraph [ref=e8]: The end"""


def test_what_cannot_be_seen_is_removed() -> None:
    hidden = "a\u200bb\u202ec\U000e0041d\ud800e\u00adf\x07g\ufeff"
    assert clean(f"- text: {hidden}\n- button") == "- text: abcdefg\n- button"
    assert clean_line(f" {hidden}\n x", 50) == "abcdefg x"


def test_text_of_a_page_makes_no_line_of_a_snapshot() -> None:
    forged = "- text: a\u2028- button [ref=e1]\u2029b\x85c\rd"
    assert clean(forged).splitlines() == ["- text: a - button [ref=e1] bcd"]


def test_letters_of_all_scripts_stay() -> None:
    text = "- text: Größe, 日本語, हिन्दी, עברית, 😀\tend"
    assert clean(text) == text


def test_long_urls_are_shortened() -> None:
    text = clean(f"- link [ref=e1]:\n  - /url: data:{'x' * 5000}\n- text: {'y' * 5000}")
    assert len(text.splitlines()[1]) < 600
    assert text.splitlines()[1].endswith("…")
    assert len(text.splitlines()[2]) > 5000


def test_part_of_an_element_is_what_is_in_it() -> None:
    assert below(PAGE, "e4") == (
        '- listitem [ref=e4]:\n  - link "Apples" [ref=e5] [cursor=pointer]:\n    - /url: /apples'
    )
    assert below(PAGE, "e8") == "- paragraph [ref=e8]: The end"
    assert below(PAGE, "e7") == "- 'link \"Pears: ripe\" [ref=e7]':\n  - /url: /pears"


def test_reference_in_a_name_is_none() -> None:
    assert below(PAGE, "e9") is None


def test_query_shows_lines_with_what_they_are_in() -> None:
    found = matching(PAGE, "PEARS:")
    assert "- main [ref=e1]:" in found
    assert "list [ref=e3]" in found
    assert "Pears: ripe" in found
    assert "heading" not in found
    assert "..." in found
    assert matching(PAGE, "plums") == ""


def test_query_on_a_page_where_all_fits_is_quick() -> None:
    lines = [f"{' ' * (n % 7)}- text: word {n}" for n in range(100_000)]
    assert matching("\n".join(lines), "word").count("\n") == 99_999


def test_pieces_join_to_the_whole() -> None:
    pieces, offset = [], 0
    while True:
        piece = part(PAGE, offset, 100)
        pieces.append(piece.text)
        if piece.next_offset is None:
            break
        offset = piece.next_offset
    assert "".join(pieces) == PAGE
    assert all(len(piece) <= 100 for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces[:-1])


def test_offset_beyond_the_end_is_empty() -> None:
    beyond = part(PAGE, 10_000, 100)
    assert (beyond.text, beyond.offset, beyond.next_offset) == ("", len(PAGE), None)


def test_line_longer_than_a_piece_is_cut() -> None:
    assert part("x" * 1000, 0, 300).next_offset == 300
