"""``ObjectClient`` over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from netproxy.api.client import EVERYTHING, ObjectList, Patch, PatchType, Selection, WatchEvent
from netproxy.api.objects import Object
from netproxy.api.resources import Resource
from netproxy.api.status import Cause, StatusError
from netproxy.errors import SourceError
from netproxy.kubernetes.contract import Answer, ApiClient

PAGE = 500
"""Objects in one answer of a list."""
LONGEST_ANSWER = 256 * 1024 * 1024
LONGEST_LINE = 16 * 1024 * 1024
WATCH_S = 300
"""A watch is asked for anew after so many seconds."""
SILENCE_S = 90.0
"""The server tells how far things are about every minute: one that says nothing is gone."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class HttpObjects:
    """Reads and writes the objects of one API server.

    Args:
        client: Speaks to it; not closed here.
        manager: Who owns the fields that are written (``fieldManager``).
    """

    def __init__(self, client: ApiClient, manager: str) -> None:
        self._client = client
        self._manager = manager

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """See ``ObjectClient``."""
        found = await self._ask("GET", resource.path(namespace, name))
        return _typed(resource, found)

    async def list(self, resource: Resource, selection: Selection = EVERYTHING) -> ObjectList:
        """See ``ObjectClient``; read in pages, which belong to one moment."""
        query = {**_selectors(selection), "limit": str(PAGE)}
        items: list[Object] = []
        while True:
            page = await self._ask("GET", resource.path(selection.namespace), query)
            items += [_typed(resource, each) for each in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            token = metadata.get("continue")
            if not token:
                return ObjectList(items, str(metadata.get("resourceVersion", "")))
            query["continue"] = token

    async def watch(
        self, resource: Resource, resource_version: str, selection: Selection = EVERYTHING
    ) -> AsyncIterator[WatchEvent]:
        """See ``ObjectClient``."""
        query = {
            **_selectors(selection),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_S),
        }
        path = resource.path(selection.namespace)
        async with self._client.request("GET", path, query=query) as answer:
            if answer.status != 200:
                raise _refusal(answer.status, await answer.body(LONGEST_LINE))
            async for line in answer.lines(silence_s=SILENCE_S, limit=LONGEST_LINE):
                event = _event(line)
                if event is not None:
                    yield event

    async def create(self, resource: Resource, obj: Object) -> Object:
        """See ``ObjectClient``."""
        namespace = obj["metadata"].get("namespace", "")
        return await self._write("POST", resource.path(namespace), obj)

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """See ``ObjectClient``."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
        method = "POST" if subresource in {"binding", "eviction"} else "PUT"
        return await self._write(method, path, obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Patch,
        *,
        namespace: str = "",
        subresource: str = "",
        how: PatchType = "application/merge-patch+json",
    ) -> Object:
        """See ``ObjectClient``."""
        path = resource.path(namespace, name, subresource)
        return await self._write("PATCH", path, patch, content_type=how)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
    ) -> None:
        """See ``ObjectClient``."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        await self._ask("DELETE", resource.path(namespace, name), body=_encode(options))

    async def _write(
        self, method: str, path: str, said: Patch, content_type: str = "application/json"
    ) -> Object:
        query = {"fieldManager": self._manager}
        return await self._ask(method, path, query, _encode(said), content_type)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> Object:
        asked = self._client.request(
            method, path, query=query, body=body, content_type=content_type
        )
        async with asked as answer:
            return await _object_of(answer, path)


async def _object_of(answer: Answer, path: str) -> Object:
    body = await answer.body(LONGEST_ANSWER)
    if not 200 <= answer.status < 300:
        raise _refusal(answer.status, body)
    found = _decoded(body)
    if not isinstance(found, dict):
        raise SourceError(f"{path}: the answer is no API object")
    return found


def _decoded(body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None


def _refusal(code: int, body: bytes) -> StatusError:
    """What the server says; of one that speaks no ``Status``, the number."""
    said = _decoded(body)
    if not isinstance(said, dict):
        said = {}
    details = said.get("details")
    details = details if isinstance(details, dict) else {}
    causes = [
        Cause(each.get("field", ""), each.get("reason", ""), each.get("message", ""))
        for each in details.get("causes") or ()
        if isinstance(each, dict)
    ]
    return StatusError(
        code,
        str(said.get("reason", "Unknown")),
        str(said.get("message") or f"the server answers {code}"),
        causes=causes,
        details={name: value for name, value in details.items() if name != "causes"},
    )


def _event(line: bytes) -> WatchEvent | None:
    """One line; None for a kind that came after us.

    Raises:
        StatusError: the line says that the watch is over, mostly 410.
        SourceError: it is no event.
    """
    said = _decoded(line)
    if not isinstance(said, dict) or not isinstance(said.get("object"), dict):
        raise SourceError("watch: a line is no event")
    kind, obj = said.get("type"), said["object"]
    if kind == "ERROR":
        code = obj.get("code")
        raise _refusal(code if isinstance(code, int) else 500, _encode(obj))
    if not isinstance(obj.get("metadata"), dict) or "resourceVersion" not in obj["metadata"]:
        raise SourceError("watch: an event's object has no resourceVersion")
    if kind in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
        return WatchEvent(kind, obj)
    return None


def _typed(resource: Resource, obj: Object) -> Object:
    """Items of a list lack what the list says for all of them."""
    if "kind" in obj:
        return obj
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


def _selectors(selection: Selection) -> dict[str, str]:
    query = {}
    if selection.labels:
        query["labelSelector"] = selection.labels
    if selection.fields:
        query["fieldSelector"] = selection.fields
    return query
