"""Whatever happens between a list and the events that follow it: together they are the state.

Clients list whole, in pages or as a stream, through selectors; they hear a few lines or all, are
cut off and come back, while objects are written and the past is forgotten.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.objects import Key
from netproxy.api.resources import PODS
from netproxy.api.status import StatusError
from netproxy.apiserver import watching
from netproxy.apiserver.pages import read_page
from netproxy.apiserver.request import ListOptions
from netproxy.apiserver.selectors import matcher
from netproxy.apiserver.storage.stored import Event, encode_state
from netproxy.apiserver.storage.timeline import Timeline
from netproxy.apiserver.watching import Watch, plain_line, stream

_REMEMBERED = 6
_TURNS = 4
"""Of the loop, after which a stream that has said nothing has nothing to say."""
Versions: TypeAlias = dict[Key, str]


class Selection(NamedTuple):
    """What a client wants to see."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""


class Pod(NamedTuple):
    """What the oracle keeps of a Pod."""

    version: str
    colour: str
    phase: str


class World:
    """A timeline, and an oracle that remembers every state there ever was."""

    def __init__(self) -> None:
        self.timeline = Timeline(remembered=_REMEMBERED)
        self.version = 1
        self._states: dict[int, Mapping[Key, Pod]] = {1: {}}

    def put(self, key: Key, colour: str, phase: str) -> None:
        """A Pod comes or changes."""
        self.version += 1
        metadata = {"name": key.name, "namespace": key.namespace, "labels": {"colour": colour}}
        obj = {"metadata": metadata, "status": {"phase": phase}}
        state, _ = encode_state(key, self.version, obj)
        self.timeline.add(Event("pods", self.version, self.timeline.get(key), state, state))
        self.timeline.wake()
        pod = Pod(str(self.version), colour, phase)
        self._states[self.version] = {**self._states[self.version - 1], key: pod}

    def remove(self, key: Key) -> None:
        """A Pod goes, if it is there."""
        before = self.timeline.get(key)
        if before is None:
            return
        self.version += 1
        last, _ = encode_state(key, self.version, before.object)
        self.timeline.add(Event("pods", self.version, before, None, last))
        self.timeline.wake()
        known = self._states[self.version - 1]
        self._states[self.version] = {each: pod for each, pod in known.items() if each != key}

    def write_another(self) -> None:
        """Something else is written, of which this timeline knows nothing."""
        self.version += 1
        self._states[self.version] = self._states[self.version - 1]

    def selected(self, version: int, selection: Selection) -> Versions:
        """What a client should see as of a version."""
        return {
            key: pod.version
            for key, pod in self._states[version].items()
            if selection.namespace in {"", key.namespace}
            and selection.labels in {"", f"colour={pod.colour}"}
            and selection.fields in {"", f"status.phase={pod.phase}"}
        }


