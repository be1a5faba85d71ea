"""What is wrong with a field, in the API's own words."""

from __future__ import annotations

import json
from collections.abc import Iterable

from netproxy.api.status import Cause


def required(field: str, why: str = "") -> Cause:
    """It has to be there."""
    return Cause(field, "FieldValueRequired", f"Required value{': ' + why if why else ''}")


def invalid(field: str, value: object, why: str) -> Cause:
    """It cannot be this."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}")


def forbidden(field: str, why: str) -> Cause:
    """It may not be said here."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def duplicate(field: str, value: object) -> Cause:
    """It stands there already."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def not_supported(field: str, value: object, known: Iterable[str]) -> Cause:
    """It is none of these."""
    listed = ", ".join(_shown(each) for each in sorted(known))
    return Cause(
        field,
        "FieldValueNotSupported",
        f"Unsupported value: {_shown(value)}: supported values: {listed}",
    )


def too_many(field: str, count: int, most: int) -> Cause:
    """There are more than so many."""
    return Cause(
        field, "FieldValueTooMany", f"Too many: {count}: must have at most {most} {_items(most)}"
    )


def too_long(field: str, most: int) -> Cause:
    """It has more bytes than that."""
    return Cause(
        field, "FieldValueTooLong", f"Too long: may not be more than {most} {_bytes(most)}"
    )


def _items(count: int) -> str:
    return "item" if count == 1 else "items"


def _bytes(count: int) -> str:
    return "byte" if count == 1 else "bytes"


def _shown(value: object) -> str:
    if isinstance(value, (bool, dict, list, tuple)) or value is None:
        return json.dumps(value, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
