"""A kind with one field of each sort, and short ways to say who owns what."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.patch import apply_configuration, record_update
from netproxy.apiserver.schema.types import Field, ListOf, MapOf, ObjectType, Scalar, Type

NOW = datetime(2026, 11, 23, 1, 33, 58, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 1, 40, 0, tzinfo=UTC)


def struct(type_name: str, /, **fields: Type) -> ObjectType:
    made = {name: Field(name, kind) for name, kind in fields.items()}
    return ObjectType(f"io.netproxy.test.v1.{type_name}", MappingProxyType(made))


TEXT, NUMBER = Scalar("string"), Scalar("int32")
PART = struct("Part", name=TEXT, size=NUMBER, tags=ListOf(TEXT, "set"), inner=struct("I", a=TEXT))
THING = struct(
    "Thing",
    apiVersion=TEXT,
    kind=TEXT,
    metadata=schema.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
    spec=struct(
        "ThingSpec",
        name=TEXT,
        size=NUMBER,
        options=struct("Options", fast=Scalar("boolean"), deep=struct("Deep", er=TEXT)),
        parts=ListOf(PART, "map", ("name",)),
        tags=ListOf(TEXT, "set"),
        words=ListOf(TEXT),
        notes=MapOf(TEXT),
        selector=MapOf(TEXT, is_atomic=True),
    ),
    status=struct("ThingStatus", phase=TEXT),
)


def thing(spec: Any = None, **members: Any) -> Object:
    metadata = {"name": "x", **members.pop("metadata", {})}
    made = {"apiVersion": "v1", "kind": "Thing", "metadata": metadata, **members}
    return made if spec is None else {**made, "spec": spec}


def updated(
    old: Object | None, new: Object, manager: str, subresource: str = "", *, now: datetime = NOW
) -> Object:
    return record_update(old, new, THING, manager=manager, now=now, subresource=subresource)


def applied(
    old: Object | None,
    configuration: Object,
    manager: str,
    subresource: str = "",
    *,
    now: datetime = NOW,
    force: bool = False,
) -> Object:
    return apply_configuration(
        old, configuration, THING, manager=manager, force=force, now=now, subresource=subresource
    )


def changed(obj: Object, spec: Any) -> Object:
    """Another spec, and all the rest as it was."""
    return {**obj, "spec": {**obj.get("spec", {}), **spec}}


def owners(obj: Object) -> dict[str, Any]:
    """What each manager owns of ``spec``; ``~`` stands before those who apply."""
    found = {}
    for entry in obj["metadata"].get("managedFields", []):
        sign = "~" if entry["operation"] == "Apply" else ""
        where = f"/{entry['subresource']}" if "subresource" in entry else ""
        found[f"{sign}{entry['manager']}{where}"] = entry["fieldsV1"].get("f:spec")
    return found


def times(obj: Object) -> dict[str, str]:
    """When each manager changed something last."""
    return {entry["manager"]: entry.get("time", "") for entry in obj["metadata"]["managedFields"]}


def conflict(*args: Any, **kwargs: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        applied(*args, **kwargs)
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    return caught.value
