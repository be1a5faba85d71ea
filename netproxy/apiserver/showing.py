"""How objects look to a client: as they are, as rows, or their metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from netproxy.api.objects import Object
from netproxy.api.resources import ENDPOINTS, EVENTS, Resource
from netproxy.apiserver import schema, tables
from netproxy.apiserver.negotiate import JSON, YAML, Form, Shape
from netproxy.apiserver.pages import Page
from netproxy.apiserver.registry.events import to_events_v1
from netproxy.apiserver.storage.stored import Event, EventKind, Stored, encode_line
from netproxy.apiserver.watching import Line, plain_line
from netproxy.web import Answer

encode = msgspec.json.Encoder().encode
DEPRECATED_ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
_JSON_HEADERS: Final = MappingProxyType({"Content-Type": JSON})


class Showing(NamedTuple):
    """How one request wants its answer."""

    resource: Resource
    form: Form
    include_object: str
    """Of rows: ``includeObject``."""
    now: datetime
    """Ages are told from here."""

    def one(self, state: Stored) -> bytes:
        """A single object."""
        if self._is_plain():
            return state.data
        return self.encoded(self.shaped(seen_as(self.resource, state.object)))

    def shaped(self, obj: Object) -> Object:
        """An object in the shape that is wanted."""
        if self.form.shape is Shape.TABLE:
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return self._table([obj], metadata)
        if self.form.shape is Shape.METADATA:
            return _metadata_alone(obj, self.form.version)
        return obj

    def page(self, page: Page) -> bytes:
        """A list."""
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        if self._is_plain():
            return self._joined(page.states, metadata)
        objects = [seen_as(self.resource, each.object) for each in page.states]
        if self.form.shape is Shape.TABLE:
            return encode(self._table(objects, metadata))
        kind, version = f"{self.resource.kind}List", self.resource.api_version
        if self.form.shape is Shape.METADATA:
            kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{self.form.version}"
            objects = [_metadata_alone(each, self.form.version) for each in objects]
        said = {"kind": kind, "apiVersion": version, "metadata": metadata, "items": objects}
        return self.encoded(said)

    def _is_plain(self) -> bool:
        is_object = self.form.shape is Shape.OBJECT and self.form.media_type == JSON
        return is_object and self.resource is not EVENTS

    def _joined(self, states: Sequence[Stored], metadata: Object) -> bytes:
        """A list from objects that are encoded already."""
        return b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}\n' % (
            self.resource.kind.encode(),
            self.resource.api_version.encode(),
            encode(metadata),
            b",".join([each.data for each in states]),
        )

    def _table(self, objects: Sequence[Object], metadata: Object) -> Object:
        return tables.to_table(
            self.resource,
            objects,
            include_object=self.include_object or "Metadata",
            now=self.now,
            metadata=metadata,
            version=self.form.version,
        )

    def line(self) -> Line:
        """How a watch tells its events."""
        if self._is_plain():
            return plain_line
        if self.form.shape is Shape.TABLE:
            return _TableLine(self)

        def shaped_line(kind: EventKind, state: Stored, event: Event | None) -> bytes:
            del event
            return encode_line(kind, encode(self.shaped(seen_as(self.resource, state.object))))

        return shaped_line

    def encoded(self, obj: Object) -> bytes:
        """An object in the media type that is wanted."""
        if self.form.media_type == YAML:
            return schema.encode_yaml(obj)
        return encode(obj)

    def answer(self, body: bytes, status: int = 200, warnings: Sequence[str] = ()) -> Answer:
        """The whole answer."""
        if self.resource is ENDPOINTS:
            warnings = (*warnings, DEPRECATED_ENDPOINTS)
        if not warnings and self.form.media_type == JSON:
            return Answer(status, body, _JSON_HEADERS)
        headers = {"Content-Type": self.form.media_type}
        if warnings:
            headers["Warning"] = ", ".join(f'299 - "{_quoted(each)}"' for each in warnings)
        return Answer(status, body, headers)


class _TableLine:
    """Rows of a watch: what the columns are is told once."""

    def __init__(self, showing: Showing) -> None:
        self._showing = showing
        self._is_first = True

    def __call__(self, kind: EventKind, state: Stored, event: Event | None) -> bytes:
        del event
        table = self._showing.shaped(seen_as(self._showing.resource, state.object))
        if not self._is_first:
            table["columnDefinitions"] = None
        self._is_first = False
        return encode_line(kind, encode(table))


def seen_as(resource: Resource, obj: Object) -> Object:
    """A stored object as this resource has it: events are stored as v1, and have two faces."""
    return to_events_v1(obj) if resource is EVENTS else obj


def _metadata_alone(obj: Object, version: str) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def _quoted(text: str) -> str:
    """As ``Warning`` headers have it: no control characters, quotes and backslashes escaped."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "replace").decode()
