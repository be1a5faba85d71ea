"""Who plays packets is right: through kube-proxy's own rules they do what kube-proxy's tests say.

``tests/data/rules`` has what kube-proxy 1.36.2 wrote for some scenarios of ``tests/data/flows``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.netns.flows import Deviation, find_deviations, read_scenarios

RULES = Path(__file__).parent.parent / "data" / "rules"
SCENARIOS = {each.id: each for mode in ("nftables", "iptables") for each in read_scenarios(mode)}
LOADERS = {
    "iptables-legacy": ("iptables-legacy-restore", "-w"),
    "iptables-nft": ("iptables-nft-restore", "-w"),
    "nftables": ("nft", "-f", "-"),
}
RECORDED = [
    (path, loader)
    for path in sorted(RULES.glob("*.txt"))
    for loader in LOADERS
    if loader.startswith(path.name.partition("-")[0])
]
every_recording = pytest.mark.parametrize(
    ("path", "loader"), RECORDED, ids=lambda each: each.stem if isinstance(each, Path) else each
)


def read_rules(path: Path) -> tuple[str, str]:
    """A recording's scenario, and its rules as they can be loaded."""
    text = path.read_text()
    # Counters that are kept under names of their own; they have no say in anything.
    return text.split()[2], re.sub(r" -m nfacct --nfacct-name +\S+", "", text)


def play(path: Path, loader: str, without: str = "") -> list[Deviation]:
    """All flows of a recording's scenario, through its rules, or all but the first such rule."""
    scenario_id, rules = read_rules(path)
    if without:
        rules, count = re.subn(without, "", rules, count=1, flags=re.MULTILINE)
        assert count, "no such rule"
    scenario = SCENARIOS[scenario_id]
    with scenario.stage() as stage:
        stage.node.run(*LOADERS[loader], stdin=rules)
        return find_deviations(stage, scenario.flows)


@every_recording
def test_packets_through_kube_proxys_rules_fare_as_its_tests_say(path: Path, loader: str) -> None:
    deviations = play(path, loader)
    assert not deviations, "\n".join(map(str, deviations))


@pytest.mark.parametrize(
    ("recording", "loader", "rule", "flow"),
    [
        (
            "iptables-TestClusterIPGeneral",
            "iptables-legacy",
            r"^-A KUBE-SEP-\S+ -p tcp .*10\.180\.0\.1:80\n",
            "simple clusterIP",
        ),
        (
            "nftables-TestLoadBalancer",
            "nftables",
            r"^\s*ip daddr .* vmap @firewall-ips\n",
            "blocked external to LB1",
        ),
    ],
)
def test_a_rule_that_is_missing_is_noticed(
    recording: str, loader: str, rule: str, flow: str
) -> None:
    names = {each.flow.name for each in play(RULES / f"{recording}.txt", loader, without=rule)}
    assert flow in names
