"""When stale connections are looked for. No test here waits: time is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.core.conntrack import Sweep
from netproxy.errors import DataplaneError
from netproxy.flows import MOST_SAVED_S, SHARE, Allowance, FlowKeeper
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort

V4, V6 = Family.IPV4, Family.IPV6
DNS = Service(
    ServiceKey("ns", "dns"),
    (ServicePort("", "UDP", 53),),
    (IPAddress("10.96.0.1"), IPAddress("fd00::1")),
)
WEB = Service(ServiceKey("ns", "web"), (ServicePort("", "TCP", 80),), (IPAddress("10.96.0.2"),))
POD = EndpointSlice(
    DNS.key, "dns-1", V4, (SlicePort("", "UDP", 53),), (Endpoint(IPAddress("10.1.0.1"), "n"),)
)


class Kernel:
    """Takes its time to look through its connections, and may refuse to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes_s = 0.01
        self.refuses = False
        self.sweeps: list[Sweep] = []
        self.keeper = FlowKeeper(self, [V4, V6], lambda: self.now)

    def forget(self, sweep: Sweep) -> int:
        self.now += self.takes_s
        if self.refuses:
            raise DataplaneError(operation="forget", subject="connections", errno=1)
        self.sweeps.append(sweep)
        return 7

    def change(self, family: Family = V4) -> tuple[int, float]:
        """The endpoint goes and comes."""
        self.keeper.note(DNS, [] if self.has_pod else [POD], ())
        self.has_pod = not self.has_pod
        return self.look(family)

    def look(self, family: Family = V4) -> tuple[int, float]:
        return self.keeper.forget(family, [], is_complete=True)

    has_pod = False


def test_who_changes_nothing_of_udp_is_not_looked_at() -> None:
    kernel = Kernel()
    kernel.keeper.note(WEB, [], ())
    assert kernel.look() == (0, 0.0)
    kernel.keeper.note_gone(WEB.key)
    assert kernel.look() == (0, 0.0)
    assert not kernel.sweeps


def test_each_family_for_itself() -> None:
    kernel = Kernel()
    assert kernel.change(V4) == (7, 0.0)
    assert kernel.look(V4) == (0, 0.0)
    assert kernel.look(V6) == (7, 0.0)
    assert [sweep.family for sweep in kernel.sweeps] == [V4, V6]


def test_without_a_kernel_nothing_is_remembered() -> None:
    keeper = FlowKeeper(None, [V4])
    keeper.note(DNS, [POD], ())
    assert keeper.forget(V4, [], is_complete=True) == (0, 0.0)


def test_a_burst_is_looked_for_together_when_the_table_is_large() -> None:
    kernel = Kernel()
    kernel.takes_s = 2.0
    assert kernel.change() == (7, 0.0), "a single change does not wait"
    forgotten, wait_s = kernel.change()
    assert forgotten == 0
    assert wait_s == pytest.approx((2.0 - MOST_SAVED_S) / SHARE)
    for _ in range(5):
        assert kernel.change()[0] == 0
    kernel.now += wait_s
    assert kernel.look() == (7, 0.0)
    assert len(kernel.sweeps) == 2
    assert kernel.look() == (0, 0.0), "all of it was looked for"


def test_trouble_costs_time_as_well_and_is_made_up_for() -> None:
    kernel = Kernel()
    kernel.takes_s, kernel.refuses = 2.0, True
    with pytest.raises(DataplaneError):
        kernel.change()
    kernel.refuses = False
    forgotten, wait_s = kernel.look()
    assert forgotten == 0
    kernel.now += wait_s
    assert kernel.look() == (7, 0.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), min_size=1))
def test_never_more_than_its_share(visits: list[tuple[float, float]]) -> None:
    allowance, now, spent, longest = Allowance(), 0.0, 0.0, 0.0
    for pause, takes in visits:
        now += pause
        wait_s = allowance.wait_s(now)
        if wait_s > 0:
            assert allowance.wait_s(now + wait_s) == pytest.approx(0, abs=1e-6)
            continue
        allowance.spend(now, now + takes)
        now += takes
        spent += takes
        longest = max(longest, takes)
    assert spent <= MOST_SAVED_S + longest + SHARE * now + 1e-6
