"""The order of a merged list: as the patch says, with what only the server has in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from netproxy.api.status import bad_request
from netproxy.apiserver.patch.json_values import go_text


class MergeKey(NamedTuple):
    """How elements of a list are told apart."""

    name: str
    """A member of the elements; empty: they are scalars."""

    def of(self, element: Any) -> object:
        """The element's own key, which can be compared.

        Raises:
            StatusError: 400, it has none.
        """
        if self.name and isinstance(element, dict):
            if self.name not in element:
                raise bad_request(
                    f"map: {go_text(element)} does not contain declared merge key: {self.name}"
                )
            element = element[self.name]
        if isinstance(element, bool):
            return "bool", element
        if isinstance(element, (dict, list)):
            return "json", msgspec.json.encode(element)
        return element


def in_order(elements: list[Any], order: list[Any], key: MergeKey) -> bool:
    """Whether all elements stand in the order, in this sequence."""
    following = iter([key.of(each) for each in order])
    return all(key.of(each) in following for each in elements)


def ordered(merged: list[Any], order: list[Any], live: list[Any], key: MergeKey) -> list[Any]:
    """The elements of a list in the order of another one.

    Args:
        merged: What is put in order.
        order: Comes first in importance.
        live: The list as it was before. What is not in ``order`` keeps its sequence, and comes
            before the first that it came before, if that can be.
        key: How elements are told apart.
    """
    wanted = _places(order, key)
    was = _places(live, key)
    told = [(key.of(each), each) for each in merged]
    said = sorted(((own, each) for own, each in told if own in wanted), key=lambda e: wanted[e[0]])
    others = sorted(
        ((own, each) for own, each in told if own not in wanted),
        key=lambda e: was.get(e[0], len(was)),
    )
    found: list[Any] = []
    at = 0
    for own, each in said:
        place = was.get(own, -1)
        while at < len(others) and 0 <= was.get(others[at][0], len(was)) < place:
            found.append(others[at][1])
            at += 1
        found.append(each)
    return found + [each for _, each in others[at:]]


def _places(elements: list[Any], key: MergeKey) -> Mapping[object, int]:
    """Where each key stands first."""
    places: dict[object, int] = {}
    for index, each in enumerate(elements):
        places.setdefault(key.of(each), index)
    return places
