"""Laws of cluster DNS: for every cluster, every order of changes, and every message."""

from __future__ import annotations

import ipaddress
import itertools

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.objects import Key, Object, key_of
from netproxy.api.resources import BY_KIND, ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Resource
from netproxy.dns.messages import Useless, read_answer
from netproxy.dns.names import address_of_label, join, labels_of, reverse_name, reversed_address
from netproxy.dns.records import RecordType
from netproxy.dns.responder import Foreign, Reply, Responder
from netproxy.dns.wire import IN, LARGEST_LIMIT, read_query
from netproxy.model.ip import pack_address, parse_address
from tests.dns.asking import words
from tests.dns.cluster import external, filled, headless, namespace, pod, port, slice_of
from tests.kube.objects import service

_NAMES = ["a", "b"]
_SPACES = ["default", "shop"]
_V4 = [f"10.1.0.{n}" for n in range(1, 4)]
_V6 = [f"fd00::{n}" for n in range(1, 4)]
_PORTS = [port("sql", 5432), port("web", 80), port("", 7), port("dns", 53, "UDP")]
_TARGETS = ["b.default.svc.cluster.local", "a.default.svc.cluster.local", "www.example.com"]

Change = tuple[Resource, Key, Object | None]


def _within(obj: Object, space: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "namespace": space}}


@st.composite
def _services(draw: st.DrawFn) -> Object:
    name = draw(st.sampled_from(_NAMES))
    kind = draw(st.sampled_from(["cluster", "headless", "external"]))
    ports = draw(st.lists(st.sampled_from(_PORTS), max_size=3))
    if kind == "external":
        made = external(name, draw(st.sampled_from(_TARGETS)))
    elif kind == "headless":
        publishes = draw(st.booleans())
        made = headless(name, ports=ports, publishNotReadyAddresses=publishes)
    else:
        ips = draw(st.lists(st.sampled_from(["10.96.0.1", "10.96.0.2", "fd00:96::1"]), max_size=2))
        made = service(name, clusterIPs=ips, ports=ports)
    return _within(made, draw(st.sampled_from(_SPACES)))


@st.composite
def _slices(draw: st.DrawFn) -> Object:
    addresses = draw(st.sampled_from([_V4, _V6]))
    endpoints = st.builds(
        lambda address, hostname, ready: {
            "addresses": [address],
            "conditions": {"ready": ready},
            **({"hostname": hostname} if hostname else {}),
        },
        st.sampled_from(addresses),
        st.sampled_from(["", "", "x-0", "x-1"]),
        st.sampled_from([True, True, False, None]),
    )
    made = slice_of(
        draw(st.sampled_from(_NAMES)),
        draw(st.sampled_from(["s1", "s2", "s3"])),
        draw(st.lists(endpoints, max_size=4)),
        addressType="IPv6" if addresses is _V6 else "IPv4",
        ports=draw(st.lists(st.sampled_from(_PORTS), max_size=2)),
    )
    return _within(made, draw(st.sampled_from(_SPACES)))


