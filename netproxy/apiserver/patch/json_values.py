"""What all patches have to know about JSON: its types by name, equality, copies, and its depth."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from netproxy.api.status import bad_request

P = ParamSpec("P")
R = TypeVar("R")


def not_too_deep(function: Callable[P, R]) -> Callable[P, R]:
    """Patches may be nested as deeply as somebody likes; what is too deep for us is refused.

    The function raises ``StatusError`` (400) instead of ``RecursionError``.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except RecursionError:
            raise bad_request("error decoding patch: it is nested too deeply") from None

    return guarded


def type_name(value: object) -> str:
    """As Go's JSON decoder names the type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "array" if isinstance(value, list) else "object"


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, but true is not 1."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(is_same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(is_same(mine, theirs) for mine, theirs in zip(one, other, strict=True))
        )
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def copied(value: Any) -> Any:
    """A value that can be changed in place, all of it."""
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    return value


def go_text(value: Any) -> str:
    """A value as Go prints it (``%v``), which is how the API server quotes patches."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{go_text(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
