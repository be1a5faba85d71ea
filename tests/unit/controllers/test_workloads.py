"""Deployments, their Pods, where these go, and what becomes of what nobody owns any more."""

from __future__ import annotations

from pathlib import Path

from netproxy.api.objects import Object, is_leaving
from netproxy.api.resources import DEPLOYMENTS, NAMESPACES, NODES, PODS, SERVICES
from netproxy.api.status import StatusError
from tests.unit.controllers.living import Living, live


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_replicas_are_made_and_spread_over_ready_nodes(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        for name in ("n1", "n2"):
            await living.node(name)
        await living.client.create(
            NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "unready"}}
        )
        await living.deployment("web", 4)

        async def bound() -> list[str] | None:
            nodes = [each["spec"].get("nodeName") for each in await living.pods("web", 4)]
            return sorted(nodes) if all(nodes) else None

        assert await living.until(bound) == ["n1", "n1", "n2", "n2"]

    live(tmp_path, story)


def test_a_rollout_goes_on_as_pods_become_ready(tmp_path: Path) -> None:
    """With 4 replicas at least 3 serve at any moment, and at most 5 are there."""

    async def story(living: Living) -> None:
        await living.node("n1")
        await living.deployment("web", 4)
        for pod in await living.pods("web", 4):
            await living.mark(pod)
        await _change_image(living, "two")
        for _ in range(60):
            await living.quiet()
            pods = await living.all(PODS)
            staying = [each for each in pods if not is_leaving(each)]
            assert sum(is_ready(each) for each in staying) >= 3
            assert len(staying) <= 5
            await living.end_leaving()
            unready = [each for each in staying if not is_ready(each)]
            if not unready and _images(staying) == ["two"] * 4:
                break
            for pod in unready[:1]:
                await living.mark(pod)
        deployment = await living.client.get(DEPLOYMENTS, "web", "default")
        assert deployment["status"]["updatedReplicas"] == 4
        assert deployment["status"]["readyReplicas"] == 4
        sets = await living.replica_sets()
        assert sorted(each["spec"]["replicas"] for each in sets) == [0, 4]

    live(tmp_path, story)


def test_a_rollout_whose_pods_never_become_ready_stops(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.deployment("web", 4)
        for pod in await living.pods("web", 4):
            await living.mark(pod)
        await _change_image(living, "broken")
        for _ in range(5):
            await living.quiet()
            await living.end_leaving()
        pods = await living.all(PODS)
        assert _images(pods).count("one") == 3
        assert _images(pods).count("broken") == 2
        # Back again: what still runs is used.
        kept = {each["metadata"]["uid"] for each in pods if _images([each]) == ["one"]}
        await _change_image(living, "one")
        for _ in range(20):
            await living.quiet()
            await living.end_leaving()
            pods = await living.all(PODS)
            if _images(pods) == ["one"] * 4:
                break
            for pod in pods:
                if not is_ready(pod) and _images([pod]) == ["one"]:
                    await living.mark(pod)
        assert kept <= {each["metadata"]["uid"] for each in pods}

    live(tmp_path, story)


def test_recreate_ends_all_before_it_begins(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.deployment("web", 2, strategy={"type": "Recreate"})
        for pod in await living.pods("web", 2):
            await living.mark(pod)
        await _change_image(living, "two")
        await living.quiet()
        pods = await living.all(PODS)
        assert _images(pods) == ["one", "one"]
        assert all(is_leaving(each) for each in pods)
        await living.end_leaving()
        assert _images(await living.pods("web", 2)) == ["two", "two"]

    live(tmp_path, story)


def test_scaling_down_takes_the_unready_first(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.deployment("web", 3)
        pods = await living.pods("web", 3)
        for pod in pods[:2]:
            await living.mark(pod)
        patch = {"spec": {"replicas": 2}}
        await living.client.patch(DEPLOYMENTS, "web", patch, namespace="default")
        left = await living.pods("web", 2)
        assert {each["metadata"]["uid"] for each in left} == {
            each["metadata"]["uid"] for each in pods[:2]
        }

    live(tmp_path, story)


def test_what_is_owned_goes_with_its_owner(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        await living.node("n1")
        await living.deployment("web", 2)
        await living.pod("alone", "other")
        await living.pods("web", 2)
        await living.client.delete(DEPLOYMENTS, "web", "default")
        await living.pods("web", 0)
        await living.end_leaving()

        async def no_sets() -> bool:
            return not await living.replica_sets()

        await living.until(no_sets)
        assert [each["metadata"]["name"] for each in await living.all(PODS)] == ["alone"]

    live(tmp_path, story)


def test_a_namespace_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    async def story(living: Living) -> None:
        client = living.client
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
        await client.create(NAMESPACES, space)
        for name in ("a", "b"):
            await client.create(
                SERVICES,
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name, "namespace": "team"},
                    "spec": {"ports": [{"port": 80}]},
                },
            )
        await client.delete(NAMESPACES, "team")

        async def is_gone() -> bool:
            try:
                await client.get(NAMESPACES, "team")
            except StatusError as error:
                return error.code == 404
            return False

        await living.until(is_gone)
        left = (await client.list(SERVICES)).items
        assert [each["metadata"]["name"] for each in left] == ["kubernetes"]

    live(tmp_path, story)


async def _change_image(living: Living, image: str) -> None:
    containers = [{"name": "c", "image": image, "command": ["x"]}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    await living.client.patch(DEPLOYMENTS, "web", patch, namespace="default")


def _images(pods: list[Object]) -> list[str]:
    return sorted(each["spec"]["containers"][0]["image"] for each in pods)
