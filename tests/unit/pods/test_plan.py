"""What is done next for a Pod."""

from __future__ import annotations

import pytest

from netproxy.api.objects import Object
from netproxy.pods.core.model import Trouble
from netproxy.pods.core.plan import (
    Action,
    Finish,
    MakeSandbox,
    RemoveSandbox,
    Start,
    Stop,
    make_plan,
)
from tests.unit.pods.seen import NOW, container, ended, pod, running, seen

SIDECAR = container("side", restartPolicy="Always")


def words(actions: list[Action]) -> list[str]:
    """Actions in a few words: ``start c 1``."""
    said = []
    for each in actions:
        match each:
            case Start(container=one, attempt=attempt):
                said.append(f"start {one.name} {attempt}")
            case Stop(container=one, until=until):
                said.append(f"stop {one.name} in {until - NOW:g}")
            case MakeSandbox(number=number):
                said.append(f"make {number}")
            case RemoveSandbox():
                said.append("remove")
            case Finish():
                said.append("finish")
    return said


def plan(of: Object, what: object, now: float = NOW) -> list[str]:
    return words(make_plan(of, what, now).actions)  # type: ignore[arg-type]


def test_a_network_comes_first_then_containers() -> None:
    of = pod(container("a"), container("b"))
    assert plan(of, seen(sandbox=None)) == ["make 0"]
    assert plan(of, seen()) == ["start a 0", "start b 0"]
    assert plan(of, seen(a=running())) == ["start b 0"]
    assert plan(of, seen(a=running(), b=running())) == []


def test_nothing_begins_before_services_can_be_reached() -> None:
    assert plan(pod(), seen(sandbox=None)._replace(may_begin=False)) == []
    assert plan(pod(), seen(c=running())._replace(may_begin=False)) == []
    # Who has a network already has reached them.
    assert plan(pod(), seen(c=ended(1))._replace(may_begin=False)) == ["start c 1"]
    leaving = seen(sandbox=None, leaving=True)._replace(may_begin=False)
    assert plan(pod(), leaving) == ["finish"]


def test_init_containers_go_one_after_the_other() -> None:
    of = pod(container("c"), initContainers=[container("one"), container("two")])
    assert plan(of, seen()) == ["start one 0"]
    assert plan(of, seen(one=running())) == []
    assert plan(of, seen(one=ended())) == ["start two 0"]
    assert plan(of, seen(one=ended(), two=ended())) == ["start c 0"]
    assert plan(of, seen(one=ended(), two=ended(), c=running())) == []


def test_a_sidecar_has_to_be_started_before_the_next_begins() -> None:
    of = pod(container("c"), initContainers=[SIDECAR, container("two")])
    assert plan(of, seen(side=running(is_started=False))) == []
    assert plan(of, seen(side=running())) == ["start two 0"]
    # It is restarted whatever the Pod's policy says, and holds nobody up who began already.
    assert plan(of, seen(side=ended(), two=ended(), c=running())) == ["start side 1"]


@pytest.mark.parametrize(
    ("policy", "code", "wanted"),
    [
        ("Always", 0, ["start c 1"]),
        ("Always", 1, ["start c 1"]),
        ("OnFailure", 0, ["remove"]),
        ("OnFailure", 1, ["start c 1"]),
        ("Never", 0, ["remove"]),
        ("Never", 1, ["remove"]),
    ],
)
def test_restart_policies(policy: str, code: int, wanted: list[str]) -> None:
    assert plan(pod(restartPolicy=policy), seen(c=ended(code))) == wanted


def test_a_run_that_fails_again_and_again_waits_longer() -> None:
    made = make_plan(pod(), seen(c=ended(1, attempt=3, streak=3, ago_s=1)), NOW)
    assert made.actions == []
    assert made.wake_at is not None
    assert 20 < made.wake_at - NOW < 80
    assert plan(pod(), seen(c=ended(1, attempt=3, streak=3, ago_s=1)), made.wake_at) == [
        "start c 4"
    ]


def test_an_init_container_that_fails_for_good_ends_the_pod() -> None:
    of = pod(container("c"), initContainers=[container("one")], restartPolicy="Never")
    assert plan(of, seen(one=ended(1))) == ["remove"]
    assert plan(of, seen(sandbox=None, one=ended(1))) == []


