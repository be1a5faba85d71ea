"""An API server put together: its files, its objects, its sockets.

The data directory has everything that has to outlive the process: ``objects.db``, ``pki/``,
``tokens.json``; and for people and nodes ``admin.conf`` and ``node.conf``, kubeconfigs that are
written anew at each start.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from netproxy.api.status import StatusError
from netproxy.apiserver.access import ADMIN, NODES, Gate, ensure_tokens, kubeconfig
from netproxy.apiserver.contract import Registry, WriteContext
from netproxy.apiserver.documents import Documents
from netproxy.apiserver.handlers import Handlers, refused
from netproxy.apiserver.local import LocalObjects
from netproxy.apiserver.operations import Operations
from netproxy.apiserver.pki import ensure_certificates, write_private
from netproxy.apiserver.registry import RegistrySettings, bootstrap, make_registry
from netproxy.apiserver.storage.database import Database
from netproxy.apiserver.storage.store import Store
from netproxy.errors import ConfigError
from netproxy.log import EventLogger
from netproxy.model.ip import IPAddress
from netproxy.web import Place

ADMIN_CONFIG, NODE_CONFIG = "admin.conf", "node.conf"
BODY_LIMIT = 3 * 1024 * 1024
"""As kube-apiserver's: longer bodies are answered with 413, in bytes."""
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
log = EventLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What an operator says about the API server.

    Attributes:
        data_dir: Where its files are.
        listen: Addresses of this host to listen on.
        port: Of all of them; 0: any that is free.
        advertise: The address by which nodes and pods call it: the endpoint of Service
            kubernetes, if it is listened on.
        names: Further names and addresses by which somebody calls it.
        domain: The cluster's DNS domain.
        registry: Ranges of addresses and ports.
    """

    data_dir: Path
    listen: tuple[IPAddress, ...]
    advertise: IPAddress
    port: int = 6443
    names: tuple[str, ...] = ()
    domain: str = "cluster.local"
    registry: RegistrySettings = field(default_factory=RegistrySettings)

    @property
    def is_reachable(self) -> bool:
        """Whether nodes and pods reach it at ``advertise``."""
        is_loopback = ipaddress.ip_address(self.advertise).is_loopback
        return self.advertise in self.listen and not is_loopback


class Instance(NamedTuple):
    """A running API server."""

    operations: Operations
    port: int
    admin_config: Path
    """A kubeconfig for people."""
    node_config: Path
    """A kubeconfig for nodes."""
    socket: Path
    """For local tools: whoever may use it is the administrator."""

    def client(self, manager: str) -> LocalObjects:
        """For a controller in this process.

        Args:
            manager: Its name, which owns the fields that it writes.
        """
        return LocalObjects(self.operations, manager, utc_now)


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_api_server(settings: ServerSettings) -> AsyncIterator[Instance]:
    """Serve until left.

    Raises:
        ConfigError: a file or an address is not to be had, with what to do about it.
    """
    store = _open_store(settings.data_dir)
    try:
        store.load()
        store.start()
        registry = make_registry(store, settings.registry, random.SystemRandom())
        operations = Operations(store, registry, utc_now)
        async with _serve(settings, operations, registry) as instance:
            yield instance
    finally:
        store.close()


def _open_store(directory: Path) -> Store:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_directory(directory, error) from error
    return Store(Database(directory / "objects.db"))


def _no_directory(directory: Path, error: Exception) -> ConfigError:
    return ConfigError(
        setting=f"--data-dir {directory}",
        problem=str(error),
        hint="choose a directory that this user can write",
    )


@asynccontextmanager
async def _serve(
    settings: ServerSettings, operations: Operations, registry: Registry
) -> AsyncIterator[Instance]:
    from netproxy.web.api_server import ApiServer, Bodies

    directory = settings.data_dir
    names = {*_NAMES, f"kubernetes.default.svc.{settings.domain}", settings.advertise}
    names |= {*settings.listen, *settings.names, settings.registry.kubernetes_address}
    try:
        certificates = ensure_certificates(directory / "pki", names, utc_now())
        tokens = ensure_tokens(directory / "tokens.json")
        context = certificates.context()
        authority = certificates.authority.read_bytes()
    except (OSError, ValueError) as error:
        raise _no_directory(directory, error) from error
    handlers = Handlers(operations, Gate(tokens), Documents(), utc_now)
    bodies = Bodies(
        BODY_LIMIT,
        handlers.refuse,
        refused(StatusError(413, "RequestEntityTooLarge", f"limit is {BODY_LIMIT} bytes")),
        refused(StatusError(408, "Timeout", "the body of the request did not arrive in time")),
    )
    server = ApiServer(handlers.handle, bodies)
    port = settings.port
    socket = directory / "api.sock"
    try:
        for address in settings.listen:
            try:
                port = await server.listen(Place(address, port), context)
            except OSError as error:
                raise ConfigError(
                    setting=f"--api-address {address}, --api-port {port}",
                    problem=error.strerror or str(error),
                    hint="end what listens there, or choose another port",
                ) from error
        await server.listen_locally(socket)
        await _bootstrap(settings, operations, registry, port)
        configs = []
        for name, user, token in (
            (ADMIN_CONFIG, ADMIN, tokens.admin),
            (NODE_CONFIG, NODES, tokens.nodes),
        ):
            is_far = name == NODE_CONFIG and settings.is_reachable
            host = settings.advertise if is_far else settings.listen[0]
            url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
            write_private(directory / name, kubeconfig(url, authority, user, token))
            configs.append(directory / name)
        log.info("api server ready", port=port, kubeconfig=str(configs[0]))
        yield Instance(operations, port, configs[0], configs[1], socket)
    finally:
        await server.close()


async def _bootstrap(
    settings: ServerSettings, operations: Operations, registry: Registry, port: int
) -> None:
    """What every cluster has: namespaces, the service range, the Service kubernetes."""
    server = (settings.advertise, port) if settings.is_reachable else None
    store, context = operations.store, WriteContext(utc_now())
    for decision in bootstrap(registry, store, settings.registry, context, server):
        accepted = store.accept(decision.writes)
        registry.observe(accepted.writes)
        await accepted.durable