class Client:
    """Follows the world as an informer does, and checks at each step what it may believe."""

    def __init__(
        self, world: World, run: Callable[[Any], Any], selection: Selection, *, bookmarks: bool
    ) -> None:
        self._world = world
        self._run = run
        self._selection = selection
        self._matches = matcher(PODS, selection.labels, selection.fields)
        self._bookmarks = bookmarks
        self._known: Versions = {}
        self._version = 0
        """What it knows is of this version; 0: it knows nothing."""
        self._token = ""
        self._pages: Versions = {}
        self._stream: AsyncIterator[bytes] | None = None
        self._next: asyncio.Future[bytes] | None = None

    def list_page(self, limit: int) -> None:
        """Read the next page, or begin; ``limit`` 0 reads everything."""
        self.cut()
        options = ListOptions(limit=limit, token=self._token)
        world, namespace = self._world, self._selection.namespace
        try:
            page = read_page(world.timeline, world.version, namespace, options, self._matches)
        except StatusError as error:
            code = error.code
            assert (code, self._listed_version() < world.timeline.floor) == (410, True)
            self._token, self._pages = "", {}
            return
        items = {each.key: str(each.version) for each in page.states}
        assert not set(items) & set(self._pages)
        self._pages |= items
        self._token = page.token
        expected = world.selected(page.version, self._selection)
        if page.remaining is not None:
            assert page.remaining == len(expected) - len(self._pages)
        if not page.token:
            assert self._pages == expected
            assert list(self._pages) == sorted(self._pages)
            self._known, self._version, self._pages = self._pages, page.version, {}

    def _listed_version(self) -> int:
        return int(json.loads(base64.urlsafe_b64decode(self._token + "=="))["rv"])

    def cut(self) -> None:
        """The connection is gone."""
        if self._next is not None:
            self._next.cancel()
            self._run(asyncio.wait([self._next]))
        self._stream = self._next = None

    def hear(self, lines: int) -> None:
        """Up to so many lines; where nothing is known, the stream begins with a list."""
        if self._stream is None:
            self._begin()
        for _ in range(lines):
            line = self._run(self._line())
            if line is None or not self._take(json.loads(line)):
                return

    def _begin(self) -> None:
        options = ListOptions(watch=True, bookmarks=self._bookmarks, version=str(self._version))
        if not self._version:
            self._known = {}
            options = options._replace(
                version="", bookmarks=True, initial_events=True, match="NotOlderThan"
            )
        world = self._world
        watch = Watch(
            PODS, world.timeline, self._selection.namespace, options, self._matches, plain_line
        )
        self._stream = stream(watch, lambda: world.version)

    async def _line(self) -> bytes | None:
        """The next one, or None: there is nothing to hear now."""
        assert self._stream is not None
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._stream))
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if not self._next.done():
            return None
        line = self._next.result()
        self._next = None
        return line

    def _take(self, event: dict[str, Any]) -> bool:
        """Apply an event; whether there is more to hear."""
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            assert obj["code"] == 410
            assert self._version < self._world.timeline.floor
            self._stream, self._version = None, 0
            return False
        metadata = obj["metadata"]
        version = int(metadata["resourceVersion"])
        if kind == "BOOKMARK":
            assert version >= self._version
            self._version = version
            assert self._known == self._world.selected(version, self._selection)
            return version < self._world.version
        key = Key(metadata["namespace"], metadata["name"])
        assert (key in self._known) is (kind != "ADDED")
        if kind == "DELETED":
            del self._known[key]
        else:
            self._known[key] = metadata["resourceVersion"]
        if self._version:  # the first objects come before there is a version
            assert version > self._version
            self._version = version
            assert self._known == self._world.selected(version, self._selection)
        return True

    def agree(self) -> None:
        """At rest it knows what is there."""
        while True:
            self.hear(1000)
            if self._stream is not None and self._version:
                break
        world = self._world
        assert self._known == world.selected(world.version, self._selection)
        self.cut()


_keys = st.builds(Key, st.sampled_from(["a", "a-b", "b"]), st.sampled_from("xyz"))
_selections = st.builds(
    Selection,
    st.sampled_from(["", "a"]),
    st.sampled_from(["", "", "colour=red"]),
    st.sampled_from(["", "", "status.phase=Running"]),
)
_puts = st.tuples(st.just("put"), _keys, st.sampled_from(["red", "blue"]),
                  st.sampled_from(["Running", "Pending"]))  # fmt: skip
_writes = st.one_of(
    _puts, _puts, st.tuples(st.just("remove"), _keys), st.tuples(st.just("write_another"))
)
_clients = st.integers(0, 2)
_reads = st.one_of(
    st.tuples(st.just("list_page"), _clients, st.sampled_from([1, 1, 2, 0])),
    st.tuples(st.just("list_page"), _clients, st.just(1)),
    st.tuples(st.just("hear"), _clients, st.integers(1, 5)),
    st.tuples(st.just("cut"), _clients),
)


@contextmanager
def _impatient() -> Iterator[asyncio.Runner]:
    """Every line is sent on its own, and bookmarks come as soon as there is nothing else to say."""
    with (
        patch.object(watching, "_PIECE", 1),
        patch.object(watching, "BOOKMARK_S", 0.0),
        asyncio.Runner() as runner,
    ):
        yield runner


@given(
    st.lists(st.tuples(_selections, st.booleans()), min_size=3, max_size=3),
    st.lists(st.one_of(_writes, _reads), min_size=30, max_size=80),
)
def test_a_list_and_what_follows_are_the_state(
    wishes: list[tuple[Selection, bool]], steps: list[tuple[Any, ...]]
) -> None:
    with _impatient() as runner:
        world = World()
        clients = [
            Client(world, lambda each: runner.run(_awaited(each)), selection, bookmarks=bookmarks)
            for selection, bookmarks in wishes
        ]
        for what, *arguments in steps:
            if what in {"put", "remove", "write_another"}:
                getattr(world, what)(*arguments)
            else:
                number, *rest = arguments
                getattr(clients[number], what)(*rest)
        for client in clients:
            client.agree()


async def _awaited(each: Any) -> Any:
    return await each
