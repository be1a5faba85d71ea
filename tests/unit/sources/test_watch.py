"""Changes of manifests are noticed, at once where inotify hears them, and never in halves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from netproxy.sources import manifests
from netproxy.sources.manifests.shelf import Batch
from netproxy.sources.manifests.watch import watch_manifests
from tests.unit.sources.files import service, words, write

PATIENCE_S = 20.0
"""Nothing here takes so long unless it is broken."""
SILENCE_S = 0.4
"""How long we listen before we believe that nothing is said."""


class Listener:
    """The batches of a watch, one after the other."""

    def __init__(self, paths: Sequence[str], look_round_s: float) -> None:
        self._watch: AsyncIterator[Batch] = watch_manifests(paths, look_round_s=look_round_s)
        self._next: asyncio.Future[Batch] | None = None

    async def next(self) -> Batch:
        """The next batch."""
        batch = await self._wait(PATIENCE_S)
        assert batch is not None, "nothing was noticed"
        return batch

    async def words(self) -> list[str]:
        """The events of the next batch."""
        return words((await self.next()).events)

    async def until(self, wanted: set[str]) -> list[list[str]]:
        """The events of all batches until all these were among them."""
        seen = [await self.words()]
        while not wanted <= {word for batch in seen for word in batch}:
            seen.append(await self.words())
        return seen

    async def is_silent(self) -> bool:
        """Whether nothing is said for a while."""
        return await self._wait(SILENCE_S) is None

    async def _wait(self, timeout_s: float) -> Batch | None:
        # The watch must not be cancelled: an answer that comes later is not lost.
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._watch))
        done, _ = await asyncio.wait({self._next}, timeout=timeout_s)
        if not done:
            return None
        batch, self._next = self._next.result(), None
        return batch

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._watch.aclose()  # type: ignore[attr-defined]


Play = Callable[[Listener], Awaitable[None]]


def play(scene: Play, *paths: Path, look_round_s: float = 3600) -> None:
    """Watch the paths while the scene happens."""

    async def run() -> None:
        listener = Listener([str(path) for path in paths], look_round_s)
        try:
            await scene(listener)
        finally:
            await listener.close()

    asyncio.run(run())


def test_first_everything_then_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a"))
    write(tmp_path / "b.yaml", service("b"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "+b", "listed"]
        assert await listener.is_silent()

    play(scene, tmp_path)


def test_the_looks_round_say_nothing_when_nothing_changed(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a"))
    write(tmp_path / "b.yaml", "broken: [")

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed?"]
        assert await listener.is_silent()

    play(scene, tmp_path, look_round_s=0.02)


@pytest.mark.parametrize("is_directory", [True, False])
def test_a_file_replaced_in_one_step(tmp_path: Path, is_directory: bool) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("a"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed"]
        for port in (81, 82):
            write(tmp_path / ".new", service("a", port))
            (tmp_path / ".new").rename(file)
            begin = time.monotonic()
            assert await listener.words() == ["+a"]
            assert time.monotonic() - begin < 5
        assert await listener.is_silent()

    play(scene, tmp_path if is_directory else file)


def test_a_file_written_in_two_halves(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    text = service("a") + service("b") + service("c")
    file.write_text(text)
    changed = (service("a", 81) + service("b", 81) + service("c", 81)).encode()

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "+b", "+c", "listed"]
        with file.open("wb", buffering=0) as stream:
            stream.write(changed[:150])
            assert await listener.is_silent(), "it is still being written"
            stream.write(changed[150:])
            assert await listener.is_silent()
        assert await listener.words() == ["+a", "+b", "+c"]

    play(scene, file)


def test_a_new_file_written_in_two_halves(tmp_path: Path) -> None:
    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["listed"]
        text = (service("a") + service("b")).encode()
        with (tmp_path / "a.yaml").open("wb", buffering=0) as stream:
            stream.write(text[:-20])
            assert await listener.is_silent(), "it is still being written"
            stream.write(text[-20:])
        batch = await listener.next()
        assert (words(batch.events), batch.diagnostics) == (["+a", "+b"], ())

    play(scene, tmp_path)


def test_the_way_kubelet_updates_a_config_map(tmp_path: Path) -> None:
    def publish(version: int, port: int) -> None:
        there = tmp_path / f"..{version}"
        there.mkdir()
        (there / "a.yaml").write_text(service("a", port))
        (there / "b.yaml").write_text(service("b", port))
        (tmp_path / "..data_tmp").symlink_to(there.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish(1, 80)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "+b", "listed"]
        publish(2, 81)
        assert await listener.words() == ["+a", "+b"]
        assert await listener.is_silent()

    play(scene, tmp_path)


def test_deleted_moved_away_and_made(tmp_path: Path) -> None:
    watched = tmp_path / "dir"
    watched.mkdir()
    for name in "abc":
        write(watched / f"{name}.yaml", service(name))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "+b", "+c", "listed"]
        (watched / "a.yaml").unlink()
        assert await listener.words() == ["-a"]
        (watched / "b.yaml").rename(tmp_path / "b.yaml")
        assert await listener.words() == ["-b"]
        (watched / "c.yaml").rename(watched / "d.yml")
        assert await listener.is_silent(), "the same object from another file"
        (watched / "b.yaml").symlink_to(tmp_path / "b.yaml")
        assert await listener.words() == ["+b"]
        write(watched / "notes.txt", "x")
        assert await listener.is_silent()

    play(scene, watched)


def test_broken_then_fixed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("a"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed"]
        write(file, "a: [")
        batch = await listener.next()
        assert batch.events == ()
        assert [d.path for d in batch.diagnostics] == [str(file)]
        write(file, service("a", 0))
        batch = await listener.next()
        assert batch.events == ()
        assert [d.field for d in batch.diagnostics] == ["spec.ports[0].port"]
        write(file, service("a", 81))
        batch = await listener.next()
        assert (words(batch.events), batch.diagnostics) == (["+a"], ())

    play(scene, tmp_path)


def test_what_was_missing_at_first_completes_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "not" / "yet" / "a.yaml"

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["listed?"]
        file.parent.parent.mkdir()
        await asyncio.sleep(0.1)
        file.parent.mkdir()
        await asyncio.sleep(0.1)
        write(file, service("a"))
        assert await listener.words() == ["+a", "listed"]
        write(file, service("a", 81))
        assert await listener.words() == ["+a"]

    play(scene, file)


def test_a_directory_that_appears_only_to_the_look_round(tmp_path: Path) -> None:
    watched = tmp_path / "not" / "yet"

    async def scene(listener: Listener) -> None:
        await listener.next()
        watched.mkdir(parents=True)
        write(watched / "a.yaml", service("a"))
        assert await listener.until({"+a", "listed"})
        write(watched / "a.yaml", service("a", 81))
        assert await listener.words() == ["+a"]

    play(scene, watched, look_round_s=0.05)


@pytest.mark.parametrize("look_round_s", [0.05, 1.0])
def test_a_directory_made_anew_is_listened_to_again(tmp_path: Path, look_round_s: float) -> None:
    watched = tmp_path / "dir"
    watched.mkdir()
    write(watched / "a.yaml", service("a"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed"]
        watched.rename(tmp_path / "old")
        watched.mkdir()
        write(watched / "b.yaml", service("b"))
        await listener.until({"+b", "-a"})
        write(watched / "b.yaml", service("b", 81))
        assert await listener.words() == ["+b"]
        write(tmp_path / "old" / "a.yaml", service("a", 99))
        assert await listener.is_silent(), "the old one is no concern any more"

    play(scene, watched, look_round_s=look_round_s)


def test_a_directory_that_is_gone_deletes_nothing(tmp_path: Path) -> None:
    watched = tmp_path / "dir"
    watched.mkdir()
    write(watched / "a.yaml", service("a"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed"]
        watched.rename(tmp_path / "old")
        assert await listener.words() == []

    play(scene, watched, look_round_s=0.1)


def test_what_a_link_points_to_is_seen_by_the_look_round(tmp_path: Path) -> None:
    far = tmp_path / "far"
    watched = tmp_path / "dir"
    for each in (far, watched):
        each.mkdir()
    write(far / "a.yaml", service("a"))
    (watched / "a.yaml").symlink_to(far / "a.yaml")

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["+a", "listed"]
        write(far / "a.yaml", service("a", 81))
        assert await listener.words() == ["+a"]

    play(scene, watched, look_round_s=0.1)


def test_a_burst_is_few_batches(tmp_path: Path) -> None:
    count = 100

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["listed"]
        for number in range(count):
            write(tmp_path / f"{number:03}.yaml", service(f"s{number:03}"))
        seen = await listener.until({f"+s{number:03}" for number in range(count)})
        assert len(seen) <= 10
        assert sorted(word for batch in seen for word in batch) == [
            f"+s{number:03}" for number in range(count)
        ]

    play(scene, tmp_path)


def test_a_stream_of_changes_does_not_wait_for_its_end(tmp_path: Path) -> None:
    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["listed"]
        batch = asyncio.ensure_future(listener.next())
        begin = time.monotonic()
        number = 0
        while not batch.done() and time.monotonic() - begin < PATIENCE_S:
            write(tmp_path / "a.yaml", service("a", 1 + number % 1000))
            number += 1
            await asyncio.sleep(0.001)
        assert batch.done()
        assert words((await batch).events) == ["+a"]

    play(scene, tmp_path)


def test_watching_ends_when_it_is_told_to(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def scene(listener: Listener) -> None:
        assert await listener.words() == ["listed"]

    play(scene, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_package_watches_the_same_way(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a"))

    async def run() -> list[str]:
        watch = manifests.watch_manifests([str(tmp_path)])
        try:
            return words((await anext(watch)).events)
        finally:
            await watch.aclose()  # type: ignore[attr-defined]

    assert asyncio.run(run()) == ["+a", "listed"]
