"""The API's own kind of answer to what cannot be done: ``Status`` of meta/v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.api.resources import Resource


class Cause(NamedTuple):
    """What is wrong with one field (``StatusCause``)."""

    field: str
    """Its path, as in ``spec.ports[0].port``."""
    reason: str
    """FieldValueRequired, FieldValueInvalid, FieldValueDuplicate, FieldValueForbidden,
    FieldValueNotSupported, FieldValueTooLong, FieldValueTooMany, FieldValueTypeInvalid,
    FieldValueNotFound."""
    message: str
    """As the API words it: ``Invalid value: 0: must be between 1 and 65535, inclusive``."""


class StatusError(Exception):
    """A request that is refused, or failed.

    Attributes:
        code: The HTTP status.
        reason: The machine's word for it, ``StatusReason``.
        message: The sentence that kubectl prints.
        causes: Field by field.
        details: Further members of ``status.details``: name, group, kind, uid, retryAfterSeconds.
            None: there are no details unless there are causes; kubectl takes them for granted where
            Kubernetes sends them, even empty.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        details: Object | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = tuple(causes)
        self.details = details or {}
        self._is_detailed = details is not None or bool(causes)

    def to_object(self) -> Object:
        """The ``Status`` that is sent."""
        details = dict(self.details)
        if self.causes:
            details["causes"] = [
                {"reason": each.reason, "message": each.message, "field": each.field}
                for each in self.causes
            ]
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self._is_detailed:
            status["details"] = details
        status["code"] = self.code
        return status


def not_found(resource: Resource, name: str) -> StatusError:
    """404: there is no such object."""
    return StatusError(
        404, "NotFound", f'{resource.qualified} "{name}" not found', details=_about(resource, name)
    )


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: a create found the name taken."""
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource.qualified} "{name}" already exists',
        details=_about(resource, name),
    )


def conflict(resource: Resource, name: str, why: str) -> StatusError:
    """409: the object is not, or no longer, what the writer believes."""
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
        details=_about(resource, name),
    )


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> StatusError:
    """422: understood, and wrong in these fields.

    The sentence is the API's: ``Service "web" is invalid: spec.ports[0].port: Invalid value: …``,
    and with several causes they stand in brackets.
    """
    said = [f"{each.field}: {each.message}" for each in causes]
    told = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details = _about(resource, name)
    details["kind"] = resource.kind
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return StatusError(
        422, "Invalid", f'{kind} "{name}" is invalid: {told}', causes=causes, details=details
    )


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403: understood and valid, and still not done."""
    return StatusError(
        403,
        "Forbidden",
        f'{resource.qualified} "{name}" is forbidden: {why}',
        details=_about(resource, name),
    )


def bad_request(message: str) -> StatusError:
    """400: not understood."""
    return StatusError(400, "BadRequest", message)


def _about(resource: Resource, name: str) -> Object:
    details: Object = {"name": name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    return details