_pods = st.builds(
    lambda name, addresses, space, phase: pod(name, addresses, within=space, phase=phase),
    st.sampled_from(["p1", "p2"]),
    st.lists(st.sampled_from([*_V4, *_V6]), max_size=2),
    st.sampled_from(_SPACES),
    st.sampled_from(["Running", "Running", "Failed"]),
)
_objects = st.one_of(
    _services(), _services(), _slices(), _slices(), _pods, st.sampled_from(_SPACES).map(namespace)
)


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Objects that come and change, and some that go."""
    made: list[Change] = []
    for obj in draw(st.lists(_objects, min_size=1, max_size=25)):
        resource = BY_KIND[obj["apiVersion"], obj["kind"]]
        made.append((resource, key_of(obj), None if draw(st.integers(0, 4)) == 0 else obj))
    return made


def _questions() -> list[tuple[bytes, int]]:
    """Every name that such a cluster could have, and some that it cannot."""
    below: list[list[str]] = [[], ["svc"], ["pod"], ["dns-version"], ["nope"], ["ns", "dns"]]
    for space in (*_SPACES, "nope"):
        below += [[space, "svc"], [space, "pod"]]
        below += [
            [address.replace(".", "-").replace(":", "-"), space, "pod"] for address in (*_V4, *_V6)
        ]
        for name in (*_NAMES, "nope"):
            at = [name, space, "svc"]
            below += [
                at,
                ["_tcp", *at],
                ["_udp", *at],
                ["_sql", "_tcp", *at],
                ["_dns", "_udp", *at],
            ]
            below += [[label, *at] for label in ("x-0", "x-1", "10-1-0-1", "fd00--1")]
    zone = [b"cluster", b"local"]
    names = [join([*(label.encode() for label in each), *zone]) for each in below]
    names += [
        reverse_name(pack_address(parse_address(each)))
        for each in (*_V4, *_V6, "10.96.0.1", "10.96.0.2", "fd00:96::1")
    ]
    types = [RecordType.A, RecordType.AAAA, RecordType.SRV, RecordType.PTR, RecordType.ANY]
    return [(name, type_) for name in names for type_ in types]


QUESTIONS = _questions()


def message(name: bytes, type_: int) -> bytes:
    counts = b"\x12\x34\1\0\0\1\0\0\0\0\0\1"
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    return counts + name + type_.to_bytes(2, "big") + IN.to_bytes(2, "big") + opt


def everything(responder: Responder) -> list[Reply | Foreign | None]:
    return [responder.respond(message(*each), is_stream=True) for each in QUESTIONS]


@given(changes(), st.lists(st.integers(0, 24), max_size=3))
def test_the_way_makes_no_difference(story: list[Change], pauses: list[int]) -> None:
    """Whatever changes, whoever asks meanwhile: answers are those of the objects that are there."""
    responder = filled([])
    current: dict[tuple[Resource, Key], Object] = {}
    for number, (resource, key, obj) in enumerate(story):
        responder.change(resource, key, obj)
        current.pop((resource, key), None)
        if obj is not None:
            current[resource, key] = obj
        if number in pauses:
            everything(responder)
    anew = filled([])
    for (resource, key), obj in reversed(current.items()):
        anew.change(resource, key, obj)
    assert everything(responder) == everything(anew)
    # What was kept is as right the second time.
    assert everything(responder) == everything(anew)


@given(changes())
def test_nothing_is_left_of_what_is_gone(story: list[Change]) -> None:
    responder = filled([])
    for resource, key, obj in story:
        responder.change(resource, key, obj)
    everything(responder)
    for resource in (PODS, SERVICES, NAMESPACES, ENDPOINT_SLICES):
        for each, key, _ in story:
            if each == resource:
                responder.change(resource, key, None)
    assert everything(responder) == everything(filled([]))


@given(changes(), st.sets(st.sampled_from([name for name, _ in QUESTIONS]), max_size=8))
def test_answers_obey_the_rules_of_dns(story: list[Change], some: set[bytes]) -> None:
    names = some | {join(labels_of(name)[1:]) for name in some}
    responder = filled([])
    for resource, key, obj in story:
        responder.change(resource, key, obj)
    rcodes: dict[bytes, set[str]] = {}
    asked = [each for each in QUESTIONS if each[0] in names]
    for name, type_ in asked:
        found = responder.respond(message(name, type_), is_stream=True)
        if not isinstance(found, Reply):
            continue
        said = words(dns.message.from_wire(found.message))
        about = said.message.answer
        assert said.message.flags & dns.flags.AA
        # Nothing was found, or something was: either a SOA record says so or there are records.
        is_found = any(rrset.rdtype != dns.rdatatype.CNAME for rrset in about)
        assert is_found != bool(said.soa) or said.rcode == "SERVFAIL"
        if not about:
            rcodes.setdefault(name, set()).add(said.rcode)
        for first, second in itertools.pairwise(about):
            assert first.rdtype == dns.rdatatype.CNAME
            assert first[0].target == second.name
        targets = {
            each.target for rrset in about if rrset.rdtype == dns.rdatatype.SRV for each in rrset
        }
        assert {rrset.name for rrset in said.message.additional} <= targets
    # A name exists for all types, or for none.
    assert all(len(each) == 1 for each in rcodes.values())
    for name, (rcode,) in rcodes.items():
        above = join(labels_of(name)[1:])
        if rcode == "NOERROR" and above in rcodes:
            assert rcodes[above] == {"NOERROR"}, "RFC 8020: what is below something that is not"


RESPONDER = filled()
_beginnings = st.sampled_from([message(*each) for each in QUESTIONS[::7]])


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A question in which something is wrong, or nothing."""
    raw = bytearray(draw(_beginnings))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del raw[draw(st.integers(0, len(raw))) :]
    return bytes(raw) + draw(st.binary(max_size=20))


