"""Floor 0: what an action is and what it does.

Imports no other package of this project. The module bodies below `tool_plugins.<plugin>.executor`
also run inside the container, where only the standard library and the action server's few wheels
exist; therefore this file stays empty and nothing an executor imports may import pydantic.
"""
