"""What cluster DNS has answered, under CoreDNS's names where it counts the same.

Source: CoreDNS 1.12, plugins metrics, cache and forward. The labels for a server block are those
of kubeadm's configuration, which has one; ``view`` is empty there as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from netproxy.dns.cache import Cache, Verdict
from netproxy.dns.tally import BOUNDS, Kind, Tally
from netproxy.metrics.registry import Figures, Looked, LookedHistogram, Spread

_BLOCK = ("server", "zone", "view")
_OURS = ("dns://:53", ".", "")
_CACHE_BLOCK = ("server", "zones", "view")
_FAMILIES = {4: "1", 6: "2"}
"""As CoreDNS has them: the IANA's numbers of address families."""
_VERDICTS: tuple[Verdict, ...] = ("success", "denial")
_Rows = Iterator[tuple[Sequence[str], float]]
_Answered = Iterator[tuple[tuple[str, int], Kind, list[int], float]]


def dns_figures(tally: Tally, cache: Cache) -> Figures:
    """Figures that are read when somebody scrapes: counting costs the answers next to nothing.

    Args:
        tally: The server's.
        cache: The server's.
    """
    figures = Figures()
    _about_answers(figures, tally)
    _about_cache(figures, tally, cache)
    _about_upstreams(figures, tally)
    for name, text, read in (
        ("coredns_panics_total", "Questions that met a bug.", lambda: tally.crashes),
        (
            "coredns_forward_max_concurrent_rejects_total",
            "Questions that were refused, as too many waited for upstreams.",
            lambda: tally.too_many,
        ),
        (
            "netproxy_dns_dropped_total",
            "Messages without an answer: they were no questions, or nobody took it.",
            lambda: tally.dropped,
        ),
    ):
        figures.look(Looked(name, text, _single(read), is_counter=True))
    return figures


def _single(read: Callable[[], float], labels: Sequence[str] = ()) -> Callable[[], _Rows]:
    return lambda: iter([(labels, read())])


def _answered(tally: Tally) -> _Answered:
    """Everything that was answered: how it came, what it was, and how long it took."""
    for transport, figures in tally.transports.items():
        for kind, counts, seconds in figures.read():
            yield transport, kind, counts, seconds


def _about_answers(figures: Figures, tally: Tally) -> None:
    def requests() -> _Rows:
        found = Counter[tuple[str, ...]]()
        for (protocol, family), kind, counts, _ in _answered(tally):
            found[protocol, _FAMILIES[family], kind.type] += sum(counts)
        return ((_OURS + labels, value) for labels, value in found.items())

    def responses() -> _Rows:
        found = Counter[tuple[str, ...]]()
        for _, kind, counts, _ in _answered(tally):
            found[kind.rcode.name, kind.source.value] += sum(counts)
        return ((_OURS + labels, value) for labels, value in found.items())

    def durations() -> Iterator[tuple[Sequence[str], Spread]]:
        found: dict[str, Spread] = {}
        for _, kind, counts, seconds in _answered(tally):
            before = found.get(kind.type, Spread([0] * len(counts), 0.0))
            together = [a + b for a, b in zip(before.counts, counts, strict=True)]
            found[kind.type] = Spread(together, before.total + seconds)
        return (((*_OURS, type_), spread) for type_, spread in found.items())

    figures.look(
        Looked(
            "coredns_dns_requests_total",
            "Questions.",
            requests,
            (*_BLOCK, "proto", "family", "type"),
            is_counter=True,
        )
    )
    figures.look(
        Looked(
            "coredns_dns_responses_total",
            "Answers, by how it went and who knew.",
            responses,
            (*_BLOCK, "rcode", "plugin"),
            is_counter=True,
        )
    )
    figures.look(
        LookedHistogram(
            "coredns_dns_request_duration_seconds",
            "From hearing a question to sending its answer.",
            BOUNDS,
            durations,
            (*_BLOCK, "type"),
        )
    )


def _about_cache(figures: Figures, tally: Tally, cache: Cache) -> None:
    def entries() -> _Rows:
        return (((*_OURS[:1], each, *_OURS[1:]), cache.count(each)) for each in _VERDICTS)

    def by_verdict(counter: Mapping[str, int]) -> Callable[[], _Rows]:
        return lambda: (((*_OURS[:1], each, *_OURS[1:]), counter[each]) for each in _VERDICTS)

    def misses() -> float:
        return tally.cache_requests - sum(tally.cache_hits[each] for each in _VERDICTS)

    labels = ("server", "type", "zones", "view")
    figures.look(Looked("coredns_cache_entries", "Answers that are kept.", entries, labels))
    for name, text, counter in (
        ("coredns_cache_hits_total", "Questions whose answers were kept.", tally.cache_hits),
        ("coredns_cache_evictions_total", "Answers that had to go.", tally.cache_evictions),
    ):
        figures.look(Looked(name, text, by_verdict(counter), labels, is_counter=True))
    for name, text, read in (
        ("coredns_cache_requests_total", "Questions to upstreams.", lambda: tally.cache_requests),
        ("coredns_cache_misses_total", "Those whose answers were not kept.", misses),
    ):
        figures.look(Looked(name, text, _single(read, _OURS), _CACHE_BLOCK, is_counter=True))


def _about_upstreams(figures: Figures, tally: Tally) -> None:
    def durations() -> Iterator[tuple[Sequence[str], Spread]]:
        for name, upstream in list(tally.upstreams.items()):
            for rcode, spread in upstream.read():
                yield ("forward", name, rcode), Spread(*spread)

    figures.look(
        LookedHistogram(
            "coredns_proxy_request_duration_seconds",
            "From asking an upstream to its answer; without an rcode, until it was given up.",
            BOUNDS,
            durations,
            ("proxy_name", "to", "rcode"),
        )
    )
