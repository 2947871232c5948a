"""Typed methods for the built-in tools: `sandbox.filesystem.read(...)`, `sandbox.terminal.run(...)`.

Each method's signature is the tool's argument model, written once more so that editors and type
checkers know it; a test compares the two. A failure of the tool is raised as `ToolCallError`.
"""


class FilesystemTools:
    def __init__(self, sandbox): ...


class TerminalTools:
    def __init__(self, sandbox): ...
