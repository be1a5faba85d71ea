"""Hosts on which it cannot work: one clear sentence and a remedy, before anything is touched."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.kernel import addresses, nftables
from netproxy.kernel.nfnetlink import NfnetlinkSocket
from netproxy.model.ip import Family


def test_a_kernel_without_nfnetlink(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_protocol(*_: object) -> socket.socket:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", no_such_protocol)
    with pytest.raises(UnsupportedError, match="no nfnetlink") as caught:
        nftables.open_netlink()
    assert "modprobe" in (caught.value.hint or "")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("number", "words", "remedy"),
    [
        (errno.EPERM, "needs CAP_NET_ADMIN", "as root"),
        (errno.EINVAL, "no usable nf_tables", "modprobe nf_tables"),
    ],
)
def test_a_kernel_that_refuses(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str, remedy: str
) -> None:
    def refuse(_: NfnetlinkSocket) -> int:
        raise DataplaneError(operation="read", subject="the generation", errno=number)

    monkeypatch.setattr(NfnetlinkSocket, "generation", refuse)
    with pytest.raises(UnsupportedError, match=words) as caught:
        nftables.open_netlink()
    assert remedy in (caught.value.hint or "")


def test_a_kernel_without_ipv6_is_left_without_an_ipv6_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert addresses.has_family(Family.IPV4)
    assert not addresses.has_family(Family.IPV6)
