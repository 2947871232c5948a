"""Where the statements of a script begin. Used to name a line in an error, never to run anything:
the server reads a script whole.
"""

import re

TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]*)
  | (?P<comment>/\*)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*")
  | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][\w]*)?\$)
  | (?P<end>;)
  | (?P<word>\w+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
NESTED = re.compile(r"/\*|\*/")


def starts(text: str) -> list[int]:
    """The offset of the first word of each statement that is not empty."""
    found: list[int] = []
    position, fresh, atomic, depth = 0, True, False, 0
    while token := TOKEN.match(text, position):
        position = token.end()
        kind = token.lastgroup
        if kind == "space":
            continue
        if kind == "comment":
            position = _after_comment(text, position)
            continue
        if kind == "end" and depth == 0:
            fresh, atomic = True, False
            continue
        if fresh:
            found.append(token.start())
            fresh = False
        if kind == "dollar":
            closing = text.find(token[0], position)
            position = len(text) if closing < 0 else closing + len(token[0])
        if kind == "word":
            # The body of a function in standard SQL: BEGIN ATOMIC ...; ...; END
            word = token[0].upper()
            if word == "ATOMIC" or (depth and word in ("BEGIN", "CASE")):
                depth, atomic = depth + 1, True
            elif word == "END" and atomic:
                depth = max(0, depth - 1)
    return found


def _after_comment(text: str, position: int) -> int:
    """The end of a comment that began; comments nest."""
    depth = 1
    while depth and (found := NESTED.search(text, position)):
        position = found.end()
        depth += 1 if found[0] == "/*" else -1
    return len(text) if depth else position
