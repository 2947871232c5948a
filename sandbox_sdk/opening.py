"""What a group opens when it starts, in order, so that it closes in the reverse order."""

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from importlib import import_module

from container_runtime.engine import Engine, Report, load_engine

from .clock import Clock
from .config import Settings
from .features import Features
from .liveness import ServerLock
from .records import ServerRecord
from .recovery import home_of
from .services import Services


async def open_services(
    settings: Settings,
    opened: AsyncExitStack,
    *,
    engine: Engine | None,
    features: Features,
    clock: Clock,
    report: Report,
) -> Services:
    """Engine, image, databases, proxies, state, this server's lock and row; `opened` closes all."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    if engine is None:
        engine = await asyncio.to_thread(_load_engine, settings, features.browser)
    opened.push_async_callback(engine.aclose)
    await engine.connect()
    await engine.ensure_image(report)
    from .databases.broker import Broker
    from .databases.provisioner import Place

    place = Place(settings.state_dir / "databases", engine, report)
    broker = Broker(features.databases, place)
    opened.push_async_callback(broker.aclose)
    await broker.open()
    from .egress.broker import EgressBroker

    egress = EgressBroker(features.egress_policy, engine, settings.state_dir / "egress")
    opened.push_async_callback(egress.aclose)
    if features.search is not None:
        opened.push_async_callback(features.search.aclose)
    from .tools.broker import ToolBroker

    custom = ToolBroker(
        features.tools,
        settings.state_dir,
        features.registry,
        engine,
        egress,
        package_index=features.package_index,
    )
    # By name and in a thread: SQLAlchemy takes a while, and only a started group needs it.
    state_module = await asyncio.to_thread(import_module, f"{__package__}.state")
    state = await state_module.State.open(settings.state_url)
    opened.push_async_callback(state.aclose)
    services = Services(
        server_id=f"srv-{secrets.token_hex(8)}",
        engine=engine,
        state=state,
        databases=broker,
        egress=egress,
        search=features.search,
        tools=custom,
        registry=features.registry,
        clock=clock,
    )
    await _enter(services, settings, opened)
    return services


async def _enter(services: Services, settings: Settings, opened: AsyncExitStack) -> None:
    """Puts the server on the books, and takes the lock that says it lives."""
    lock = ServerLock.take(settings.state_dir, services.server_id)
    assert lock is not None, "a fresh server id is nobody's"
    opened.callback(lock.release)
    await services.state.add_server(
        ServerRecord(
            id=services.server_id,
            home=home_of(settings.state_dir),
            engine=services.engine.name,
            pid=os.getpid(),
            started_at=services.clock.wall(),
        )
    )


async def leave(services: Services, settings: Settings) -> None:
    """Takes the server off the books if it has nothing left. Its lock is still held."""
    if not await services.state.list_unremoved(services.server_id):
        await services.state.remove_server(services.server_id)
        ServerLock.path_of(settings.state_dir, services.server_id).unlink(missing_ok=True)


def _load_engine(settings: Settings, browser: bool) -> Engine:
    chosen = {"image": settings.image} if settings.image else {}
    if browser:
        chosen["flavour"] = "browser"
    return load_engine(settings.engine, state_dir=settings.state_dir, **chosen)
