"""Addresses, files, environments, demands, thresholds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.model.ip import IPAddress, parse_prefix
from netproxy.pods.core import demands, environment, files
from netproxy.pods.core.addresses import next_address
from netproxy.pods.core.environment import Surroundings, command_of, environment_of, expand
from netproxy.pods.core.model import containers_of
from netproxy.pods.core.probing import Tally, Timing, timing_of
from netproxy.pods.core.restarts import delay_s
from tests.unit.pods.seen import ADDRESSES, HOST, container, pod

V4, V6 = parse_prefix("10.1.2.0/28"), parse_prefix("fd00::/126")


# Addresses


@given(st.data())
def test_addresses_are_free_in_the_prefix_and_come_back_last(data: st.DataObject) -> None:
    prefix = data.draw(st.sampled_from([V4, V6]))
    room = 14 if prefix is V4 else 3
    taken: list[IPAddress] = []
    last: IPAddress | None = None
    for gives_back in data.draw(st.lists(st.booleans(), max_size=60)):
        if gives_back and taken:
            taken.pop(data.draw(st.integers(0, len(taken) - 1)))
            continue
        found = next_address(prefix, taken, last)
        if found is None:
            assert len(taken) == room
            continue
        assert found not in taken
        assert prefix.contains(found)
        assert found not in ("10.1.2.0", "10.1.2.15", "fd00::")
        taken.append(found)
        last = found


def test_an_address_that_has_become_free_is_not_the_next_one() -> None:
    first = next_address(V4, (), None)
    assert first == "10.1.2.1"
    assert next_address(V4, (), first) == "10.1.2.2"
    assert next_address(V4, (), IPAddress("10.1.2.14")) == "10.1.2.1"
    assert next_address(V4, (), IPAddress("192.0.2.1")) == "10.1.2.1"


# Files

HOSTS_OWN = files.parse_resolver(
    "# x\nnameserver 192.0.2.53\nsearch corp.example\noptions rotate\n"
)


def resolver(dns: tuple[str, ...] = ("10.96.0.10",), **spec: Any) -> str:
    return str(files.resolver_of(pod(**spec), HOSTS_OWN, dns, "cluster.local"))


def test_cluster_first() -> None:
    assert resolver().splitlines()[1:] == [
        "nameserver 10.96.0.10",
        "search default.svc.cluster.local svc.cluster.local cluster.local corp.example",
        "options ndots:5",
    ]


@pytest.mark.parametrize(
    "spec", [{"dnsPolicy": "Default"}, {"hostNetwork": True}, {"dns": ()}], ids=str
)
def test_the_hosts_own(spec: Any) -> None:
    assert resolver(**spec).splitlines()[1:] == [
        "nameserver 192.0.2.53",
        "search corp.example",
        "options rotate",
    ]


def test_what_the_pod_says_itself() -> None:
    config = {
        "nameservers": ["198.51.100.1"],
        "searches": ["a.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert resolver(dnsPolicy="None", dnsConfig=config).splitlines()[1:] == [
        "nameserver 198.51.100.1",
        "search a.example",
        "options ndots:2 edns0",
    ]
    merged = resolver(dnsConfig=config)
    assert "nameserver 10.96.0.10\nnameserver 198.51.100.1" in merged
    assert "options ndots:2 edns0" in merged


def test_hosts_and_names() -> None:
    aliases = [{"ip": "192.0.2.9", "hostnames": ["old", "older"]}]
    made = pod(hostname="web-0", subdomain="web", hostAliases=aliases)
    text = files.hosts_of(made, ADDRESSES, "cluster.local")
    assert "10.244.7.1 web-0.web.default.svc.cluster.local web-0\n" in text
    assert "192.0.2.9 old older\n" in text
    assert files.hostname_of(pod()) == "p"
    long = pod()
    long["metadata"]["name"] = "x" * 62 + "-y"
    assert files.hostname_of(long) == "x" * 62


# Environments


def surroundings(made: Any, **maps: Any) -> Surroundings:
    return Surroundings(made, ADDRESSES, "n1", HOST, maps)


def environ(one: Any, **maps: Any) -> dict[str, str]:
    made = pod(one)
    return environment_of(containers_of(made)[0], surroundings(made, **maps))


def test_values_and_references() -> None:
    found = environ(
        container(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$$(A)$(C)"}])
    )
    assert (found["A"], found["B"]) == ("1", "1$(A)$(C)")
    assert found["HOSTNAME"] == "p"
    made = pod(container(command=["echo", "$(A)"], args=["$$x"]))
    assert command_of(containers_of(made)[0], {"A": "1"}) == ["echo", "1", "$x"]


@given(st.text(max_size=30))
def test_expanding_nothing_changes_nothing_but_dollars(text: str) -> None:
    assert expand(text, {}) == text.replace("$$", "$")


def test_fields() -> None:
    paths = {"metadata.name": "p", "status.podIPs": ",".join(ADDRESSES), "spec.nodeName": "n1"}
    found = environ(
        container(
            env=[
                {"name": f"V{n}", "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for n, path in enumerate(paths)
            ]
        )
    )
    assert [found[f"V{n}"] for n in range(len(paths))] == list(paths.values())
    wrong = container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}])
    with pytest.raises(environment.ConfigError, match="not supported"):
        environ(wrong)


def test_maps() -> None:
    key = {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}
    whole = {"configMapRef": {"name": "m"}, "prefix": "P_"}
    one = container(env=[key], envFrom=[whole])
    found = environ(one, m={"data": {"k": "v"}})
    assert (found["K"], found["P_k"]) == ("v", "v")
    made = pod(one)
    assert environment.config_maps_of(containers_of(made)[0]) == {"m"}
    with pytest.raises(environment.ConfigError, match='configmap "m" not found'):
        environ(container(env=[key]), m=None)
    with pytest.raises(environment.ConfigError, match="couldn't find key k"):
        environ(container(env=[key]), m={"data": {"other": ""}})
    key["valueFrom"]["configMapKeyRef"]["optional"] = True  # type: ignore[index]
    assert "K" not in environ(container(env=[key]), m=None)


# Demands


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"name": "c", "image": "nginx"}, "no command"),
        (container(volumeMounts=[{"name": "data"}]), "volumes are not mounted here: data"),
        (container(securityContext={"runAsNonRoot": True}), "runAsNonRoot"),
        (container(env=[{"name": "S", "valueFrom": {"secretKeyRef": {}}}]), "env S: secretKeyRef"),
        (container(envFrom=[{"secretRef": {"name": "s"}}]), "envFrom"),
        (container(livenessProbe={"grpc": {"port": 1}}), "livenessProbe: grpc"),
        (container(lifecycle={"postStart": {"sleep": {}}}), "postStart"),
    ],
)
def test_what_cannot_be_had(one: Any, words: str) -> None:
    made = pod(one)
    problem = demands.problem_of(made, containers_of(made)[0])
    assert problem is not None
    assert words in problem.message


def test_what_is_passed_over_is_said() -> None:
    made = pod(container(resources={"limits": {"cpu": "1"}}), container("d", image="/srv/root"))
    said = demands.remarks_on(made)
    assert len(said) == 2
    assert "none is ignored" in said[0]
    assert "/srv/root" not in said[0]


def test_who_a_container_runs_as() -> None:
    shared = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}
    own = container(securityContext={"runAsUser": 7})
    made = pod(own, securityContext=shared)
    assert demands.identity_of(made, containers_of(made)[0]) == (7, 2, (4, 3))
    plain = pod()
    assert demands.identity_of(plain, containers_of(plain)[0]) == (0, 0, ())


# Thresholds


def test_defaults_of_probes_are_the_apis() -> None:
    assert timing_of({}) == Timing(0, 10, 1, 1, 3)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_verdicts_take_results_in_a_row(results: list[bool], successes: int, failures: int) -> None:
    tally = Tally(Timing(0, 1, 1, successes, failures))
    for number, result in enumerate(results):
        verdict = tally.take(result)
        needed = successes if result else failures
        row = results[max(0, number + 1 - needed) : number + 1]
        assert (verdict is not None) == (len(row) == needed and set(row) == {result})
        assert verdict in (None, result)


def test_waits_grow_to_five_minutes() -> None:
    waits = [delay_s(streak) for streak in range(12)]
    assert waits == sorted(waits)
    assert max(waits) == 300
