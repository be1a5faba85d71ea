"""A PATCH: which of the four kinds, and what it makes of the object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from netproxy.api.client import PatchType
from netproxy.api.objects import Object
from netproxy.api.status import StatusError, bad_request, not_found
from netproxy.apiserver import patch as patches
from netproxy.apiserver import schema
from netproxy.apiserver.bodies import check_name, expected_kind
from netproxy.apiserver.negotiate import sent_type
from netproxy.apiserver.registry.scale import to_scale
from netproxy.apiserver.request import Place, Request
from netproxy.apiserver.schema.types import ObjectType

MERGE: PatchType = "application/merge-patch+json"
JSON_PATCH: PatchType = "application/json-patch+json"
STRATEGIC: PatchType = "application/strategic-merge-patch+json"
APPLY: PatchType = "application/apply-patch+yaml"
KINDS: tuple[PatchType, ...] = (JSON_PATCH, MERGE, STRATEGIC, APPLY)
_LONGEST_MANAGER = 128

Check = Callable[[Object], Object]
"""Drops or refuses what is not in the schema."""
Defaulted = Callable[[Object], Object]
"""Says what absent fields mean."""


def manager_of(request: Request) -> str:
    """Who is to own the fields: ``fieldManager``, or the name of the program.

    Raises:
        StatusError: 422.
    """
    name = request.query.get("fieldManager", "")
    if len(name) > _LONGEST_MANAGER or not name.isprintable():
        raise _invalid_options(
            f"fieldManager: Invalid value: may have {_LONGEST_MANAGER} printable characters"
        )
    return name or request.agent


class Patching(NamedTuple):
    """Circumstances of one PATCH."""

    place: Place
    check: Check
    defaulted: Defaulted
    manager: str
    force: bool
    now: datetime
    """When somebody came to own the fields, in UTC."""

    @property
    def type(self) -> ObjectType:
        """Of what is patched."""
        return schema.type_of(self.place.resource, self.place.subresource)


def change_of(request: Request, patching: Patching) -> Callable[[Object | None], Object]:
    """What a PATCH does to the old state.

    Raises:
        StatusError: 400, 415, 422, also from the change itself (409: somebody else owns a field).
    """
    kind = sent_type(request.headers.get("content-type", ""), KINDS)
    place = patching.place
    if kind == APPLY:
        if not request.query.get("fieldManager"):
            raise _invalid_options("fieldManager: Required value: is required for apply patch")
        configuration, _ = schema.decode_yaml(request.body, place.resource.kind)
        return _apply(configuration, patching)
    if patching.force:
        raise _invalid_options("force: Forbidden: may not be specified for non-apply patch")
    change = _merging(kind, schema.decode_any(request.body), patching)

    def changed(old: Object | None) -> Object:
        if old is None:
            raise not_found(place.resource, place.name)
        said = to_scale(place.resource, old) if place.subresource == "scale" else old
        new = patching.defaulted(patching.check(change(said)))
        _check_same(old, new, place.name)
        return patches.record_update(
            old,
            new,
            patching.type,
            manager=patching.manager,
            now=patching.now,
            subresource=place.subresource,
        )

    return changed


def _invalid_options(what: str) -> StatusError:
    return StatusError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {what}')


def _merging(kind: str, said: object, patching: Patching) -> Callable[[Object], Object]:
    if kind == JSON_PATCH:
        return lambda old: patches.apply_json_patch(old, said)
    if not isinstance(said, dict):
        raise bad_request("the patch is no JSON object")
    if kind == MERGE:
        return lambda old: patches.apply_merge_patch(old, said)
    return lambda old: patches.apply_strategic(old, said, patching.type)


def _apply(configuration: Object, patching: Patching) -> Callable[[Object | None], Object]:
    place = patching.place
    name = place.name
    said = configuration.get("apiVersion") or "", configuration.get("kind") or ""
    if said != expected_kind(place.resource, place.subresource):
        group, _, version = str(said[0]).rpartition("/")
        raise bad_request(f"invalid object type: {group}/{version}, Kind={said[1]}")
    metadata = configuration.get("metadata")
    if isinstance(metadata, dict) and metadata.get("name", name) != name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL "
            f"({name})"
        )

    def changed(old: Object | None) -> Object:
        applied = patches.apply_configuration(
            old,
            patching.check(configuration),
            patching.type,
            manager=patching.manager,
            force=patching.force,
            now=patching.now,
            subresource=place.subresource,
        )
        if old is None:
            applied = {**applied, "metadata": {"name": name, **applied.get("metadata", {})}}
        return applied

    return changed


def _check_same(old: Object, new: Object, name: str) -> None:
    """Refuse a patch that makes it another object."""
    check_name(new, name)
    metadata = new["metadata"]
    namespace = old["metadata"].get("namespace", "")
    if (said := metadata.get("namespace", "")) != namespace:
        raise bad_request(
            f"the namespace of the object ({said}) does not match the namespace on the request "
            f"({namespace})"
        )
