"""What clients send: decoded, of the right kind, without fields that nobody knows."""

from __future__ import annotations

from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver import schema
from netproxy.apiserver.negotiate import JSON, PROTOBUF, sent_type
from netproxy.apiserver.request import Request

_SUBRESOURCE_TYPES = {
    "binding": ("v1", "Binding"),
    "eviction": ("policy/v1", "Eviction"),
    "scale": ("autoscaling/v1", "Scale"),
}
_MODES: dict[str, schema.Mode] = {"Strict": "Strict", "Warn": "Warn", "Ignore": "Ignore"}


class Body(NamedTuple):
    """An object that a client sent."""

    object: Object
    warnings: tuple[str, ...] = ()


def read_object(request: Request, resource: Resource, subresource: str = "") -> Body:
    """The object of a POST or PUT.

    Raises:
        StatusError: 400, it cannot be read or is something else; 415, its form is unknown.
    """
    api_version, kind = expected_kind(resource, subresource)
    obj, faults = decode(request, kind)
    check_kind(obj, api_version, kind)
    return checked(obj, resource, subresource, request, faults)


def checked(
    obj: Object,
    resource: Resource,
    subresource: str,
    request: Request,
    faults: tuple[str, ...] = (),
) -> Body:
    """An object with known fields only; how the client hears of others is for it to say.

    Args:
        obj: Decoded.
        resource: What it is of.
        subresource: Which of its subresources.
        request: Has ``fieldValidation``.
        faults: What decoding it has found: fields that stand there twice.

    Raises:
        StatusError: 400.
    """
    mode = request.query.get("fieldValidation", "") or "Warn"
    if mode not in _MODES:
        raise StatusError(
            422,
            "Invalid",
            'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: '
            f'"{mode}": supported values: "Ignore", "Strict", "Warn"',
        )
    return Body(*schema.check(obj, schema.type_of(resource, subresource), _MODES[mode], faults))


def decode(request: Request, kind: str) -> tuple[Object, tuple[str, ...]]:
    """The body as an object, and the fields that stand in it twice."""
    form = sent_type(request.headers.get("content-type", ""))
    if form == PROTOBUF:
        return schema.decode_protobuf(request.body), ()
    if form == JSON:
        return schema.decode_json(request.body, kind)
    return schema.decode_yaml(request.body, kind)


def check_name(obj: Object, name: str) -> None:
    """Refuse an object of another name than the one it was sent to.

    Raises:
        StatusError: 400.
    """
    said = (obj.get("metadata") or {}).get("name") or ""
    if not said:
        raise bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be "
            "provided"
        )
    if said != name:
        raise bad_request(
            f"the name of the object ({said}) does not match the name on the URL ({name})"
        )


def check_kind(obj: Object, api_version: str, kind: str) -> None:
    """Refuse what is something else.

    Raises:
        StatusError: 400.
    """
    said_version, said_kind = obj.get("apiVersion", ""), obj.get("kind", "")
    if said_kind and said_kind != kind:
        raise bad_request(
            f'{said_kind} in version "{said_version or api_version}" cannot be handled as a '
            f"{kind}: converting ({said_version}.{said_kind}) to ({api_version}.{kind}): unknown "
            "conversion"
        )
    if said_version and said_version != api_version:
        raise bad_request(
            f"the API version in the data ({said_version}) does not match the expected API version "
            f"({api_version})"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind


def expected_kind(resource: Resource, subresource: str) -> tuple[str, str]:
    """Version and kind of what is written there."""
    return _SUBRESOURCE_TYPES.get(subresource, (resource.api_version, resource.kind))
