"""The cluster of two nodes, made ready once; and in which mode it is at the moment."""

from __future__ import annotations

import os
import subprocess
from functools import partial

import pytest

from netproxy.model.ip import Family
from tests.vm import cluster

if os.environ.get("NETPROXY_VM_GUEST") != "client":
    collect_ignore_glob = ["test_*.py"]  # there are no machines around; see vagrant/test.sh


@pytest.fixture(scope="session")
def nodes() -> None:
    """Pods and Services on all nodes; the client knows the way."""
    for route in cluster.routes_of_client():
        subprocess.run(route, check=True)
    cluster.everywhere(cluster.prepare)


@pytest.fixture(scope="module", params=list(cluster.MODES))
def mode(request: pytest.FixtureRequest, nodes: None) -> str:
    """All nodes work in this mode, as services of systemd."""
    cluster.everywhere(cluster.withdraw)
    cluster.everywhere(partial(cluster.deploy, mode=request.param))
    chosen: str = request.param
    return chosen


@pytest.fixture(params=list(Family), ids=lambda family: family.label)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen
