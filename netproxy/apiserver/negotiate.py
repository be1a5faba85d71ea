"""In which form a client wants its answer, and in which form it sends."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from netproxy.api.status import StatusError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
STREAM = "application/json;stream=watch"
_KNOWN = (JSON, YAML, PROTOBUF)
_TABLE_VERSIONS = ("v1", "v1beta1")


class Shape(Enum):
    """What of the objects is told."""

    OBJECT = "the objects themselves"
    TABLE = "rows for people"
    METADATA = "metadata alone"


class Form(NamedTuple):
    """What a client accepts."""

    media_type: str = JSON
    shape: Shape = Shape.OBJECT
    version: str = "v1"
    """Of meta.k8s.io, for tables."""


def accepted_form(accept: str) -> Form:
    """The form that is answered in.

    JSON where it is acceptable at all, since that is what objects are kept in; of several shapes
    the first.

    Raises:
        StatusError: 406, nothing that we have.
    """
    others: list[Form] = []
    plain = False
    for each in accept.split(",") if accept.strip() else ["*/*"]:
        media_type, parameters = _parse(each)
        shape = parameters.get("as", "")
        if media_type in {JSON, "*/*", "application/*"}:
            if not shape:
                plain = True
            elif (form := _shaped(shape, parameters)) is not None:
                return form
        elif media_type == YAML and not shape:
            others.append(Form(media_type))
    if plain:
        return Form()
    if others:
        return others[0]
    raise StatusError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {JSON}, {YAML}",
    )


def _shaped(shape: str, parameters: dict[str, str]) -> Form | None:
    version = parameters.get("v", "v1")
    if parameters.get("g") != "meta.k8s.io" or version not in _TABLE_VERSIONS:
        return None
    if shape == "Table":
        return Form(JSON, Shape.TABLE, version)
    if shape in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
        return Form(JSON, Shape.METADATA, version)
    return None


def sent_type(content_type: str, allowed: tuple[str, ...] = _KNOWN) -> str:
    """The media type of a body.

    Raises:
        StatusError: 415, none that is understood here.
    """
    media_type, _ = _parse(content_type or JSON)
    if media_type in allowed:
        return media_type
    raise StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(allowed),
    )


def _parse(text: str) -> tuple[str, dict[str, str]]:
    media_type, *rest = text.split(";")
    parameters = {}
    for each in rest:
        name, _, value = each.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return media_type.strip().lower(), parameters
