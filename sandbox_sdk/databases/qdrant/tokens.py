"""Tokens of one sandbox for a Qdrant server with `jwt_rbac`."""

import time
import warnings
from collections.abc import Mapping

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from .rules import TOKEN_RIGHTS, Right

TOKEN_LIFE_S = 30 * 24 * 3600
"""Longer than a sandbox is in use at a stretch: a fresh token comes with the next `create` only.
Just the sandbox's worker has it, and what it opens is dropped with the sandbox."""
MIN_KEY_BYTES = 32
"""A shorter key is a weak secret to sign with; the provisioner says so when it opens."""


def sign(
    rights: Mapping[str, Right], *, key: str, subject: str, now: float | None = None
) -> tuple[str, float]:
    """A token for exactly these collections, by their names on the server, and when it ends.

    `access` is always there, if need be empty: a token without it would manage the whole server.
    """
    if len(key.encode()) < MIN_KEY_BYTES:
        warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)
    expires = int((time.time() if now is None else now) + TOKEN_LIFE_S)
    claims = {
        "exp": expires,
        "subject": subject,
        "access": [
            {"collection": name, "access": TOKEN_RIGHTS[right]} for name, right in rights.items()
        ],
    }
    return jwt.encode(claims, key, algorithm="HS256"), float(expires)
