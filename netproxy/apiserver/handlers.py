"""Answers requests: who asks, what for, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from types import MappingProxyType

from netproxy.api import status
from netproxy.api.objects import Key, Object
from netproxy.api.resources import PODS, SERVICES, Resource
from netproxy.api.status import StatusError
from netproxy.apiserver import patch as patches
from netproxy.apiserver import schema
from netproxy.apiserver.access import Gate
from netproxy.apiserver.bodies import check_kind, check_name, checked, expected_kind, read_object
from netproxy.apiserver.contract import DeleteOptions
from netproxy.apiserver.deleting import deleted_status, is_dry, read_options
from netproxy.apiserver.documents import Documents
from netproxy.apiserver.negotiate import JSON, accepted_form
from netproxy.apiserver.operations import (
    CREATED_BY_UPDATE,
    Change,
    Operations,
    Outcome,
    check_namespace,
)
from netproxy.apiserver.pages import read_page
from netproxy.apiserver.patching import Patching, change_of, manager_of
from netproxy.apiserver.registry.scale import to_scale
from netproxy.apiserver.request import (
    Place,
    Request,
    find_place,
    is_set,
    list_options,
    parse_query,
)
from netproxy.apiserver.selectors import matcher
from netproxy.apiserver.showing import Showing, encode, seen_as
from netproxy.apiserver.watching import Watch, stream
from netproxy.log import EventLogger
from netproxy.web import Answer, Inquiry, Stream

_RETURNED_WHEN_DELETED = frozenset({SERVICES, PODS})
_log = EventLogger(__name__)
_NOWHERE = StatusError(
    404, "NotFound", "the server could not find the requested resource", details={}
)


class Handlers:
    """The API, without sockets.

    Args:
        operations: Does what is asked.
        gate: Knows who asks.
        documents: Answers what the API is: discovery, OpenAPI, version, health.
        now: Tells the time, in UTC.
    """

    def __init__(
        self,
        operations: Operations,
        gate: Gate,
        documents: Documents,
        now: Callable[[], datetime],
    ) -> None:
        self._operations = operations
        self._store = operations.store
        self._gate = gate
        self._documents = documents
        self._now = now

    def refuse(self, inquiry: Inquiry) -> Answer | None:
        """Answer whoever is not let in at all, before there is a body; None: he is."""
        try:
            self._gate.user(inquiry)
        except StatusError as error:
            return refused(error)
        return None

    async def handle(self, inquiry: Inquiry) -> Answer | Stream:
        """Answer one request; never raises."""
        try:
            request = Request(
                method=inquiry.method,
                path=inquiry.path,
                query=parse_query(inquiry.query),
                headers=inquiry.headers,
                body=inquiry.body,
                user=self._gate.user(inquiry),
            )
            return await self._answer(request)
        except StatusError as error:
            return refused(error)
        except Exception as error:  # noqa: BLE001 (nobody is to see a traceback; the log is)
            _log.error(
                "request failed", method=inquiry.method, path=inquiry.path, error=repr(error)
            )
            message = "Internal error occurred: see the server's log"
            return refused(StatusError(500, "InternalError", message))

    async def _answer(self, request: Request) -> Answer | Stream:
        document = self._documents.find(request)
        if document is not None:
            return document
        place = find_place(request.path)
        if place is None:
            raise _NOWHERE
        verbs = _VERBS_OF_ONE if place.name else _VERBS_OF_ALL
        verb = verbs.get(request.method)
        if place.subresource in {"binding", "eviction"}:
            verb = _create_subresource if request.method == "POST" else None
        if verb is None or not _is_served(place, request.method):
            raise StatusError(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                details={},
            )
        return await verb(self, request, place)

    def showing(self, request: Request, resource: Resource) -> Showing:
        """How this request wants its answer."""
        form = accepted_form(request.headers.get("accept", ""))
        return Showing(resource, form, request.query.get("includeObject", ""), self._now())

    async def get(self, request: Request, place: Place) -> Answer:
        """One object."""
        state = self._store.timeline(place.resource).get(Key(place.namespace, place.name))
        if state is None:
            raise status.not_found(place.resource, place.name)
        showing = self.showing(request, place.resource)
        if place.subresource == "scale":
            return showing.answer(showing.encoded(to_scale(place.resource, state.object)))
        return showing.answer(showing.one(state))

    async def list_or_watch(self, request: Request, place: Place) -> Answer | Stream:
        """Objects, or what happens to them."""
        options = list_options(request.query)
        if place.name:
            only = f"metadata.name={place.name}"
            fields = f"{options.fields},{only}" if options.fields else only
            options = options._replace(fields=fields, watch=True)
        matches = matcher(place.resource, options.labels, options.fields)
        showing = self.showing(request, place.resource)
        timeline = self._store.timeline(place.resource)
        if options.watch:
            watch = Watch(
                place.resource, timeline, place.namespace, options, matches, showing.line()
            )
            chunks = stream(watch, lambda: self._store.version)
            return Stream(chunks, showing.answer(b"").headers)
        page = read_page(timeline, self._store.version, place.namespace, options, matches)
        return showing.answer(showing.page(page))

    async def create(self, request: Request, place: Place) -> Answer:
        """A new object."""
        body = read_object(request, place.resource)
        obj = check_namespace(place.resource, body.object, place.namespace)
        obj = patches.record_update(
            None,
            self._operations.defaulted(place.resource, obj),
            schema.type_of(place.resource),
            manager=manager_of(request),
            now=self._now(),
            subresource="",
        )
        outcome = await self._operations.create(place.resource, obj, dry_run=_dry(request))
        return self._told(request, place.resource, outcome, 201, body.warnings)

    async def create_subresource(self, request: Request, place: Place) -> Answer:
        """A Binding or an Eviction: something is done to the Pod that it names."""
        body = read_object(request, place.resource, place.subresource)
        key = Key(place.namespace, place.name)
        if place.subresource == "eviction":
            return await self._evict(place, key, body.object, dry_run=_dry(request))
        await self._operations.update(
            place.resource,
            key,
            lambda _: body.object,
            subresource=place.subresource,
            dry_run=_dry(request),
        )
        return _json(201, _SUCCESS)

    async def _evict(self, place: Place, key: Key, eviction: Object, *, dry_run: bool) -> Answer:
        said = eviction.get("deleteOptions") or {}
        options = DeleteOptions(grace_s=said.get("gracePeriodSeconds"))
        await self._operations.delete(place.resource, key, options, dry_run=dry_run)
        return _json(201, _SUCCESS)

    async def update(self, request: Request, place: Place) -> Answer:
        """Replace an object, or a part of it."""
        body = read_object(request, place.resource, place.subresource)
        new = self._defaulted(place, check_namespace(place.resource, body.object, place.namespace))
        check_name(new, place.name)
        manager, now = manager_of(request), self._now()

        def change(old: Object | None) -> Object:
            kind = schema.type_of(place.resource, place.subresource)
            return patches.record_update(
                old, new, kind, manager=manager, now=now, subresource=place.subresource
            )

        may_create = place.resource in CREATED_BY_UPDATE
        return await self._changed(request, place, change, may_create, body.warnings)

    async def patch(self, request: Request, place: Place) -> Answer:
        """Change parts of an object."""
        warnings: list[str] = []

        def check(obj: Object) -> Object:
            found = checked(obj, place.resource, place.subresource, request)
            warnings.extend(found.warnings)
            check_kind(found.object, *expected_kind(place.resource, place.subresource))
            return check_namespace(place.resource, found.object, place.namespace)

        patching = Patching(
            place,
            check,
            lambda obj: self._defaulted(place, obj),
            manager_of(request),
            is_set(request.query, "force"),
            self._now(),
        )
        change = change_of(request, patching)
        is_apply = request.headers.get("content-type", "").startswith("application/apply")
        return await self._changed(request, place, change, is_apply, warnings)

    def _defaulted(self, place: Place, obj: Object) -> Object:
        """See ``Operations``."""
        return self._operations.defaulted(place.resource, obj, place.subresource)

    async def _changed(
        self,
        request: Request,
        place: Place,
        change: Change,
        may_create: bool,
        warnings: tuple[str, ...] | list[str],
    ) -> Answer:
        outcome = await self._operations.update(
            place.resource,
            Key(place.namespace, place.name),
            lambda old: change(old if old is None else seen_as(place.resource, old)),
            subresource=place.subresource,
            dry_run=_dry(request),
            may_create=may_create,
        )
        if place.subresource == "scale":
            outcome = outcome._replace(object=to_scale(place.resource, outcome.object))
        code = 201 if outcome.is_new else 200
        return self._told(request, place.resource, outcome, code, warnings)

    async def delete(self, request: Request, place: Place) -> Answer:
        """An object goes."""
        options, dry_run = read_options(request)
        key = Key(place.namespace, place.name)
        outcome = await self._operations.delete(place.resource, key, options, dry_run=dry_run)
        is_there = self._operations.is_there(place.resource, key)
        if is_there or place.resource in _RETURNED_WHEN_DELETED:
            return self._told(request, place.resource, outcome, 200)
        return _json(200, deleted_status(place.resource, outcome.object))

    async def delete_all(self, request: Request, place: Place) -> Answer:
        """All objects that are selected."""
        options, dry_run = read_options(request)
        wanted = list_options(request.query)._replace(watch=False)
        matches = matcher(place.resource, wanted.labels, wanted.fields)
        timeline = self._store.timeline(place.resource)
        page = read_page(timeline, self._store.version, place.namespace, wanted, matches)
        for state in page.states:
            try:
                await self._operations.delete(place.resource, state.key, options, dry_run=dry_run)
            except StatusError as error:
                if error.code != 404:
                    raise
        showing = self.showing(request, place.resource)
        return showing.answer(showing.page(page))

    def _told(
        self,
        request: Request,
        resource: Resource,
        outcome: Outcome,
        code: int,
        warnings: tuple[str, ...] | list[str] = (),
    ) -> Answer:
        showing = self.showing(request, resource)
        body = showing.encoded(showing.shaped(seen_as(resource, outcome.object)))
        return showing.answer(body, code, (*warnings, *outcome.warnings))


Verb = Callable[[Handlers, Request, Place], Awaitable[Answer | Stream]]

_VERBS_OF_ONE: MappingProxyType[str, Verb] = MappingProxyType(
    {
        "GET": lambda api, request, place: (
            api.list_or_watch(request, place)
            if request.query.get("watch") in {"true", "1"}
            else api.get(request, place)
        ),
        "PUT": Handlers.update,
        "PATCH": Handlers.patch,
        "DELETE": Handlers.delete,
    }
)
_VERBS_OF_ALL: MappingProxyType[str, Verb] = MappingProxyType(
    {"GET": Handlers.list_or_watch, "POST": Handlers.create, "DELETE": Handlers.delete_all}
)
_create_subresource: Verb = Handlers.create_subresource
_SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
_VERB_WORDS = {"GET": "get", "PUT": "update", "PATCH": "patch"}


def _is_served(place: Place, method: str) -> bool:
    """Whether the resource has this verb; subresources have what their kind allows."""
    if place.subresource:
        return method in {"GET", "PUT", "PATCH", "POST"}
    verbs = place.resource.verbs
    if place.name:
        word = _VERB_WORDS.get(method, "delete")
    else:
        word = {"GET": "list", "POST": "create"}.get(method, "deletecollection")
    return word in verbs


def _dry(request: Request) -> bool:
    return is_dry([request.query["dryRun"]]) if "dryRun" in request.query else False


def _json(code: int, obj: Object) -> Answer:
    return Answer(code, encode(obj), {"Content-Type": JSON})


def refused(error: StatusError) -> Answer:
    """What is answered to a request that is not done."""
    headers = {"Content-Type": JSON}
    body = error.to_object()
    retry = error.details.get("retryAfterSeconds")
    if retry:
        headers["Retry-After"] = str(retry)
    if error.code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="netproxy"'
    return Answer(error.code, encode(body), headers)
