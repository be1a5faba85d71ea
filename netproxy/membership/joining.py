"""Keeps a host's Node object and its Lease up to date.

The Node says what the host is and changes rarely; the Lease is one small write every ten seconds
by which the control plane knows that the host lives. A Node that somebody deletes is registered
anew: whoever wants a host out of the cluster stops it there.

Source: the kubelet's node leases (KEP-589) and their times.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from netproxy.api.client import ObjectClient
from netproxy.api.objects import Object
from netproxy.api.resources import LEASES, NODES
from netproxy.api.status import StatusError
from netproxy.errors import SourceError
from netproxy.log import EventLogger
from netproxy.membership.node import HostFacts, node_object, was_ready, with_labels, with_status
from netproxy.membership.settings import MembershipSettings

RENEW_S = 10.0
LEASE_S = 40
"""After so many seconds without a renewal the node counts as gone."""
_NAMESPACE = "kube-node-lease"
_RETRY_S = 1.0
_NO_RULES = "The rules of Services are not in the kernel yet."
_TRIES = 5
log = EventLogger(__name__)


class Membership:
    """One host's.

    Args:
        client: Speaks to the API.
        settings: Who this is.
        facts: Of the host.
        clock: The time, with its zone.
        jitter: A number from 0 to 1, so that not everybody comes back at once.
        rules: Set when this node can reach Services; it is not ready before. One that comes back
            keeps what it was, for the rules outlive the process.
    """

    def __init__(
        self,
        client: ObjectClient,
        settings: MembershipSettings,
        facts: HostFacts,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = lambda: 0.0,
        *,
        rules: asyncio.Event,
    ) -> None:
        self._client = client
        self._settings = settings
        self._facts = facts
        self._clock = clock
        self._jitter = jitter
        self._rules = rules
        self._lease: Object | None = None
        self._registered = asyncio.Event()

    async def registered(self) -> None:
        """Until the API has had this node's object once."""
        await self._registered.wait()

    async def run(self) -> None:
        """Register, and give signs of life until cancelled."""
        trouble = ""
        while True:
            had_rules = self._rules.is_set()
            try:
                node = await self.register()
                self._registered.set()
                await self.renew(node)
            except (StatusError, SourceError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("cannot tell that this node lives", error=trouble)
                await asyncio.sleep(_RETRY_S * (1.0 + self._jitter()))
                continue
            if trouble:
                log.info("this node's signs of life are heard again")
                trouble = ""
            # Until the next sign of life is due, or there is news to tell.
            news = asyncio.sleep(RENEW_S) if had_rules else self._rules.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news, RENEW_S)

    async def register(self) -> Object:
        """Bring the Node up to date; creates it where there is none. Writes only differences.

        Raises:
            StatusError: the API refuses.
            SourceError: it cannot be reached.
        """
        settings = self._settings
        for _ in range(_TRIES):
            try:
                node = await self._known()
                labelled = with_labels(node, self._facts)
                if labelled is not node:
                    node = await self._client.update(NODES, labelled)
                is_ready = self._rules.is_set() or was_ready(node, self._facts)
                told = with_status(
                    node,
                    self._facts,
                    settings.addresses,
                    self._clock(),
                    runs_pods=settings.runs_pods,
                    trouble="" if is_ready else _NO_RULES,
                )
                if told is not node:
                    node = await self._client.update(NODES, told, "status")
            except StatusError as error:
                # Somebody else wrote in between, or took it away.
                if error.code not in {404, 409}:
                    raise
                continue
            return node
        raise SourceError(f"node {settings.name}: others write it all the time")

    async def _known(self) -> Object:
        name = self._settings.name
        try:
            return await self._client.get(NODES, name)
        except StatusError as error:
            if error.code != 404:
                raise
        log.info("node registered", node=name)
        return await self._client.create(NODES, node_object(name, self._facts))

    async def renew(self, node: Object) -> None:
        """Say that the host lives.

        Args:
            node: Its object, which owns the Lease.

        Raises:
            StatusError: the API refuses.
            SourceError: it cannot be reached.
        """
        name = self._settings.name
        owner = {
            "apiVersion": NODES.api_version,
            "kind": NODES.kind,
            "name": name,
            "uid": node["metadata"]["uid"],
        }
        for _ in range(_TRIES):
            spec = {
                "holderIdentity": name,
                "leaseDurationSeconds": LEASE_S,
                "renewTime": self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            try:
                known = self._lease or await self._client.get(LEASES, name, _NAMESPACE)
                metadata = {**known["metadata"], "ownerReferences": [owner]}
                renewed = {**known, "metadata": metadata, "spec": {**known["spec"], **spec}}
                self._lease = await self._client.update(LEASES, renewed)
            except StatusError as error:
                is_unknown = self._lease is None
                self._lease = None
                if error.code not in {404, 409}:
                    raise
                if error.code == 404 and is_unknown:
                    self._lease = await self._create(owner, spec)
                    return
                continue
            return
        raise SourceError(f"lease {name}: others write it all the time")

    async def _create(self, owner: Object, spec: Object) -> Object:
        name = self._settings.name
        return await self._client.create(
            LEASES,
            {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": name, "namespace": _NAMESPACE, "ownerReferences": [owner]},
                "spec": spec,
            },
        )
