"""A request without sockets, and what its path and query mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from netproxy.api.resources import RESOURCES, Resource
from netproxy.api.status import Cause, StatusError

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})
_BY_PLACE = {(each.root, each.plural): each for each in RESOURCES}
_LIST_OPTIONS = {"group": "meta.k8s.io", "kind": "ListOptions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client wants.

    Attributes:
        method: Such as GET.
        path: Without its query, still quoted.
        query: The first value of each parameter.
        headers: With names in lower case.
        body: As it came, decompressed.
        user: Who asks.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: str = ""

    @property
    def agent(self) -> str:
        """The client program: who owns fields when it does not say so itself."""
        return self.headers.get("user-agent", "").split("/", 1)[0] or "unknown"


def parse_query(query: str) -> dict[str, str]:
    """What stands behind the ``?``; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name, value)
    return found


class Place(NamedTuple):
    """Which objects a path means."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def find_place(path: str) -> Place | None:
    """The objects behind a path, or None where there are none.

    ``/api/v1/namespaces/default/services/web/status`` is subresource status of Service web;
    ``/api/v1/namespaces/default`` is a Namespace, ``…/default/status`` its status.
    """
    parts = [unquote(each) for each in path.strip("/").split("/")]
    size = 2 if parts[0] == "api" else 3
    root, rest = "/" + "/".join(parts[:size]), parts[size:]
    if len(rest) >= 3 and rest[0] == "namespaces":
        resource = _BY_PLACE.get((root, rest[2]))
        if resource is not None and resource.namespaced:
            return _place(resource, rest[1], rest[3:])
    if not rest or (resource := _BY_PLACE.get((root, rest[0]))) is None:
        return None
    if resource.namespaced and len(rest) > 1:
        return None
    return _place(resource, "", rest[1:])


def _place(resource: Resource, namespace: str, rest: list[str]) -> Place | None:
    if len(rest) > 2 or "" in rest:
        return None
    name, subresource = (*rest, "", "")[:2]
    if subresource and subresource not in resource.subresources:
        return None
    return Place(resource, namespace, name, subresource)


def is_set(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter.

    Raises:
        StatusError: 400, it is none.
    """
    value = query.get(name, "")
    if value not in _TRUE | _FALSE:
        raise StatusError(
            400, "BadRequest", f'strconv.ParseBool: parsing "{value}": invalid syntax: {name}'
        )
    return value in _TRUE


def whole_number(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A number that is not negative.

    Raises:
        StatusError: 400, it is none.
    """
    value = query.get(name, "")
    if not value:
        return default
    if not value.isascii() or not value.isdigit():
        raise StatusError(400, "BadRequest", f'{name}: Invalid value: "{value}": is no number')
    return int(value)


class ListOptions(NamedTuple):
    """``ListOptions`` of meta/v1, for lists and watches."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    """0: all of them."""
    token: str = ""
    """``continue``."""
    version: str = ""
    """``resourceVersion``."""
    match: str = ""
    """``resourceVersionMatch``."""
    watch: bool = False
    bookmarks: bool = False
    timeout_s: int = 0
    """0: the server's own idea."""
    initial_events: bool | None = None
    """``sendInitialEvents``; None: it is not said."""


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Read and check.

    Raises:
        StatusError: 400 or 422, as the API server words it.
    """
    options = ListOptions(
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        limit=whole_number(query, "limit"),
        token=query.get("continue", ""),
        version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        watch=is_set(query, "watch"),
        bookmarks=is_set(query, "allowWatchBookmarks"),
        timeout_s=whole_number(query, "timeoutSeconds"),
        initial_events=is_set(query, "sendInitialEvents") if "sendInitialEvents" in query else None,
    )
    causes = list(_watch_faults(options) if options.watch else _list_faults(options))
    if causes:
        told = "; ".join(f"{each.field}: {each.message}" for each in causes)
        raise StatusError(
            422,
            "Invalid",
            f'ListOptions.meta.k8s.io "" is invalid: {told}',
            causes=causes,
            details=_LIST_OPTIONS,
        )
    if options.version and not (options.version.isascii() and options.version.isdigit()):
        raise StatusError(
            400, "BadRequest", f'resourceVersion: Invalid value: "{options.version}": is no number'
        )
    return options


def _list_faults(options: ListOptions) -> list[Cause]:
    if options.initial_events is not None:
        return [_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")]
    if not options.match:
        if options.token and options.version not in {"", "0"}:
            raise StatusError(
                400,
                "BadRequest",
                "specifying resource version is not allowed when using continue",
            )
        return []
    if options.match not in {"Exact", "NotOlderThan"}:
        return [_not_supported(options.match, '"Exact", "NotOlderThan"')]
    if not options.version:
        what = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        return [_forbidden("resourceVersionMatch", what)]
    if options.token:
        return [_forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when "
                           "continue is provided")]  # fmt: skip
    if options.match == "Exact" and options.version == "0":
        what = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return [_forbidden("resourceVersionMatch", what)]
    return []


def _watch_faults(options: ListOptions) -> list[Cause]:
    if options.initial_events is None:
        if options.match:
            what = (
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
            return [_forbidden("resourceVersionMatch", what)]
        return []
    if not options.match:
        what = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        return [_forbidden("resourceVersionMatch", what)]
    if options.match != "NotOlderThan":
        return [_not_supported(options.match, '"NotOlderThan"')]
    return []


def _forbidden(name: str, what: str) -> Cause:
    return Cause(name, "FieldValueForbidden", f"Forbidden: {what}")


def _not_supported(value: str, known: str) -> Cause:
    what = f'Unsupported value: "{value}": supported values: {known}'
    return Cause("resourceVersionMatch", "FieldValueNotSupported", what)
