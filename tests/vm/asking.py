"""Questions to Services, asked by the client or by a pod, and which pod answers."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterable
from typing import NamedTuple

from netproxy.model.ip import Family
from tests.patience import patience
from tests.vm.machines import Node

SILENCE_S = 2.0
"""So long nobody answers who does not want to; a second attempt of TCP is in it."""


class Answer(NamedTuple):
    """What a pod said."""

    pod: str
    asked_by: str
    """The address that the pod saw."""


def ask(address: str, port: int, *, protocol: str = "TCP", within_s: float | None = None) -> Answer:
    """Ask from here.

    Raises:
        OSError: refused, or nobody answered.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as client:
        client.settimeout(within_s or patience(5))
        client.connect((address, port))
        client.send(b"?\n")
        return read_answer(client.recv(100).decode())


def ask_often(address: str, port: int, *, protocol: str = "TCP", times: int = 16) -> set[Answer]:
    """That one of two pods is never reached has a chance of 2 to the minus 15."""
    return {ask(address, port, protocol=protocol) for _ in range(times)}


def ask_from_pod(node: Node, pod: str, address: str, port: int, times: int = 16) -> set[Answer]:
    """Ask from a pod's namespace, with what every shell has."""
    script = f"exec 3<>/dev/tcp/{address}/{port}; cat <&3"
    loop = f"for i in $(seq {times}); do timeout {patience(2):g} bash -c '{script}'; done"
    said = node.run(f"ip netns exec {pod} bash -c {shlex.quote(loop)}")
    return {read_answer(line) for line in said.splitlines()}


def read_answer(line: str) -> Answer:
    pod, asked_by = line.split()
    return Answer(pod, asked_by)


def pods_of(answers: Iterable[Answer]) -> set[str]:
    return {answer.pod for answer in answers}


def is_answered(address: str, port: int) -> bool:
    """Whether anybody answers in time.

    In iptables mode what is kept out is dropped behind the routing decision only, as with
    kube-proxy: a node without a way there says that before.
    """
    try:
        ask(address, port, within_s=SILENCE_S)
    except OSError:
        return False
    return True


def bracket(address: str) -> str:
    """As a URL has it."""
    return f"[{address}]" if ":" in address else address


def family_word(family: Family) -> str:
    """For programs that want a flag: -4 or -6."""
    return "-4" if family is Family.IPV4 else "-6"
