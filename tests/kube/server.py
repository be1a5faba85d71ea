"""An API server over real HTTP, in a thread of its own, for tests of whoever talks to one.

It does what Kubernetes 1.36 does as far as a proxy and its events need it: lists, pages, watches,
streaming lists, bookmarks, selectors, creation and patches. What it does wrong is up to the test.

Not here: what it holds (``storage.py``), how it misbehaves (``faults.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import web

from tests.kube.faults import Ask, Fault, Reply, status
from tests.kube.places import Place, find_place, write
from tests.kube.storage import KINDS, Backup, Object, Selection, Storage, Stored, selection
from tests.kube.stream import Stream, Watch, WatchOptions

_ZIP_FROM_BYTES = 128 << 10
"""Source: Kubernetes API server: smaller answers are not compressed."""
_PATIENCE_S = 30.0


class Request(NamedTuple):
    """What somebody asked."""

    ask: Ask
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class _Page(NamedTuple):
    """What is left of a list of which a client has read the beginning."""

    version: int
    rest: list[Stored]


class _Planned(NamedTuple):
    """A fault that waits for its requests."""

    plural: str
    asks: Collection[Ask]
    fault: Fault
    calls: Iterator[int]
    times: float


def listen_on_loopback(port: int) -> socket.socket:
    """Where the server is found unless a test says otherwise."""
    return socket.create_server(("127.0.0.1", port), backlog=128)


class ApiServer:
    """Serves while its context is entered. All methods may be called from any thread.

    Args:
        tls: Speak TLS with this; None: plain HTTP.
        tokens: Who sends another bearer token, or none, gets a 401; None: everybody is welcome.
        listen: Makes the listening socket for a port; 0: any. For one in a network namespace.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        tokens: Collection[str] | None = None,
        listen: Callable[[int], socket.socket] = listen_on_loopback,
    ) -> None:
        self.tokens = tokens
        self.requests: list[Request] = []
        """All that was asked, the oldest first, also what was answered with a fault."""
        self.storage = Storage(self._changed)
        self.url = ""
        self._tls = tls
        self._listen = listen
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._runner: web.ServerRunner | None = None
        self._watches: set[Watch] = set()
        self._faults: list[_Planned] = []
        self._pages: dict[str, _Page] = {}
        self._page_numbers = itertools.count(1)

    # Life ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="api server")
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        """Listen again, on the same port as before."""
        self._await(self._start())

    def stop(self) -> None:
        """Cut all connections and listen no more; objects stay."""
        self._await(self._stop())

    async def _start(self) -> None:
        sock = self._listen(self._port)
        host, self._port = sock.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"
        self._runner = web.ServerRunner(
            web.Server(self._answer, access_log=None, handler_cancellation=True),
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        site = web.SockSite(self._runner, sock, ssl_context=self._tls)
        await site.start()

    async def _stop(self) -> None:
        if self._runner is not None:
            server = self._runner.server
            assert isinstance(server, web.Server)
            _abort_all(server)
            await self._runner.cleanup()
            self._runner = None
            # Whoever came in the last moment is introduced only now.
            for _ in range(5):
                await asyncio.sleep(0.001)
                _abort_all(server)

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    # Objects ------------------------------------------------------------------------------------

    def put(self, *objects: Object) -> int:
        """Create or replace objects; returns the last one's version."""
        for obj in objects:
            version = self.storage.put(obj)
        return version

    def delete(self, plural: str, name: str, namespace: str = "default") -> int:
        """Delete an object; returns the version in which it is gone. KeyError: there is none."""
        is_namespaced = next(k.is_namespaced for k in KINDS.values() if k.plural == plural)
        return self.storage.delete(plural, name, namespace if is_namespaced else "")

    def bookmark(self, plural: str) -> None:
        """Tell all watchers of a kind how far they are."""
        self._for_watches(plural, Watch.say_bookmark)

    def objects(self, plural: str) -> list[Object]:
        """All of a kind, also those that clients created, such as events."""
        return [each.object for each in self.storage.snapshot(plural, lambda _: True)[1]]

    # Misbehaviour -------------------------------------------------------------------------------

    def fail(
        self,
        plural: str,
        fault: Fault,
        *,
        asks: Collection[Ask] = tuple(Ask),
        times: float = 1,
    ) -> None:
        """Answer the next requests for a kind with a fault; ``math.inf``: all of them."""
        self._loop.call_soon_threadsafe(
            self._faults.append, _Planned(plural, asks, fault, itertools.count(1), times)
        )

    def recover(self) -> None:
        """No more faults from now on; connections that have one keep it."""
        self._loop.call_soon_threadsafe(self._faults.clear)

    def say(self, plural: str, data: bytes) -> None:
        """Send this to all watchers of a kind, after what they have to hear already."""
        self._for_watches(plural, lambda watch: watch.say(data))

    def cut(self, plural: str) -> None:
        """Close the connections of all watchers of a kind."""
        self._for_watches(plural, Watch.cut)

    def hush(self, plural: str) -> None:
        """Send nothing more to the present watchers of a kind; their connections stay."""
        self._for_watches(plural, Watch.hush)

    def expire(self, plural: str) -> None:
        """Forget what happened: who is behind, or resumes, hears 410."""
        self.storage.forget_changes(plural)
        self._changed(plural)
        self._pages = {}

    def restore(self, backup: Backup) -> None:
        """Restart as it was then, with lower versions, as after etcd was restored."""
        self.stop()
        self.storage.restore(backup)
        self.start()

    def watchers(self, plural: str) -> int:
        """How many watch a kind at the moment."""
        return sum(watch.plural == plural for watch in tuple(self._watches))

    def _changed(self, plural: str) -> None:
        self._for_watches(plural, Watch.wake)

    def _for_watches(self, plural: str, action: Callable[[Watch], None]) -> None:
        def act() -> None:
            for watch in tuple(self._watches):
                if watch.plural == plural:
                    action(watch)

        self._loop.call_soon_threadsafe(act)

    # Answers ------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        place = find_place(request.path)
        ask = _ask_of(request, place)
        query = dict(request.query)
        self.requests.append(
            Request(ask, request.method, request.path, query, dict(request.headers), body)
        )
        if self.tokens is not None:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if given not in self.tokens:
                return _reply(status(401, "Unauthorized", "Unauthorized"))
        if place is None:
            message = "the server could not find the requested resource"
            return _reply(status(404, "NotFound", message))
        fault = self._take_fault(place.kind.plural, ask)
        if isinstance(fault, Reply):
            return _reply(fault)
        match ask:
            case Ask.LIST:
                return await self._list(request, place, fault)
            case Ask.INITIAL | Ask.WATCH:
                return await self._watch(request, place, fault)
            case Ask.GET:
                return _get(self.storage, place)
            case Ask.WRITE:
                return _reply(write(self.storage, place, request.method, body))

    def _take_fault(self, plural: str, ask: Ask) -> Fault | None:
        for planned in self._faults:
            if planned.plural == plural and ask in planned.asks:
                if next(planned.calls) >= planned.times:
                    self._faults.remove(planned)
                return planned.fault
        return None

    async def _list(
        self, request: web.BaseRequest, place: Place, fault: Fault | None
    ) -> web.StreamResponse:
        query = request.query
        if (token := query.get("continue", "")) and token not in self._pages:
            return _reply(status(410, "Expired", "the provided continue parameter is too old"))
        wanted = query.get("resourceVersion", "")
        if not token and (refusal := _refuse_version(wanted, self.storage.version)):
            return _reply(refusal)
        if token:
            page = self._pages[token]
        else:
            selected = _selection(request, place)
            page = _Page(*self.storage.snapshot(place.kind.plural, selected))
        # Source: Kubernetes API: "0" is answered from the cache, which knows no pages.
        limit = 0 if wanted == "0" else int(query.get("limit", "0"))
        metadata: Object = {"resourceVersion": str(page.version)}
        if 0 < limit < len(page.rest):
            metadata["continue"] = f"page-{next(self._page_numbers)}"
            metadata["remainingItemCount"] = len(page.rest) - limit
            self._pages[metadata["continue"]] = page._replace(rest=page.rest[limit:])
            page = page._replace(rest=page.rest[:limit])
        head = msgspec.json.encode(
            {
                "kind": f"{place.kind.name}List",
                "apiVersion": place.kind.version,
                "metadata": metadata,
            }
        )
        data = b'%s,"items":[%s]}\n' % (head[:-1], b",".join(each.raw for each in page.rest))
        headers = {"Content-Type": "application/json"}
        if "gzip" in request.headers.get("Accept-Encoding", "") and len(data) >= _ZIP_FROM_BYTES:
            data = zlib.compress(data, 1, wbits=31)
            headers["Content-Encoding"] = "gzip"
        stream = Stream(request, {**headers, "Content-Length": str(len(data))}, fault)
        response = await stream.begin()
        await stream.write(data)
        return response

    async def _watch(
        self, request: web.BaseRequest, place: Place, fault: Fault | None
    ) -> web.StreamResponse:
        query = request.query
        is_initial = query.get("sendInitialEvents") == "true"
        if is_initial and query.get("resourceVersionMatch") != "NotOlderThan":
            message = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            return _reply(status(422, "Invalid", message))
        version = query.get("resourceVersion", "")
        if refusal := _refuse_version(version, self.storage.version):
            return _reply(refusal)
        options = WatchOptions(
            kind=place.kind,
            selected=_selection(request, place),
            version=None if is_initial or version in ("", "0") else int(version),
            ends_initial_events=is_initial and query.get("allowWatchBookmarks") == "true",
            wants_bookmarks=query.get("allowWatchBookmarks") == "true",
            timeout_s=float(query.get("timeoutSeconds", "1800")),
        )
        stream = Stream(request, {"Content-Type": "application/json"}, fault)
        response = await stream.begin()
        watch = Watch(options, self.storage, stream)
        self._watches.add(watch)
        try:
            with contextlib.suppress(ConnectionResetError):  # the client went away
                await watch.run()
        finally:
            self._watches.discard(watch)
        return response


def _ask_of(request: web.BaseRequest, place: Place | None) -> Ask:
    if request.method != "GET":
        return Ask.WRITE
    if place is not None and place.name:
        return Ask.GET
    if request.query.get("watch") not in ("true", "1"):
        return Ask.LIST
    return Ask.INITIAL if request.query.get("sendInitialEvents") == "true" else Ask.WATCH


def _selection(request: web.BaseRequest, place: Place) -> Selection:
    query = request.query
    chosen = selection(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    if not place.namespace:
        return chosen
    return lambda obj: obj["metadata"].get("namespace") == place.namespace and chosen(obj)


def _refuse_version(wanted: str, current: int) -> Reply | None:
    if wanted.isdigit() and int(wanted) > current:
        message = f"Timeout: Too large resource version: {wanted}, current: {current}"
        return status(504, "Timeout", message, retry_after="1", cause="ResourceVersionTooLarge")
    if wanted and not wanted.isdigit():
        return status(400, "BadRequest", f"invalid resource version {wanted!r}")
    return None


def _get(storage: Storage, place: Place) -> web.Response:
    found = storage.get(place.kind.plural, place.name, place.namespace)
    if found is None:
        message = f'{place.kind.plural} "{place.name}" not found'
        return _reply(status(404, "NotFound", message))
    return web.Response(body=found.raw, content_type="application/json")


def _reply(reply: Reply) -> web.Response:
    headers = {"Retry-After": reply.retry_after} if reply.retry_after else {}
    return web.Response(
        status=reply.status, body=reply.body, headers=headers, content_type=reply.content_type
    )


def _abort_all(server: web.Server) -> None:
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()
