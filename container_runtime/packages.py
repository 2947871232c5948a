"""The folder of this host with packages for custom tools: a folder in it for each set of them.

Containers that ask for it (`ContainerSpec.environments`) find it read-only. Who fills it is not
known here.
"""

from pathlib import Path

NAME = "packages"


def folder_in(state_dir: Path) -> Path:
    """Where an engine with that state folder has it."""
    return state_dir.absolute() / NAME


def make_folder(folder: Path) -> None:
    """Makes it where it is missing. Who knows a name in it can enter; nobody else can list it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
