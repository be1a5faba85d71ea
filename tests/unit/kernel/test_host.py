"""What the host is asked for before the first rule: decided, done, and said when it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from netproxy.kernel.host import (
    Wishes,
    Write,
    count_cpus,
    plan_writes,
    prepare_host,
)

CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_"
HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
DEFAULTS = Wishes(32768, 131072, 86400, 3600, oom_score_adj=-999)


class Host:
    """A directory that looks like one."""

    def __init__(self, root: Path, **values: int) -> None:
        self.root = root
        usual = {"max": 65536, "tcp_timeout_established": 432000, "tcp_timeout_close_wait": 60}
        usual |= {"udp_timeout": 30, "udp_timeout_stream": 120, "tcp_be_liberal": 0}
        for name, value in (usual | values).items():
            self.write(f"{CONNTRACK}{name}", str(value))
        self.write(HASHSIZE, "16384")
        self.write("proc/self/oom_score_adj", "0")
        self.write("sys/devices/system/cpu/online", "0-3,8")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def read(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def conntrack(self, name: str) -> int:
        return int(self.read(CONNTRACK + name))


def test_as_the_reference(tmp_path: Path) -> None:
    host = Host(tmp_path)
    report = prepare_host(DEFAULTS, root=tmp_path)
    assert report.troubles == []
    assert host.conntrack("max") == 5 * 32768
    assert host.read(HASHSIZE) == str(5 * 32768 // 4)
    assert host.conntrack("tcp_timeout_established") == 86400, "the kernel's default is lowered"
    assert host.conntrack("tcp_timeout_close_wait") == 3600
    assert host.conntrack("udp_timeout") == 30
    assert host.read("proc/self/oom_score_adj") == "-999"
    assert "net.netfilter.nf_conntrack_max = 163840 (was 65536)" in report.done
    assert prepare_host(DEFAULTS, root=tmp_path) == ([], []), "once is enough"


def test_what_an_administrator_raised_stays(tmp_path: Path) -> None:
    host = Host(
        tmp_path, max=9_000_000, tcp_timeout_established=200_000, tcp_timeout_close_wait=7200
    )
    host.write(HASHSIZE, "9000000")
    assert prepare_host(DEFAULTS._replace(oom_score_adj=None), root=tmp_path) == ([], [])
    assert host.conntrack("max") == 9_000_000


def test_what_an_administrator_lowered_is_raised(tmp_path: Path) -> None:
    host = Host(tmp_path, tcp_timeout_established=600)
    prepare_host(DEFAULTS, root=tmp_path)
    assert host.conntrack("tcp_timeout_established") == 86400


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(conntrack_max_per_core=1, conntrack_min=500_000), 500_000),
        (Wishes(conntrack_max_per_core=1_000_000), 1_048_576),
        (Wishes(conntrack_max_per_core=0, conntrack_min=500_000), 65536),
    ],
    ids=["at least", "at most", "left alone"],
)
def test_room_for_connections(tmp_path: Path, wishes: Wishes, expected: int) -> None:
    host = Host(tmp_path)
    prepare_host(wishes, root=tmp_path)
    assert host.conntrack("max") == expected


def test_buckets_for_a_table_that_was_large_already(tmp_path: Path) -> None:
    host = Host(tmp_path, max=2_000_000)
    prepare_host(Wishes(conntrack_max_per_core=1), root=tmp_path)
    assert host.read(HASHSIZE) == "500000"


def test_what_is_asked_for_by_name_is_done(tmp_path: Path) -> None:
    host = Host(tmp_path, udp_timeout=60)
    prepare_host(Wishes(udp_s=10, udp_stream_s=20, tcp_be_liberal=True), root=tmp_path)
    values = [host.conntrack(n) for n in ("udp_timeout", "udp_timeout_stream", "tcp_be_liberal")]
    assert values == [10, 20, 1]


def test_what_cannot_be_written_is_said_with_a_remedy_and_the_rest_is_done(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for path in (f"{CONNTRACK}max", f"{CONNTRACK}tcp_timeout_close_wait"):
        # Not even root can write to a directory.
        (tmp_path / path).unlink()
        (tmp_path / path).mkdir()
    report = prepare_host(DEFAULTS, root=tmp_path)
    by_name = {
        trouble.what.split(" ")[0].rpartition("_")[2]: trouble for trouble in report.troubles
    }
    assert set(by_name) == {"max", "wait"}
    assert by_name["max"].hint == "modprobe nf_conntrack"
    assert "has no such setting" in by_name["wait"].error
    assert host.conntrack("tcp_timeout_established") == 86400


def test_a_refusal_names_the_command_to_run() -> None:
    path = "/proc/sys/net/netfilter/nf_conntrack_max"
    (write,) = plan_writes(
        Wishes(conntrack_max_per_core=10), 4, lambda name: "5" if name == path else None
    )
    assert write == Write(path, "5", "40")
    assert str(write) == "net.netfilter.nf_conntrack_max = 40 (was 5)"


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-63", 64), ("0-1,4,8-9", 5)])
def test_processors(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "sys/devices/system/cpu").mkdir(parents=True)
    (tmp_path / "sys/devices/system/cpu/online").write_text(text + "\n")
    assert count_cpus(tmp_path) == count
