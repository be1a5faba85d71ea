"""A registry with objects in a dictionary, which it decides upon and which it observes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from netproxy.api.objects import Key, Object
from netproxy.api.resources import SERVICES, Resource
from netproxy.apiserver.contract import Decision, DeleteOptions, Write, WriteContext
from netproxy.apiserver.registry import RegistrySettings, bootstrap, make_registry
from netproxy.apiserver.storage.store import stored_name

NOW = datetime(2026, 11, 23, 1, 33, 58, tzinfo=UTC)


class World:
    """Objects, and who decides about them."""

    def __init__(
        self, *cidrs: str, seed: int = 1, settings: RegistrySettings | None = None
    ) -> None:
        self.objects: dict[tuple[str, Key], Object] = {}
        self.settings = settings or RegistrySettings(service_cidrs=cidrs or ("10.0.0.0/16",))
        self.registry = make_registry(self, self.settings, Random(seed))
        self.version = 0
        for decision in bootstrap(
            self.registry, self, self.settings, WriteContext(NOW), ("192.0.2.1", 6443)
        ):
            self._keep(decision)

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self.objects.get((stored_name(resource), key))

    def list(self, resource: Resource, namespace: str = "") -> Iterator[Object]:
        for (name, key), obj in list(self.objects.items()):
            if name == stored_name(resource) and namespace in {"", key.namespace}:
                yield obj

    def _keep(self, decision: Decision, *, dry_run: bool = False) -> Object:
        if dry_run:
            return decision.object
        kept = []
        for write in decision.writes:
            place = (stored_name(write.resource), write.key)
            self.version += 1
            if write.object is None:
                del self.objects[place]
                kept.append(write)
            else:
                metadata = {**write.object["metadata"], "resourceVersion": str(self.version)}
                obj = {**write.object, "metadata": metadata}
                self.objects[place] = obj
                kept.append(Write(write.resource, write.key, obj))
        self.registry.observe(kept)
        return decision.object

    def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Object:
        context = WriteContext(NOW, dry_run)
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        return self._keep(self.registry.create(resource, {**head, **obj}, context), dry_run=dry_run)

    def update(
        self, resource: Resource, old: Object, subresource: str = "", **members: Any
    ) -> Object:
        key = Key(old["metadata"].get("namespace", ""), old["metadata"]["name"])
        current = self.get(resource, key)
        assert current is not None
        context = WriteContext(NOW)
        new = {**current, **members}
        return self._keep(self.registry.update(resource, current, new, subresource, context))

    def delete(self, resource: Resource, name: str, namespace: str = "", **options: Any) -> Object:
        old = self.get(resource, Key(namespace, name))
        assert old is not None
        decision = self.registry.delete(resource, old, DeleteOptions(**options), WriteContext(NOW))
        return self._keep(decision)

    def service(self, name: str = "web", namespace: str = "default", **spec: Any) -> Object:
        """Create a Service; one port unless it is said otherwise."""
        spec = {"ports": [{"port": 80}], **spec}
        return self.create(
            SERVICES, {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
        )

    def change(self, name: str = "web", **spec: Any) -> Object:
        """Change members of a Service's specification; None takes one away."""
        old = self.get(SERVICES, Key("default", name))
        assert old is not None
        merged = {k: v for k, v in {**old["spec"], **spec}.items() if v is not None}
        return self.update(SERVICES, old, spec=merged)
