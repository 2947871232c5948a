"""The file a download becomes: whole at the end, or not at all."""

from types import TracebackType
from typing import Literal, Self

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors, shorten
from tool_plugins.filesystem.paths import Workspace
from tool_plugins.filesystem.writing import Draft, Target, open_target


class Landing:
    """A draft beside the place of the file. Its methods block on the disk.

    `open` gives the descriptor to write to, and `commit` puts the file in its place; `close`
    removes what was not committed.
    """

    def __init__(self, host: Host, path: str, mode: Literal["create", "overwrite"]) -> None:
        self._workspace = host.service(Workspace)
        self._shown = path
        self._mode = mode
        self._target: Target | None = None
        self._draft: Draft | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> int:
        """The descriptor of the new, empty draft; missing folders are made.

        Raises:
            ToolError: there is such a file and `mode` is create, or no file can be there.
        """
        with path_errors(self._shown):
            self._location = self._workspace.locate(self._shown)
            self._target = open_target(self._workspace, self._location, create_parents=True)
            if self._mode == "create" and self._target.before is not None:
                raise self._exists()
            self._draft = Draft(self._target.folder)
            return self._draft.fd

    def commit(self) -> str:
        """Puts the draft in its place; gives the path relative to the workspace."""
        draft, target = self._draft, self._target
        if draft is None or target is None:
            raise RuntimeError("the download was not begun, or is over")
        with path_errors(self._shown), self._workspace.writing:
            if self._mode == "create":
                try:
                    draft.publish(target, executable=None)
                except FileExistsError:
                    raise self._exists() from None
            else:
                # It may have taken minutes: what is there now is replaced, not what was.
                with open_target(self._workspace, self._location, create_parents=True) as now:
                    draft.publish(now, executable=None)
        return self._location.relative

    def close(self) -> None:
        """Removes the draft, if it is still one."""
        draft, target = self._draft, self._target
        self._draft = self._target = None
        if draft is not None:
            draft.discard()
        if target is not None:
            target.__exit__(None, None, None)

    def _exists(self) -> ToolError:
        return ToolError(
            ErrorCode.ALREADY_EXISTS,
            f"{shorten(self._shown)!r} already exists",
            hint='use mode="overwrite" to replace it, or another path',
        )
