"""Identities of objects, and how people write them."""

from __future__ import annotations

from typing import NamedTuple


class ServiceKey(NamedTuple):
    """Identity of a Service. Written ``namespace/name``."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ServicePortName(NamedTuple):
    """Identity of one port of one Service. Written ``namespace/name:port`` as kube-proxy does."""

    namespace: str
    name: str
    port: str
    """The port's name; empty when the Service's only port has none."""
    protocol: str

    def __str__(self) -> str:
        suffix = f":{self.port}" if self.port else ""
        return f"{self.namespace}/{self.name}{suffix}"

    @property
    def service(self) -> ServiceKey:
        return ServiceKey(self.namespace, self.name)
