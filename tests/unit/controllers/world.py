"""Objects in dictionaries, and controllers that are asked until they have nothing to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from netproxy.api.objects import Key, Object, key_of
from netproxy.api.resources import PODS, RESOURCES, Resource
from netproxy.controllers.contract import Controller, Create, Delete, Plan, Update

NOW = datetime(2026, 11, 23, 1, 40, 0, tzinfo=UTC)


class World:
    """A cluster of objects without a server: every write happens at once."""

    def __init__(self, *controllers: Controller, seed: int = 0) -> None:
        self.now = NOW
        self.objects: dict[Resource, dict[Key, Object]] = {each: {} for each in RESOURCES}
        self.writes = 0
        self.again: list[tuple[Controller, Key]] = []
        self._controllers = controllers
        self._due: dict[tuple[int, Key], None] = {}
        self._version = 0
        self._random = Random(seed)

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self.objects[resource].get(key)

    def all(self, resource: Resource) -> Mapping[Key, Object]:
        return self.objects[resource]

    def list(self, resource: Resource) -> list[Object]:
        return [each for _, each in sorted(self.objects[resource].items())]

    def put(self, resource: Resource, obj: Object) -> Object:
        """An object comes or changes, as clients write it."""
        self._version += 1
        metadata = {"uid": f"uid-{self._version}", **obj["metadata"]}
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{self._version}"
        metadata.setdefault("creationTimestamp", self.stamp())
        key = Key(metadata.get("namespace", ""), metadata["name"])
        old = self.objects[resource].get(key)
        if old is not None:
            metadata["uid"] = old["metadata"]["uid"]
        metadata["resourceVersion"] = str(self._version)
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        new = {**head, **obj, "metadata": metadata}
        self.objects[resource][key] = new
        self._tell(resource, key, old, new)
        return new

    def remove(self, resource: Resource, key: Key) -> None:
        """An object goes."""
        old = self.objects[resource].pop(key)
        self._tell(resource, key, old, None)

    def _tell(self, resource: Resource, key: Key, old: Object | None, new: Object | None) -> None:
        for index, each in enumerate(self._controllers):
            if resource in each.resources:
                for work in each.concerns(resource, key, old, new):
                    self._due[index, work] = None

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and who wanted to be asked again is asked."""
        self.now += timedelta(seconds=seconds)
        for controller, key in self.again:
            self._due[self._controllers.index(controller), key] = None
        self.again.clear()

    def settle(self, most: int = 2000) -> int:
        """Ask until nobody has anything to do; returns how much was written."""
        before = self.writes
        for _ in range(most):
            if not self._due:
                return self.writes - before
            place = self._random.choice(list(self._due))
            del self._due[place]
            controller = self._controllers[place[0]]
            self._carry_out(controller.plan(place[1], self, self.now))
            plan = controller.plan(place[1], self, self.now)
            if plan.again_s is not None:
                self.again.append((controller, place[1]))
        raise AssertionError("the controllers never come to rest")

    def _carry_out(self, plan: Plan) -> None:
        for action in plan.actions:
            self.writes += 1
            if isinstance(action, Create):
                self.put(action.resource, action.object)
            elif isinstance(action, Delete):
                self._delete(action)
            else:
                self._update(action)

    def _delete(self, action: Delete) -> None:
        old = self.get(action.resource, action.key)
        if old is None:
            return
        assert not action.uid or action.uid == old["metadata"]["uid"]
        is_running = action.resource is PODS and old["spec"].get("nodeName")
        if action.grace_s != 0 and (old["metadata"].get("finalizers") or is_running):
            metadata = {**old["metadata"], "deletionTimestamp": self.stamp()}
            self.put(action.resource, {**old, "metadata": metadata})
        else:
            self.remove(action.resource, action.key)

    def _update(self, action: Update) -> None:
        if action.subresource == "binding":
            key = key_of(action.object)
            old = self.objects[action.resource][key]
            node = action.object["target"]["name"]
            self.put(action.resource, {**old, "spec": {**old["spec"], "nodeName": node}})
            return
        key = key_of(action.object)
        old = self.objects[action.resource][key]
        seen = action.object["metadata"]["resourceVersion"]
        assert seen == old["metadata"]["resourceVersion"], "made from an old state"
        metadata = action.object["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self.remove(action.resource, key)
        else:
            self.put(action.resource, action.object)


def run(*controllers: Controller, given: Mapping[Resource, Sequence[Object]]) -> World:
    """A world with these objects, settled."""
    world = World(*controllers)
    for resource, objects in given.items():
        for each in objects:
            world.put(resource, each)
    world.settle()
    return world
