"""What waits for the next sync: little, and the same in effect as all that was said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netproxy.core.store import Store
from netproxy.inbox import Inbox
from netproxy.model.events import Delete, Event, Listed, Reset
from tests.property.strategies import histories


def outcome(events: list[Event]) -> object:
    store = Store("node-1")
    for event in events:
        store.apply(event)
    slices = {key: set(store.slices_of(key)) for key in store.services}
    return store.services, slices, store.node, store.service_cidrs, store.is_complete


@given(st.lists(histories(), max_size=3))
def test_what_is_left_out_makes_no_difference(parts: list[list[Event]]) -> None:
    inbox = Inbox()
    said: list[Event] = []
    for part in parts:
        told = [Reset(), *part, Listed()]
        said += told
        inbox.put(told)
    waiting = len(inbox)
    taken = inbox.take()
    assert len(taken) == waiting <= len(said)
    assert outcome(taken) == outcome(said)
    assert inbox.take() == []


def test_an_object_that_changes_without_end_fills_one_place() -> None:
    inbox = Inbox()
    for number in range(1000):
        inbox.put([Delete(("Service", "default", f"web-{number % 3}"))])
    assert len(inbox) == 3
    inbox.put([Listed()])
    inbox.put([Delete(("Service", "default", "web-0"))])
    assert len(inbox) == 5, "what came after a mark stays behind it"
