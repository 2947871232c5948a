"""Names of what the SDK makes on a server. All fit into PostgreSQL's 63 bytes.

    sbx_<26 characters of the sandbox id>_<database>   a copy, and the role that uses it
    sbxt_<16 hexadecimal digits>                       a template
    sbxt_<16 hexadecimal digits>_<suffix>              a template that is being made or tried

The name of a copy is all that is needed to find it again after a restart.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable

from tool_plugins.errors import ConfigurationError

SANDBOX_ID = re.compile(r"sbx-([a-z2-7]{26})")
LOCK_KEY = 0x5B_5D_0001
"""The advisory lock under which templates are made and shared databases changed."""


def copy_name(sandbox_id: str, database: str) -> str:
    """The name of a sandbox's copy and of its role.

    Raises:
        ConfigurationError: that is no id of a sandbox.
    """
    found = SANDBOX_ID.fullmatch(sandbox_id)
    if found is None:
        raise ConfigurationError(f"{sandbox_id!r} is not the id of a sandbox")
    return f"sbx_{found[1]}_{database}"


def sandbox_of(name: str, database: str) -> str | None:
    """The sandbox whose copy of that database has this name; None for any other name."""
    found = re.fullmatch(rf"sbx_([a-z2-7]{{26}})_{re.escape(database)}", name)
    return f"sbx-{found[1]}" if found else None


def template_name(*parts: object) -> str:
    """The name of the template that is made from exactly these parts."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
    return f"sbxt_{digest[:16]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known name that looks most like a mistyped one; "" if none does."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
