"""The API server's objects without its sockets: what controllers, agents and DNS speak to."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from netproxy.apiserver.contract import WriteContext
from netproxy.apiserver.local import LocalObjects
from netproxy.apiserver.operations import Operations
from netproxy.apiserver.registry import RegistrySettings, bootstrap, make_registry
from netproxy.apiserver.storage.database import Database
from netproxy.apiserver.storage.store import Store


def now() -> datetime:
    return datetime.now(UTC)


class Served(NamedTuple):
    """Objects, and who reads and writes them."""

    operations: Operations

    def client(self, manager: str = "test") -> LocalObjects:
        return LocalObjects(self.operations, manager, now)


@asynccontextmanager
async def serve_objects(
    directory: Path, settings: RegistrySettings | None = None
) -> AsyncIterator[Served]:
    """A store in a directory, with what every cluster has from its beginning."""
    settings = settings or RegistrySettings()
    store = Store(Database(directory / "objects.db"))
    try:
        store.load()
        store.start()
        registry = make_registry(store, settings, random.Random(0))
        for decision in bootstrap(registry, store, settings, WriteContext(now()), None):
            accepted = store.accept(decision.writes)
            registry.observe(accepted.writes)
            await accepted.durable
        yield Served(Operations(store, registry, now))
    finally:
        store.close()
