"""The recorder and an API server that may misbehave; the official client reads what is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import kubernetes.client
import pytest

from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import Answer, ApiClient, ClientSettings
from netproxy.kubernetes.event_series import QUIET_S, Regarding
from netproxy.kubernetes.recorder import LONGEST_DELAY_S, MOST_EVENTS, MOST_TRIES, EventRecorder
from tests.kube.faults import Ask, Reply, status
from tests.kube.server import ApiServer
from tests.unit.kubernetes.api import run, skip

NODE = Regarding("v1", "Node", "", "n1", "n1")
SERVICE = Regarding("v1", "Service", "shop", "web", "uid-7")
T0 = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


async def until(is_so: Callable[[], bool]) -> None:
    """The server is in another thread; it tells when it has done what is waited for."""
    while not is_so():
        await asyncio.sleep(0.001)


class Observed:
    """A client of which a test sees how many requests are over, however they ended."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.over = 0

    @asynccontextmanager
    async def request(self, method: str, path: str, **options: Any) -> AsyncIterator[Answer]:
        try:
            async with self._client.request(method, path, **options) as answer:
                yield answer
        finally:
            self.over += 1

    async def close(self) -> None:
        await self._client.close()


class Stage(NamedTuple):
    recorder: EventRecorder
    client: Observed


