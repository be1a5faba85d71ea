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
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.core.surroundings import Addresses
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import ModelObject, ObjectKey, key_of
from netproxy.model.ip import Family, IPAddress, family_of, parse_address
from netproxy.model.parse import parse_object
from netproxy.sources.manifests.documents import read_documents
from tests.scenario_file import ScenarioFile, ScenarioFileError
from tests.scenarios.features import FEATURES

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
    """One scenario file in one proxy mode."""

    path: Path
    sentence: str
    covers: tuple[tuple[str, tuple[Family, ...]], ...]
    """Rows of ``features.py``, each with the families in which it is shown."""
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


def read_stories(mode: ProxyMode = ProxyMode.NFTABLES) -> list[Story]:
    """All scenario files that have something to say of the mode, by name."""
    stories = (read_story(path, mode) for path in sorted(DIRECTORY.glob("*.txtar")))
    return [story for story in stories if story is not None]


def read_story(path: Path, mode: ProxyMode = ProxyMode.NFTABLES) -> Story | None:
    """One scenario file; None for one that is about other modes.

    Raises:
        ScenarioFileError: it is not written as the README of this directory says.
    """
    file = ScenarioFile.read(path)
    sentence, settings = _read_comment(file.comment, path)
    if mode.value not in settings.get("modes", mode.value).split(", "):
        return None
    interfaces = tuple(_read_interfaces(settings.get("node", _NODE)))
    story = Story(
        path=path,
        sentence=sentence,
        covers=(),
        config=_read_flags(settings.get("flags", ""), mode),
        interfaces=interfaces,
        steps=(),
        golden=file.sections.get(GOLDEN, ""),
    )
    story = story._replace(steps=tuple(_read_steps(file, story)))
    return story._replace(covers=tuple(_read_covers(settings["covers"], story)))


def _read_comment(comment: str, path: Path) -> tuple[str, dict[str, str]]:
    sentence: list[str] = []
    settings: dict[str, str] = {}
    for line in comment.splitlines():
        text = line.removeprefix("#").strip()
        name, colon, value = text.partition(": ")
        if colon and name in ("feature", "covers", "modes", "flags", "node"):
            settings[name] = value.strip()
        elif text:
            sentence.append(text)
    missing = {"feature", "covers"} - settings.keys()
    if not sentence or missing:
        raise ScenarioFileError(
            f"{path}: begins with a sentence and lines '# feature: ...' and '# covers: ...'"
        )
    return " ".join(sentence), settings


def _read_covers(text: str, story: Story) -> Iterator[tuple[str, tuple[Family, ...]]]:
    """Rows, all in the families of the packets, but for those with a family's name behind them."""
    played = {family_of(play.packet.destination) for step in story.steps for play in step.plays}
    for item in text.split(", "):
        row, _, label = item.partition(" ")
        families = tuple(f for f in Family if f in played and label in ("", f.label))
        if row not in FEATURES or not families:
            raise ScenarioFileError(f"{story.path}: covers {item!r}? See features.py")
        yield row, families


def _read_interfaces(text: str) -> Iterator[NodeInterface]:
    for part in text.split(";"):
        name, *addresses = part.split()
        yield NodeInterface(name, tuple(addresses))


@click.command()
@proxy_flags
def _command(**flags: object) -> None:
    """Collects flags as the real commands do."""


def _read_flags(text: str, mode: ProxyMode) -> ProxyConfig:
    words = [f"--hostname-override={_NODE_NAME}", f"--proxy-mode={mode.value}", *shlex.split(text)]
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
        said = sections.pop("diagnostics", "").splitlines()
        otherwise = {mode: sections.pop(f"packets.{mode.value}", "") for mode in ProxyMode}
        manifests |= sections
        plays = tuple(_read_plays(packets, story))
        plays = _put_otherwise(plays, otherwise[story.config.mode], story)
        if not plays:
            raise ScenarioFileError(f"{story.path}: step {step} plays no packets")
        yield Step(f"step {step}", _read_objects(manifests, said, story.path), plays)


def _read_objects(
    manifests: dict[str, str], said: list[str], path: Path
) -> tuple[ModelObject, ...]:
    """All objects of a step. Of errors nothing may be said but what stands in the file."""
    objects: dict[ObjectKey, ModelObject] = {}
    diagnostics: list[Diagnostic] = []
    for name, text in manifests.items():
        for document in read_documents(text.encode(), name):
            parsed = parse_object(document)
            diagnostics += parsed.diagnostics
            for one in parsed.objects:
                if key_of(one) in objects:
                    raise ScenarioFileError(f"{path}: {key_of(one)} stands in two manifests")
                objects[key_of(one)] = one
    lines = [f"{d.severity.value} {d.subject} {d.field}" for d in diagnostics]
    has_errors = any(d.severity is Severity.ERROR for d in diagnostics)
    if (said or has_errors) and sorted(lines) != sorted(said):
        raise ScenarioFileError(f"{path}: diagnostics are {diagnostics}")
    return tuple(objects.values())


def _put_otherwise(plays: tuple[Play, ...], table: str, story: Story) -> tuple[Play, ...]:
    """The same packets, some of which fare otherwise in the story's mode."""
    changed = {play.packet: play for play in _read_plays(table, story)}
    for packet, play in changed.items():
        if [each.expected == play.expected for each in plays if each.packet == packet] != [False]:
            raise ScenarioFileError(f"{story.path}: {play.line!r}: fares as above, or is not there")
    return tuple(changed.get(play.packet, play) for play in plays)


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
