"""A reflector and an API server's storage, with nothing between but a wire that can be cut.

Nothing runs by itself and nothing waits: a test says how many lines go over the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Delete, ModelObject, ObjectKey, Upsert, key_of
from netproxy.sources.kubernetes.decode import Failure, Page
from netproxy.sources.kubernetes.outbox import Outbox
from netproxy.sources.kubernetes.reflector import Asking, Reflector, Request, Trouble
from netproxy.sources.kubernetes.resources import Resource
from tests.kube.faults import EXPIRED_EVENT
from tests.kube.storage import KINDS, Expired, Selection, Storage, Stored, bookmark, selection

TOO_NEW = Failure(504, "Too large resource version", "Timeout", is_too_new=True)
NO_STREAMING = Failure(422, "sendInitialEvents is forbidden", "Invalid")


def selection_of(resource: Resource) -> Selection:
    """Which objects belong to a resource."""
    query = resource.selectors
    return selection(query.get("labelSelector", ""), query.get("fieldSelector", ""))


class Heard(NamedTuple):
    """One event, as far as it is about an object."""

    key: ObjectKey
    object: ModelObject | None


class Wire:
    """See the module.

    Args:
        resource: What is followed.
        storage: What there is.
        streams: Whether the server has streaming lists.
        page_objects: The server gives no more at a time, whatever it is asked for.
    """

    def __init__(
        self,
        resource: Resource,
        storage: Storage,
        *,
        streams: bool = True,
        page_objects: int = 1000,
    ) -> None:
        self.storage = storage
        self.streams = streams
        self.outbox = Outbox(lambda: None)
        self.reflector = Reflector(resource, self.outbox, dice=lambda: 0.5)
        self.requests: list[Request] = []
        self.troubles: list[Trouble] = []
        self.wait_s = 0.0
        self.now = 0.0
        self.state: dict[ObjectKey, ModelObject] = {}
        self.diagnostics: list[Diagnostic] = []
        self._kind = KINDS[resource.kind]
        self.selected = selection_of(resource)
        self._page_objects = page_objects
        self._pages: dict[str, tuple[int, list[Stored]]] = {}
        self._stream: list[bytes] | None = None
        self._delivered: list[bytes] = []
        self._position = 0

    # What happens -------------------------------------------------------------------------------

    def step(self) -> bool:
        """One request or one line; False: there is nothing more to say."""
        if self._stream is None:
            self._ask()
            return True
        if not self._stream:
            self._fetch()
        if not self._stream:
            return False
        self.deliver(self._stream.pop(0))
        return True

    def settle(self) -> list[Heard]:
        """Until there is nothing more to say; returns what the reflector told."""
        while self.step():
            assert len(self.requests) < 10_000
        return self.take()

    def deliver(self, line: bytes) -> None:
        """The reflector hears a line of its stream."""
        self._delivered = [*self._delivered[-4:], line]
        if trouble := self.reflector.take_line(line):
            self._end(trouble)

    def repeat(self, count: int) -> None:
        """The reflector hears again what it heard last."""
        for line in self._delivered[-count:]:
            if self._stream is not None:
                self.deliver(line)

    @property
    def is_open(self) -> bool:
        """There is a stream."""
        return self._stream is not None

    def fall_silent(self) -> None:
        """The server says nothing more, be it in a streaming list or a watch."""
        if self.is_open and self.reflector.is_listing:
            self._end(self.reflector.fell_silent())
        self.cut()

    def cut(self) -> None:
        """The connection is gone, if there is one."""
        if self._stream is not None:
            self._end(Trouble("cut"))

    def expire_pages(self) -> None:
        """Tokens for further pages are no good any more."""
        self._pages = {}

    def refuse(self, failure: Failure) -> None:
        """The server answers the next request so."""
        self.cut()
        self._next_request()
        self._end(self.reflector.refused(failure))

    def take(self) -> list[Heard]:
        """What the reflector told since."""
        batch = self.outbox.take()
        self.diagnostics += batch.diagnostics
        told = []
        for event in batch.events:
            match event:
                case Upsert(object=obj):
                    self.state[key_of(obj)] = obj
                    told.append(Heard(key_of(obj), obj))
                case Delete(key=key):
                    self.state.pop(key, None)
                    told.append(Heard(key, None))
        return told

    # What the server does -----------------------------------------------------------------------

    def _ask(self) -> None:
        request = self._next_request()
        match request.asking:
            case Asking.INITIAL if not self.streams:
                self._end(self.reflector.refused(NO_STREAMING))
            case Asking.INITIAL:
                version, objects = self._snapshot()
                end = bookmark(self._kind, version, ends_initial_events=True)
                self._open([*(each.added for each in objects), end], version)
            case Asking.PAGE:
                self._answer_page(request.query)
            case Asking.WATCH if int(request.query["resourceVersion"]) > self.storage.version:
                self._end(self.reflector.refused(TOO_NEW))
            case Asking.WATCH:
                self._open([], int(request.query["resourceVersion"]))

    def _answer_page(self, query: dict[str, str]) -> None:
        token = query.get("continue", "")
        if token and token not in self._pages:
            self._end(self.reflector.refused(Failure(410, "expired", "Expired")))
            return
        version, objects = self._pages[token] if token else self._snapshot()
        rest = objects[self._page_objects :] if "limit" in query else []
        token = f"page-{len(self.requests)}" if rest else ""
        self._pages[token] = version, rest
        self.reflector.opened(self.now)
        for stored in objects[: self._page_objects] if rest else objects:
            self.reflector.take_item(stored.raw)
        self._end(self.reflector.end_page(Page(version, token, [])))

    def _snapshot(self) -> tuple[int, list[Stored]]:
        return self.storage.snapshot(self._kind.plural, self.selected)

    def _fetch(self) -> None:
        assert self._stream is not None
        try:
            changes = self.storage.changes_after(self._kind.plural, self._position)
        except Expired:
            self._stream = [EXPIRED_EVENT]
            return
        self._position = changes[-1].version if changes else self._position
        self._stream += _told(change.line(self.selected) for change in changes)

    def _next_request(self) -> Request:
        request = self.reflector.next_request()
        self.requests.append(request)
        return request

    def _open(self, lines: list[bytes], position: int) -> None:
        self.reflector.opened(self.now)
        self._stream, self._delivered, self._position = lines, [], position

    def _end(self, trouble: Trouble | None) -> None:
        self._stream = None
        if trouble is not None:
            self.troubles.append(trouble)
        self.wait_s = self.reflector.ended(self.now, trouble)


def _told(lines: Iterable[bytes | None]) -> list[bytes]:
    return [line for line in lines if line is not None]
