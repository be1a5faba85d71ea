"""Addresses and ports that Services get: never two owners, never lost, whatever is asked meanwhile.

A small range each, so that they run out. The server is begun anew at any moment; what is refused,
and what is only tried (dryRun), leaves no trace.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netproxy.apiserver.registry import PortRange, RegistrySettings
from tests.unit.apiserver.asking import MERGE, SERVICES, serve

CIDRS = ("10.9.0.0/28", "fd00:9::/124")
SETTINGS = RegistrySettings(service_cidrs=CIDRS, node_ports=PortRange(30000, 30009))
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
REFUSALS = {400, 404, 409, 422}
FULL = {422, 500}
"""422: what was asked for is taken; 500: there is nothing left, in Kubernetes' own way."""


class Allocation(RuleBasedStateMachine):
    """Clients of one API server."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._open()

    def _open(self) -> None:
        self._serving = ExitStack()
        self.api = self._serving.enter_context(serve(self._directory, SETTINGS))

    def teardown(self) -> None:
        """At the end all is given back: as many Services of one family fit in as at the start."""
        for each in self._services():
            if each["metadata"]["name"] != "kubernetes":
                told = self.api.ask("DELETE", f"{SERVICES}/{each['metadata']['name']}")
                assert told.code == 200
        made = 0
        while made < 20 and self._create(f"n{made}", {"ports": [{"port": 80}]}) == 201:
            made += 1
        assert made == 13  # 16 addresses without the first, the last, and Service kubernetes
        self._serving.close()
        self._stack.close()

    def _create(self, name: str, spec: Any, query: str = "") -> int:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        return self.api.ask("POST", f"{SERVICES}?{query}", service).code

    def _services(self) -> list[Any]:
        items: list[Any] = self.api.ask("GET", SERVICES).body["items"]
        return items

    @rule(
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(TYPES),
        policy=st.sampled_from([None, "SingleStack", "PreferDualStack", "RequireDualStack"]),
        address=st.sampled_from([None, None, None, "10.9.0.3", "10.9.0.14", "fd00:9::5", "None"]),
        port=st.sampled_from([None, None, 30001, 30009, 29999]),
        is_local=st.booleans(),
        is_dry=st.booleans(),
    )
    def create(
        self,
        name: str,
        kind: str,
        policy: str | None,
        address: str | None,
        port: int | None,
        *,
        is_local: bool,
        is_dry: bool,
    ) -> None:
        spec: dict[str, Any] = {"type": kind, "ports": [{"port": 80}, {"port": 81, "name": "b"}]}
        spec["ports"][0]["name"] = "a"
        if kind == "ExternalName":
            spec["externalName"] = "example.org"
        if policy:
            spec["ipFamilyPolicy"] = policy
        if address:
            spec["clusterIP"] = address
        if port:
            spec["ports"][0]["nodePort"] = port
        if is_local and kind == "LoadBalancer":
            spec["externalTrafficPolicy"] = "Local"
        before = self._services()
        code = self._create(name, spec, "dryRun=All" if is_dry else "")
        assert code in {201} | REFUSALS | FULL
        if is_dry or code != 201:
            assert self._services() == before

    @rule(
        name=st.sampled_from(NAMES),
        change=st.sampled_from(
            [
                {"type": "ClusterIP"},
                {"type": "NodePort"},
                {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
                {"type": "ExternalName", "externalName": "example.org"},
                {"ipFamilyPolicy": "PreferDualStack"},
                {"ipFamilyPolicy": "SingleStack"},
                {"clusterIP": "10.9.0.4", "clusterIPs": None},
                {"ports": [{"port": 80, "nodePort": 30005}]},
                {"ports": [{"port": 80}]},
                {"ports": [{"port": 99999}]},
            ]
        ),
        is_dry=st.booleans(),
    )
    def change(self, name: str, change: dict[str, Any], *, is_dry: bool) -> None:
        before = self._services()
        query = "dryRun=All" if is_dry else "fieldManager=m"
        told = self.api.ask("PATCH", f"{SERVICES}/{name}?{query}", {"spec": change}, sent=MERGE)
        assert told.code in {200} | REFUSALS | FULL
        if is_dry or told.code != 200:
            assert self._services() == before

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        assert self.api.ask("DELETE", f"{SERVICES}/{name}").code in {200, 404}

    @rule()
    def begin_anew(self) -> None:
        before = self._services()
        self._serving.close()
        self._open()
        assert self._services() == before

    @invariant()
    def nobody_shares(self) -> None:
        addresses: list[str] = []
        ports: list[tuple[int, str]] = []
        for each in self._services():
            spec = each["spec"]
            addresses += [ip for ip in spec.get("clusterIPs") or () if ip != "None"]
            asked = [one for one in spec.get("ports") or () if "nodePort" in one]
            ports += [(one["nodePort"], one.get("protocol", "TCP")) for one in asked]
            if spec.get("healthCheckNodePort"):
                ports.append((spec["healthCheckNodePort"], "TCP"))
        assert len(addresses) == len(set(addresses))
        assert len(ports) == len(set(ports))
        told = self.api.ask("GET", "/apis/networking.k8s.io/v1/ipaddresses").body["items"]
        assert sorted(each["metadata"]["name"] for each in told) == sorted(addresses)


TestAllocation = Allocation.TestCase
TestAllocation.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
