"""What the manifest's ClusterRole lets a client do with an API server."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qs

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Right(NamedTuple):
    """What one request needs."""

    group: str
    resource: str
    verb: str


def needed(method: str, path: str, query: str = "") -> Right:
    """The right that a request needs. Source: Kubernetes, request attributes of the API server.

    Example:
        >>> needed("GET", "/api/v1/nodes", "watch=true&fieldSelector=metadata.name%3Da")
        Right(group='', resource='nodes', verb='watch')
        >>> needed("POST", "/apis/events.k8s.io/v1/namespaces/default/events")
        Right(group='events.k8s.io', resource='events', verb='create')
    """
    _, root, *rest = path.split("/")
    group = rest.pop(0) if root == "apis" else ""
    rest = rest[1:]  # the version
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    is_watch = parse_qs(query).get("watch", ["false"])[0] in ("1", "true")
    read = "get" if len(rest) > 1 else "watch" if is_watch else "list"
    return Right(group, rest[0], _VERBS.get(method, read))


def granted(role: dict[str, Any]) -> set[Right]:
    """The rights of a ClusterRole."""
    return {
        Right(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
