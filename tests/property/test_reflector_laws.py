"""Whatever happens between an API server and its follower: at rest they agree."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from netproxy.model.events import ModelObject, ObjectKey, key_of
from netproxy.sources.kubernetes.decode import Decoder, Failure, Put
from netproxy.sources.kubernetes.reflector import Asking
from netproxy.sources.kubernetes.resources import ENDPOINT_SLICES, SERVICES, Resource
from tests.kube.objects import Object, endpoint_slice, service
from tests.kube.storage import KINDS, Backup, Storage
from tests.unit.sources.kubernetes.wire import Wire

NAMES = ("a", "b", "c")
PROXY_NAME = {"service.kubernetes.io/service-proxy-name": "other"}
FAILURES = (
    Failure(410, "too old", "Expired"),
    Failure(429, "busy", "TooManyRequests", retry_after_s=2.0),
    Failure(500, "etcd is away", "InternalError"),
    Failure(403, "forbidden", "Forbidden"),
    Failure(400, "what?", "BadRequest"),
)


def valid_service(name: str, variant: int) -> Object:
    return service(name, f"10.96.0.{variant}")


def other_service(name: str, variant: int) -> Object:
    """One that a proxy does not get to see, or has nothing to do with."""
    if variant % 2:
        return service(name, labels=PROXY_NAME)
    return service(name, type="ExternalName", externalName="example.org")


def broken_service(name: str, variant: int) -> Object:
    return service(name, ports=[{"port": "80" if variant % 2 else 0}])


def valid_slice(name: str, variant: int) -> Object:
    return endpoint_slice(name, [f"10.1.0.{variant}"])


def other_slice(name: str, variant: int) -> Object:
    if variant % 2:
        return endpoint_slice(name, ["example.org"], addressType="FQDN")
    obj = endpoint_slice(name, [f"10.1.0.{variant}"])
    obj["metadata"]["labels"] = {"service.kubernetes.io/headless": ""} if variant % 4 else {}
    return obj


def broken_slice(name: str, variant: int) -> Object:
    return endpoint_slice(name, ["10.1.0.1"], addressType=4 if variant % 2 else "IPX")


class Makers(NamedTuple):
    """How objects of a kind are made."""

    resource: Resource
    valid: Any
    other: Any
    broken: Any


KIND_MAKERS = (
    Makers(SERVICES, valid_service, other_service, broken_service),
    Makers(ENDPOINT_SLICES, valid_slice, other_slice, broken_slice),
)

names = st.sampled_from(NAMES)
variants = st.integers(1, 5)


class Play:
    """A server, its follower, and what a server's state may have become to a follower."""

    def __init__(self, makers: Makers, *, streams: bool) -> None:
        self.makers = makers
        self.storage = Storage(lambda _: None)
        self.wire = Wire(makers.resource, self.storage, streams=streams, page_objects=2)
        self.plural = makers.resource.plural
        self.backup: Backup = self.storage.backup()
        self.ever_valid: dict[ObjectKey, set[ModelObject]] = {}
        self._decoder = Decoder(makers.resource.kind)

    def put(self, sort: str, name: str, variant: int) -> None:
        obj = getattr(self.makers, sort)(name, variant)
        self.storage.put(obj)
        if sort == "valid":
            self._note_valid(obj["metadata"]["name"])

    def delete(self, name: str) -> None:
        full = self._full_name(name)
        if self.storage.get(self.plural, full, "default"):
            self.storage.delete(self.plural, full, "default")

    def step(self, count: int) -> None:
        for _ in range(count):
            self.wire.step()

    def repeat(self, count: int) -> None:
        self.wire.repeat(count)

    def cut(self) -> None:
        self.wire.cut()

    def expire(self) -> None:
        self.storage.forget_changes(self.plural)
        self.wire.expire_pages()

    def save(self) -> None:
        self.backup = self.storage.backup()

    def restore(self) -> None:
        self.storage.restore(self.backup)
        self.wire.expire_pages()
        self.wire.cut()
        self.wire.step()  # the follower comes back before versions have caught up

    def garble(self) -> None:
        if self.wire.is_open:
            self.wire.deliver(b"\x00<html>")

    def fall_silent(self) -> None:
        self.wire.fall_silent()

    def refuse(self, failure: Failure) -> None:
        self.wire.refuse(failure)

    def _full_name(self, name: str) -> str:
        return name if self.makers.resource is SERVICES else f"{name}-x7k2p"

    def _note_valid(self, name: str) -> None:
        stored = self.storage.get(self.plural, name, "default")
        assert stored is not None
        put = self._decoder.item(stored.raw)
        assert isinstance(put, Put)
        assert put.object is not None
        self.ever_valid.setdefault(put.key, set()).add(put.object)

    def is_fine(self) -> bool:
        """Whether the follower has what the server has."""
        state = dict(self.wire.state)
        for stored in self.storage.snapshot(self.plural, self.wire.selected)[1]:
            put = self._decoder.item(stored.raw)
            assert isinstance(put, Put)
            mine = state.pop(put.key, None)
            if put.is_broken:
                if mine is not None and not self._was_said(put.key, mine):
                    return False
            elif mine != put.object:
                return False
        return not state

    def _was_said(self, key: ObjectKey, obj: ModelObject) -> bool:
        return obj in self.ever_valid.get(key, ()) or type(obj).__name__ == "IgnoredService"


sorts = st.sampled_from(["valid", "valid", "other", "broken"])
moves = st.one_of(
    st.tuples(st.just(Play.put), sorts, names, variants),
    st.tuples(st.just(Play.put), sorts, names, variants),
    st.tuples(st.just(Play.delete), names),
    st.tuples(st.just(Play.step), st.integers(1, 8)),
    st.tuples(st.just(Play.repeat), st.integers(1, 4)),
    st.tuples(
        st.sampled_from(
            [Play.cut, Play.expire, Play.save, Play.restore, Play.garble, Play.fall_silent]
        )
    ),
    st.tuples(st.just(Play.refuse), st.sampled_from(FAILURES)),
)


@given(st.sampled_from(KIND_MAKERS), st.booleans(), st.lists(moves, max_size=40))
def test_at_rest_the_follower_has_what_the_server_has(
    makers: Makers, streams: bool, played: list[tuple[Any, ...]]
) -> None:
    play = Play(makers, streams=streams)
    for move, *how in played:
        move(play, *how)
    told = play.wire.settle()
    assert play.is_fine(), (told, play.wire.state)
    assert play.wire.reflector.is_listed
    assert {key_of(obj) for obj in play.wire.state.values()} == set(play.wire.state)


@given(st.sampled_from(KIND_MAKERS), st.booleans(), st.lists(moves, max_size=20))
def test_a_relist_of_what_is_known_tells_nothing(
    makers: Makers, streams: bool, played: list[tuple[Any, ...]]
) -> None:
    play = Play(makers, streams=streams)
    for move, *how in played:
        move(play, *how)
    play.wire.settle()
    play.wire.refuse(FAILURES[0])
    assert play.wire.settle() == []
    listings = [r.asking for r in play.wire.requests[-3:]]
    assert Asking.INITIAL in listings or Asking.PAGE in listings
    assert KINDS[makers.resource.kind].path == makers.resource.path
