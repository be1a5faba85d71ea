"""Discovery, compared with what a real server told kubectl."""

from __future__ import annotations

import re
from typing import Any

from netproxy.api.resources import RESOURCES
from netproxy.apiserver.schema.discovery import document
from tests.unit.apiserver.recorded import exchanges

_ASKED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


def _recorded(path: str) -> Any:
    for each in exchanges():
        if each["request"]["path"].startswith(path + "?") and each["response"]["status"] == 200:
            return each["response"]
    raise LookupError(path)


def _by_name(listed: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    return {each[name]: each for each in listed}


def test_what_is_served_is_told_as_a_real_server_tells_it() -> None:
    compared = 0
    for path in ("/api", "/apis"):
        recorded = _recorded(path)
        found = document(path, _ASKED)
        assert found is not None
        ours, content_type = found
        assert content_type == recorded["headers"]["Content-Type"]
        theirs = recorded["body"]
        assert (ours["kind"], ours["apiVersion"]) == (theirs["kind"], theirs["apiVersion"])
        groups = {each["metadata"].get("name", ""): each for each in theirs["items"]}
        for group in ours["items"]:
            name = group["metadata"].get("name", "")
            known = _by_name(groups[name]["versions"][0]["resources"], "resource")
            for resource in group["versions"][0]["resources"]:
                expected = dict(known[resource["resource"]])
                parts = _by_name(expected.pop("subresources", []), "subresource")
                told = dict(resource)
                for part in told.pop("subresources", []):
                    wanted = parts[part["subresource"]]
                    _fill(wanted["responseKind"], name)
                    _fill(part["responseKind"], name)
                    assert part == wanted
                _fill(expected["responseKind"], name)
                assert told == expected
                compared += 1
    assert compared == len(RESOURCES)


def _fill(kind: dict[str, str], group: str) -> None:
    """An empty group or version stands for the resource's own."""
    if not kind["version"]:
        kind.update(group=group, version="v1")


def test_who_knows_the_old_form_only_gets_it() -> None:
    found = document("/api", "application/json, */*")
    assert found is not None
    assert found[0]["kind"] == "APIVersions"
    found = document("/apis", "application/json")
    assert found is not None
    assert {each["name"] for each in found[0]["groups"]} == {
        each.group for each in RESOURCES if each.group
    }
    found = document("/apis/apps", "")
    assert found is not None
    assert found[0]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


def test_a_version_lists_resources_and_their_parts() -> None:
    found = document("/api/v1", "application/json")
    assert found is not None
    names = [each["name"] for each in found[0]["resources"]]
    assert {"services", "services/status", "pods/binding", "pods/eviction"} <= set(names)
    assert found[0]["groupVersion"] == "v1"
    assert document("/apis/nosuch/v1", "") is None
    assert document("/api/v1/services", "") is None


def test_the_version_can_be_compared_by_clients() -> None:
    found = document("/version", "")
    assert found is not None
    assert re.fullmatch(r"v\d+\.\d+\.\d+\+netproxy-.+", found[0]["gitVersion"])
    assert (found[0]["major"], found[0]["minor"]) == ("1", "36")
