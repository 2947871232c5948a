"""Stand-ins that behave: a clock that moves when told, tools whose every step a test controls."""

import asyncio
import inspect
import itertools
from collections.abc import Callable
from typing import Any

from container_runtime.engine import Container, Engine, Report
from container_runtime.spec import (
    ContainerInfo,
    ContainerSpec,
    ContainerStatus,
    EffectiveLimit,
    Endpoint,
    HostCapabilities,
    Layout,
)
from tool_plugins.context import ToolContext
from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.registry import ToolRegistry


class FakeClock:
    """Stands still until `advance`. `offset` is what the wall clock shows at the start."""

    def __init__(self, offset: float = 1_700_000_000.0) -> None:
        self.now = 0.0
        self._offset = offset

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self._offset + self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class EchoArguments(Arguments):
    text: str
    times: int = 1


class EchoResult(Result):
    text: str


class NoArguments(Arguments):
    pass


class WaitArguments(Arguments):
    timeout_s: float | None = None


class FakeTools:
    """A plugin `test`: echo, fail, wait (until `release`), lie (answers in another form)."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = 0
        self.order: list[str] = []

    def registry(self) -> ToolRegistry:
        return ToolRegistry(
            ToolDefinition(
                name=f"test.{verb}",
                description=verb,
                arguments=arguments,
                result=EchoResult,
                annotations=Annotations(title=verb),
                executor=f"tests.fakes:{verb}",
                timeout_argument="timeout_s" if verb == "wait" else None,
            )
            for verb, arguments in (
                ("echo", EchoArguments),
                ("fail", NoArguments),
                ("wait", WaitArguments),
                ("lie", NoArguments),
            )
        )

    def executors(self) -> dict[str, Callable[..., Any]]:
        return {
            "test.echo": self._echo,
            "test.fail": self._fail,
            "test.wait": self._wait,
            "test.lie": self._lie,
        }

    async def _echo(self, context: ToolContext, text: str, times: int) -> dict[str, Any]:
        self.order.append(text)
        context.emit({"event": "stdout", "text": text})
        return {"text": text * times}

    async def _fail(self, context: ToolContext) -> dict[str, Any]:
        raise ToolError(ErrorCode.NOT_FOUND, "nothing there", hint="look elsewhere")

    async def _wait(self, context: ToolContext, timeout_s: float | None) -> dict[str, Any]:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"text": "released"}

    async def _lie(self, context: ToolContext) -> dict[str, Any]:
        return {"surprise": 1}


class WrappedEngine(Engine):
    """Another engine whose steps a test can hold, fail or count: `hooks["create"]` and so on."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.isolates = inner.isolates
        self.name = inner.name
        self.hooks: dict[str, Callable[[], Any]] = {}
        self.calls: list[str] = []

    async def step(self, name: str) -> None:
        """What happens at a step before the engine is asked."""
        self.calls.append(name)
        hook = self.hooks.get(name)
        if hook is not None:
            await hook()

    async def connect(self) -> None:
        await self.inner.connect()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def capabilities(self) -> HostCapabilities:
        return await self.inner.capabilities()

    def layout(self, name: str) -> Layout:
        return self.inner.layout(name)

    async def ensure_image(self, report: Report) -> str:
        await self.step("ensure_image")
        return await self.inner.ensure_image(report)

    async def create(self, spec: ContainerSpec) -> Container:
        await self.step("create")
        container = await self.inner.create(spec)
        await self.step("created")
        return WrappedContainer(container, self)

    async def get(self, name: str) -> Container | None:
        container = await self.inner.get(name)
        return None if container is None else WrappedContainer(container, self)

    async def list(self, labels: dict[str, str]) -> list[ContainerInfo]:
        return await self.inner.list(labels)

    async def remove(self, name: str) -> None:
        await self.step("remove")
        await self.inner.remove(name)
        await self.step("removed")


class WrappedContainer(Container):
    """The container of a `WrappedEngine`."""

    def __init__(self, inner: Container, engine: WrappedEngine) -> None:
        self.inner = inner
        self.name = inner.name
        self.spec = inner.spec
        self._engine = engine

    @property
    def endpoint(self) -> Endpoint:
        return self.inner.endpoint

    async def start(self) -> None:
        await self._engine.step("start")
        await self.inner.start()
        await self._engine.step("started")

    async def status(self) -> ContainerStatus:
        await self._engine.step("status")
        return await self.inner.status()

    async def limits(self) -> tuple[EffectiveLimit, ...]:
        return await self.inner.limits()

    async def remove(self) -> None:
        await self.inner.remove()


async def eventually(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Waits until the condition holds, which may be a coroutine function; fails when it does not.

    For what no event tells of, such as work that a group does in the background.
    """
    async with asyncio.timeout(timeout_s):
        for _ in itertools.count():
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.01)


async def nothing_left(engine: Engine) -> bool:
    """Whether the engine has no container."""
    return await engine.list({}) == []
