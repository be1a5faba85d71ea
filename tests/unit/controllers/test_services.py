"""Slices, nodes that fall silent, load balancers' addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from netproxy.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from netproxy.controllers.balancers import parse_pool
from tests.unit.controllers.living import Living, live


def test_only_ready_pods_are_ready_endpoints(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.service("web")
        one, two = await living.pod("one", "web"), await living.pod("two", "web")
        await living.pod("three", "other")
        await living.mark(one)
        await living.mark(two, ready=False)

        async def both() -> bool:
            return await living.endpoints("web") == {"10.244.0.2": True, "10.244.0.3": False}

        await living.until(both)
        await living.mark(two)

        async def ready() -> bool:
            return set((await living.endpoints("web")).values()) == {True}

        await living.until(ready)
        await living.end(one)

        async def one_left() -> bool:
            return await living.endpoints("web") == {"10.244.0.3": True}

        await living.until(one_left)

    live(tmp_path, story)


def test_many_endpoints_are_in_several_slices_and_one_change_writes_one(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.service("web")
        for number in range(25):
            await living.mark(await living.pod(f"p{number:02}", "web"))

        async def all_there() -> bool:
            return len(await living.endpoints("web")) == 25

        await living.until(all_there)
        await living.quiet()
        before = {each["metadata"]["name"]: each for each in await living.all(ENDPOINT_SLICES)}
        assert all(len(each["endpoints"]) <= 10 for each in before.values() if each["endpoints"])
        await living.mark(await living.client.get(PODS, "p07", "default"), ready=False)
        await living.quiet()
        after = {each["metadata"]["name"]: each for each in await living.all(ENDPOINT_SLICES)}
        changed = [
            name
            for name, each in after.items()
            if each["metadata"]["resourceVersion"] != before[name]["metadata"]["resourceVersion"]
        ]
        assert len(changed) == 1
        assert before.keys() == after.keys()

    live(tmp_path, story, endpoints_per_slice=10)


def test_pods_of_a_silent_node_leave_and_come_back(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        beating = asyncio.create_task(_beat(living))
        await living.service("web")
        await living.mark(await living.pod("one", "web"))

        async def is_ready() -> bool:
            return await living.endpoints("web") == {"10.244.0.2": True}

        await living.until(is_ready)
        beating.cancel()

        async def is_lost() -> bool:
            node = await living.client.get(NODES, "n1")
            (ready,) = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
            return bool(ready["status"] == "Unknown")

        await living.until(is_lost)

        async def is_out() -> bool:
            return await living.endpoints("web") == {"10.244.0.2": False}

        await living.until(is_out)

        async def is_tainted() -> bool:
            node = await living.client.get(NODES, "n1")
            return bool(node["spec"].get("taints"))

        await living.until(is_tainted)
        # Its agent speaks again.
        beating = asyncio.create_task(_beat(living))

        async def is_clean() -> bool:
            return not await is_tainted()

        await living.until(is_clean)
        await living.mark(await living.client.get(PODS, "one", "default"))
        await living.until(is_ready)
        beating.cancel()

    live(tmp_path, story, node_grace_s=1.5)


async def _beat(living: Living) -> None:
    """As an agent does: signs of life, and the truth when somebody else has written otherwise."""
    while True:
        await living.heartbeat("n1")
        node = await living.client.get(NODES, "n1")
        (ready,) = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
        if ready["status"] != "True":
            patch = {"status": {"conditions": [{**ready, "status": "True"}]}}
            await living.client.patch(NODES, "n1", patch, subresource="status")
        await asyncio.sleep(0.1)


def test_nodes_get_prefixes_of_their_own(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        for number in range(3):
            await living.node(f"n{number}")

        async def all_have() -> list[str] | None:
            found = [each["spec"].get("podCIDRs") for each in await living.all(NODES)]
            return sorted(str(each) for each in found) if all(found) else None

        assert await living.until(all_have) == [
            "['10.244.0.0/24', 'fd00:244::/64']",
            "['10.244.1.0/24', 'fd00:244:0:1::/64']",
            "['10.244.2.0/24', 'fd00:244:0:2::/64']",
        ]

    live(tmp_path, story, cluster_cidrs=("10.244.0.0/16", "fd00:244::/48"))


def test_load_balancers_get_addresses_as_long_as_there_are_any(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        for name in ("one", "two"):
            await living.service(name, type="LoadBalancer")
            await living.quiet()

        async def addresses() -> dict[str, str]:
            return {
                each["metadata"]["name"]: each["status"]["loadBalancer"]["ingress"][0]["ip"]
                for each in await living.all(SERVICES)
                if each.get("status", {}).get("loadBalancer", {}).get("ingress")
            }

        async def one_has() -> bool:
            return await addresses() == {"one": "203.0.113.10"}

        await living.until(one_has)
        await living.client.delete(SERVICES, "one", "default")

        async def two_has() -> bool:
            return await addresses() == {"two": "203.0.113.10"}

        await living.until(two_has)

    live(tmp_path, story, pool=tuple(parse_pool(["203.0.113.10-203.0.113.10"])))


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["make", "ready", "not", "end"]))))
def test_slices_are_what_the_pods_say_whatever_the_way(
    tmp_path_factory: object, steps: list[tuple[int, str]]
) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.service("web")
        wanted: dict[str, bool] = {}
        addresses: dict[str, str] = {}
        for number, step in steps:
            name = f"p{number}"
            exists = name in addresses
            if step == "make" and not exists:
                addresses[name] = ""
                await living.pod(name, "web")
            elif step in ("ready", "not") and exists:
                await living.mark({"metadata": {"name": name}}, ready=step == "ready")
                pod = await living.client.get(PODS, name, "default")
                addresses[name] = pod["status"]["podIP"]
                wanted[addresses[name]] = step == "ready"
            elif step == "end" and exists:
                await living.end(await living.client.get(PODS, name, "default"))
                wanted.pop(addresses.pop(name), None)

        async def is_so() -> bool:
            return await living.endpoints("web") == wanted

        await living.until(is_so)
        await living.quiet()
        assert await living.endpoints("web") == wanted

    directory = tmp_path_factory.mktemp("law")  # type: ignore[attr-defined]
    live(directory, story)
