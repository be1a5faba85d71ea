"""What a host writes about itself, and what it leaves alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from netproxy.membership.facts import read_facts
from netproxy.membership.node import HostFacts, node_object, with_labels, with_status
from netproxy.model.ip import parse_address

FACTS = HostFacts(4, 8_000_000, "amd64", "6.1.0", "Debian", "m-1", "b-1", "netproxy-1")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADDRESSES = (parse_address("192.0.2.1"), parse_address("2001:db8::1"))


def told(
    node: dict[str, Any], *, later_s: int = 0, trouble: str = "", runs_pods: bool = True
) -> Any:
    now = NOW + timedelta(seconds=later_s)
    return with_status(node, FACTS, ADDRESSES, now, runs_pods=runs_pods, trouble=trouble)


def ready(node: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in node["status"]["conditions"] if each["type"] == "Ready"]
    return found  # type: ignore[no-any-return]


def test_a_new_node_is_called_after_its_host() -> None:
    node = node_object("n1", FACTS)
    assert node["metadata"] == {
        "name": "n1",
        "labels": {
            "kubernetes.io/hostname": "n1",
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        },
    }
    assert with_labels(node, FACTS) is node


def test_labels_of_others_stay() -> None:
    labels = {"zone": "a", "kubernetes.io/os": "plan9"}
    node: dict[str, Any] = {"metadata": {"name": "n1", "labels": labels}}
    found = with_labels(node, FACTS)["metadata"]["labels"]
    assert found["zone"] == "a"
    assert found["kubernetes.io/os"] == "linux"
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "plan9"


def test_status_has_both_addresses_and_what_pods_need() -> None:
    status = told(node_object("n1", FACTS))["status"]
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "InternalIP", "address": "2001:db8::1"},
        {"type": "Hostname", "address": "n1"},
    ]
    assert status["allocatable"] == {"cpu": "4", "memory": "8000000Ki", "pods": "250"}
    assert status["nodeInfo"]["kernelVersion"] == "6.1.0"


def test_telling_the_same_again_writes_nothing() -> None:
    node = told(node_object("n1", FACTS))
    assert told(node, later_s=100) is node


def test_conditions_and_resources_of_others_stay() -> None:
    other = {"type": "NetworkUnavailable", "status": "False"}
    node = node_object("n1", FACTS)
    node["status"] = {"conditions": [other], "capacity": {"example.org/gpu": "1"}}
    status = told(node)["status"]
    assert other in status["conditions"]
    assert status["capacity"]["example.org/gpu"] == "1"


def test_a_node_that_was_given_up_is_ready_again() -> None:
    """The controller writes Unknown when it hears nothing; the time of the change is ours."""
    node = told(node_object("n1", FACTS))
    lost = {**ready(node), "status": "Unknown", "reason": "NodeStatusUnknown"}
    node = {**node, "status": {**node["status"], "conditions": [lost]}}
    again = ready(told(node, later_s=60))
    assert again["status"] == "True"
    assert again["lastTransitionTime"] == "2026-01-02T03:05:05Z"


def test_another_reason_for_the_same_state_is_no_transition() -> None:
    node = told(node_object("n1", FACTS), trouble="no disk")
    assert ready(node)["status"] == "False"
    node = told(node, later_s=60, trouble="no memory")
    assert ready(node)["message"] == "no memory"
    assert ready(node)["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_a_node_without_an_agent_takes_no_pods() -> None:
    node = told(node_object("n1", FACTS), runs_pods=False)
    assert ready(node)["status"] == "False"
    assert node["status"]["allocatable"]["pods"] == "0"


def test_this_host_has_facts() -> None:
    facts = read_facts()
    assert facts.cpus >= 1
    assert facts.memory_kib > 1024
    assert facts.kernel[0].isdigit()
    assert facts.version.startswith("netproxy-")