def test_after_a_reboot_all_of_it_begins_anew() -> None:
    """The network is gone, and what ran in it; init containers run once more."""
    of = pod(container("c"), initContainers=[container("one")])
    lost = ended(137, sandbox=0)
    assert plan(of, seen(sandbox=None, one=ended(), c=lost)) == ["make 0"]
    assert plan(of, seen(sandbox=1, one=ended(sandbox=0), c=lost)) == ["start one 1"]
    assert plan(of, seen(sandbox=1, one=ended(sandbox=1), c=lost)) == ["start c 1"]


def test_who_runs_in_a_network_that_is_gone_is_stopped_at_once() -> None:
    assert plan(pod(), seen(sandbox=1, c=running(sandbox=0))) == ["stop c in 0"]
    assert plan(pod(), seen(sandbox=1, c=running(sandbox=0, stopping_until=NOW))) == []


def test_leaving_main_containers_go_first_then_sidecars_then_the_network() -> None:
    of = pod(container("c"), initContainers=[SIDECAR], terminationGracePeriodSeconds=7)
    assert plan(of, seen(leaving=True, side=running(), c=running())) == ["stop c in 7"]
    stopping = running(stopping_until=NOW + 7)
    assert plan(of, seen(leaving=True, side=running(), c=stopping)) == []
    assert plan(of, seen(leaving=True, side=running(), c=ended())) == ["stop side in 7"]
    assert plan(of, seen(leaving=True, side=ended(), c=ended())) == ["remove"]
    assert plan(of, seen(leaving=True, sandbox=None, side=ended(), c=ended())) == ["finish"]


def test_a_shorter_grace_replaces_a_longer_one() -> None:
    of = pod(terminationGracePeriodSeconds=30)
    stopping = running(stopping_until=NOW + 30)
    assert plan(of, seen(leaving=True, c=stopping)) == []
    of["metadata"]["deletionGracePeriodSeconds"] = 1
    assert plan(of, seen(leaving=True, c=stopping)) == ["stop c in 1"]


def test_nothing_is_started_for_a_pod_that_is_over() -> None:
    of = pod(status={"phase": "Failed"})
    assert plan(of, seen(c=ended(1))) == ["remove"]
    assert plan(of, seen(sandbox=None, c=ended(1))) == []
    assert plan(of, seen(sandbox=None)) == []


def test_a_condemned_run_is_stopped_with_the_probes_grace() -> None:
    probed = container("c", livenessProbe={"terminationGracePeriodSeconds": 2})
    of = pod(probed, terminationGracePeriodSeconds=60)
    run = running(condemned="failed liveness probe, container c")
    assert plan(of, seen(c=run)) == ["stop c in 2"]
    assert plan(of, seen(c=run._replace(stopping_until=NOW + 2))) == []


def test_a_deadline_ends_the_pod() -> None:
    began = {"startTime": "2027-01-15T08:00:00Z"}  # NOW
    of = pod(status=began, activeDeadlineSeconds=10)
    waiting = make_plan(of, seen(c=running()), NOW)
    assert (waiting.actions, waiting.wake_at) == ([], NOW + 10)
    later = make_plan(of, seen(c=running()), NOW + 10)
    assert [type(each) for each in later.actions] == [Stop]


def test_what_cannot_be_made_is_tried_again_later() -> None:
    trouble = Trouble("CreateContainerConfigError", "no such map", NOW)
    made = make_plan(pod(), seen(troubles={"c": trouble}, c=None), NOW + 1)
    assert made.actions == []
    assert made.wake_at == NOW + 10
    assert plan(pod(), seen(troubles={"c": trouble}, c=None), NOW + 10) == ["start c 0"]
    nowhere = seen(sandbox=None)._replace(sandbox_trouble=trouble)
    assert plan(pod(), nowhere, NOW + 1) == []
    assert plan(pod(), nowhere, NOW + 10) == ["make 0"]


def test_what_can_never_run_is_never_started() -> None:
    nothing = {"name": "c", "image": "nginx"}
    assert plan(pod(nothing), seen()) == []