@asynccontextmanager
async def recording(server: ApiServer) -> AsyncIterator[Stage]:
    """A recorder at work. Its clock goes with the loop's, which a test can make leap."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    client = Observed(open_client(ClientSettings(master=server.url, qps=-1), environ={}))
    recorder = EventRecorder(client, lambda: T0 + loop.time() - start, "n1", dice=lambda: 1.0)
    task = asyncio.create_task(recorder.run())
    try:
        yield Stage(recorder, client)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def record_starting(recorder: EventRecorder) -> None:
    recorder.record(NODE, "Normal", "Starting", "StartKubeProxy", "")


def record_listening(recorder: EventRecorder, name: str = "web") -> None:
    regarding = SERVICE._replace(name=name)
    note = f"node n1 failed to start healthcheck {name!r} on port 30080"
    recorder.record(regarding, "Warning", "FailedToStartServiceHealthcheck", "Listen", note)


def official_events(server: ApiServer) -> list[Any]:
    """All events, as the official client understands them: EventsV1Event."""
    configuration = kubernetes.client.Configuration(host=server.url)
    with kubernetes.client.ApiClient(configuration) as api:
        listed = kubernetes.client.EventsV1Api(api).list_event_for_all_namespaces()
    return list(listed.items)


def writes(server: ApiServer) -> list[str]:
    return [request.method for request in server.requests]


def test_the_official_client_reads_what_is_written() -> None:
    async def go(server: ApiServer) -> None:
        async with recording(server) as (recorder, _):
            record_starting(recorder)
            record_listening(recorder)
            await until(lambda: len(server.objects("events")) == 2)

    with ApiServer() as server:
        run(go(server))
        events = {event.reason: event for event in official_events(server)}
    starting, listening = events["Starting"], events["FailedToStartServiceHealthcheck"]
    assert {type(event) for event in events.values()} == {kubernetes.client.EventsV1Event}
    assert (starting.metadata.namespace, listening.metadata.namespace) == ("default", "shop")
    assert starting.metadata.name.startswith("n1.")
    assert (starting.type, starting.action) == ("Normal", "StartKubeProxy")
    assert (listening.type, listening.action) == ("Warning", "Listen")
    assert listening.note == "node n1 failed to start healthcheck 'web' on port 30080"
    assert starting.reporting_controller == "kube-proxy"
    assert starting.reporting_instance == "kube-proxy-n1"
    regarding = listening.regarding
    assert (regarding.kind, regarding.namespace, regarding.name) == ("Service", "shop", "web")
    assert (regarding.api_version, regarding.uid) == ("v1", "uid-7")
    assert (starting.regarding.kind, starting.regarding.namespace) == ("Node", None)
    assert 0 <= starting.event_time.timestamp() - T0 < 3600
    assert starting.series is None


def test_repetitions_become_a_series() -> None:
    async def go(server: ApiServer) -> None:
        async with recording(server) as (recorder, client):
            record_listening(recorder)
            await until(lambda: client.over == 1)
            for _ in range(10):
                record_listening(recorder)
            await until(lambda: client.over == 2)
            record_listening(recorder)
            await skip(QUIET_S)
            await until(lambda: client.over == 3)

    with ApiServer() as server:
        run(go(server))
        assert writes(server) == ["POST", "PATCH", "PATCH"]
        assert server.requests[1].headers["Content-Type"] == "application/merge-patch+json"
        [event] = official_events(server)
    assert event.series.count == 12
    assert event.series.last_observed_time >= event.event_time


def test_a_series_goes_on_when_its_event_has_expired() -> None:
    async def go(server: ApiServer) -> None:
        async with recording(server) as (recorder, _):
            record_listening(recorder)
            await until(lambda: len(server.objects("events")) == 1)
            [event] = server.objects("events")
            server.delete("events", event["metadata"]["name"], "shop")
            record_listening(recorder)
            await until(lambda: len(server.objects("events")) == 1)

    with ApiServer() as server:
        run(go(server))
        assert writes(server) == ["POST", "PATCH", "POST"]
        [event] = official_events(server)
    assert event.series.count == 2


@pytest.mark.parametrize(
    "trouble", [status(429, "TooManyRequests", retry_after="30"), status(500, "InternalError")]
)
def test_what_may_work_later_is_tried_later(trouble: Reply) -> None:
    async def go(server: ApiServer) -> None:
        server.fail("events", trouble, asks=[Ask.WRITE], times=2)
        async with recording(server) as (recorder, client):
            record_starting(recorder)
            for attempt in (1, 2):
                await until(lambda: client.over == attempt)  # noqa: B023 - awaited here
                assert not server.objects("events")
                await skip(30)
            await until(lambda: len(server.objects("events")) == 1)
            assert recorder.dropped == 0

    with ApiServer() as server:
        run(go(server))
        assert writes(server) == ["POST"] * 3


def test_what_was_written_already_is_written() -> None:
    """The answer to the first try was lost; the second one is told 409."""

    async def go(server: ApiServer) -> None:
        server.fail("events", status(409, "AlreadyExists"), asks=[Ask.WRITE])
        async with recording(server) as (recorder, client):
            record_starting(recorder)
            await until(lambda: client.over == 1)
            record_listening(recorder)
            await until(lambda: len(server.objects("events")) == 1)
            assert recorder.dropped == 0

    with ApiServer() as server:
        run(go(server))
        assert writes(server) == ["POST", "POST"]


def test_what_is_refused_is_dropped_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(server: ApiServer) -> None:
        forbidden = status(403, "Forbidden", "events is forbidden")
        server.fail("events", forbidden, asks=[Ask.WRITE], times=3)
        async with recording(server) as (recorder, _):
            for name in "abcd":
                record_listening(recorder, name)
            await until(lambda: len(server.objects("events")) == 1)
            await until(lambda: bool(told(caplog, "events are written again")))
            assert recorder.dropped == 3

    caplog.set_level(logging.INFO, logger="netproxy")
    monkeypatch.setattr(logging.getLogger("netproxy"), "propagate", True)
    with ApiServer() as server:
        run(go(server))
    [warning] = told(caplog, "event not written")
    assert warning["error"] == "403 events is forbidden"
    assert warning["object"] == "Service a"
    assert "ClusterRole" in warning["hint"]
    assert told(caplog, "events are written again") == [{"dropped": 3}]


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(each)["fields"] for each in caplog.records if each.getMessage() == event]


def test_a_server_that_is_gone_delays_and_in_the_end_drops() -> None:
    async def go(server: ApiServer) -> None:
        server.stop()
        async with recording(server) as (recorder, client):
            record_starting(recorder)
            for tries in range(1, MOST_TRIES + 1):
                assert recorder.dropped == 0
                await until(lambda: client.over == tries)  # noqa: B023 - awaited here
                await skip(LONGEST_DELAY_S)
            assert recorder.dropped == 1
            server.start()
            record_listening(recorder)
            await until(lambda: len(server.objects("events")) == 1)

    with ApiServer() as server:
        run(go(server))
        [event] = official_events(server)
    assert event.reason == "FailedToStartServiceHealthcheck"


def test_nobody_waits_and_the_queue_has_a_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(server: ApiServer) -> None:
        async with recording(server) as (recorder, _):
            for number in range(MOST_EVENTS + 5):  # nothing can be written in between
                record_listening(recorder, f"s{number}")
            assert recorder.dropped == 5
            await until(lambda: len(server.objects("events")) == MOST_EVENTS)

    monkeypatch.setattr(logging.getLogger("netproxy"), "propagate", True)
    with ApiServer() as server:
        run(go(server))
    [warning] = told(caplog, "event not written")
    assert warning["error"] == f"{MOST_EVENTS} others wait"


def test_bytes_that_are_no_answer_do_no_harm() -> None:
    async def go(server: ApiServer) -> None:
        server.fail("events", Reply(502, b"<html>", content_type="text/html"), asks=[Ask.WRITE])
        async with recording(server) as (recorder, client):
            record_starting(recorder)
            await until(lambda: client.over == 1)
            await skip(1)
            await until(lambda: len(server.objects("events")) == 1)

    with ApiServer() as server:
        run(go(server))
