"""Every kind of record of the specification, and what there is where there is none."""

from __future__ import annotations

import dns.reversename
import pytest

from netproxy.api.objects import Key
from netproxy.dns.zone import Zone, ZoneSettings
from tests.dns.asking import ask, ask_elsewhere
from tests.dns.cluster import (
    OBJECTS,
    ZONE,
    drop,
    endpoint,
    filled,
    headless,
    pod,
    port,
    put,
    slice_of,
)
from tests.kube.objects import service

RESPONDER = filled()
IN_ADDR = "in-addr.arpa."
SVC = "default.svc.cluster.local."


def arpa(address: str) -> str:
    return str(dns.reversename.from_address(address))


# Source: Kubernetes DNS-Based Service Discovery 1.1.0; sections in brackets.
POSITIVE = [
    # [2.2] version
    ("dns-version." + ZONE, "TXT", ['TXT "1.1.0"']),
    # [2.3.1] addresses of a ClusterIP
    ("web." + SVC, "A", ["A 10.96.0.20"]),
    ("web." + SVC, "AAAA", ["AAAA fd00:96::20"]),
    ("six." + SVC, "AAAA", ["AAAA fd00:96::21"]),
    ("bare." + SVC, "A", ["A 10.96.0.21"]),
    # one that is being deleted still has its address, and rules
    ("leaving." + SVC, "A", ["A 10.96.0.22"]),
    # [2.3.2] its named ports
    ("_http._tcp.web." + SVC, "SRV", ["SRV 0 100 80 web." + SVC]),
    ("_https._tcp.web." + SVC, "SRV", ["SRV 0 100 443 web." + SVC]),
    ("_dns._udp.web." + SVC, "SRV", ["SRV 0 100 53 web." + SVC]),
    # [2.3.3] its addresses' names
    (arpa("10.96.0.20"), "PTR", ["PTR web." + SVC]),
    (arpa("fd00:96::20"), "PTR", ["PTR web." + SVC]),
    # [2.4.1] ready endpoints of a headless Service; each once, in however many slices
    ("db." + SVC, "A", ["A 10.244.1.1", "A 10.244.1.2", "A 10.244.1.3"]),
    ("db." + SVC, "AAAA", ["AAAA fd00:244::1", "AAAA fd00:244::3"]),
    ("db-0.db." + SVC, "A", ["A 10.244.1.1"]),
    ("db-0.db." + SVC, "AAAA", ["AAAA fd00:244::1"]),
    ("10-244-1-3.db." + SVC, "A", ["A 10.244.1.3"]),
    ("fd00-244--3.db." + SVC, "AAAA", ["AAAA fd00:244::3"]),
    ("early." + SVC, "A", ["A 10.244.1.10"]),
    ("early-0.early." + SVC, "A", ["A 10.244.1.10"]),
    ("portless." + SVC, "A", ["A 10.244.1.11"]),
    # [2.4.2] their ports
    (
        "_sql._tcp.db." + SVC,
        "SRV",
        [
            "SRV 0 100 5432 10-244-1-3.db." + SVC,
            "SRV 0 100 5432 db-0.db." + SVC,
            "SRV 0 100 5432 db-1.db." + SVC,
            "SRV 0 100 5432 fd00-244--3.db." + SVC,
        ],
    ),
    # [2.4.3] their addresses' names
    (arpa("10.244.1.1"), "PTR", ["PTR db-0.db." + SVC]),
    (arpa("fd00:244::1"), "PTR", ["PTR db-0.db." + SVC]),
    # [2.5] external names
    ("outside." + SVC, "CNAME", ["CNAME www.example.com."]),
    ("inside." + SVC, "A", ["CNAME web." + SVC, "A 10.96.0.20"]),
    ("twice." + SVC, "AAAA", ["CNAME inside." + SVC, "CNAME web." + SVC, "AAAA fd00:96::20"]),
    ("twice." + SVC, "CNAME", ["CNAME inside." + SVC]),
    # [2.6] pods
    ("10-244-2-5.default.pod." + ZONE, "A", ["A 10.244.2.5"]),
    ("fd00-244-2--5.default.pod." + ZONE, "AAAA", ["AAAA fd00:244:2::5"]),
    # as CoreDNS: names of endpoints whose pods asked for them; all ports at once
    ("s-0.stateful." + SVC, "A", ["A 10.244.1.12"]),
    (arpa("10.244.1.12"), "PTR", ["PTR s-0.stateful." + SVC]),
    ("bare." + SVC, "SRV", ["SRV 0 100 80 bare." + SVC]),
    # the zone itself
    (
        ZONE,
        "SOA",
        [f"SOA ns.dns.{ZONE} hostmaster.{ZONE} 7 7200 1800 86400 5"],
    ),
    (ZONE, "NS", ["NS ns.dns." + ZONE]),
    ("ns.dns." + ZONE, "A", ["A 10.96.0.10"]),
    ("web." + SVC, "ANY", ['HINFO "RFC8482" ""']),
    ("outside." + SVC, "ANY", ['HINFO "RFC8482" ""']),
]


