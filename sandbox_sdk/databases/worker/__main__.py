"""`python .../worker/__main__.py DESCRIPTOR`: the zygote.

The packages above are made bare: what their `__init__` loads for a host (pydantic and the whole
SDK) would be in every worker, and in the way of a start within milliseconds.
"""

import sys
from pathlib import Path
from types import ModuleType


def _bare(name: str, folder: Path) -> None:
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    _bare("sandbox_sdk", here.parents[1])
    _bare("sandbox_sdk.databases", here.parent)
    from sandbox_sdk.databases.worker.zygote import main

    main()
