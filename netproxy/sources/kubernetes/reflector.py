"""One kind of objects, kept in step with an API server: what to ask next, what answers mean.

A state machine without I/O: it is told what the server said, and says what changed.

Rule 1: what is correct is not touched. A relist tells only differences; nothing is gone until a
complete list does not have it, or the server says so.
Rule 2: one object's trouble is no other's. A broken one keeps its last valid version.
Rule 3: whatever a server says, asking goes on, at a pace that slows down with every failure.

Not here: how lines become objects (``decode.py``), who asks and when (``follow.py``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from netproxy.model.events import Delete, ObjectKey, Upsert
from netproxy.sources.kubernetes.decode import (
    Bookmark,
    Decoder,
    Failure,
    Gone,
    Page,
    Put,
    Said,
    Unreadable,
    Version,
    is_older,
)
from netproxy.sources.kubernetes.outbox import Outbox
from netproxy.sources.kubernetes.resources import Resource

PAGE_OBJECTS = 500
_MOST_BURIED = 1000


class Pace(NamedTuple):
    """How patient it is, in seconds."""

    watch_s: float = 300.0
    """A watch lasts between this and twice as long; the server ends it. Source: client-go."""
    grace_s: float = 15.0
    """A watch that is silent for so much longer is dead."""
    initial_silence_s: float = 10.0
    """A streaming list that stops for so long is not one: the server is too old for them."""
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    healthy_s: float = 30.0
    """A stream that lasted so long makes up for all failures before it."""
    shortest_watch_s: float = 1.0
    """One that the server ends sooner counts as a failure."""
    optional_wait_s: float = 300.0
    """Until the server is asked again for what it does not have."""
    longest_asked_s: float = 300.0
    """A server that asks for more patience (Retry-After) gets so much."""


class Asking(enum.Enum):
    """In which way the server is asked."""

    INITIAL = "streaming list"
    PAGE = "list"
    WATCH = "watch"


class Request(NamedTuple):
    """What to ask next."""

    asking: Asking
    query: dict[str, str]
    silence_s: float
    """A stream without a word for so long is dead."""
    initial_silence_s: float
    """The same, as long as a streaming list has not ended."""


class Trouble(NamedTuple):
    """Why a request did not lead to what it should."""

    problem: str
    hint: str = ""
    is_relist: bool = False
    """Everything has to be listed again."""
    is_failure: bool = True
    """False: it is nothing to wait for, as there is another way."""
    wait_s: float = 0.0
    """At least so long until the next request."""


class Reflector:
    """See the module.

    Args:
        resource: What to ask for.
        outbox: Hears what changed.
        dice: Numbers from 0 to 1, so that many nodes do not all ask at once.
        pace: How patient it is.
    """

    def __init__(
        self,
        resource: Resource,
        outbox: Outbox,
        *,
        dice: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self.resource = resource
        self.is_listed = False
        """All that there was has been said, at least once."""
        self._pace = pace or Pace()
        self._outbox = outbox
        self._dice = dice
        self._decoder = Decoder(resource.kind)
        self._known: dict[ObjectKey, Version] = {}
        """What the server has, and in which version it was heard."""
        self._lost: set[ObjectKey] = set()
        """Of these no valid version was ever heard."""
        self._buried: dict[ObjectKey, Version] = {}
        """Heard to be gone since the last list began: the latest few."""
        self._version: Version = ""
        """All up to here was heard."""
        self._asking = Asking.INITIAL
        self._unconfirmed: set[ObjectKey] = set()
        """Known before this list began, and not yet in it."""
        self._token = ""
        self._limit = PAGE_OBJECTS
        self._can_stream = True
        self._has_to_list_otherwise = False
        self.failures = 0
        """In a row, without a stream between them that lasted."""
        self._opened: float | None = None

    @property
    def is_complete(self) -> bool:
        """Nothing is missing that the server has."""
        return not self._lost

    @property
    def is_listing(self) -> bool:
        """It has not heard all yet since a list began, or is to begin."""
        return self._asking is not Asking.WATCH

    def __len__(self) -> int:
        return len(self._known)

    # Asking -------------------------------------------------------------------------------------

    def next_request(self) -> Request:
        """What to ask now. Ends with ``ended`` or ``refused``."""
        self._opened = None
        if self._asking is not Asking.WATCH and not self._token:
            self._begin_list()
        query = dict(self.resource.selectors)
        if self._asking is Asking.PAGE:
            if self._limit:
                query["limit"] = str(self._limit)
            if self._token:
                query["continue"] = self._token
            elif not self.is_listed:
                query["resourceVersion"] = "0"  # what the server has at hand will do
            return Request(Asking.PAGE, query, self._pace.grace_s, self._pace.grace_s)
        query |= {"watch": "true", "allowWatchBookmarks": "true"}
        timeout_s = int(self._pace.watch_s * (1 + self._dice()))
        query["timeoutSeconds"] = str(timeout_s)
        if self._asking is Asking.INITIAL:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = str(self._version)
        silence_s = timeout_s + self._pace.grace_s
        return Request(self._asking, query, silence_s, self._pace.initial_silence_s)

    def _begin_list(self) -> None:
        may_stream = self._can_stream and not self._has_to_list_otherwise
        self._asking = Asking.INITIAL if may_stream else Asking.PAGE
        self._unconfirmed = set(self._known)
        self._buried = {}

    # Answers ------------------------------------------------------------------------------------

    def opened(self, now: float) -> None:
        """The server began to answer, and does not refuse."""
        if self._asking is not Asking.PAGE:
            self._opened = now

    def take_item(self, raw: bytes | msgspec.Raw) -> None:
        """One object of the page that is being read."""
        self._take(self._decoder.item(raw))

    def end_page(self, page: Page) -> Trouble | None:
        """All objects of a page were taken."""
        self._token = page.token
        return None if page.token else self._end_list(page.version)

    def take_line(self, line: bytes) -> Trouble | None:
        """One line of a stream; trouble means that the stream is of no use any more."""
        return self._take(self._decoder.line(line))

    def _take(self, said: Said) -> Trouble | None:
        match said:
            case Put():
                self._put(said)
            case Gone():
                self._gone(said)
            case Bookmark(version=version, ends_initial_events=is_end):
                if self._asking is Asking.INITIAL:
                    return self._end_list(version) if is_end else None
                self._advance(version)
            case Failure():
                self._list_again(otherwise=False)
                return Trouble(said.message, is_relist=True, wait_s=self._asked_wait(said))
            case Unreadable(is_garbage=True):
                self._list_again(otherwise=self._asking is Asking.INITIAL)
                return Trouble(said.diagnostic.message, is_relist=True)
            case Unreadable():
                self._outbox.put((self.resource.kind, "", ""), None, (said.diagnostic,))
        return None

    def _put(self, put: Put) -> None:
        key, version = put.key, put.version
        before = self._known.get(key)
        is_old = self._is_old(key, version)
        self._unconfirmed.discard(key)
        self._advance(version)
        if is_old:
            return
        self._known[key] = version
        if put.is_broken:
            if before is None:
                self._lost.add(key)
            self._outbox.put(key, None, put.diagnostics)
            return
        self._lost.discard(key)
        if put.object is not None:
            triggered = put.triggered if self.is_listed else 0.0
            self._outbox.put(key, Upsert(put.object), put.diagnostics, triggered)
        else:
            self._outbox.put(key, Delete(key) if before is not None else None, put.diagnostics)

    def _gone(self, gone: Gone) -> None:
        key, version = gone.key, gone.version
        self._advance(version)
        if key not in self._unconfirmed and is_older(version, self._known.get(key, "")):
            return
        self._drop(key)
        self._buried[key] = version
        if len(self._buried) > _MOST_BURIED:
            del self._buried[next(iter(self._buried))]

    def _is_old(self, key: ObjectKey, version: Version) -> bool:
        """Whether this was heard before. Servers keep the order, but what comes twice is harmless.

        What a list says first about an object counts, whatever was heard before the list.
        """
        heard = self._known.get(key, self._buried.get(key, ""))
        if version == "":
            return False
        return heard == version or (key not in self._unconfirmed and is_older(version, heard))

    def _drop(self, key: ObjectKey) -> None:
        self._unconfirmed.discard(key)
        self._lost.discard(key)
        if self._known.pop(key, None) is not None:
            self._outbox.put(key, Delete(key))

    def _advance(self, version: Version) -> None:
        """Where to resume. A server that repeats itself does not lead back."""
        if not self.is_listing and version != "" and not is_older(version, self._version):
            self._version = version

    def _end_list(self, version: Version) -> Trouble | None:
        """Everything was said: what was not is gone."""
        is_another_history = is_older(version, self._version)
        for key in sorted(self._unconfirmed):
            self._drop(key)
        self._version = version
        self._token, self._limit = "", PAGE_OBJECTS
        self._has_to_list_otherwise = False
        if is_another_history:
            self._distrust_versions()
            self._list_again(otherwise=False)
            return Trouble("the API server's versions went back", is_relist=True)
        self._asking = Asking.WATCH
        self.is_listed = True
        self._outbox.wake()
        return None

    def _distrust_versions(self) -> None:
        """They count from somewhere else, as after etcd was restored.

        An object in a version that was heard before may be another one: all is heard once more.
        """
        self._known = dict.fromkeys(self._known, "")
        self._version = ""

    def _list_again(self, *, otherwise: bool) -> None:
        """From the beginning; otherwise: not by streaming, which has just gone wrong."""
        self._asking = Asking.INITIAL
        self._has_to_list_otherwise = otherwise
        self._token = ""

    # Endings ------------------------------------------------------------------------------------

    def refused(self, failure: Failure) -> Trouble:
        """The server answered, but not with what was asked for."""
        code, asking = failure.code, self._asking
        if asking is Asking.INITIAL and code in _NOT_UNDERSTOOD:
            self._can_stream = False
            return Trouble("the API server has no streaming lists", is_failure=False)
        wait_s = self._asked_wait(failure)
        if code in (403, 404) and self.resource.is_optional:
            self.is_listed = True
            self._outbox.wake()
            wait_s = self._pace.optional_wait_s
        if failure.is_too_new:
            self._distrust_versions()
        is_stale = code == 410 or failure.is_too_new
        if is_stale and asking is Asking.PAGE:
            self._limit = 0  # large lists may grow old while their pages are read
        # What a server does not want to understand it will not understand next time either.
        is_relist = is_stale or (asking is Asking.WATCH and code in _NOT_UNDERSTOOD)
        if is_relist:
            self._list_again(otherwise=asking is Asking.PAGE)
        return Trouble(failure.message, self._hint(code), is_relist, wait_s=wait_s)

    def fell_silent(self) -> Trouble:
        """A streaming list stopped before its end."""
        self._list_again(otherwise=True)
        return Trouble("the API server did not end a streaming list", is_relist=True)

    def ended(self, now: float, trouble: Trouble | None) -> float:
        """A request is over; returns how long to wait until the next one, in seconds."""
        lasted_s = now - self._opened if self._opened is not None else 0.0
        if lasted_s >= self._pace.healthy_s:
            self.failures = 0
        if trouble is None and (self._opened is None or lasted_s >= self._pace.shortest_watch_s):
            return 0.0
        if trouble is not None and not trouble.is_failure:
            return 0.0
        self.failures += 1
        exponent = min(self.failures - 1, 16)
        backoff_s = min(self._pace.first_wait_s * 2.0**exponent, self._pace.longest_wait_s)
        asked_s = trouble.wait_s if trouble is not None else 0.0
        return max(backoff_s * (0.5 + self._dice() / 2), asked_s)

    def _asked_wait(self, failure: Failure) -> float:
        return min(failure.retry_after_s, self._pace.longest_asked_s)

    def _hint(self, code: int) -> str:
        rule = f'resources ["{self.resource.plural}"] of apiGroups ["{self.resource.group}"]'
        hints = {
            403: f'allow netproxy\'s user the verbs ["list", "watch"] on {rule}',
            404: f"the API server does not have {rule}: is it old, or no Kubernetes?",
        }
        return hints.get(code, "")


_NOT_UNDERSTOOD = (400, 405, 406, 415, 422, 501)
"""How servers, and what stands in front of them, refuse a request that they do not understand."""
