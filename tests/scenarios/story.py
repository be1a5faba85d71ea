"""A scenario file as data: a node, the objects of each step, and what packets must become."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from netproxy.cli.options import proxy_flags
from netproxy.cli.settings import read_proxy_config
from netproxy.core.config import ProxyConfig
from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.core.surroundings import Addresses
from netproxy.model.diagnostic import Severity
from netproxy.model.events import ModelObject, key_of
from netproxy.model.ip import Family, IPAddress, family_of, parse_address
from netproxy.model.parse import parse_object
from netproxy.sources.manifests.documents import read_documents
from tests.scenario_file import ScenarioFile, ScenarioFileError

DIRECTORY = Path(__file__).parent
GOLDEN = "nftables"
"""The section with the elements of the last step."""

_NODE_NAME = "node-a"
_NODE = "eth0 192.168.0.2/24 2001:db8::2/64"
_POD_INTERFACE = "cni0"
"""Pods come in here if the node has it."""
_HEADER = ("FROM", "TO", "ARRIVES AT", "MASQUERADED")
_AFFINITY = "AFFINITY"
"""A fifth column, in files about session affinity."""
_LOOPBACK = (IPAddress("127.0.0.1"), IPAddress("::1"))
_TO = re.compile(r"\[?([^\]/]+)\]?:(\d+)/(tcp|udp|sctp)")
_ARRIVAL = re.compile(r"\[?([^\]]+)\]?:(\d+)")


class Play(NamedTuple):
    """A packet and what must become of it."""

    line: str
    """As it stands in the file."""
    packet: Packet
    expected: Fate
    affinity: str = ""
    """What all plays of this client have in common that must arrive at the same endpoint."""


class Step(NamedTuple):
    """The objects that exist at one time."""

    name: str
    objects: tuple[ModelObject, ...]
    plays: tuple[Play, ...]


class NodeInterface(NamedTuple):
    """An interface and its addresses, each with its prefix length."""

    name: str
    addresses: tuple[str, ...]


class Story(NamedTuple):
    """One scenario file."""

    path: Path
    sentence: str
    config: ProxyConfig
    interfaces: tuple[NodeInterface, ...]
    steps: tuple[Step, ...]
    golden: str

    def addresses(self, family: Family) -> Addresses:
        """The node's own, as a Proxier asks for them."""
        own = [IPAddress(a.partition("/")[0]) for each in self.interfaces for a in each.addresses]
        local = tuple(a for a in (*_LOOPBACK, *own) if family_of(a) is family)
        primary = next((a for a in own if family_of(a) is family), None)
        return Addresses(local, primary)


def read_stories() -> list[Story]:
    """All scenario files, by name."""
    return [read_story(path) for path in sorted(DIRECTORY.glob("*.txtar"))]


def read_story(path: Path) -> Story:
    """One scenario file.

    Raises:
        ScenarioFileError: it is not written as the README of this directory says.
    """
    file = ScenarioFile.read(path)
    sentence, settings = _read_comment(file.comment, path)
    interfaces = tuple(_read_interfaces(settings.get("node", _NODE)))
    story = Story(
        path=path,
        sentence=sentence,
        config=_read_flags(settings.get("flags", "")),
        interfaces=interfaces,
        steps=(),
        golden=file.sections.get(GOLDEN, ""),
    )
    return story._replace(steps=tuple(_read_steps(file, story)))


def _read_comment(comment: str, path: Path) -> tuple[str, dict[str, str]]:
    sentence: list[str] = []
    settings: dict[str, str] = {}
    for line in comment.splitlines():
        text = line.removeprefix("#").strip()
        name, colon, value = text.partition(": ")
        if colon and name in ("feature", "flags", "node"):
            settings[name] = value.strip()
        elif text:
            sentence.append(text)
    if not sentence or "feature" not in settings:
        raise ScenarioFileError(f"{path}: begins with a sentence and a line '# feature: ...'")
    return " ".join(sentence), settings


def _read_interfaces(text: str) -> Iterator[NodeInterface]:
    for part in text.split(";"):
        name, *addresses = part.split()
        yield NodeInterface(name, tuple(addresses))


@click.command()
@proxy_flags
def _command(**flags: object) -> None:
    """Collects flags as the real commands do."""


