"""The HTTP side: one Service's health in one family, on one port of some addresses."""

from __future__ import annotations

from collections.abc import Callable, Collection

from netproxy.core.health import ServiceHealth, health_answer
from netproxy.model.ip import IPAddress
from netproxy.web import Answer, Place, Request
from netproxy.web.server import Server, Visitors


class HealthServer:
    """Answers for one Service in one family.

    Args:
        health: What to answer.
        is_proxy_healthy: Asked at each request.
        visitors: Shared by all servers.
    """

    def __init__(
        self, health: ServiceHealth, is_proxy_healthy: Callable[[], bool], visitors: Visitors
    ) -> None:
        self.health = health
        self._is_proxy_healthy = is_proxy_healthy
        self._server = Server(self._answer, visitors)

    def listen(self, addresses: Collection[IPAddress]) -> dict[IPAddress, OSError]:
        """Listen on exactly these addresses; returns those on which it was not possible."""
        failures = self._server.listen([Place(each, self.health.port) for each in addresses])
        return {place.host: error for place, error in failures.items()}

    def close(self) -> None:
        """Give the port back and close its connections; no further call is allowed."""
        self._server.close()

    async def _answer(self, request: Request) -> Answer:  # noqa: ARG002 - any will do
        answer = health_answer(self.health, is_proxy_healthy=self._is_proxy_healthy())
        return Answer(answer.status, answer.body.encode(), answer.headers)
