"""What custom tools do in their worker process: the only place where a user's file runs.

A process is warmed once, loads one file, and then describes and calls its functions.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tool_plugins.worker.child import Call

# What takes long to import is imported by what needs it: `outline` needs none of it.


def warm(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """Imports what the other verbs need, and uses it once."""
    from . import warming

    warming.warm()
    return {}


def outline(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """See `outline.outline`: the report on a file before it runs."""
    from .outline import outline

    return outline(args["namespace"], args["source"])


def load(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """See `loading.load`. Warm first: an environment must not bring its own of what we need."""
    from . import loading, warming

    warming.warm()
    loading.load(args["namespace"], args["source"], args["environment"])
    return {}


def describe(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """See `describing.describe`: the functions of the file that was loaded."""
    from .describing import describe
    from .loading import loaded

    return describe(loaded())


def call(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """See `calling.call`: what a function of the file gives."""
    from .calling import call as call_function

    return call_function(args, call)


HANDLERS = {each.__name__: each for each in (warm, outline, load, describe, call)}
