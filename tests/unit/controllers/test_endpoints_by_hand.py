"""Endpoints that somebody writes, with and without a Service."""

from __future__ import annotations

from netproxy.api.objects import Key, Object
from netproxy.api.resources import ENDPOINTS, SERVICES
from netproxy.controllers.endpoints import EndpointsController
from tests.unit.controllers.world import World

_KEY = Key("default", "db")


def _endpoints(**labels: str) -> Object:
    metadata = {"namespace": "default", "name": "db", "labels": labels}
    subsets = [{"addresses": [{"ip": "192.0.2.3"}], "ports": [{"port": 5432}]}]
    return {"metadata": metadata, "subsets": subsets}


def _service(**spec: object) -> Object:
    metadata = {"namespace": "default", "name": "db"}
    return {"metadata": metadata, "spec": {"ports": [{"port": 5432}], **spec}}


def test_endpoints_may_come_before_their_service() -> None:
    world = World(EndpointsController())
    made = world.put(ENDPOINTS, _endpoints())
    world.settle()
    world.put(SERVICES, _service())
    world.settle()
    assert world.get(ENDPOINTS, _KEY) == made


def test_they_go_with_their_service_and_may_come_back() -> None:
    world = World(EndpointsController())
    world.put(SERVICES, _service())
    world.put(ENDPOINTS, _endpoints())
    world.settle()
    world.remove(SERVICES, _KEY)
    world.settle()
    assert world.get(ENDPOINTS, _KEY) is None
    world.settle()
    again = world.put(ENDPOINTS, _endpoints())
    world.settle()
    assert world.get(ENDPOINTS, _KEY) == again


def test_what_the_controller_made_for_a_service_that_went_while_it_was_away_goes() -> None:
    world = World(EndpointsController())
    world.put(
        ENDPOINTS, _endpoints(**{"endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    )
    world.settle()
    assert world.get(ENDPOINTS, _KEY) is None


def test_endpoints_of_a_service_that_got_a_selector_become_the_controllers() -> None:
    world = World(EndpointsController())
    world.put(SERVICES, _service())
    world.put(ENDPOINTS, _endpoints())
    world.put(SERVICES, _service(selector={"app": "db"}))
    world.settle()
    found = world.get(ENDPOINTS, _KEY)
    assert found is not None
    assert "subsets" not in found
    assert found["metadata"]["labels"] == {
        "endpoints.kubernetes.io/managed-by": "endpoint-controller"
    }