@pytest.mark.parametrize(("name", "type_", "answers"), POSITIVE, ids=lambda value: str(value)[:60])
def test_there_is(name: str, type_: str, answers: list[str]) -> None:
    said = ask(RESPONDER, name, type_, edns=1232)
    assert said.rcode == "NOERROR"
    assert sorted(said.answers) == sorted(answers)
    assert said.soa == ""
    assert {rrset.ttl for rrset in said.message.answer} == {30}


def test_no_fact_is_left_unsaid() -> None:
    """The table names every record type that a zone can have."""
    assert {type_ for _, type_, _ in POSITIVE} >= {
        "A", "AAAA", "ANY", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT",
    }  # fmt: skip


NOTHING_OF_THAT_TYPE = [
    ("bare." + SVC, "AAAA"),
    ("six." + SVC, "A"),
    ("web." + SVC, "TXT"),
    ("_http._tcp.web." + SVC, "A"),
    ("db-1.db." + SVC, "AAAA"),
    ("10-244-2-5.default.pod." + ZONE, "AAAA"),
    ("inside." + SVC, "TXT"),
    ("portless." + SVC, "SRV"),
    ("dns-version." + ZONE, "A"),
    (ZONE, "A"),
    ("ns.dns." + ZONE, "AAAA"),
    # names that only exist because others are below them
    ("dns." + ZONE, "A"),
    ("svc." + ZONE, "A"),
    ("pod." + ZONE, "A"),
    ("default.svc." + ZONE, "A"),
    ("default.svc." + ZONE, "NS"),
    ("default.pod." + ZONE, "A"),
    ("empty.svc." + ZONE, "A"),
    ("_tcp.web." + SVC, "SRV"),
    ("_udp.web." + SVC, "A"),
    ("_tcp.db." + SVC, "A"),
]


@pytest.mark.parametrize(("name", "type_"), NOTHING_OF_THAT_TYPE)
def test_there_is_nothing_of_that_type(name: str, type_: str) -> None:
    said = ask(RESPONDER, name, type_)
    assert said.rcode == "NOERROR"
    assert [each for each in said.answers if not each.startswith("CNAME")] == []
    assert said.soa == ZONE


NO_SUCH_NAME = [
    "missing." + SVC,
    "x.web." + SVC,
    "x.y.z.web." + SVC,
    "_http._udp.web." + SVC,
    "_nope._tcp.web." + SVC,
    "http._tcp.web." + SVC,
    "_http.tcp.web." + SVC,
    "_._tcp.db." + SVC,
    "_sctp.web." + SVC,
    "_tcp.bare." + SVC,
    "x.outside." + SVC,
    "looks-like-one." + SVC,
    # nobody ready
    "waiting." + SVC,
    "w-0.waiting." + SVC,
    "_sql._tcp.waiting." + SVC,
    "_tcp.waiting." + SVC,
    "db-4.db." + SVC,
    "10-244-1-1.db." + SVC,  # has a name of its own
    "10-244-1-13.stateful." + SVC,
    "nope.svc." + ZONE,
    "web.nope.svc." + ZONE,
    "nope.pod." + ZONE,
    "10-244-2-9.default.pod." + ZONE,
    "10-244-2-6.default.pod." + ZONE,  # its pod has ended
    "10-244-2-5.empty.pod." + ZONE,
    "010-244-2-5.default.pod." + ZONE,
    "x.10-244-2-5.default.pod." + ZONE,
    "www.example.com." + SVC,
    "foo." + ZONE,
    "x.dns." + ZONE,
    "x.dns-version." + ZONE,
    "nowhere." + SVC,
]


@pytest.mark.parametrize("name", NO_SUCH_NAME)
@pytest.mark.parametrize("type_", ["A", "SRV"])
def test_there_is_no_such_name(name: str, type_: str) -> None:
    said = ask(RESPONDER, name, type_)
    assert said.rcode == "NXDOMAIN"
    assert [each for each in said.answers if not each.startswith("CNAME")] == []
    assert said.soa == ZONE
    assert said.message.authority[0].ttl == 5


def test_an_alias_of_nothing_is_seen_to_be_one() -> None:
    """RFC 6604: the code belongs to the last name of a chain."""
    said = ask(RESPONDER, "nowhere." + SVC)
    assert said.answers == ["CNAME missing." + SVC]


