"""What is one event, what is a series, when it is written, and that memory has a limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netproxy.kubernetes.event_series import (
    LONGEST_NOTE,
    QUIET_S,
    REFRESH_S,
    EventKey,
    EventSeries,
    Happening,
    Regarding,
)

NODE = EventKey(Regarding("v1", "Node", "", "n1"), "Normal", "Starting", "StartKubeProxy")
T0 = 1_700_000_000.0


def service(name: str) -> EventKey:
    regarding = Regarding("v1", "Service", "shop", name, "uid-1")
    return EventKey(regarding, "Warning", "FailedToStartServiceHealthcheck", "Listen")


def write(series: EventSeries, at: float) -> list[tuple[str, int]]:
    """Write all that is due; returns names and counts."""
    written = []
    while (happening := series.take(at)) is not None:
        written.append((happening.key.regarding.name, happening.count))
        happening.settle(happening.count, at)
    return written


def test_a_series_is_written_at_once_and_again_when_it_goes_on() -> None:
    series = EventSeries(10)
    assert series.note(NODE, "a", T0)
    assert write(series, T0) == [("n1", 1)]
    series.note(NODE, "a", T0 + 1)
    assert write(series, T0 + 1) == [("n1", 2)]
    for second in range(2, 3000):
        series.note(NODE, "a", T0 + second)
        expected = [("n1", second + 1)] if second == 1 + REFRESH_S else []
        assert write(series, T0 + second) == expected


def test_a_series_ends_with_its_last_count() -> None:
    series = EventSeries(10)
    for second in range(5):
        series.note(NODE, "a", T0 + second)
        write(series, T0 + second)
    assert series.wait_s(T0 + 4) == QUIET_S
    assert write(series, T0 + 3 + QUIET_S) == []
    assert write(series, T0 + 4 + QUIET_S) == [("n1", 5)]
    assert series.wait_s(T0 + 4 + QUIET_S) is None


def test_after_quiet_minutes_it_is_another_event() -> None:
    series = EventSeries(10)
    series.note(NODE, "a", T0)
    first = series.take(T0)
    assert first is not None
    first.settle(1, T0)
    series.note(NODE, "b", T0 + QUIET_S)
    second = series.take(T0 + QUIET_S)
    assert second is not None
    assert (second.count, second.note, second.name != first.name) == (1, "b", True)


def test_what_could_not_be_written_for_long_is_the_same_event_still() -> None:
    series = EventSeries(10)
    series.note(NODE, "a", T0)
    series.note(NODE, "a", T0 + 10 * QUIET_S)
    happening = series.take(T0 + 10 * QUIET_S)
    assert happening is not None
    assert (happening.count, happening.first_at) == (2, T0)


def test_events_are_written_in_their_order() -> None:
    series = EventSeries(10)
    for name in ("b", "a", "c", "a"):
        series.note(service(name), "x", T0)
    assert write(series, T0) == [("b", 1), ("a", 2), ("c", 1)]


def test_room_is_made_by_forgetting_what_is_done_with() -> None:
    series = EventSeries(2)
    assert series.note(service("a"), "x", T0)
    assert series.note(service("b"), "x", T0)
    assert not series.note(service("c"), "x", T0)
    assert series.note(service("a"), "x", T0)  # this one is known
    assert write(series, T0) == [("a", 2), ("b", 1)]
    assert series.note(service("c"), "x", T0)
    assert write(series, T0) == [("c", 1)]


def test_an_event_says_what_the_api_asks_for() -> None:
    happening = Happening(service("web"), "é" * LONGEST_NOTE, T0 + 0.000001)
    assert happening.to_event("kube-proxy", "kube-proxy-" + "n" * 200) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": happening.name, "namespace": "shop"},
        "eventTime": "2023-11-14T22:13:20.000001Z",
        "reportingController": "kube-proxy",
        "reportingInstance": "kube-proxy-" + "n" * 117,
        "action": "Listen",
        "reason": "FailedToStartServiceHealthcheck",
        "regarding": {
            "apiVersion": "v1",
            "kind": "Service",
            "namespace": "shop",
            "name": "web",
            "uid": "uid-1",
        },
        "note": "é" * (LONGEST_NOTE // 2),
        "type": "Warning",
    }


def test_nodes_have_their_events_in_the_default_namespace() -> None:
    happening = Happening(NODE, "", T0)
    regarding = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
    event = happening.to_event("c", "i")
    assert (happening.namespace, event["regarding"]) == ("default", regarding)


def test_names_are_names_also_of_the_longest_services() -> None:
    name = Happening(service("a" * 235 + "." + "b" * 17), "", T0).name
    assert len(name) <= 253
    assert ".." not in name


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 2 * QUIET_S)), max_size=40))
def test_everything_that_happens_is_written(happened: list[tuple[str, float]]) -> None:
    """Once time has passed, the counts that were written add up to what happened."""
    series, now = EventSeries(10), T0
    written: dict[str, int] = {}
    for name, pause in happened:
        now += pause
        for happening in _written(series, now):
            written[happening.name] = happening.count
        series.note(service(name), "x", now)
    for happening in _written(series, now + QUIET_S):
        written[happening.name] = happening.count
    assert sum(written.values()) == len(happened)
    assert list(_written(series, now + 2 * QUIET_S)) == []
    assert series.wait_s(now + 2 * QUIET_S) is None


def _written(series: EventSeries, at: float) -> list[Happening]:
    found = []
    while (happening := series.take(at)) is not None:
        happening.settle(happening.count, at)
        found.append(happening)
    return found