@given(st.one_of(st.binary(max_size=64), mangled()), st.booleans())
def test_no_message_breaks_anything(raw: bytes, is_stream: bool) -> None:
    found = RESPONDER.respond(raw, is_stream=is_stream)
    if found is None:
        assert len(raw) < 12 or raw[2] & 0x80
    elif isinstance(found, Reply):
        said = dns.message.from_wire(found.message)
        assert found.message[:2] == raw[:2]
        assert said.flags & dns.flags.QR
        assert is_stream or len(found.message) <= LARGEST_LIMIT
        assert len(found.message) <= 65535


@given(mangled())
def test_messages_are_read_as_others_read_them(raw: bytes) -> None:
    """Where dnspython reads a question, so do we, and the same; but for what means nothing."""
    try:
        theirs = dns.message.from_wire(raw)
    except (dns.exception.DNSException, ValueError):
        return
    if theirs.opcode() or theirs.flags & dns.flags.QR or len(theirs.question) != 1:
        return
    if raw[4:6] != b"\0\1" or raw[12] >= 0xC0:
        return
    ours = read_query(raw)
    assert ours.name == theirs.question[0].name.canonicalize().to_wire()
    assert (ours.type, ours.class_) == (theirs.question[0].rdtype, theirs.question[0].rdclass)
    assert (ours.edns is None) == (theirs.edns < 0)


@given(st.binary(max_size=80), st.integers(0, 3), st.integers(0, 3), st.integers(0, 15))
def test_no_answer_of_others_breaks_anything(
    rest: bytes, answers: int, others: int, rcode: int
) -> None:
    question = b"\1x\0\0\1\0\1"
    head = b"\x12\x34\x81" + bytes([0x80 | rcode, 0, 1, 0, answers, 0, others, 0, 0])
    try:
        heard = read_answer(head + question + rest, question)
    except Useless:
        return
    assert heard.ttl_s >= 0
    for age in (0, 1, 2**31):
        said = dns.message.from_wire(head[:2] + heard.packed.heads[0] + question + heard.rest(age))
        assert all(rrset.ttl >= 0 for rrset in said.answer)


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=8))
def test_names_are_their_labels(labels: list[bytes]) -> None:
    labels = [each.lower() for each in labels]
    if sum(len(each) + 1 for each in labels) > 254:
        with pytest.raises(ValueError, match="at most"):
            join(labels)
    else:
        assert labels_of(join(labels)) == labels


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)))
def test_reverse_names_are_their_addresses(packed: bytes) -> None:
    assert reversed_address(labels_of(reverse_name(packed))) == packed


@given(st.text("0123456789abcdef-", min_size=1, max_size=45))
def test_labels_that_look_like_addresses(text: str) -> None:
    """Each address has one spelling at most."""
    packed = address_of_label(text.encode())
    if packed is not None:
        address = ipaddress.ip_address(packed)
        assert str(address).replace(".", "-").replace(":", "-") == text
