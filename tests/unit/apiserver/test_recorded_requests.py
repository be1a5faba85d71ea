"""Every request that kubectl sent to a Kubernetes 1.36.2 API server, sent again to ours.

The answers are compared: their codes, and their bodies but for what differs between any two
servers (``_VOLATILE``) and what differs on purpose (``DIFFERENCES``, each with its reason). A
difference that is listed and does not come fails, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netproxy.apiserver.registry import RegistrySettings
from netproxy.web import Answer, Inquiry
from tests.unit.apiserver.asking import Api, serve
from tests.unit.apiserver.recorded import exchanges

_VOLATILE = {
    *("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "hash"),
    *("clusterIP", "clusterIPs", "nodePort"),
    "managedFields",  # not recorded
    "columnDefinitions",  # descriptions are in our own words
}
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_AGE = re.compile(r"\d+[smhd]\Z|\d+m\d+s\Z")

ADMISSION = "priority, default tolerations and the node's zone are admission's, which we have not"
UNKNOWN_KIND = "a kind that is not served; kubectl asks only for those that discovery names"
ELSEWHERE = "its cluster had other objects before"
NO_CONTROLLERS = "controllers do that, and none are running here"
UNRECORDED = "the body was protobuf and was not recorded"
DIFFERENCES = {
    2: ELSEWHERE,
    3: "we are not built by Go, and of no commit of Kubernetes",
    4: "not all of its resources are served",
    5: "not all of its groups are served",
    6: ELSEWHERE,
    18: UNKNOWN_KIND,
    20: UNKNOWN_KIND,
    23: UNKNOWN_KIND,
    24: UNKNOWN_KIND,
    25: UNKNOWN_KIND,
    26: UNKNOWN_KIND,
    34: ELSEWHERE,
    38: ADMISSION,
    39: ADMISSION,
    69: UNRECORDED,
    70: UNRECORDED,
    72: ADMISSION,
    85: UNRECORDED,
    88: ADMISSION,
    91: NO_CONTROLLERS,
    92: ELSEWHERE,
    93: "not all of its resources are served",
}
"""By the number of the request in the file."""


def plain(value: Any) -> Any:
    """A value without what differs between any two servers."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name not in _VOLATILE}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return _AGE.sub("AGE", _ADDRESS.sub("ADDRESS", value))
    return value


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where two bodies differ, in words."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found or name not in wanted:
                yield f"{path}.{name}: {'missing' if name in wanted else 'not expected'}"
            else:
                yield from differences(wanted[name], found[name], f"{path}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif wanted != found:
        yield f"{path}: {str(wanted)[:200]!r}, but it is {str(found)[:200]!r}"


class Player:
    """Sends what was recorded; versions of objects are translated."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._versions: dict[str, str] = {}

    def play(self, exchange: dict[str, Any]) -> list[str]:
        """How the answer differs from the recorded one."""
        request, wanted = exchange["request"], exchange["response"]
        path, _, query = request["path"].partition("?")
        headers = {name.lower(): value for name, value in request["headers"].items()}
        inquiry = Inquiry(request["method"], path, query, headers, self._body(request), True)
        answer = self._api.runner.run(self._api.handlers.handle(inquiry))
        assert isinstance(answer, Answer)
        if answer.status != wanted["status"]:
            return [f"status {wanted['status']}, but it is {answer.status}: {answer.body[:200]!r}"]
        if not isinstance(wanted["body"], dict):
            return []
        found = json.loads(answer.body)
        self._learn(wanted["body"], found)
        return list(differences(plain(wanted["body"]), plain(found)))

    def _body(self, request: dict[str, Any]) -> bytes:
        body = request["body"]
        if body is None:
            return b""
        text = body if isinstance(body, str) else json.dumps(body)
        for theirs, ours in self._versions.items():
            text = text.replace(f'"{theirs}"', f'"{ours}"')
        return text.encode()

    def _learn(self, wanted: dict[str, Any], found: dict[str, Any]) -> None:
        theirs = (wanted.get("metadata") or {}).get("resourceVersion")
        ours = (found.get("metadata") or {}).get("resourceVersion")
        if theirs and ours:
            self._versions[theirs] = ours


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Of each exchange, how the answer differs."""
    settings = RegistrySettings(service_cidrs=("172.30.0.0/16",))
    with serve(tmp_path_factory.mktemp("recorded"), settings) as api:
        player = Player(api)
        return [player.play(each) for each in exchanges()]


def test_every_answer_is_as_recorded_or_differs_on_purpose(played: list[list[str]]) -> None:
    told = [
        f"{number}: {each['command']}: {each['request']['path']}: {words}"
        for number, (each, found) in enumerate(zip(exchanges(), played, strict=True))
        for words in found
        if number not in DIFFERENCES
    ]
    assert not told, "\n".join(told)


def test_every_listed_difference_is_there(played: list[list[str]]) -> None:
    assert [number for number in DIFFERENCES if not played[number]] == []


def test_the_data_is_whole() -> None:
    assert len(exchanges()) == 100
    assert Path(__file__).parents[2].joinpath("data", "api", "kubectl.jsonl").is_file()
