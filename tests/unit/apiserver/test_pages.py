"""Lists in pages, all of one moment."""

from __future__ import annotations

import pytest

from netproxy.api.objects import Key, Object
from netproxy.api.status import StatusError
from netproxy.apiserver.pages import Page, read_page
from netproxy.apiserver.request import ListOptions
from netproxy.apiserver.storage.stored import Event, Stored, encode_state
from netproxy.apiserver.storage.timeline import Timeline


class _Services:
    """A timeline to which Services come and from which they go."""

    def __init__(self, *names: str, remembered: int = 100) -> None:
        self.timeline = Timeline(remembered=remembered)
        self.version = 0
        for name in names:
            self.put(name)

    def put(self, name: str, **labels: str) -> None:
        self.version += 1
        key = Key("default", name)
        obj: Object = {"metadata": {"name": name, "namespace": "default", "labels": labels}}
        state, _ = encode_state(key, self.version, obj)
        event = Event("services", self.version, self.timeline.get(key), state, state)
        self.timeline.add(event)

    def remove(self, name: str) -> None:
        self.version += 1
        before = self.timeline.get(Key("default", name))
        assert before is not None
        last, _ = encode_state(before.key, self.version, before.object)
        self.timeline.add(Event("services", self.version, before, None, last))

    def page(self, **options: object) -> Page:
        asked = ListOptions(**options)  # type: ignore[arg-type]
        return read_page(self.timeline, self.version, "", asked, None)


def _names(page: Page) -> list[str]:
    return [each.key.name for each in page.states]


def _is_red(state: Stored) -> bool:
    return state.labels.get("colour") == "red"


def test_pages_together_are_the_list_of_the_moment_of_the_first() -> None:
    services = _Services("a", "b", "c", "d", "e")
    first = services.page(limit=2)
    assert _names(first) == ["a", "b"]
    assert first.remaining == 3
    services.remove("c")
    services.put("bb")
    services.remove("a")
    second = services.page(limit=2, token=first.token)
    assert _names(second) == ["c", "d"]
    assert second.version == first.version
    third = services.page(limit=2, token=second.token)
    assert _names(third) == ["e"]
    assert (third.token, third.remaining) == ("", None)


def test_a_page_whose_moment_is_forgotten_has_expired() -> None:
    services = _Services("a", "b", "c", remembered=4)
    first = services.page(limit=1)
    for n in range(10):
        services.put(f"x{n}")
    with pytest.raises(StatusError, match="too old") as caught:
        services.page(limit=1, token=first.token)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_an_exact_version_is_shown_as_it_was() -> None:
    services = _Services("a", "b")
    services.remove("a")
    services.put("c")
    page = services.page(version="2", match="Exact")
    assert _names(page) == ["a", "b"]
    assert page.version == 2
    assert _names(services.page(version="2", match="NotOlderThan")) == ["b", "c"]
    assert _names(services.page(version="2")) == ["b", "c"]
    assert _names(services.page(version="0")) == ["b", "c"]
    assert _names(services.page(version="2", limit=5)) == ["a", "b"]


def test_how_many_are_left_is_not_told_of_selected_ones() -> None:
    services = _Services()
    for name in "abcd":
        services.put(name, colour="red" if name != "b" else "blue")
    page = read_page(services.timeline, services.version, "", ListOptions(limit=1), _is_red)
    assert page.remaining is None
    following = ListOptions(limit=1, token=page.token)
    page = read_page(services.timeline, services.version, "", following, _is_red)
    assert _names(page) == ["c"]


def test_a_version_that_is_to_come_is_too_large() -> None:
    with pytest.raises(StatusError) as caught:
        _Services("a").page(version="999")
    assert caught.value.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Timeout: Too large resource version: 999, current: 1",
        "reason": "Timeout",
        "details": {
            "causes": [
                {
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                    "field": "",
                }
            ],
            "retryAfterSeconds": 1,
        },
        "code": 504,
    }


@pytest.mark.parametrize("token", ["x", "e30", "eyJydiI6IngifQ", "🙂", "eyJydiI6MSwic3RhcnQiOjF9"])
def test_a_token_that_was_never_given_out_is_a_bad_request(token: str) -> None:
    with pytest.raises(StatusError) as caught:
        _Services("a").page(limit=1, token=token)
    assert caught.value.code == 400
