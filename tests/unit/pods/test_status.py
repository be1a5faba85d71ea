"""What the API is told about a Pod."""

from __future__ import annotations

from typing import Any

from netproxy.api.objects import Object
from netproxy.pods.core.model import ContainerSeen, Ended, Seen
from netproxy.pods.core.status import make_status
from tests.unit.pods.seen import ADDRESSES, HOST, NOW, container, ended, pod, running, seen


def told(of: Object, what: Seen, now: float = NOW) -> Any:
    return make_status(of, what, HOST, now)


def conditions(status: Object) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def test_a_pod_that_is_just_coming() -> None:
    status = told(pod(), seen(sandbox=None))
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }


def test_a_pod_that_runs_and_is_ready() -> None:
    status = told(pod(), seen(c=running()))
    assert status["phase"] == "Running"
    assert status["podIP"] == ADDRESSES[0]
    assert [each["ip"] for each in status["podIPs"]] == list(ADDRESSES)
    assert [each["ip"] for each in status["hostIPs"]] == list(HOST)
    (one,) = status["containerStatuses"]
    assert (one["ready"], one["started"], one["restartCount"]) == (True, True, 0)
    assert "running" in one["state"]
    assert set(conditions(status).values()) == {"True"}


def test_telling_again_tells_the_same() -> None:
    first = told(pod(), seen(c=running()))
    again = told(pod(status=first), seen(c=running()), NOW + 100)
    assert again == first


def test_a_condition_that_changes_has_the_time_of_its_change() -> None:
    first = told(pod(), seen(c=running()))
    later = told(pod(status=first), seen(c=running(is_ready=False)), NOW + 60)
    by_type = {each["type"]: each for each in later["conditions"]}
    assert by_type["Ready"]["status"] == "False"
    assert by_type["Ready"]["message"] == "containers with unready status: [c]"
    assert by_type["Ready"]["lastTransitionTime"] == "2027-01-15T08:01:00Z"
    assert by_type["Initialized"]["lastTransitionTime"] == "2027-01-15T08:00:00Z"


def test_main_containers_wait_for_init_containers() -> None:
    of = pod(container("c"), initContainers=[container("one")])
    status = told(of, seen(one=running()))
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert conditions(status)["Initialized"] == "False"
    status = told(of, seen(one=ended(), c=running()))
    assert conditions(status)["Initialized"] == "True"
    assert status["initContainerStatuses"][0]["ready"]


def test_a_crash_loop() -> None:
    what = seen(c=ended(3, attempt=2, streak=2, ago_s=1))
    (one,) = told(pod(), what)["containerStatuses"]
    assert one["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert one["lastState"]["terminated"]["exitCode"] == 3
    assert one["restartCount"] == 2
    assert told(pod(), what)["phase"] == "Running"


def test_how_the_run_before_ended_is_told() -> None:
    before = (0, Ended(137, 9, NOW - 20, NOW - 10))
    what = seen()._replace(containers={"c": ContainerSeen(running(1), before)})
    (one,) = told(pod(), what)["containerStatuses"]
    terminated = one["lastState"]["terminated"]
    assert (terminated["exitCode"], terminated["signal"]) == (137, 9)
    assert terminated["containerID"] == "netproxy://u-1/c/0"
    assert one["containerID"] == "netproxy://u-1/c/1"


def test_the_end_of_pods_that_are_not_restarted() -> None:
    of = pod(container("a"), container("b"), restartPolicy="Never")
    good = told(of, seen(sandbox=None, a=ended(), b=ended()))
    assert good["phase"] == "Succeeded"
    assert good["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert conditions(good)["Ready"] == "False"
    bad = told(of, seen(sandbox=None, a=ended(), b=ended(2)))
    assert bad["phase"] == "Failed"
    half = told(of, seen(a=running(), b=ended(2)))
    assert half["phase"] == "Running"


def test_a_pod_that_is_over_stays_so() -> None:
    over = told(pod(restartPolicy="Never"), seen(sandbox=None, c=ended(2)))
    again = told(pod(status=over, restartPolicy="Always"), seen(sandbox=None), NOW + 60)
    assert again["phase"] == "Failed"


def test_a_lost_run_and_one_that_could_not_begin() -> None:
    lost = ended(137)
    assert lost.ended is not None
    lost = lost._replace(ended=lost.ended._replace(is_lost=True))
    (one,) = told(pod(restartPolicy="Never"), seen(c=lost))["containerStatuses"]
    assert one["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    never = ended(128)
    assert never.ended is not None
    never = never._replace(ended=never.ended._replace(error="no such program", started_at=0.0))
    (one,) = told(pod(restartPolicy="Never"), seen(c=never))["containerStatuses"]
    assert one["state"]["terminated"]["message"] == "no such program"


def test_readiness_gates_are_others_business() -> None:
    gates = [{"conditionType": "example.org/gate"}]
    status = told(pod(readinessGates=gates), seen(c=running()))
    assert conditions(status)["ContainersReady"] == "True"
    assert conditions(status)["Ready"] == "False"
    opened = [*status["conditions"], {"type": "example.org/gate", "status": "True"}]
    of = pod(readinessGates=gates, status={**status, "conditions": opened})
    status = told(of, seen(c=running()))
    assert conditions(status)["Ready"] == "True"
    assert conditions(status)["example.org/gate"] == "True"


def test_what_can_never_run_says_why() -> None:
    (one,) = told(pod({"name": "c", "image": "nginx"}), seen())["containerStatuses"]
    assert one["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    assert "no command" in one["state"]["waiting"]["message"]


def test_a_pod_of_the_hosts_network_has_its_addresses() -> None:
    status = told(pod(hostNetwork=True), seen(c=running()))
    assert [each["ip"] for each in status["podIPs"]] == list(HOST)


def test_a_deadline_is_told() -> None:
    of = pod(activeDeadlineSeconds=5, status={"startTime": "2027-01-15T07:59:00Z"})
    status = told(of, seen(c=ended(143)))
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