def test_aliases_in_a_circle_end() -> None:
    assert ask(RESPONDER, "here." + SVC).rcode == "SERVFAIL"
    assert ask(RESPONDER, "here." + SVC, "CNAME").answers == ["CNAME there." + SVC]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("www.example.com.", "A"),
        ("cluster.local.example.com.", "A"),
        ("local.", "A"),
        ("xcluster.local.", "A"),
        (arpa("10.96.0.99"), "PTR"),
        (arpa("10.244.1.3"), "PTR"),  # has no hostname
        (arpa("10.244.1.4"), "PTR"),  # is not ready
        ("0.96.10." + IN_ADDR, "PTR"),
        ("1.20.0.96.10." + IN_ADDR, "PTR"),
        ("020.0.96.10." + IN_ADDR, "PTR"),
        ("300.0.96.10." + IN_ADDR, "PTR"),
        ("x.0.96.10." + IN_ADDR, "PTR"),
        ("a\\007cluster.local.", "A"),
        ("web.default.svc.a\\007cluster.local.", "A"),
    ],
)
def test_others_must_be_asked(name: str, type_: str) -> None:
    foreign = ask_elsewhere(RESPONDER, name, type_)
    assert foreign.target == foreign.query.name
    assert foreign.before == ()


def test_others_must_be_asked_for_what_a_service_stands_for() -> None:
    foreign = ask_elsewhere(RESPONDER, "outside." + SVC)
    assert foreign.target == b"\3www\7example\3com\0"
    assert [each.target for each in foreign.before] == [foreign.target]


def test_reverse_names_have_nothing_else() -> None:
    """Each is a zone of its own, as nobody says who has the zones above."""
    name = arpa("10.96.0.20")
    said = ask(RESPONDER, name, "A")
    assert (said.rcode, said.answers, said.soa) == ("NOERROR", [], name)


@pytest.mark.parametrize(
    ("name", "additional"),
    [
        ("_http._tcp.web", ["web.{} A 10.96.0.20", "web.{} AAAA fd00:96::20"]),
        (
            "_sql._tcp.db",
            [
                "10-244-1-3.db.{} A 10.244.1.3",
                "db-0.db.{} A 10.244.1.1",
                "db-0.db.{} AAAA fd00:244::1",
                "db-1.db.{} A 10.244.1.2",
                "fd00-244--3.db.{} AAAA fd00:244::3",
            ],
        ),
    ],
)
def test_ports_come_with_addresses(name: str, additional: list[str]) -> None:
    said = ask(RESPONDER, f"{name}.{SVC}", "SRV", edns=1232)
    assert sorted(said.additional) == [each.format(SVC) for each in additional]


def test_names_without_a_port_come_in_srv_of_the_service_alone() -> None:
    said = ask(RESPONDER, "db." + SVC, "SRV", is_stream=True)
    assert len(said.answers) == 8
    assert sum(" 9999 " in each for each in said.answers) == 4


@pytest.mark.parametrize(
    "name", ["WEB.Default.SVC.Cluster.LOCAL.", "wEb.default.svc.cluster.local."]
)
def test_spelling_makes_no_difference_and_is_kept(name: str) -> None:
    assert ask(RESPONDER, name).answers == ["A 10.96.0.20"]


def test_an_endpoint_that_becomes_ready_appears() -> None:
    responder = filled()
    assert ask(responder, "waiting." + SVC).rcode == "NXDOMAIN"
    put(responder, slice_of("waiting", "waiting-a", [endpoint("10.244.1.9", "w-0")]))
    assert ask(responder, "waiting." + SVC).answers == ["A 10.244.1.9"]
    assert ask(responder, arpa("10.244.1.9"), "PTR").answers == ["PTR w-0.waiting." + SVC]


def test_a_slice_that_changes_its_service_takes_its_names_along() -> None:
    responder = filled()
    before = ask(responder, "early." + SVC)
    put(responder, slice_of("portless", "early-a", [endpoint("10.244.1.10", "early-0")]))
    assert before.answers == ["A 10.244.1.10"]
    assert ask(responder, "early." + SVC).rcode == "NXDOMAIN"
    assert ask(responder, "early-0.portless." + SVC).answers == ["A 10.244.1.10"]
    assert ask(responder, arpa("10.244.1.10"), "PTR").answers == ["PTR early-0.portless." + SVC]


def test_two_services_share_endpoints_and_their_addresses_have_both_names() -> None:
    responder = filled([headless("a"), headless("b")])
    for name in "ab":
        put(responder, slice_of(name, f"{name}-1", [endpoint("10.244.1.1", "pod")]))
    names = [f"PTR pod.a.{SVC}", f"PTR pod.b.{SVC}"]
    assert sorted(ask(responder, arpa("10.244.1.1"), "PTR").answers) == names
    drop(responder, headless("a"))
    assert ask(responder, arpa("10.244.1.1"), "PTR").answers == names[1:]


