"""Names say which lab a namespace belongs to, and no name says two."""

from __future__ import annotations

import pytest

from netproxy.errors import ConfigError
from netproxy.lab.names import Role, check_lab_name, namespace_name, parse_namespace_name


@pytest.mark.parametrize(
    ("role", "member", "expected"),
    [
        (Role.NODE, "node-1", "np-a-b-node-1"),
        (Role.CLIENT, "client", "np-a-b-client"),
        (Role.BACKBONE, "backbone", "np-a-b-backbone"),
        (Role.POD, "node-x", "np-a-b-pod-node-x"),
        (Role.HOST, "pod-client", "np-a-b-host-pod-client"),
    ],
)
def test_a_name_can_be_taken_apart_again(role: Role, member: str, expected: str) -> None:
    assert namespace_name("a-b", role, member) == expected
    assert parse_namespace_name(expected) == ("a-b", role, member)


@pytest.mark.parametrize("name", ["other", "np", "np-", "np-lab", "np-node-1", "xnp-a-node-1"])
def test_a_stranger_belongs_to_no_lab(name: str) -> None:
    assert parse_namespace_name(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "Lab", "a_b", "-a", "a-", "../x", "a" * 64, "a b", "a\n", "pod", "a-node", "client-1"],
)
def test_a_lab_cannot_have_this_name(name: str) -> None:
    with pytest.raises(ConfigError):
        check_lab_name(name)
