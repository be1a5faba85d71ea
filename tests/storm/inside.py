"""A whole API server in this process, so that its disk can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from netproxy.apiserver.instance import Instance, ServerSettings, open_api_server
from netproxy.model.ip import IPAddress
from tests.storm.wire import Access

_PATIENCE_S = 60
_LOOPBACK = IPAddress("127.0.0.1")
Work = Callable[[Instance, Access], Awaitable[None]]


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[Instance, Access]]:
    """Listens on loopback with TLS."""
    settings = ServerSettings(data_dir=directory, listen=(_LOOPBACK,), advertise=_LOOPBACK, port=0)
    async with open_api_server(settings) as instance:
        yield instance, Access.read(instance.admin_config)


def with_server(directory: Path, work: Work) -> None:
    """Work with a server that is there as long."""

    async def run() -> None:
        async with asyncio.timeout(_PATIENCE_S), serving(directory) as (instance, access):
            await work(instance, access)

    asyncio.run(run())