def test_an_address_that_is_given_to_another_service_changes_its_name() -> None:
    responder = filled([service("old", "10.96.0.50")])
    assert ask(responder, arpa("10.96.0.50"), "PTR").answers == ["PTR old." + SVC]
    drop(responder, service("old"))
    ask_elsewhere(responder, arpa("10.96.0.50"), "PTR")
    put(responder, service("new", "10.96.0.50"))
    assert ask(responder, arpa("10.96.0.50"), "PTR").answers == ["PTR new." + SVC]


def test_a_service_that_changes_its_kind_changes_its_records() -> None:
    responder = filled()
    name = "db." + SVC
    assert len(ask(responder, name).answers) == 3
    put(responder, service("db", "10.96.0.60", ports=[port("sql", 5432)]))
    assert ask(responder, name).answers == ["A 10.96.0.60"]
    assert ask(responder, "_sql._tcp." + name, "SRV").answers == ["SRV 0 100 5432 " + name]
    put(responder, headless("db", publishNotReadyAddresses=True))
    assert len(ask(responder, name).answers) == 4
    assert ask(responder, arpa("10.244.1.4"), "PTR").answers == ["PTR db-4.db." + SVC]


def test_a_namespace_is_there_as_long_as_anything_is_in_it() -> None:
    responder = filled([])
    web = service("web", namespace="shop")
    assert ask(responder, "shop.svc." + ZONE).rcode == "NXDOMAIN"
    put(responder, web)
    assert ask(responder, "shop.svc." + ZONE).rcode == "NOERROR"
    drop(responder, web)
    assert ask(responder, "shop.svc." + ZONE).rcode == "NXDOMAIN"


def test_an_address_of_two_pods_outlives_one_of_them() -> None:
    """Pods with the host's network have its address."""
    first, second = pod("one", ["192.0.2.7"]), pod("two", ["192.0.2.7"])
    responder = filled([first, second])
    name = "192-0-2-7.default.pod." + ZONE
    drop(responder, first)
    assert ask(responder, name).rcode == "NOERROR"
    drop(responder, second)
    assert ask(responder, name).rcode == "NXDOMAIN"


def test_objects_that_make_no_sense_have_no_names_and_break_none() -> None:
    responder = filled()
    odd: list[object] = [[], "x", 7, None, {"ports": "x"}, {"clusterIPs": [1, "x", "10.96.0.99"]}]
    for nonsense in odd:
        put(responder, {**service("odd"), "spec": nonsense})
    put(responder, {**slice_of("db", "db-a", []), "endpoints": [7, {"addresses": ["x"]}]})
    put(responder, {**slice_of("db", "db-b", []), "addressType": "FQDN"})
    assert ask(responder, "odd." + SVC).answers == ["A 10.96.0.99"]
    assert ask(responder, "db." + SVC).answers == ["A 10.244.1.1"]
    for external in ("", ".", "a..b", "x" * 64 + ".com", "é.example"):
        put(
            responder,
            {**service("odd"), "spec": {"type": "ExternalName", "externalName": external}},
        )
        assert ask(responder, "odd." + SVC).rcode == "NXDOMAIN"


def test_any_zone_will_do_that_leaves_room_for_names() -> None:
    settings = ZoneSettings("K8s.Example.", ttl_s=9, nameserver=Key("default", "web"))
    responder = filled(settings=settings)
    said = ask(responder, "web.default.svc.k8s.example.")
    assert said.answers == ["A 10.96.0.20"]
    assert said.message.answer[0].ttl == 9
    assert ask(responder, "ns.dns.k8s.example.", "AAAA").answers == ["AAAA fd00:96::20"]
    ask_elsewhere(responder, "web." + SVC)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "x" * 30 + "." + "y" * 30, "é"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"name|letters|label"):
        Zone(ZoneSettings(name))


def test_all_names_of_the_table_disappear_with_their_objects() -> None:
    responder = filled()
    for name, type_, _ in POSITIVE:
        ask(responder, name, type_, edns=1232)
    for each in reversed(OBJECTS):
        drop(responder, each)
    for name, type_, _ in POSITIVE:
        if name.endswith(("svc." + ZONE, "pod." + ZONE)):
            assert ask(responder, name, type_).rcode == "NXDOMAIN"
        elif name.endswith("arpa."):
            ask_elsewhere(responder, name, type_)
    assert not [each for each in responder.known if b"\3svc" in each or b"\4arpa" in each]
