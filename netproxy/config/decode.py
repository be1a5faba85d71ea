"""Documents of a configuration file → the two objects, with all mistakes named at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from netproxy.config.duration import DURATION_HINT, parse_duration
from netproxy.config.kubeproxy import (
    API_VERSION,
    KIND,
    OWN_API_VERSION,
    OWN_KIND,
    KubeProxyConfiguration,
    NetproxyConfiguration,
)
from netproxy.config.problems import Problems
from netproxy.model.findings import shorten
from netproxy.model.parse import explain


class Configuration(NamedTuple):
    """What an operator wrote, in whatever way."""

    kube: KubeProxyConfiguration
    own: NetproxyConfiguration


class Warned(NamedTuple):
    """Something without effect, or probably not meant."""

    field: str
    problem: str


_KINDS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    KIND: (API_VERSION, KubeProxyConfiguration),
    OWN_KIND: (OWN_API_VERSION, NetproxyConfiguration),
}


def decode_documents(
    documents: Iterable[object], problems: Problems
) -> tuple[Configuration, list[Warned]]:
    """The configuration that a file holds.

    Args:
        documents: What a YAML or JSON parser made of each of its documents. One is a
            ``KubeProxyConfiguration``; a second one may be a ``NetproxyConfiguration``.
        problems: Takes what is wrong.
    """
    found: dict[str, msgspec.Struct] = {}
    warnings: list[Warned] = []
    for document in documents:
        if not isinstance(document, dict):
            problems.add("", f"{shorten(document)} is no configuration", f"begin with kind: {KIND}")
            continue
        kind = document.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            wanted = f"write {KIND}, or {OWN_KIND} for what is netproxy's own"
            problems.add("kind", f"{shorten(kind)} is no configuration of a proxy", wanted)
        elif document.get("apiVersion") != _KINDS[kind][0]:
            version = shorten(document.get("apiVersion"))
            problems.add("apiVersion", f"{version} has no {kind}", f"write {_KINDS[kind][0]}")
        elif kind in found:
            problems.add("kind", f"there is more than one {kind}", "join them")
        else:
            found[kind] = _decode(document, _KINDS[kind][1], problems)
            warnings += _unknown_fields(document, _KINDS[kind][1])
    kube, own = found.get(KIND), found.get(OWN_KIND)
    assert isinstance(kube, KubeProxyConfiguration | None)
    assert isinstance(own, NetproxyConfiguration | None)
    read = Configuration(
        _without_zeros(kube or KubeProxyConfiguration()), own or NetproxyConfiguration()
    )
    return read, warnings


def _decode(
    block: Mapping[Any, Any], kind: type[msgspec.Struct], problems: Problems, path: str = ""
) -> msgspec.Struct:
    """Field by field, so that one mistake does not hide the next; null counts as absent."""
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        raw, place = block.get(field.encode_name), f"{path}{field.encode_name}"
        inner = _block_of(field.type)
        if raw is None:
            continue
        if inner is not None and isinstance(raw, dict):
            values[field.name] = _decode(raw, inner, problems, f"{place}.")
            continue
        try:
            values[field.name] = msgspec.convert(_without_nulls(raw), field.type)
        except msgspec.ValidationError as error:
            for mistake in _mistakes(error, raw, field.type, place):
                problems.add(*mistake)
        except UnicodeEncodeError:
            problems.add(place, "holds half a character", "write the character itself")
    return kind(**values)


def _mistakes(
    error: msgspec.ValidationError, raw: object, type_: object, field: str
) -> Iterator[tuple[str, str, str]]:
    """(field, problem, hint): of a mapping of any names, each wrong value by its name."""
    named = raw if isinstance(raw, dict) else {}
    if not named or not all(isinstance(name, str) and name.isidentifier() for name in named):
        yield _mistake(error, field)
        return
    for name, value in named.items():
        try:
            msgspec.convert(_without_nulls({name: value}), type_)
        except msgspec.ValidationError as each:
            yield (f"{field}.{name}", *_mistake(each, field)[1:])


def _block_of(type_: object) -> type[msgspec.Struct] | None:
    """The block that stands in a field; None: a value."""
    return type_ if isinstance(type_, type) and issubclass(type_, msgspec.Struct) else None


def _mistake(error: msgspec.ValidationError, field: str) -> tuple[str, str, str]:
    """(field, problem, hint) of a value of the wrong type."""
    place, message = explain(error)
    problem, _, hint = message.partition("; ")
    wanted = problem.removeprefix("must be ").split(",")[0].split(" or ")[0]
    path = f"{field}.{place}".replace(".[", "[").rstrip(".")
    if wanted == "text" and path.endswith(_DURATIONS):
        hint = DURATION_HINT
    return path, problem, hint or _REMEDIES.get(wanted, "see what kube-proxy takes here")


_DURATIONS = ("Period", "Timeout", "Frequency")


_REMEDIES = {
    "a fraction": "write a number",
    "a list": "as in [a, b], also if it is only one",
    "a mapping": "write its fields below it, further to the right",
    "a whole number": "write a whole number",
    "text": "write one word or a text in quotes",
    "true": "write true or false, without quotes",
}


def _without_nulls(raw: object) -> object:
    """Blocks have no null: ``iptables: {syncPeriod: null}`` says nothing."""
    if isinstance(raw, dict):
        return {k: _without_nulls(v) for k, v in raw.items() if v is not None}
    return raw


def _without_zeros(kube: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """A period of zero and an empty address stand for the default, unlike those of flags.

    Source: kube-proxy 1.36: a file is completed with defaults, flags change what is complete.
    """
    replace = msgspec.structs.replace

    def unless_zero(text: str | None) -> str | None:
        try:
            return text if text and parse_duration(text) != 0 else None
        except ValueError:
            return text

    return replace(
        kube,
        logging=replace(kube.logging, verbosity=kube.logging.verbosity or None),
        healthz_bind_address=kube.healthz_bind_address or None,
        metrics_bind_address=kube.metrics_bind_address or None,
        config_sync_period=unless_zero(kube.config_sync_period),
        iptables=replace(
            kube.iptables,
            sync_period=unless_zero(kube.iptables.sync_period),
            min_sync_period=unless_zero(kube.iptables.min_sync_period),
        ),
        ipvs=replace(kube.ipvs, sync_period=unless_zero(kube.ipvs.sync_period)),
        nftables=replace(
            kube.nftables,
            sync_period=unless_zero(kube.nftables.sync_period),
            min_sync_period=unless_zero(kube.nftables.min_sync_period),
        ),
    )


def _unknown_fields(
    document: Mapping[Any, Any], kind: type[msgspec.Struct], path: str = ""
) -> Iterator[Warned]:
    """Source: kube-proxy decodes strictly first, and goes on with a line in the log."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, value in document.items():
        place = f"{path}{name}"
        if name in fields:
            for inner, block, where in _blocks_in(value, fields[name].type):
                yield from _unknown_fields(block, inner, f"{place}{where}.")
            continue
        close = get_close_matches(str(name), fields, n=1)
        hint = f"; did you mean {path}{close[0]}?" if close else ""
        yield Warned(shorten(place).strip("'"), f"there is no such field{hint}")


def _blocks_in(
    value: object, type_: Any
) -> Iterator[tuple[type[msgspec.Struct], Mapping[Any, Any], str]]:
    """(kind, block, index in brackets) of the blocks that a field holds: one, or a list of them."""
    inner = _block_of(type_)
    if inner is not None and isinstance(value, dict):
        yield inner, value, ""
    if isinstance(value, list):
        lists = [part for part in get_args(type_) if get_origin(part) is list]
        kinds = [kind for part in lists for kind in map(_block_of, get_args(part)) if kind]
        for index, each in enumerate(value):
            for kind in kinds:
                if isinstance(each, dict):
                    yield kind, each, f"[{index}]"
