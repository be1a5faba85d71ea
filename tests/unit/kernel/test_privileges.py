"""Whether this process has the rights that its work takes, told from what the kernel says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netproxy.errors import UnsupportedError
from netproxy.kernel.privileges import NET_ADMIN, NET_RAW, Right, require


@pytest.mark.parametrize(
    ("effective", "rights", "missing"),
    [
        ("000001ffffffffff", [NET_ADMIN, NET_RAW], ""),
        ("0000000000001000", [NET_ADMIN], ""),
        ("0000000000001000", [NET_ADMIN, NET_RAW], "CAP_NET_RAW missing"),
        ("0000000000000000", [NET_ADMIN, NET_RAW], "CAP_NET_ADMIN and CAP_NET_RAW missing"),
        ("0000000000002000", [NET_ADMIN], "CAP_NET_ADMIN missing"),
    ],
)
def test_rights(tmp_path: Path, effective: str, rights: list[Right], missing: str) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tnetproxy\nCapInh:\t0000000000000000\nCapEff:\t{effective}\n")
    if not missing:
        require(rights, status=status)
        return
    with pytest.raises(UnsupportedError, match=missing) as caught:
        require(rights, status=status)
    assert "AmbientCapabilities" in (caught.value.hint or "")
