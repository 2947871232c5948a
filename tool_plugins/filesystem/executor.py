"""The filesystem tools by verb. Imported inside the container only."""

from .editing import edit
from .listing import glob, list_entries
from .moving import delete, move
from .reading import read
from .saving import write
from .searching import grep

EXECUTORS = {
    "read": read,
    "write": write,
    "edit": edit,
    "list": list_entries,
    "glob": glob,
    "grep": grep,
    "move": move,
    "delete": delete,
}
