"""What /healthz, /livez and /readyz say, on clocks of the test's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from netproxy.health.state import HealthState
from netproxy.model.ip import Family
from netproxy.serving.health_pages import health_pages, healthz, livez, readyz
from netproxy.web import Answer, Request

V4, V6 = Family.IPV4, Family.IPV6
LIMIT_S = 60.0
NOW = "2026-11-23T12:00:00Z"
NOW_S = 1795435200.0


class Scene:
    """A node's health, with time that passes when told to."""

    def __init__(self, *families: Family) -> None:
        self.s = 0.0
        self.health = HealthState(lambda: self.s, lambda: NOW_S + self.s)
        self.health.begin(families or (V4, V6), LIMIT_S)

    def synced(self, *worked: Family) -> None:
        self.health.sync_started()
        self.health.sync_ended(worked)


def read(answer: Answer) -> tuple[int, dict[str, Any]]:
    return answer.status, json.loads(answer.body)


def test_before_the_first_sync_all_is_well_and_nothing_ready() -> None:
    scene = Scene()
    scene.s = 1e6
    now = "2026-12-05T01:46:40Z"
    body = {"lastUpdated": now, "currentTime": now, "healthy": True}
    assert read(livez(scene.health)) == (200, body)
    assert read(healthz(scene.health)) == (200, {**body, "nodeEligible": True})
    status, said = read(readyz(scene.health))
    assert (status, said["ready"]) == (503, False)
    assert said["missing"] == ["IPv4: no sync has worked yet", "IPv6: no sync has worked yet"]


def test_the_body_is_spelled_as_kube_proxys() -> None:
    scene = Scene()
    scene.synced(V4, V6)
    scene.s = 0.25
    assert healthz(scene.health).body.decode() == (
        '{"lastUpdated":"2026-11-23T12:00:00.25Z","currentTime":"2026-11-23T12:00:00.25Z",'
        '"nodeEligible":true,"healthy":true,"status":{'
        '"IPv4":{"lastUpdated":"2026-11-23T12:00:00Z","healthy":true},'
        '"IPv6":{"lastUpdated":"2026-11-23T12:00:00Z","healthy":true}}}'
    )
    assert healthz(scene.health).headers["Content-Type"] == "application/json"
    assert healthz(scene.health).headers["X-Content-Type-Options"] == "nosniff"


def test_syncs_that_fail_for_longer_than_the_limit_are_unhealthy() -> None:
    scene = Scene()
    scene.synced(V4, V6)
    scene.s = 10.0
    scene.health.queued()
    for scene.s in (11.0, 30.0, 69.0):
        scene.synced(V4)
        assert read(healthz(scene.health))[0] == 200
        assert read(readyz(scene.health))[0] == 200
    scene.s = 70.0
    status, body = read(healthz(scene.health))
    assert status == 503
    assert body["healthy"] is False
    assert body["lastUpdated"] == "2026-11-23T12:01:09Z", "of the family that was synced last"
    assert body["status"]["IPv4"] == {"lastUpdated": "2026-11-23T12:01:09Z", "healthy": True}
    assert body["status"]["IPv6"] == {"lastUpdated": NOW, "healthy": False}
    assert read(livez(scene.health))[0] == 503
    assert read(readyz(scene.health))[1]["missing"] == ["IPv6: changes wait for too long"]
    scene.synced(V4, V6)
    assert [read(page(scene.health))[0] for page in (healthz, livez, readyz)] == [200, 200, 200]


def test_a_family_that_never_worked_is_unhealthy_after_the_limit() -> None:
    scene = Scene()
    scene.health.queued()
    scene.synced(V4)
    scene.s = LIMIT_S
    status, body = read(livez(scene.health))
    assert status == 503
    assert body["status"]["IPv6"] == {"lastUpdated": "0001-01-01T00:00:00Z", "healthy": False}


def test_a_family_that_is_not_proxied_is_not_waited_for() -> None:
    scene = Scene(V4)
    scene.synced(V4)
    status, body = read(readyz(scene.health))
    assert (status, list(body["status"])) == (200, ["IPv4"])


def test_a_node_that_leaves_is_for_load_balancers_and_not_for_kubelet() -> None:
    scene = Scene()
    scene.synced(V4, V6)
    scene.health.is_node_eligible = False
    scene.s = 5.0
    status, body = read(healthz(scene.health))
    assert (status, body["nodeEligible"], body["healthy"]) == (503, False, True)
    assert body["lastUpdated"] == NOW
    assert "nodeEligible" not in read(livez(scene.health))[1]
    assert read(livez(scene.health))[0] == 200
    assert read(readyz(scene.health))[0] == 200


def test_another_configuration_is_not_ready_before_its_own_first_sync() -> None:
    scene = Scene()
    scene.synced(V4, V6)
    scene.health.begin((V4,), LIMIT_S)
    assert read(readyz(scene.health))[0] == 503
    assert read(healthz(scene.health))[0] == 200
    scene.synced(V4)
    assert read(readyz(scene.health))[0] == 200


def test_without_a_proxy_nothing_is_ready() -> None:
    assert read(readyz(HealthState()))[1]["missing"] == ["no proxy has begun"]


def test_answers_are_counted_by_path_and_status() -> None:
    scene = Scene()
    counted: list[tuple[str, int]] = []
    pages = health_pages(scene.health, lambda path, status: counted.append((path, status)))
    for path, page in pages.items():
        asyncio.run(_ask(page(Request("GET", path, {}))))
    assert counted == [("/healthz", 200), ("/livez", 200), ("/readyz", 503)]


async def _ask(answer: Any) -> None:
    await answer
