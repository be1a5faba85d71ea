"""Ways to tell one story: whatever the way, packets must fare as the file says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from netproxy.model.events import Delete, Event, Listed, ModelObject, Upsert, key_of
from tests.scenarios.story import Play, Step, Story


class Chapter(NamedTuple):
    """What is told at once, and what must hold afterwards."""

    name: str
    events: tuple[Event, ...]
    objects: tuple[ModelObject, ...]
    """All that exist afterwards."""
    plays: tuple[Play, ...]


Life = list[Chapter]
"""What one proxy is told, from its birth on."""


def as_written(story: Story) -> Iterator[Life]:
    """The steps in their order."""
    yield _tell(story.steps)


def objects_reversed(story: Story) -> Iterator[Life]:
    """In each step the last object comes first: slices before their Service, for one."""
    yield _tell([step._replace(objects=step.objects[::-1]) for step in story.steps])


def steps_reversed(story: Story) -> Iterator[Life]:
    """Back in time: what is true depends on the objects, not on the way to them."""
    yield _tell(story.steps[::-1])


def empty_between(story: Story) -> Iterator[Life]:
    """Everything goes and comes back between any two steps."""
    nothing = Step("nothing", (), ())
    yield _tell([each for step in story.steps for each in (step, nothing)])


def each_alone(story: Story) -> Iterator[Life]:
    """Every step is the first that a proxy ever sees."""
    yield from (_tell([step]) for step in story.steps)


def squashed(story: Story) -> Iterator[Life]:
    """All that happens, happens at once; only the end can be seen."""
    chapters = _tell(story.steps)
    events = tuple(event for chapter in chapters for event in chapter.events)
    yield [chapters[-1]._replace(events=events)]


def object_by_object(story: Story) -> Iterator[Life]:
    """Every event alone: intermediate states do no harm."""
    yield [
        Chapter(chapter.name, (event,), chapter.objects, chapter.plays if is_last else ())
        for chapter in _tell(story.steps)
        for event, is_last in _with_end(chapter.events)
    ]


TELLINGS: dict[str, Callable[[Story], Iterator[Life]]] = {
    each.__name__: each
    for each in (
        as_written,
        objects_reversed,
        steps_reversed,
        empty_between,
        each_alone,
        squashed,
        object_by_object,
    )
}


def _tell(steps: Sequence[Step]) -> Life:
    chapters: Life = []
    before: tuple[ModelObject, ...] = ()
    for step in steps:
        kept = {key_of(one) for one in step.objects}
        events: list[Event] = [Upsert(one) for one in step.objects if one not in before]
        events += [Delete(key_of(one)) for one in before if key_of(one) not in kept]
        if not chapters:
            events.append(Listed())
        chapters.append(Chapter(step.name, tuple(events), step.objects, step.plays))
        before = step.objects
    return chapters


def _with_end(events: Sequence[Event]) -> Iterator[tuple[Event, bool]]:
    for number, event in enumerate(events, 1):
        yield event, number == len(events)