def _read_flags(text: str) -> ProxyConfig:
    words = [f"--hostname-override={_NODE_NAME}", *shlex.split(text)]
    return read_proxy_config(_command.make_context("scenario", words).params)


def _read_steps(file: ScenarioFile, story: Story) -> Iterator[Step]:
    by_step: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for section, text in file.sections.items():
        number, slash, name = section.partition("/")
        if slash and number.isdigit():
            by_step[int(number)][name] = text
        elif section != GOLDEN:
            raise ScenarioFileError(f"{story.path}: what is section {section!r}?")
    if list(by_step) != list(range(1, len(by_step) + 1)):
        raise ScenarioFileError(f"{story.path}: steps are numbered 1, 2, 3 in their order")
    manifests: dict[str, str] = {}
    for step, sections in by_step.items():
        packets = sections.pop("packets", "")
        manifests |= sections
        plays = tuple(_read_plays(packets, story))
        if not plays:
            raise ScenarioFileError(f"{story.path}: step {step} plays no packets")
        yield Step(f"step {step}", tuple(_read_objects(manifests, story.path)), plays)


def _read_objects(manifests: dict[str, str], path: Path) -> Iterator[ModelObject]:
    seen = set()
    for name, text in manifests.items():
        for document in read_documents(text.encode(), name):
            parsed = parse_object(document)
            errors = [d for d in parsed.diagnostics if d.severity is Severity.ERROR]
            if errors:
                raise ScenarioFileError(f"{path}: {name}: {errors}")
            for one in parsed.objects:
                if key_of(one) in seen:
                    raise ScenarioFileError(f"{path}: {key_of(one)} stands in two manifests")
                seen.add(key_of(one))
                yield one


def _read_plays(table: str, story: Story) -> Iterator[Play]:
    lines = [line.partition("#")[0].rstrip() for line in table.splitlines()]
    rows = [(line, re.split(r"\s{2,}", line)) for line in lines if line]
    if rows and tuple(rows[0][1]) not in (_HEADER, (*_HEADER, _AFFINITY)):
        raise ScenarioFileError(f"{story.path}: packets need the columns {', '.join(_HEADER)}")
    for line, cells in rows[1:]:
        try:
            source, target, arrives, masqueraded, *more = cells
            affinity = more[0] if len(rows[0][1]) > len(_HEADER) else "-"
            packet = _read_packet(source, target, story)
            fate = _read_fate(arrives, masqueraded)
            yield Play(line, packet, fate, affinity.removeprefix("-"))
        except (ValueError, KeyError, IndexError) as error:
            raise ScenarioFileError(f"{story.path}: {line!r}: {error}") from None


def _read_packet(source: str, target: str, story: Story) -> Packet:
    match = _TO.fullmatch(target)
    if match is None:
        raise ValueError(f"no address:port/protocol: {target!r}")
    destination = parse_address(match[1])
    who, _, address = source.partition(" ")
    from_node = story.addresses(family_of(destination)).primary
    start = parse_address(address) if address else from_node
    if start is None or who not in ("pod", "outside", "node"):
        raise ValueError(f"FROM is pod, outside or node, and an address: {source!r}")
    cables = [each.name for each in story.interfaces]
    pod_side = _POD_INTERFACE if _POD_INTERFACE in cables else cables[0]
    interface = {"pod": pod_side, "outside": cables[0], "node": ""}[who]
    return Packet(start, destination, match[3].upper(), int(match[2]), interface)


def _read_fate(arrives: str, masqueraded: str) -> Fate:
    if arrives in ("reject", "drop", "accept"):
        if masqueraded != "-":
            raise ValueError("MASQUERADED is - for what arrives nowhere")
        return Fate(FateKind(arrives))
    places = arrives.split(", ")
    words = masqueraded.split(", ")
    answers = words * len(places) if len(words) == 1 else words
    arrivals = frozenset(_read_arrivals(zip(places, answers, strict=True)))
    return Fate(FateKind.FORWARD, arrivals)


def _read_arrivals(pairs: Iterable[tuple[str, str]]) -> Iterator[Arrival]:
    for place, answer in pairs:
        match = _ARRIVAL.fullmatch(place)
        if match is None:
            raise ValueError(f"no address:port: {place!r}")
        yield Arrival(parse_address(match[1]), int(match[2]), {"yes": True, "no": False}[answer])
