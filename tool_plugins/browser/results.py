"""What each browser tool answers."""

from tool_plugins.contract import Result


class PageResult(Result):
    """The page after a call. `snapshot` is its accessibility tree, each element with its `ref`.

    `total_chars` counts the whole snapshot; `status` is that of the document, where one was
    loaded. `notes` tell of dialogs that were dismissed, downloads that were saved, and errors of
    the page.
    """

    url: str
    title: str = ""
    status: int | None = None
    snapshot: str
    offset: int = 0
    total_chars: int
    next_offset: int | None = None
    truncated: bool = False
    notes: list[str] = []


class ScreenshotResult(Result):
    """The image comes beside it, as an attachment. Sizes are pixels."""

    url: str
    width: int
    height: int
    path: str | None = None


class CloseResult(Result):
    """Whether a browser was open."""

    closed: bool
