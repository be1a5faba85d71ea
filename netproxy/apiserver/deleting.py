"""What a DELETE says about how."""

from __future__ import annotations

from netproxy.api.objects import Object
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.bodies import decode
from netproxy.apiserver.contract import DeleteOptions
from netproxy.apiserver.request import Request, whole_number

_POLICIES = ("", "Foreground", "Background", "Orphan")


def read_options(request: Request) -> tuple[DeleteOptions, bool]:
    """The options, and whether it is a dry run; from the body, and where it has none the query.

    Raises:
        StatusError: 400 or 422.
    """
    said: Object = {}
    if request.body.strip():
        said, _ = decode(request, "DeleteOptions")
        if said.get("kind", "DeleteOptions") != "DeleteOptions":
            raise bad_request(f"{said['kind']} cannot be handled as DeleteOptions")
    preconditions = said.get("preconditions") or {}
    policy = said.get("propagationPolicy") or request.query.get("propagationPolicy", "")
    if said.get("orphanDependents") is True or request.query.get("orphanDependents") == "true":
        policy = policy or "Orphan"
    if policy not in _POLICIES:
        raise StatusError(
            422,
            "Invalid",
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            f'"{policy}": supported values: "Foreground", "Background", "Orphan"',
        )
    grace = said.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in request.query:
        grace = whole_number(request.query, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise bad_request("gracePeriodSeconds: is no number")
    dry_run = said.get("dryRun") or ([request.query["dryRun"]] if "dryRun" in request.query else [])
    options = DeleteOptions(
        grace_s=None if grace is None else max(0, grace),
        propagation=policy,
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
    )
    return options, is_dry(dry_run)


def is_dry(said: list[str]) -> bool:
    """``dryRun``: All, or not there.

    Raises:
        StatusError: 422.
    """
    wrong = [each for each in said if each not in {"All", ""}]
    if wrong:
        raise StatusError(
            422,
            "Invalid",
            f'options "" is invalid: dryRun: Unsupported value: "{wrong[0]}": supported values: '
            '"All"',
        )
    return "All" in said


def deleted_status(resource: Resource, obj: Object) -> Object:
    """What is answered for an object that is gone, where it is not the object itself."""
    details: Object = {"name": obj["metadata"]["name"], "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    details["uid"] = obj["metadata"].get("uid", "")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
