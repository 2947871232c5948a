"""Names and sizes both ends of the wire agree on; standard library only.

`container_runtime.spec` holds the host's copy of the version, because it imports pydantic; a test
compares the two.
"""

PROTOCOL_VERSION = 1

MAX_HEADER_BYTES = 64 * 1024
MAX_ACTION_BYTES = 16 * 1024 * 1024
MAX_OBSERVATION_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
KEEP_ALIVE_S = 5.0
