"""Figures, and how they are told to Prometheus. prometheus_client is imported here only."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = [
    "Counter", "Figures", "Gauge", "Histogram", "Looked", "LookedHistogram", "Page", "Spread",
    "render",
]  # fmt: skip

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_WHOLE_BOUND = re.compile(rb'le="(\d+)\.0"')


class Looked(NamedTuple):
    """Something that is known elsewhere, and looked at when somebody asks."""

    name: str
    text: str
    read: Callable[[], Iterable[tuple[Sequence[str], float]]]
    """Returns label values and value of each; called in any thread."""
    labels: Sequence[str] = ()
    is_counter: bool = False


class Spread(NamedTuple):
    """How many were how long."""

    counts: Sequence[int]
    """By upper bound; the last has none."""
    total: float


class LookedHistogram(NamedTuple):
    """A histogram that is kept elsewhere, and looked at when somebody asks."""

    name: str
    text: str
    bounds: Sequence[float]
    """Upper bounds, without the infinite one."""
    read: Callable[[], Iterable[tuple[Sequence[str], Spread]]]
    """Returns label values and figures of each; called in any thread."""
    labels: Sequence[str] = ()


class Page(NamedTuple):
    """What a scrape gets."""

    body: bytes
    headers: Mapping[str, str]


class Figures:
    """A registry of its own, with what is counted in it.

    Args:
        has_process: With what is to be said about this process and its interpreter.
    """

    def __init__(self, *, has_process: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # kube-proxy has none
        self._registry = CollectorRegistry(auto_describe=True)
        if has_process:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Something that only grows; its name ends in ``_total``."""
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Something that comes and goes."""
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        """Something of which each is as long as it is.

        Args:
            name: The metric's name.
            text: Its help.
            labels: Names of its labels.
            buckets: Upper bounds, without the infinite one.
        """
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def look(self, looked: Looked | LookedHistogram) -> None:
        """From now on tell of this as well."""
        if isinstance(looked, LookedHistogram):
            self._registry.register(_LookingAtHistogram(looked))
        else:
            self._registry.register(_Looking(looked))

    def collect(self) -> Iterable[Metric]:
        """For ``render``."""
        return self._registry.collect()


class _Looking(Collector):
    def __init__(self, looked: Looked) -> None:
        self._looked = looked

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for labels, value in self._looked.read():
            family.add_metric(labels, value)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if self._looked.is_counter else GaugeMetricFamily
        return kind(self._looked.name, self._looked.text, labels=self._looked.labels)


class _LookingAtHistogram(Collector):
    def __init__(self, looked: LookedHistogram) -> None:
        self._looked = looked
        self._bounds = [*map(floatToGoString, looked.bounds), "+Inf"]

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for labels, spread in self._looked.read():
            buckets = list(zip(self._bounds, accumulate(spread.counts), strict=True))
            family.add_metric(labels, buckets, spread.total)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(
            self._looked.name, self._looked.text, labels=self._looked.labels
        )


class _Joined(Collector):
    def __init__(self, parts: Iterable[Figures]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part.collect()


def render(parts: Iterable[Figures], headers: Mapping[str, str]) -> Page:
    """All figures as one page. Takes milliseconds, so it belongs in a thread.

    Plain text as kube-proxy, which leads to the same series in every version of Prometheus:
    OpenMetrics has other words for whole bounds. Who accepts nothing else gets OpenMetrics.

    Args:
        parts: What to tell, in this order.
        headers: The request's.
    """
    joined = _Joined(parts)
    content_type = PLAIN
    if _insists_on_openmetrics(headers.get("Accept", "")):
        content_type = OPENMETRICS
        body = bytes(generate_openmetrics(joined))  # type: ignore[no-untyped-call]
    else:
        body = _WHOLE_BOUND.sub(rb'le="\1"', generate_latest(joined))
    answer = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if _accepts_gzip(headers.get("Accept-Encoding", "")):
        body = gzip.compress(body, compresslevel=1)
        answer["Content-Encoding"] = "gzip"
    return Page(body, answer)


def _insists_on_openmetrics(accept: str) -> bool:
    """Whether an Accept header names it, and no plain text.

    Example:
        >>> _insists_on_openmetrics("application/openmetrics-text; version=1.0.0")
        True
        >>> _insists_on_openmetrics("application/openmetrics-text;q=0.9, text/plain;q=0.1")
        False
    """
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "application/openmetrics-text" in kinds and not kinds & {"text/plain", "text/*", "*/*"}


def _accepts_gzip(accept: str) -> bool:
    """Whether an Accept-Encoding header names it, other than to refuse it.

    Example:
        >>> [_accepts_gzip(word) for word in ("br, gzip;q=0.5", "gzip;q=0", "identity")]
        [True, False, False]
    """
    for part in accept.lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() == "gzip":
            return re.fullmatch(r"\s*q=0(\.0*)?\s*", parameters) is None
    return False
