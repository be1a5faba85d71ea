"""Which objects a list shows: as of which version, and from where on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

from netproxy.api.objects import Key
from netproxy.api.status import Cause, StatusError
from netproxy.apiserver.request import ListOptions
from netproxy.apiserver.storage.stored import Stored
from netproxy.apiserver.storage.timeline import Timeline

Matches: TypeAlias = Callable[[Stored], bool]
"""Whether the selectors of a request select a state; None in its place: all are."""

_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)


class Page(NamedTuple):
    """One answer's part of a list."""

    states: Sequence[Stored]
    version: int
    token: str = ""
    """Where the next page begins; empty: this is the last one."""
    remaining: int | None = None
    """How many come after it; None: not known, since only selected ones count."""


def read_page(
    timeline: Timeline,
    current: int,
    namespace: str,
    options: ListOptions,
    matches: Matches | None,
) -> Page:
    """Read a page.

    Args:
        timeline: The resource's.
        current: The newest version of all resources.
        namespace: Empty: all.
        options: What is asked for.
        matches: The selectors, if there are some.

    Raises:
        StatusError: 410 for a version that is forgotten, 504 for one that is to come, 400 for a
            token that is none of ours.
    """
    version, after = _where(current, options)
    if version < timeline.floor:
        message = _EXPIRED if options.token else _too_old(version, timeline.floor)
        raise StatusError(410, "Expired", message)
    states = timeline.as_of(version, namespace, after)
    if matches is not None:
        states = filter(matches, states)
    if not options.limit:
        return Page(list(states), version)
    shown = list(islice(states, options.limit))
    if next(states, None) is None:
        return Page(shown, version)
    last = shown[-1].key
    remaining = timeline.count_as_of(version, namespace, last) if matches is None else None
    return Page(shown, version, _token(version, last), remaining)


def _where(current: int, options: ListOptions) -> tuple[int, Key | None]:
    """The version that is shown, and the key it begins behind."""
    if options.token:
        return _read_token(options.token)
    asked = int(options.version or 0)
    if asked > current:
        raise too_large(asked, current)
    is_exact = options.match == "Exact" or (not options.match and options.limit > 0)
    return (asked if is_exact and asked else current), None


def too_large(asked: int, current: int) -> StatusError:
    """504: a version that is to come, from another server or another life of this one."""
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        causes=[Cause("", "ResourceVersionTooLarge", "Too large resource version")],
        details={"retryAfterSeconds": 1},
    )


def _too_old(asked: int, floor: int) -> str:
    return f"The resourceVersion for the provided list is too old: {asked} ({floor})"


def _token(version: int, last: Key) -> str:
    said = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": [*last]})
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, Key]:
    try:
        said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = said["start"]
        return int(said["rv"]), Key(str(namespace), str(name))
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise StatusError(
            400, "BadRequest", "continue key is not valid: it is none that was given out here"
        ) from error
