"""The action server: the only code of this floor that runs inside the container.

Standard library, starlette and uvicorn only; never pydantic, never a host-side module.
"""
