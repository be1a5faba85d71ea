"""What readers and watchers of one resource see."""

from __future__ import annotations

import asyncio

from netproxy.api.objects import Key, Object
from netproxy.apiserver.storage.stored import Event, Stored, encode_state
from netproxy.apiserver.storage.timeline import Timeline


def _state(name: str, version: int, namespace: str = "default", **spec: object) -> Stored:
    obj: Object = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    state, _ = encode_state(Key(namespace, name), version, obj)
    return state


def _came(name: str, version: int, namespace: str = "default") -> Event:
    state = _state(name, version, namespace)
    return Event("services", version, None, state, state)


def _went(before: Stored, version: int) -> Event:
    last, _ = encode_state(before.key, version, before.object)
    return Event("services", version, before, None, last)


def _names(timeline: Timeline, *args: object) -> list[str]:
    return [each.key.name for each in timeline.select(*args)]  # type: ignore[arg-type]


def test_objects_come_in_the_order_of_their_keys() -> None:
    timeline = Timeline()
    for version, (namespace, name) in enumerate([("b", "x"), ("a", "z"), ("a", "y")], 1):
        timeline.add(_came(name, version, namespace))
    assert _names(timeline) == ["y", "z", "x"]
    assert _names(timeline, "a") == ["y", "z"]
    assert _names(timeline, "", Key("a", "y")) == ["z", "x"]
    assert timeline.count() == 3
    assert timeline.count("a") == 2


def test_a_namespace_is_not_taken_for_one_that_begins_like_it() -> None:
    timeline = Timeline()
    timeline.add(_came("x", 1, "team"))
    timeline.add(_came("x", 2, "team-a"))
    assert timeline.count("team") == 1


def test_the_past_is_what_happened_since_undone() -> None:
    timeline = Timeline()
    timeline.add(_came("a", 1))
    timeline.add(_came("b", 2))
    was = timeline.get(Key("default", "a"))
    assert was is not None
    timeline.add(_went(was, 3))
    timeline.add(_came("c", 4))
    assert [each.key.name for each in timeline.as_of(2)] == ["a", "b"]
    assert [each.key.name for each in timeline.as_of(1)] == ["a"]
    assert [each.key.name for each in timeline.as_of(4)] == ["b", "c"]
    assert [each.version for each in timeline.as_of(2)] == [1, 2]


def test_only_so_much_is_remembered() -> None:
    timeline = Timeline(remembered=3)
    for version in range(1, 11):
        timeline.add(_came(f"s{version}", version))
    assert timeline.floor == 7
    assert [each.version for each in timeline.since(7)] == [8, 9, 10]
    assert timeline.count() == 10


def test_what_there_was_is_counted_as_it_is_listed() -> None:
    timeline = Timeline()
    for version, (namespace, name) in enumerate(
        [("a", "x"), ("a", "y"), ("b", "x"), ("a", "z"), ("b", "z")], 1
    ):
        timeline.add(_came(name, version, namespace))
    was = timeline.get(Key("a", "x"))
    assert was is not None
    timeline.add(_went(was, 6))
    changed = _state("z", 7, "b")
    timeline.add(Event("services", 7, timeline.get(changed.key), changed, changed))
    timeline.add(_came("x", 8, "a"))
    for version in range(9):
        for namespace in ("", "a", "b", "c"):
            for after in (None, Key("a", "x"), Key("a", "zz"), Key("b", "z")):
                listed = [each.key for each in timeline.as_of(version, namespace, after)]
                assert timeline.count_as_of(version, namespace, after) == len(listed)
                assert listed == sorted(listed)


def test_of_long_objects_fewer_events_are_remembered() -> None:
    timeline = Timeline(remembered_bytes=10_000)
    for version in range(1, 11):
        state = _state("a", version, text="x" * 3000)
        timeline.add(Event("services", version, timeline.get(state.key), state, state))
    assert timeline.floor == 7
    assert [each.version for each in timeline.since(7)] == [8, 9, 10]


def test_who_waits_is_woken_once_and_who_waits_in_vain_is_not_kept() -> None:
    async def run() -> tuple[bool, bool]:
        timeline = Timeline()
        waiting = asyncio.ensure_future(timeline.wait(60))
        await asyncio.sleep(0)
        timeline.add(_came("a", 1))
        timeline.wake()
        await waiting
        await timeline.wait(0.001)
        timeline.wake()
        return waiting.done(), bool(timeline.since(0))

    assert asyncio.run(run()) == (True, True)


def test_a_line_is_made_once_for_all_watchers() -> None:
    event = _came("a", 1)
    assert event.line("ADDED", event.last) is event.line("ADDED", event.last)
    assert event.line("ADDED", event.last) != event.line("MODIFIED", event.last)
    assert event.line("ADDED", event.last).endswith(b"}\n")
