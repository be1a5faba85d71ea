"""Which Services select a Pod, and which Pods a Service selects, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netproxy.api.objects import Key, Object, labels_of


class _Pair(NamedTuple):
    namespace: str
    label: str
    value: str


class SelectorIndex:
    """Selectors of equalities (Services), found by the labels of what they may select."""

    def __init__(self) -> None:
        self._by_pair: dict[_Pair, set[Key]] = {}
        self._selectors: dict[Key, Mapping[str, str]] = {}

    def put(self, key: Key, selector: Mapping[str, str] | None) -> None:
        """The selector of an object; none: it selects nothing."""
        old = self._selectors.pop(key, None)
        if old:
            pair = _Pair(key.namespace, *min(old.items()))
            keys = self._by_pair[pair]
            keys.discard(key)
            if not keys:
                del self._by_pair[pair]
        if selector:
            self._selectors[key] = selector
            # One pair is enough: who lacks it is not selected.
            pair = _Pair(key.namespace, *min(selector.items()))
            self._by_pair.setdefault(pair, set()).add(key)

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Key]:
        """The objects whose selectors select these labels."""
        for label, value in labels.items():
            for key in self._by_pair.get(_Pair(namespace, label, value), ()):
                if selects(self._selectors[key], labels):
                    yield key


class LabelIndex:
    """Objects (Pods), found by their labels."""

    def __init__(self) -> None:
        self._by_pair: dict[_Pair, dict[Key, None]] = {}

    def put(self, key: Key, old: Object | None, new: Object | None) -> None:
        """An object came, changed or went."""
        before = labels_of(old) if old else {}
        after = labels_of(new) if new else {}
        if before == after:
            return
        for label, value in before.items():
            if after.get(label) != value:
                pair = _Pair(key.namespace, label, value)
                keys = self._by_pair.get(pair, {})
                keys.pop(key, None)
                if not keys:
                    self._by_pair.pop(pair, None)
        for label, value in after.items():
            self._by_pair.setdefault(_Pair(key.namespace, label, value), {})[key] = None

    def candidates(self, namespace: str, selector: Mapping[str, str]) -> Iterable[Key]:
        """Objects that may be selected: those that have the rarest of the pairs."""
        pairs = [_Pair(namespace, label, value) for label, value in selector.items()]
        rarest: dict[Key, None] | None = None
        for pair in pairs:
            keys = self._by_pair.get(pair, {})
            if rarest is None or len(keys) < len(rarest):
                rarest = keys
        return list(rarest or ())


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have all pairs of a selector."""
    return all(labels.get(label) == value for label, value in selector.items())
