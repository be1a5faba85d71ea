"""A host among the cluster's nodes, by a real store and registry."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import LEASES, NODES
from netproxy.api.status import StatusError
from netproxy.errors import SourceError
from netproxy.membership import joining
from netproxy.membership.joining import Membership
from netproxy.membership.node import HostFacts
from netproxy.membership.settings import MembershipSettings
from netproxy.model.ip import parse_address
from tests.objects_served import Served, serve_objects

FACTS = HostFacts(4, 8_000_000, "amd64", "6.1.0", "Debian", "m-1", "b-1", "netproxy-1")
SETTINGS = MembershipSettings("n1", (parse_address("192.0.2.1"),))


class Clock:
    """Goes on by a second whenever somebody looks."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def member(
    client: Any,
    settings: MembershipSettings = SETTINGS,
    facts: HostFacts = FACTS,
    *,
    has_rules: bool = True,
) -> Membership:
    rules = asyncio.Event()
    if has_rules:
        rules.set()
    return Membership(client, settings, facts, Clock(), rules=rules)


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


def play(tmp_path: Path, story: Any) -> None:
    async def main() -> None:
        async with serve_objects(tmp_path) as served:
            await asyncio.wait_for(story(served), 20)

    asyncio.run(main())


def test_registers_once_and_writes_only_differences(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        first = await member(client).register()
        assert first["status"]["addresses"][0]["address"] == "192.0.2.1"
        again = await member(client).register()
        assert version(again) == version(first)
        moved = SETTINGS._replace(addresses=(parse_address("192.0.2.9"),))
        changed = await member(client, moved).register()
        assert changed["status"]["addresses"][0]["address"] == "192.0.2.9"
        assert changed["metadata"]["uid"] == first["metadata"]["uid"]

    play(tmp_path, story)


def test_prefixes_and_taints_survive(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        node = await member(client).register()
        taints = [{"key": "k", "effect": "NoSchedule"}]
        spec = {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"], "taints": taints}
        await client.update(NODES, {**node, "spec": spec})
        other = SETTINGS._replace(runs_pods=False)
        node = await member(client, other).register()
        assert node["spec"] == spec

    play(tmp_path, story)


def test_a_lease_is_made_then_renewed_and_belongs_to_the_node(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        joined = member(client)
        node = await joined.register()
        await joined.renew(node)
        first = await client.get(LEASES, "n1", "kube-node-lease")
        assert first["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert first["spec"]["leaseDurationSeconds"] == joining.LEASE_S
        await joined.renew(node)
        second = await client.get(LEASES, "n1", "kube-node-lease")
        assert second["spec"]["renewTime"] > first["spec"]["renewTime"]

    play(tmp_path, story)


def test_a_lease_that_others_write_or_take_away_is_renewed_all_the_same(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        joined = member(client)
        node = await joined.register()
        await joined.renew(node)
        lease = await client.get(LEASES, "n1", "kube-node-lease")
        await client.update(LEASES, {**lease, "spec": {**lease["spec"], "leaseTransitions": 1}})
        await joined.renew(node)
        lease = await client.get(LEASES, "n1", "kube-node-lease")
        assert lease["spec"]["leaseTransitions"] == 1
        await client.delete(LEASES, "n1", "kube-node-lease")
        await joined.renew(node)
        assert (await client.get(LEASES, "n1", "kube-node-lease"))["spec"]["holderIdentity"] == "n1"

    play(tmp_path, story)


def test_a_node_that_was_deleted_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "RENEW_S", 0.01)

    async def story(served: Served) -> None:
        client = served.client()
        joined = member(client)
        running = asyncio.create_task(joined.run())
        await joined.registered()
        uid = (await client.get(NODES, "n1"))["metadata"]["uid"]
        await client.delete(NODES, "n1")
        while True:
            try:
                node = await client.get(NODES, "n1")
            except StatusError:
                await asyncio.sleep(0.01)
                continue
            break
        assert node["metadata"]["uid"] != uid
        running.cancel()

    play(tmp_path, story)


def ready(node: Object) -> str:
    (status,) = (each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready")
    return str(status)


def test_a_node_is_ready_once_it_has_the_rules_and_remains_so(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        assert ready(await member(client, has_rules=False).register()) == "False"
        assert ready(await member(client).register()) == "True"
        # A new process finds the rules of the old one; after a reboot there are none.
        assert ready(await member(client, has_rules=False).register()) == "True"
        booted = FACTS._replace(boot_id="b-2")
        assert ready(await member(client, facts=booted, has_rules=False).register()) == "False"

    play(tmp_path, story)


def test_the_api_hears_of_the_rules_at_once(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = served.client()
        rules = asyncio.Event()
        joined = Membership(client, SETTINGS, FACTS, Clock(), rules=rules)
        running = asyncio.create_task(joined.run())
        await joined.registered()
        assert ready(await client.get(NODES, "n1")) == "False"
        rules.set()
        while ready(await client.get(NODES, "n1")) == "False":
            await asyncio.sleep(0.01)
        running.cancel()

    async def main() -> None:
        # Less than the time between two signs of life.
        async with serve_objects(tmp_path) as served, asyncio.timeout(joining.RENEW_S / 2):
            await story(served)

    asyncio.run(main())


class Deaf:
    """An API server that is gone for the first few questions."""

    def __init__(self, client: Any, fails: int) -> None:
        self._client = client
        self.left = fails

    def __getattr__(self, name: str) -> Any:
        if self.left > 0:
            self.left -= 1
            raise SourceError("connection refused")
        return getattr(self._client, name)


def test_signs_of_life_go_on_when_the_server_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(joining, "RENEW_S", 0.01)
    monkeypatch.setattr(joining, "_RETRY_S", 0.01)
    caplog.set_level("INFO")

    async def story(served: Served) -> None:
        joined = member(Deaf(served.client(), 3))
        running = asyncio.create_task(joined.run())
        await joined.registered()
        await asyncio.sleep(0.1)
        running.cancel()
        assert (await served.client().get(LEASES, "n1", "kube-node-lease"))["spec"]

    play(tmp_path, story)
    said = [each.message for each in caplog.records]
    assert said.count("cannot tell that this node lives") == 1
    assert said.count("this node's signs of life are heard again") == 1
